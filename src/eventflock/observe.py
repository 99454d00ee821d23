"""Telling somebody how a run goes on. The library says what happens, an observer shows it."""

from __future__ import annotations

__all__ = ["Observer"]


class Observer:
    """Hears what happens; this one keeps it to itself. Subclasses show it."""

    def note(self, text: str) -> None:
        """Hear a fact worth a line."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Hear that a task of `total` units begins, of which `done` were done earlier.

        Parameters
        ----------
        what
            The units: `files` or `events`.
        """

    def update(self, done: int, jobs: str = "") -> None:
        """Hear how many units are done by now, and how the jobs stand."""

    def end(self) -> None:
        """Hear that the task is over."""
