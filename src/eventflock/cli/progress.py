"""Showing how a run goes on: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, TextIO

from eventflock.core.observer import Observer
from eventflock.core.units import say_duration

__all__ = ["choose_observer"]

LINE_EVERY = 10.0
"""Seconds between two plain lines."""


def choose_observer(*, quiet: bool, pool: str = "local") -> Observer:
    """Return the observer that suits where messages go. A debugger needs the terminal itself."""
    if quiet or sys.stderr is None:
        return Observer()
    live = sys.stderr.isatty() and pool != "inline"
    return LiveObserver() if live else LineObserver(sys.stderr)


class _Rate:
    """Units per second since the beginning, and the time that is left at this rate."""

    def __init__(self, total: int, done: int) -> None:
        self.total = total
        self._first = done
        self._started = time.monotonic()

    def __call__(self, done: int) -> tuple[float, str]:
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (done - self._first) / seconds
        left = say_duration((self.total - done) / rate) if rate > 0 else "unknown time"
        return rate, left


class LineObserver(Observer):
    """Prints a line at the beginning, at the end, and from time to time between."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):  # who reads it may be gone: that stops no run
            print(text, file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Print a fact."""
        self._print(text)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Remember when a task began."""
        self._what, self._total = what, total
        self._rate = _Rate(total, done)
        self._started = self._printed = time.monotonic()
        self._last = (done, "")
        self._first = done

    def update(self, done: int, jobs: str = "") -> None:
        """Print a line if the last one is long ago."""
        self._last = (done, jobs)
        now = time.monotonic()
        if now - self._printed < LINE_EVERY:
            return
        self._printed = now
        rate, left = self._rate(done)
        share = 100 * done // max(self._total, 1)
        jobs = f"{jobs}, " if jobs else ""
        self._print(
            f"{done:,} of {self._total:,} {self._what} ({share} %), {jobs}"
            f"{rate:,.0f} {self._what}/s, {left} left"
        )

    def end(self) -> None:
        """Print how the task ended."""
        done, jobs = self._last
        seconds = time.monotonic() - self._started
        if self._what == "files" and seconds < LINE_EVERY:
            return
        rate, _ = self._rate(done)
        jobs = f" ({jobs})" if jobs else ""
        self._print(
            f"{done:,} of {self._total:,} {self._what}{jobs} in {say_duration(seconds)}, "
            f"{rate:,.0f} {self._what}/s"
        )


class LiveObserver(Observer):
    """Draws a bar on the terminal."""

    def __init__(self) -> None:
        self._bar: Any = None

    def note(self, text: str) -> None:
        """Print a fact above the bar."""
        print(text, file=sys.stderr, flush=True)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._what = what
        self._rate = _Rate(total, done)
        self._bar = Progress(
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            transient=what == "files",
        )
        self._task = self._bar.add_task("starting", total=total, completed=done)
        self._bar.start()

    def update(self, done: int, jobs: str = "") -> None:
        """Move the bar."""
        rate, left = self._rate(done)
        words = [f"{done:,} {self._what}", jobs, f"{rate:,.0f} {self._what}/s", f"{left} left"]
        self._bar.update(
            self._task, completed=done, description=", ".join(word for word in words if word)
        )

    def end(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
