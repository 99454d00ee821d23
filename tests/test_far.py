"""Files at the other end of a slow connection: little is moved, and waited for once."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.errors import IncompleteError, InputError
from eventflock.events.open_files import OpenFiles
from eventflock.events.reader import reader_of
from eventflock.events.scan import scan_file
from eventflock.planning.filesets import expand
from tests.slow_proxy import SlowProxy, running_proxy
from tests.test_credentials import make_proxy
from tests.test_remote import serving
from tests.xrootd import running_server

pytest.importorskip("aiohttp")

BRANCHES, CLUSTERS, SIZE = 300, 6, 5000
TOUCHED = ("b007", "b100", "b200", "j001", "j002")
CODE = f"""
import awkward as ak
import time
import eventflock as ef


@ef.analysis(tree="Events")
def a(events, *, seconds: float = 0.0):
    time.sleep(seconds if len(events) else 0)
    return {{name: float(ak.sum(ak.flatten(events[name], axis=None))) for name in {TOUCHED!r}}}
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("far") / "wide.root"
    rng = np.random.default_rng(3)
    flat = [f"b{number:03d}" for number in range(BRANCHES - 20)]
    jagged = [f"j{number:03d}" for number in range(20)]
    with uproot.recreate(path) as file:
        for number in range(CLUSTERS):
            counts = rng.integers(0, 4, SIZE)
            columns: dict[str, Any] = {name: rng.random(SIZE, dtype="f4") for name in flat}
            content = rng.random(int(counts.sum()), dtype="f4")
            columns |= {name: ak.unflatten(content, counts) for name in jagged}
            if number:
                file["Events"].extend(columns)
            else:
                file.mktree("Events", columns)
    return path


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVENTFLOCK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.py").write_text(CODE)
    return tmp_path / "a.py"


def compressed(path: Path) -> int:
    """Return the compressed bytes of the touched branches, with the counters of the jagged ones."""
    with uproot.open(path) as file:
        tree = file["Events"]
        names = {*TOUCHED, *(f"n{name}" for name in TOUCHED if name.startswith("j"))}
        return int(sum(tree[name].compressed_bytes for name in names))


def near(code: Path, wide: Path, out: Path) -> ef.Result:
    return ef.run(code, wide, out=out, jobs=2, chunk=SIZE)


def test_little_is_moved(code: Path, wide: Path, tmp_path: Path) -> None:
    expected = near(code, wide, tmp_path / "near")
    with serving(wide.parent) as port, running_proxy(port, 0.02) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/{wide.name}"
        far = ef.run(code, url, out=tmp_path / "far", jobs=2, chunk=SIZE, workers=1)
        moved = proxy.received
    assert dict(far["events"]) == dict(expected["events"])
    assert list(far.provenance["branches"]) == sorted(TOUCHED)
    assert moved <= 1.15 * compressed(wide) + 1e6
    assert moved < wide.stat().st_size / 10


@pytest.mark.slow
def test_the_next_chunk_is_fetched_meanwhile(wide: Path) -> None:
    """Each round trip takes so long that it is seen whether they add up."""
    with serving(wide.parent) as port, running_proxy(port, 0.15) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/{wide.name}"
        files = OpenFiles()
        entry = scan_file(url, "Events", files=files)
        reader = reader_of(files, url, entry)
        chunks = [(n * SIZE, (n + 1) * SIZE) for n in range(3)]

        def read(names: tuple[str, ...]) -> float:
            begun = time.monotonic()
            for number, (start, stop) in enumerate(chunks):
                reader.expect(names, chunks[number : number + 2])
                events = reader.chunk(start, stop)
                for name in TOUCHED:
                    assert len(events[name]) == SIZE
                time.sleep(0.4)  # the analysis
                reader.done()
            return time.monotonic() - begun

        ahead = read(TOUCHED)
        reader._ahead = None
        one_by_one = read(())
        files.close()
    # A round trip of 0.3 s for each of 5 branches and 3 chunks, or hardly any.
    assert one_by_one - ahead > 0.5 * 0.3 * len(TOUCHED) * len(chunks)


def test_what_cannot_be_fetched_ahead_is_read_when_it_is_asked_for(wide: Path) -> None:
    with serving(wide.parent) as port, running_proxy(port, 0.0) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/{wide.name}"
        files = OpenFiles()
        entry = scan_file(url, "Events", files=files)
        reader = reader_of(files, url, entry)
        reader.expect(("b007", "nowhere", "j001"), [(0, 10), (10, 20)])
        events = reader.chunk(0, 10)
        local = reader_of(OpenFiles(), str(wide), scan_file(str(wide)))
        for name in ("b007", "b008", "j001", "j003"):
            assert events[name].to_list() == local.chunk(0, 10)[name].to_list()
        assert len(reader.chunk(3, 8)["b007"]) == 5  # another range than was expected
        files.close()


def test_connections_that_are_cut_are_survived(code: Path, wide: Path, tmp_path: Path) -> None:
    expected = near(code, wide, tmp_path / "near")
    with serving(wide.parent) as port, running_proxy(port, 0.01) as proxy:

        def cut(proxy: SlowProxy, left: threading.Event) -> None:
            while not left.wait(0.7):
                proxy.cut()

        over = threading.Event()
        cutting = threading.Thread(target=cut, args=(proxy, over), daemon=True)
        cutting.start()
        url = f"http://127.0.0.1:{proxy.port}/{wide.name}"
        options: dict[str, Any] = {"jobs": 3, "chunk": SIZE, "workers": 2}
        try:
            far = ef.run(code, url, out=tmp_path / "far", parameters={"seconds": 0.3}, **options)
        except IncompleteError:  # named as missing, then
            over.set()
            far = ef.resume(tmp_path / "far")
        finally:
            over.set()
            cutting.join()
    assert far.complete
    assert dict(far["events"]) == dict(expected["events"])


def test_https_with_an_authority_of_ones_own(
    code: Path, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_proxy(tmp_path / "x.pem", days=1)  # to be skipped without openssl
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command, *more], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with serving(wide.parent, context=context) as port:
        url = f"https://localhost:{port}/{wide.name}"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        far = ef.run(code, url, out=tmp_path / "far", jobs=2, chunk=SIZE, workers=1)
    assert dict(far["events"]) == dict(near(code, wide, tmp_path / "near")["events"])


@pytest.mark.pool
def test_little_is_moved_from_an_xrootd_server(
    code: Path, wide: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("served")
    expected = near(code, wide, code.parent / "near")
    with running_server(folder / "data", folder / "work") as server:
        (server.folder / wide.name).write_bytes(wide.read_bytes())
        port = int(server.url.rstrip("/").rpartition(":")[2])
        with running_proxy(port, 0.02) as proxy:
            url = f"root://localhost:{proxy.port}//{wide.name}"
            far = ef.run(code, url, out=code.parent / "far", jobs=2, chunk=SIZE, workers=1)
            moved = proxy.received
    assert dict(far["events"]) == dict(expected["events"])
    assert moved <= 1.15 * compressed(wide) + 1e6


@pytest.mark.pool
def test_an_address_within_an_address(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache or a redirector is asked for the address of another server."""
    folder = tmp_path_factory.mktemp("chained")
    with running_server(folder / "data", folder / "work") as server:
        path = server.folder / "root:/b:1094/x.root"  # what the server makes of it
        path.parent.mkdir(parents=True)
        with uproot.recreate(path) as file:
            file["t"] = {"x": np.arange(5)}
        for one in (path, *path.parents[:2]):
            one.chmod(0o755)
        [named] = expand([f"{server.url}/root://b:1094//x.root:t"])
        assert named.tree == "t"
        assert scan_file(named.path, named.tree, files=OpenFiles()).entries == 5


@pytest.mark.pool
def test_folders_and_patterns_of_an_xrootd_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("listed")
    with running_server(folder / "data", folder / "work") as server:
        for name in ("d/a.root", "d/e/b.root", "d/e/f/x.pool.root.1", "d/e/notes.txt"):
            path = server.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        for path in server.folder.rglob("*"):
            path.chmod(0o755)

        def names(pattern: str) -> list[str]:
            found = expand([f"{server.url}/{pattern}"])
            return [file.path.removeprefix(f"{server.url}/") for file in found]

        assert names("d/") == ["d/a.root", "d/e/b.root", "d/e/f/x.pool.root.1"]
        assert names("d/**/*.root") == ["d/a.root", "d/e/b.root"]
        assert names("d/*/*.root") == ["d/e/b.root"]
        assert names("d/e/**") == ["d/e/b.root", "d/e/f/x.pool.root.1"]
        with pytest.raises(InputError, match="No file matches"):
            names("d/*.rot")
