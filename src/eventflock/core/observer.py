"""Progress of a run: the library reports what happens, and an observer shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from eventflock.core.states import UnitEnd
from eventflock.errors import plural

__all__ = ["JobProgress", "Observer", "shown"]


class Observer:
    """Receives what happens; this one keeps it to itself. Subclasses show it."""

    def note(self, text: str) -> None:
        """Receive a fact that deserves a line."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Receive that a task of `total` units begins, of which `done` were done earlier.

        Parameters
        ----------
        what
            The units: `files` or `events`.
        """

    def update(self, done: int, jobs: str = "") -> None:
        """Receive how many units are done by now, and the states of the jobs."""

    def end(self) -> None:
        """Receive that the task is over."""


@contextlib.contextmanager
def shown(observer: Observer, what: str, total: int, done: int = 0) -> Iterator[None]:
    """Inform the observer that a task is over, however it ends: it may have hidden a cursor."""
    observer.begin(what, total, done)
    try:
        yield
    finally:
        observer.end()


class JobProgress:
    """Adds up the events of finished jobs and of those under way, and tells an observer."""

    def __init__(self, observer: Observer, earlier: int, jobs: int) -> None:
        self._observer = observer
        self._finished = earlier
        self._under_way: dict[int, int] = {}
        self._jobs = jobs
        self._state = ""
        self.done = 0
        self._failed = self._retried = 0

    def on_progress(self, index: int, events: int) -> None:
        """Receive how many events of a job are done so far."""
        self._under_way[index] = events
        self._show()

    def on_state(self, text: str) -> None:
        """Receive the states of the jobs that are not over."""
        if text != self._state:
            self._state = text
            self._show()

    def finished(self, index: int, entries: int, end: UnitEnd) -> None:
        """Take that a request is over.

        Parameters
        ----------
        entries
            That were done with it.
        end
            How it ended.
        """
        self._under_way.pop(index, None)
        self._finished += entries
        self.done += end == UnitEnd.DONE
        self._failed += end == UnitEnd.FAILED
        self._retried += end == UnitEnd.RETRIED
        self._show()

    def _show(self) -> None:
        failed = f", {self._failed:,} failed" if self._failed else ""
        failed += f", {self._retried:,} tried again" if self._retried else ""
        state = f", {self._state}" if self._state else ""
        self._observer.update(
            self._finished + sum(self._under_way.values()),
            f"{self.done:,} of {plural(self._jobs, 'job')}{failed}{state}",
        )
