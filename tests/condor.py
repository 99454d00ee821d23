"""A real HTCondor pool on this machine, and a client of it: an ordinary user at an access point."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.user import USER, User, wait_for, why_no_user

NEEDED = "EVENTFLOCK_NEED_POOL"
"""Set where these tests must not be skipped."""
TOOL = Path(__file__).parents[1] / "tools/minipool"


def why_not() -> str:
    """Explain why there can be no pool here; empty if there can."""
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed: it makes the root file system of the pool"
    return why_no_user()


def check_possible() -> None:
    """Skip by name where there can be no pool, or fail where there must be one."""
    why = why_not()
    if why and os.environ.get(NEEDED):
        pytest.fail(why)
    if why:
        pytest.skip(why)


class Client(User):
    """The access point.

    Parameters
    ----------
    folder
        The pool.
    home
        What the pool sees of this machine; the user's.
    small
        A small disk, which it sees, too.
    """

    def __init__(self, folder: Path, home: Path, small: Path) -> None:
        super().__init__(home, CONDOR_CONFIG=str(folder / "client.conf"))
        self.folder = folder
        self.small = small

    def tidy(self) -> None:
        """End what a test that failed has left."""
        self.end_started()
        if self.queue():
            self.inside("condor_rm", "-all")

    def processes(self, name: str) -> list[int]:
        """Find the processes of the pool that have a name, or a module of Python with that name."""
        told = json.loads((self.folder / "pool.json").read_text())
        space = Path(f"/proc/{told['master']}/ns/pid").readlink()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if (path / "ns/pid").readlink() != space:
                    continue
                words = (path / "cmdline").read_bytes().split(b"\0")
                if b"-classad" in words:  # a starter that only says what it can
                    continue
                if (path / "comm").read_text()[:-1] == name or name.encode() in words:
                    found.append(int(path.name))
        return found

    def kill(self, name: str) -> int:
        """Kill the daemons of a name, and give their number."""
        killed = 0
        for pid in self.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Let the pool have a node on which every job fails at once."""
        words = [sys.executable, str(TOOL), "black-hole", str(self.folder)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: "black-hole" in self.inside("condor_status", "-af", "Machine"))
            yield
        finally:
            process.terminate()
            process.wait(30)

    def inside(self, *words: str) -> str:
        """Run a command in the pool, as root, and give what it prints."""
        told = subprocess.run(
            [sys.executable, TOOL, "exec", str(self.folder), "--", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout

    def queue(self) -> list[dict[str, Any]]:
        """Return the jobs in the queue."""
        text = self.inside("condor_q", "-allusers", "-json")
        found: list[dict[str, Any]] = json.loads(text) if text.strip() else []
        return found


def _folder(base: Path, suite: str) -> Path:
    kept = os.environ.get("EVENTFLOCK_POOLS")  # where root file systems stay for the next time
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")  # each has a pool of its own
    return Path(kept or base) / f"pool-{suite}{worker and f'-{worker}'}"


@contextmanager
def building(base: Path, suite: str) -> Iterator[subprocess.Popen[bytes]]:
    """Make the root file system of a pool while something else is done."""
    command = [sys.executable, str(TOOL), "build", str(_folder(base, suite)), "--suite", suite]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@contextmanager
def running_pool(
    base: Path, suite: str, *options: str, root: Path | None = None
) -> Iterator[Client]:
    """Start a pool that ends with this process at the latest.

    Parameters
    ----------
    base
        Folder for the user's home, and for the pool unless `root` says where that is.
    suite
        `trixie` or `sid`.
    options
        More of `tools/minipool start`.
    """
    check_possible()
    folder = root or _folder(base, suite)
    small = base / "small"
    client = Client(folder, base / "home", small)
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(small)], check=True)
    shutil.chown(small, USER)
    command = [sys.executable, str(TOOL), "start", str(folder), "--suite", suite]
    command += ["--user", USER, "--share", str(client.home), "--share", str(small)]
    command += ["--until", str(os.getpid()), *options]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout + told.stderr
        yield client
    finally:
        subprocess.run([sys.executable, str(TOOL), "stop", str(folder)], check=True)
        subprocess.run(["umount", str(small)], check=True)
