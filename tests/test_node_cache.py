"""An environment that is unpacked once on a node, and used by all jobs that find it there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflock.errors import UsageError
from eventflock.packing.launching import launch_flags
from eventflock.results.reader import read_manifest
from eventflock.worker.node_layout import LAUNCHER
from tests.conftest import Command
from tests.test_launcher import SHELLS
from tests.user import USER, wait_for, why_no_user

pytestmark = pytest.mark.packing

PROGRAM = """
import json, os, sys, awkward, numpy, uhi.typing.plottable as plottable
added = [p for p in sys.path if p.endswith("/packages")]
writes = None  # root may write everywhere
if os.geteuid():
    try:
        open(numpy.__file__, "a").close()
        writes = True
    except OSError:
        writes = False
json.dump({"numpy": numpy.__file__, "sum": int(awkward.sum(numpy.arange(5))), "path": added,
           "cached": plottable.__cached__, "there": os.path.exists(plottable.__cached__),
           "writes": writes, "python": sys.executable}, open("result", "w"))
"""


class Job:
    """One job on a node.

    Parameters
    ----------
    folder
        Its own, which is made.
    archives
        What it brings along.
    cache
        Of the node.
    """

    def __init__(self, folder: Path, archives: list[str], cache: Path | str) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "template.json").write_text('{"kind":"@KIND@","message":"@SAY@"}')
        (folder / "program.py").write_text(PROGRAM)
        self.words = [
            *launch_flags(node_cache=str(cache)),
            *archives,
            *("template.json", "result", "program.py"),
        ]

    def start(self, *before: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*(before or ("/bin/sh",)), str(LAUNCHER), *self.words],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *before: str, **env: str) -> tuple[dict[str, object], str]:
        """Run it, and give what the program found and what was printed."""
        process = self.start(*before, **env)
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said
        return json.loads((self.folder / "result").read_text()), said


def trees(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if (path / "whole").exists()]


def listing(tree: Path) -> list[tuple[str, int]]:
    return sorted((str(p), p.lstat().st_size) for p in tree.rglob("*") if not p.is_dir())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, archives: list[str]) -> Path:
    """A cache that four jobs have filled, all at the same time."""
    base = tmp_path_factory.mktemp("node")
    cache = base / "cache"
    jobs = [Job(base / f"job-{number}", archives, cache) for number in range(4)]
    processes = [job.start() for job in jobs]
    for job, process in zip(jobs, processes, strict=True):
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 0, said
        assert f"cache     {cache}/env-" in said
        assert json.loads((job.folder / "result").read_text())["sum"] == 10
    return cache


@pytest.mark.parametrize("shell", SHELLS)
def test_jobs_share_one_tree_and_what_their_code_adds_stays_with_them(
    filled: Path, archives: list[str], tmp_path: Path, shell: str
) -> None:
    (tree,) = trees(filled)
    before = listing(tree)
    began = time.monotonic()
    words = (shell, "sh") if shell.endswith("busybox") else (shell,)
    seen, said = Job(tmp_path / "job", archives, filled).run(*words)
    assert time.monotonic() - began < 10
    assert f"cache     {tree}\n" in said
    assert "/eventflock-" in str(seen["numpy"])
    assert seen["there"], seen
    assert str(seen["python"]).endswith("/bin/python3")
    assert len(list(seen["path"])) == 1  # type: ignore[call-overload]
    assert set(before) <= set(listing(tree))  # root may write where others may not
    assert not list(filled.glob("*.lock")) or wait_for(lambda: not list(filled.glob("*.lock")))
    assert {path.name for path in filled.iterdir()} == {tree.name}
    assert not stat.S_IMODE((tree / "packages").stat().st_mode) & 0o222


def test_a_tree_that_has_lost_files_is_unpacked_again(
    filled: Path, archives: list[str], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(filled, cache)
    (tree,) = trees(cache)
    lost = next((tree / "packages/awkward").rglob("*.json"), None) or tree / "modules.bundle"
    lost.parent.chmod(0o755)
    lost.unlink()
    Job(tmp_path / "job", archives, cache).run()
    assert lost.exists()
    assert listing(trees(cache)[0])


def test_who_dies_while_unpacking_keeps_nobody_waiting(archives: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = Job(tmp_path / "first", archives, cache).start()
    lock = wait_for(lambda: list(cache.glob("*.lock")) if cache.exists() else [], 30)[0]
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert first.stdout is not None
    first.stdout.close()
    wait_for(lambda: time.time() - lock.stat().st_mtime > 5, 30)  # nobody touches it any more
    os.utime(lock, (time.time() - 200,) * 2)
    seen, _ = Job(tmp_path / "second", archives, cache).run()
    assert seen["sum"] == 10
    assert len(trees(cache)) == 1


def test_trees_that_nobody_used_for_days_make_room(archives: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name, days in (("env-old", 3), ("env-new", 0), (".env-part.host.7", 3), ("mine", 9)):
        (cache / name / "packages").mkdir(parents=True)
        (cache / name / "packages").chmod(0o555)
        os.utime(cache / name, (time.time() - days * 86400,) * 2)
    Job(tmp_path / "job", archives, cache).run()
    left = {path.name for path in cache.iterdir() if not path.name.endswith(".lock")}
    assert left == {"env-new", "mine", Path(archives[0]).name.removesuffix(".tar")}


@pytest.mark.skipif(bool(why_no_user()), reason="needs root and another user")
def test_a_folder_of_somebody_else_is_not_trusted(archives: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.chown(cache, USER)
    seen, said = Job(tmp_path / "job", archives, cache).run()
    assert seen["sum"] == 10
    assert "belongs to somebody else" in said
    assert not list(cache.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
def test_a_cache_without_room_costs_nothing_but_time(archives: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(cache)], check=True)
    try:
        seen, said = Job(tmp_path / "job", archives, cache).run()
        assert seen["sum"] == 10
        assert "cannot be filled" in said
        assert "No space left" in said or "Wrote only" in said
        assert not [path for path in cache.rglob("*") if path.is_file()]
    finally:
        wait_for(lambda: subprocess.run(["umount", cache], check=False).returncode == 0, 30)


@pytest.mark.skipif(bool(why_no_user()), reason="needs root and another user")
def test_a_tree_of_the_site_is_used_in_place_by_users_who_cannot_write_it(
    eventflock: Command, jets: Path, sample: Path, base_of_trees: Path
) -> None:
    site = base_of_trees / "site"
    told = eventflock("pack", jets, sample, "--to", site, "--out", base_of_trees / "out", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    tree = Path(found["tree"])
    assert tree.parent == site
    site.chmod(0o755)
    archives = [found["environment"], found["code"]]
    job = Job(base_of_trees / "job", archives, site)
    shutil.chown(job.folder, USER)
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "/bin/sh"]
    seen, said = job.run(*user)
    assert f"cache     {tree}\n" in said
    assert seen["writes"] is False
    assert {path.name for path in site.iterdir() if "lock" not in path.name} == {tree.name}


@pytest.fixture
def base_of_trees() -> Iterator[Path]:
    """A folder that other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="eventflock-trees-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_run_with_a_cache_has_the_same_bits(
    eventflock: Command, jets: Path, sample: Path, tmp_path: Path
) -> None:
    words = ["run", jets, sample, "--jobs", "3"]
    cache = tmp_path / "node"
    told = eventflock(*words, "--out", "cached", "--packed", "--node-cache", cache)
    assert told.returncode == 0, told.stderr
    assert len(trees(cache)) == 1
    assert eventflock(*words, "--out", "plain").returncode == 0
    ours, theirs = (read_manifest(tmp_path / f"{one}/result.zip") for one in ("cached", "plain"))
    assert (ours.items, ours.payloads) == (theirs.items, theirs.payloads)
    log = (tmp_path / "cached/pool/job-000001.log").read_text()
    assert f"cache     {cache}/env-" in log


def test_names_that_no_launcher_could_take() -> None:
    with pytest.raises(UsageError, match="expected 'auto' or an absolute path"):
        launch_flags(node_cache="a b")


# --- the cache of this machine -------------------------------------------------------------------


def test_clean_removes_what_was_not_used(
    archives: list[str], eventflock: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for name in ("archives", "records"):
        (cache / name).mkdir(parents=True)
    for number, path in enumerate(map(Path, archives)):
        copy = Path(shutil.copy(path, cache / "archives"))
        os.utime(copy, (time.time() - number * 40 * 86400,) * 2)
    monkeypatch.setenv("EVENTFLOCK_CACHE", str(cache))
    told = eventflock("clean", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["removed"], found["left"]) == (1, Path(archives[0]).stat().st_size)
    assert [path.name for path in (cache / "archives").iterdir()] == [Path(archives[0]).name]
    told = eventflock("clean", "--keep", "0")
    assert "removed   1 archive, " in told.stdout
    assert not list((cache / "archives").iterdir())
    assert eventflock("clean", "--keep", "soon").returncode == 2
