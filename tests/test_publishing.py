"""Publishing: what is read back from a folder, an XRootD server and a WebDAV server is what was sent."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

import eventflock as ef
from eventflock.core.structs import digest_file
from eventflock.errors import InputError, UsageError
from eventflock.publishing.place import Place, open_place
from tests.conftest import Command
from tests.user import wait_for
from tests.xrootd import running_server

ANALYSIS = """
import eventflock as ef
from hist import Hist


@ef.analysis
def kept(events, context):
    if len(events):
        context.keep("part.txt").write_text(f"{len(events)} events\\n" * 1000)
    return {"E": Hist.new.Reg(10, 0, 10, name="E").Int64(), "n": len(events)}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, jets: Path, sample: Path) -> Path:
    """A run with a plot."""
    folder = tmp_path_factory.mktemp("published") / "jets-001"
    told = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "eventflock",
            "run",
            jets,
            sample,
            "--jobs",
            "4",
            "--out",
            folder,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return folder


@contextmanager
def webdav(folder: Path) -> Iterator[str]:
    """Serve a folder by WebDAV on the loopback."""
    from cheroot import wsgi
    from wsgidav.wsgidav_app import WsgiDAVApp  # type: ignore[import-untyped]

    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(folder)},
            "simple_dc": {"user_mapping": {"*": True}},
            "logging": {"enable": False},
        }
    )
    server = wsgi.Server(("127.0.0.1", 0), app)
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.bind_addr[1]}"
    finally:
        server.stop()
        thread.join(20)


@contextmanager
def xrootd(folder: Path) -> Iterator[str]:
    with running_server(folder.parent / "data", folder.parent / "work") as server:
        yield f"{server.url}/"
        for one in server.folder.iterdir():
            shutil.copytree(one, folder / one.name)


@contextmanager
def plain(folder: Path) -> Iterator[str]:
    yield str(folder)


def files_in(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
    }


@pytest.mark.parametrize("serve", [plain, webdav, xrootd])
def test_what_is_published_is_what_the_run_has(
    serve: Callable[[Path], Any], run: Path, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    with serve(served) as url:
        place = f"{url}/my plots"
        found = ef.publish(run, place)
        assert found == {
            "page": f"{place}/jets-001/index.html",
            "result": f"{place}/jets-001/result.zip",
            "index": f"{place}/index.html",
        }
        again = ef.publish(run, place)  # nothing new, and nothing lost
        other = ef.publish(run, place, name="again & again")
        assert again == found
        assert other["page"].endswith("again & again/index.html")
    there = files_in(served / "my plots")
    assert not [name for name in there if "part" in name.rpartition("/")[2]]
    for name in ("result.zip", "plots/E.png"):
        sent = hashlib.sha256((run / name).read_bytes()).hexdigest()
        assert there[f"jets-001/{name}"] == there[f"again & again/{name}"] == sent
    proof = json.loads((served / "my plots/jets-001/published.json").read_text())
    assert {one["name"]: one["sha256"] for one in proof["files"]} == {
        name.removeprefix("jets-001/"): digest
        for name, digest in there.items()
        if name.startswith("jets-001/") and not name.endswith(("index.html", "published.json"))
    }
    page = (served / "my plots/jets-001/index.html").read_text()
    assert "10,000 of 10,000, each exactly once" in page
    assert '<img src="plots/E.png"' in page
    index = (served / "my plots/index.html").read_text()
    assert "again &amp; again" in index
    assert index.count("<tr>") == 3


def test_at_the_end_of_a_run_and_what_the_analysis_kept(
    eventflock: Command, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "kept.py").write_text(ANALYSIS)
    words = ["run", "kept.py", sample, "--out", "run", "--jobs", "2"]
    told = eventflock(*words, "--publish", "web/plots")
    assert told.returncode == 0, told.stderr
    assert f"page      {tmp_path}/web/plots/run/index.html" in told.stdout
    there = files_in(tmp_path / "web/plots/run")
    kept = files_in(tmp_path / "run/kept")
    assert kept
    assert {f"kept/{name}": digest for name, digest in kept.items()}.items() <= there.items()


def test_another_run_with_the_same_name_is_not_overwritten(
    run: Path, jets: Path, sample: Path, tmp_path: Path
) -> None:
    ef.publish(run, str(tmp_path / "web"))
    before = files_in(tmp_path / "web")
    ef.run(jets, sample, entries="0:5000", out=tmp_path / "jets-001")
    with pytest.raises(UsageError, match="has another run"):
        ef.publish(tmp_path / "jets-001", str(tmp_path / "web"))
    assert files_in(tmp_path / "web") == before


def test_a_run_that_is_partial_says_so_there(run: Path, tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    shutil.copytree(run, partial)
    (partial / "result.zip").unlink()
    next((partial / "results").glob("job-*.zip")).unlink()
    with pytest.raises(ef.EventflockError):
        ef.publish(partial, str(tmp_path / "web"))  # there is no result yet
    subprocess.run(
        [sys.executable, "-P", "-m", "eventflock", "merge", partial],
        capture_output=True,
        check=False,
    )
    ef.publish(partial, str(tmp_path / "web"))
    assert "PARTIAL" in (tmp_path / "web/index.html").read_text()
    assert "PARTIAL" in (tmp_path / "web/partial/index.html").read_text()


# --- what goes wrong -----------------------------------------------------------------------------


def whole(web: Path, run: Path) -> int:
    """Check that each file has all that it should, and count those without a final name."""
    hidden = 0
    for name, digest in files_in(web / run.name).items():
        if Path(name).name.startswith(".") and name.endswith(".part"):
            hidden += 1
        elif (run / name).is_file():
            assert digest == hashlib.sha256((run / name).read_bytes()).hexdigest()
    return hidden


def test_a_copy_that_is_killed_leaves_no_half_file(run: Path, tmp_path: Path) -> None:
    """The pace of a slow disk: each block waits, and the process is killed in the middle."""
    (tmp_path / "slow.py").write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from eventflock.publishing import place\n"
        "place.BLOCK = 1000\n"
        "opened = place.Place\n"
        "class Slow(opened):\n"
        "    def _put(self, name, sha256, send):\n"
        "        class File:\n"
        "            def __init__(self, file): self.file = file\n"
        "            def write(self, block): self.file.write(block); self.file.flush(); "
        "time.sleep(0.05)\n"
        "        super()._put(name, sha256, lambda file: send(File(file)))\n"
        "place.Place = Slow\n"
        "from eventflock.publishing.publish import publish\n"
        "publish(Path(sys.argv[1]), sys.argv[2])\n"
    )
    web = tmp_path / "web"
    process = subprocess.Popen([sys.executable, tmp_path / "slow.py", run, web])
    wait_for(lambda: [p for p in web.rglob("*.part") if p.stat().st_size > 2000])
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert whole(web, run) == 1  # the one half is hidden
    ef.publish(run, str(web))  # and it goes on from there
    assert (web / "jets-001/result.zip").read_bytes() == (run / "result.zip").read_bytes()


def test_a_copy_that_is_damaged_on_the_way_gets_no_name(run: Path, tmp_path: Path) -> None:
    class Damaging(type(fsspec.filesystem("file"))):  # type: ignore[misc]
        def open(self, path: str, mode: str = "rb", **more: Any) -> Any:
            if "w" not in mode and ".part" in path:
                Path(path).write_bytes(Path(path).read_bytes()[:-1] + b"?")
            return super().open(path, mode, **more)

    web = tmp_path / "web"
    place = Place(str(web), Damaging(skip_instance_cache=True), str(web))
    with pytest.raises(InputError, match="another checksum"):
        place.copy(run / "result.zip", "jets/result.zip", digest_file(run / "result.zip"))
    assert not files_in(web)


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
def test_a_full_disk_is_said_and_nothing_is_left(run: Path, tmp_path: Path) -> None:
    web = tmp_path / "web"
    web.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(web)], check=True)
    try:
        with pytest.raises(InputError, match=r"cannot be written: .*No space left"):
            ef.publish(run, str(web))
        assert whole(web, run) == 0
    finally:
        subprocess.run(["umount", str(web)], check=True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gopher://host/x", "at gopher://, to which nothing can be published"),
        ("root://", "names no place"),
        ("gs://bucket/x", "needs gcsfs, which is not installed"),
    ],
)
def test_places_that_are_none(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_place(url)


def test_a_place_that_cannot_be_reached_is_said_before_the_run(
    eventflock: Command, jets: Path, sample: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    told = eventflock("run", jets, sample, "--publish", "http://127.0.0.1:9/web", "--out", "run")
    assert told.returncode == 3
    assert "http://127.0.0.1:9/web/index.json cannot be read: " in told.stderr
    assert not (tmp_path / "run").exists()
    assert time.monotonic() - began < 20
    told = eventflock("run", jets, sample, "--pool", "htcondor", "--detach", "--publish", "web")
    assert told.returncode == 2
    assert "Give --publish to 'eventflock watch' later." in told.stderr
