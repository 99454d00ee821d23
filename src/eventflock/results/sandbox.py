"""A sandbox that reads skims first: a process of its own with limited memory, which may crash.

A few bytes of Parquet can stand for terabytes, what its footer says of that may be a lie, and its
reader is a large library. So a skim from another machine is first read through in a process that
is not ours to lose. Only one that passed is read here.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from eventflock.errors import EnvError, ResultError
from eventflock.results.skims import read_skim, tables_of

__all__ = ["SkimSandbox"]

MEMORY = 2**31
"""Bytes of memory that reading a skim may take, or `RATIO` times the file if that is more."""
RATIO = 20
SECONDS = 600
"""Seconds of CPU that it may take, and in addition one for each `SLOWEST` bytes of the file."""
SLOWEST = 2**20
_READY = "ready"
_STATM = Path("/proc/self/statm")


class SkimSandbox:
    """A process that reads skims before this one does. It starts with the first of them."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def check(self, file: Path, *, whole: bool) -> None:
        """Read a skim through.

        Parameters
        ----------
        file
            The Parquet file.
        whole
            Whether it will be read at once, or part by part.

        Raises
        ------
        ResultError
            It cannot be read, or not with the memory and the time that a file of its size needs.
        EnvError
            No process can be started.
        """
        child = self._child or self._start()
        answer = _ask(child, json.dumps([str(file), whole]))
        if answer is None:
            code = self._end()
            raise ResultError(f"A skim makes its reader crash (exit code {code}).")
        if answer:
            raise ResultError(answer)

    def _start(self) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            # -P: what lies in the current folder is not imported.
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_environment()},
            start_new_session=True,  # Ctrl-C is for us; we end it
        )
        self._child = child
        if _answer(child) != _READY:
            code = self._end()
            raise EnvError(
                f"The sandbox that reads skims does not start (exit code {code}).",
                remedy=f"Try: {sys.executable} -c 'import pyarrow.parquet, {__name__}'",
            )
        return child

    def _end(self) -> int:
        """End the process, if there is one, and return its exit code."""
        child, self._child = self._child, None
        if child is None:
            return 0
        if child.stdin:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
        if child.stdout:
            # It ends by itself when nothing more comes, unless it is in the middle of a file.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(1)
            child.kill()
            child.stdout.close()
        return child.wait()


def _environment() -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(one for one in sys.path if one),
        # Arrow's other allocators, and many arenas, reserve more than they use.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "1",
    }


def _ask(child: subprocess.Popen[str], question: str) -> str | None:
    if child.stdin:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(question + "\n")
            child.stdin.flush()
    return _answer(child)


def _answer(child: subprocess.Popen[str]) -> str | None:
    """Wait for an answer; None if the process ended instead."""
    line = child.stdout.readline() if child.stdout else ""
    return str(json.loads(line)) if line.endswith("\n") else None


def serve() -> None:
    """Answer all questions: empty if a skim was read, else why not."""
    import pyarrow.parquet  # noqa: F401 -- before memory is limited

    _say(_READY)
    _limit(resource.RLIMIT_CORE, 0)
    for line in sys.stdin:
        file, whole = json.loads(line)
        _say(_try(Path(file), whole))


def _say(answer: str) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _try(file: Path, whole: bool) -> str:
    size = file.stat().st_size
    memory = max(MEMORY, RATIO * size)
    pages = int(_STATM.read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(
        resource.RLIMIT_CPU,
        int(used.ru_utime + used.ru_stime) + SECONDS + size // SLOWEST,
    )
    try:
        _read(file, whole)
    except MemoryError:
        return f"A skim of {size:,} bytes takes more than {memory:,} bytes of memory."
    except Exception as error:  # noqa: BLE001 -- whatever is wrong with it
        return str(error).strip() or type(error).__name__
    return ""


def _read(file: Path, whole: bool) -> Any:
    if whole:
        return read_skim(file)
    for table in tables_of(file):
        del table
    return None


def _limit(kind: int, value: int) -> None:
    """Set a soft limit, which can be raised again for the next file."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
