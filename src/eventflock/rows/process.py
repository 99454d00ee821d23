"""Running one program to its end: limits, what it took, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from eventflock.core.options import IDLE, LOOKS, JobLimits
from eventflock.core.task import INDEX

__all__ = ["Ended", "adopt_orphans", "environment_of", "run_program"]

GRACE = 2.0
"""Seconds that what a program has started may take to end after it."""
_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


class Ended(NamedTuple):
    """How a program ended.

    Attributes
    ----------
    code
        Its exit code; the negative signal if one ended it.
    seconds, cpu_seconds, memory
        Wall time, CPU time with all children, and the largest resident set in bytes.
    limit
        Which limit ended it: `stalled`, `time` or none.
    left
        The commands of processes that it left running, and that were ended.
    """

    code: int
    seconds: float
    cpu_seconds: float
    memory: int
    limit: str = ""
    left: tuple[str, ...] = ()


def adopt_orphans() -> bool:
    """Make this process the parent of what its children leave behind (PR_SET_CHILD_SUBREAPER).

    Returns
    -------
    bool
        Whether the system can do that.
    """
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def environment_of(row: int) -> dict[str, str]:
    """Return the environment of the program of a row: this one, with this Python before others."""
    here = str(Path(sys.executable).parent)
    return {
        "PYTHONFAULTHANDLER": "1",
        **os.environ,
        "PATH": f"{here}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        f"EVENTFLOCK_{INDEX.upper()}": str(row),
    }


def run_program(
    command: Sequence[str],
    folder: Path,
    printed: tuple[Path, Path],
    env: Mapping[str, str],
    limits: JobLimits,
    *,
    adopts: bool,
) -> Ended:
    """Run a program to its end.

    Parameters
    ----------
    command
        Program and arguments.
    folder
        In which it runs.
    printed
        Files for its standard output and its errors.
    env
        Its environment.
    limits
        How long it may take, and be idle.
    adopts
        Whether `adopt_orphans` was called: then nothing that it leaves behind stays.

    Raises
    ------
    OSError
        It cannot be started.
    """
    before = set(_children()) if adopts else set()
    began = time.monotonic()
    with printed[0].open("wb") as out, printed[1].open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=env
        )
    try:
        limit = _wait(process.pid, limits)
    except BaseException:
        _end_tree(process.pid)
        process.wait()
        raise
    if limit:
        _end_tree(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    left = tuple(_end_orphans(before)) if adopts else ()
    return Ended(
        code=process.returncode,
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * 1024,
        limit=limit,
        left=() if limit else left,
    )


def _wait(pid: int, limits: JobLimits) -> str:
    """Wait until a process has ended, or return the limit that it has passed."""
    given = [one for one in (limits.stall_seconds, limits.limit_seconds) if one]
    pause = min(given) / LOOKS if given else None
    gone = os.pidfd_open(pid)
    try:
        began = moved = time.monotonic()
        used = 0.0
        while not select.select([gone], [], [], pause)[0]:
            now = time.monotonic()
            if limits.limit_seconds and now - began > limits.limit_seconds:
                return "time"
            cpu = _cpu_seconds(pid)
            if not 0 <= cpu - used < IDLE * limits.stall_seconds:
                moved, used = now, cpu
            elif limits.stall_seconds and now - moved > limits.stall_seconds:
                return "stalled"
    finally:
        os.close(gone)
    return ""


def _processes() -> dict[int, tuple[int, float]]:
    """Return parent and CPU seconds of all processes, by their numbers (proc(5))."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 -- names are enough
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path("/proc", name, "stat").read_text(errors="replace")
            fields = text.rpartition(")")[2].split()
            found[int(name)] = int(fields[1]), sum(map(int, fields[11:15])) / _TICKS
    return found


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of all that it has started, as far as it is known."""
    table = _processes()
    return sum(table[one][1] for one in [pid, *_below(pid, table)] if one in table)


def _below(pid: int, table: Mapping[int, tuple[int, float]]) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    found = [pid]
    for one in found:
        found += [child for child, (parent, _) in table.items() if parent == one]
    return found[1:]


def _children() -> list[int]:
    """Return the children of this process."""
    try:
        lists = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    except OSError:
        lists = []
    if lists:
        return [int(word) for words in lists for word in words.split()]
    return [one for one, (parent, _) in _processes().items() if parent == os.getpid()]


def _end_tree(pid: int) -> None:
    """End a process with all that it has started."""
    table = _processes()
    for one in [*_below(pid, table), pid]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)


def _end_orphans(before: set[int]) -> Iterator[str]:
    """Wait a moment for what a program has left behind, then end it, and yield what it was."""
    deadline = time.monotonic() + GRACE
    while orphans := _living(before):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    while orphans:
        for pid in orphans:
            yield _command_of(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        orphans = _living(before)  # the children of those


def _living(before: set[int]) -> list[int]:
    """Return the children of this process that are new and run; take leave of those that ended."""
    found = []
    for pid in set(_children()) - before:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                found.append(pid)
    return found


def _command_of(pid: int) -> str:
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return f"process {pid}"
    return b" ".join(words).decode(errors="replace").strip()[:100] or f"process {pid}"
