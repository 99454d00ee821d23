"""Ending a job that hangs: a worker that makes no progress leaves a receipt and gives up."""

from __future__ import annotations

import contextlib
import faulthandler
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Self

from eventflock._version import PACKAGE
from eventflock.core.manifest import Failure
from eventflock.core.options import IDLE, LOOKS, JobLimits
from eventflock.core.units import say_duration
from eventflock.errors import ErrorKind
from eventflock.events.files import is_url
from eventflock.failures.codes import FailureCode
from eventflock.worker.receipt import Tally

__all__ = ["Watchdog"]

LATER = 60.0
"""Seconds after which the process is ended even if the watchdog itself cannot run."""


_READERS = ("/uproot/", "/fsspec/", "/eventflock/events/")


class Watchdog:
    """Watches the thread that makes it, from the beginning of a `with` block to its end.

    Parameters
    ----------
    limits
        How long the job may be without progress, and how long it may take.
    tally
        What the job has done so far.
    give_up
        Called with the reason, in another thread; it should end the process.
    """

    def __init__(
        self, limits: JobLimits, tally: Tally, give_up: Callable[[Failure], object]
    ) -> None:
        self._stall = limits.stall_seconds
        self._limit = limits.limit_seconds
        self._tally = tally
        self._give_up = give_up
        self._over = threading.Event()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self._stall or self._limit:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        began = moved = time.monotonic()
        chunks, cpu = self._tally.chunks, _cpu_seconds()
        shortest = min(one for one in (self._stall, self._limit) if one)
        self._arm()
        while not self._over.wait(shortest / LOOKS):
            now = time.monotonic()
            if self._limit and now - began > self._limit:
                what = f"took longer than the {say_duration(self._limit)} it may take"
                self._end(FailureCode.TIME, self._limit, what)
            used = _cpu_seconds() - cpu
            if self._tally.chunks != chunks or used > IDLE * self._stall:
                moved, chunks, cpu = now, self._tally.chunks, _cpu_seconds()
                self._arm()
            elif self._stall and now - moved > self._stall:
                what = f"made no progress for {say_duration(self._stall)}"
                self._end(FailureCode.STALLED, self._stall, what)

    def _arm(self) -> None:
        """Let faulthandler end the process later: code that keeps the GIL stops the watchdog."""
        if self._stall:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                faulthandler.dump_traceback_later(2 * self._stall + LATER, exit=True)

    def _end(self, code: FailureCode, seconds: float, what: str) -> None:
        if self._over.is_set():
            return
        path, start, stop = self._tally.where
        frames = _frames(sys._current_frames().get(self._watched))
        if code == FailureCode.STALLED and is_url(path) and _is_reading(frames):
            code = FailureCode.SERVER
        where = f" in {path}, entries {start:,} to {stop:,}" if path else ""
        failure = Failure(
            kind=ErrorKind.POOL,
            message=f"The job {what}{where}: {_waited_for(frames)}.",
            remedy=_remedy(code, frames),
            traceback="".join(traceback.StackSummary.from_list(frames).format()).rstrip(),
            path=path,
            start=start,
            stop=stop,
            code=code.with_detail(f"{seconds:g}"),
            host=socket.gethostname(),
        )
        self._give_up(failure)
        self._over.set()


def _cpu_seconds() -> float:
    """Return the CPU time of the process without this thread's, whose looks are no progress."""
    return time.process_time() - time.thread_time()


def _remedy(code: FailureCode, frames: list[traceback.FrameSummary]) -> str:
    if code == FailureCode.TIME:
        return "Cut the work into more jobs, or raise --time-limit."
    if code == FailureCode.SERVER:
        return "Look whether the server answers; --stall says how long to wait."
    if _is_reading(frames):
        return "Look whether the file can be read; --stall says how long to wait."
    return "Look what the analysis waits for there; --stall says how long to wait."


def _is_reading(frames: list[traceback.FrameSummary]) -> bool:
    return any(part in frame.filename for frame in frames for part in _READERS)


def _frames(frame: FrameType | None) -> list[traceback.FrameSummary]:
    """Return the frames of a thread from the user's code on; all, where it is not in there."""
    found = list(traceback.extract_stack(frame)) if frame is not None else []
    ours = str(PACKAGE)
    inside = [one.filename.startswith(ours) for one in found]
    first = len(inside) - inside[::-1].index(True) if True in inside else 0
    return found[first:] or found


def _waited_for(frames: list[traceback.FrameSummary]) -> str:
    """Describe where a thread is, by its innermost line."""
    if not frames:
        return "nothing is known of what it did"
    last = frames[-1]
    what = "it was reading, at" if _is_reading(frames) else "it was at"
    return f"{what} {last.filename}:{last.lineno} ({last.name})"
