"""The files and processes of one pool, and how to run a command in it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""Environment in the pool: CONDOR_CONFIG and _CONDOR_* of a client are not for the daemons."""


class PoolError(Exception):
    """A mistake that the user can mend, in one sentence."""


class Pool:
    """The files of one pool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.root = self.folder / "root"
        self.state = self.folder / "pool.json"
        self.client = self.folder / "client.conf"
        self.tokens = self.folder / "tokens.d"
        self.log = self.folder / "pool.log"

    def running(self) -> dict[str, int]:
        """Return what `start` wrote down; empty if the pool does not run."""
        try:
            found: dict[str, int] = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return {}
        return found if is_alive(found["supervisor"], found["since"]) else {}

    def master(self) -> int:
        """Return the number of the process of condor_master on this machine."""
        running = self.running()
        if not running:
            raise PoolError(f"No pool runs in {self.folder}: start it with 'start'.")
        return running["master"]


def is_alive(pid: int, since: int) -> bool:
    """Check whether a process still runs, and began when it is said to have begun."""
    return started(pid) == since


def started(pid: int) -> int:
    """Return when a process began, in ticks since the machine did; 0 without such a process."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    return 0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def entering(pool: Pool, words: Sequence[str]) -> list[str]:
    """Return the command line that runs a command in the pool."""
    target = ["nsenter", "--mount", "--pid", f"--target={pool.master()}", "--root"]
    return [*target, "env", "-i", f"PATH={CLEAN['PATH']}", *words]


def inside(pool: Pool, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the pool, as root."""
    return subprocess.run(entering(pool, words), capture_output=True, text=True, check=False)


def version(pool: Pool) -> str:
    """Return the version of HTCondor in the pool."""
    words = inside(pool, "condor_version").stdout.split()
    return f"HTCondor {words[1]}" if len(words) > 1 else "HTCondor"
