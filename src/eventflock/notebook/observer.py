"""An observer that keeps one output of a notebook's cell up to date."""

from __future__ import annotations

import sys
import time
from typing import Any

from eventflock.core.html import bar, table
from eventflock.core.observer import Observer
from eventflock.core.units import say_duration

__all__ = ["NotebookObserver", "observer_here"]

SHOW_EVERY = 0.25
"""Seconds between two updates."""
NOTES_MAX = 20


def observer_here() -> Observer:
    """Return what shows progress in a notebook, and where there is none what keeps silent."""
    shell = sys.modules.get("IPython")
    here = shell.get_ipython() if shell is not None else None
    return NotebookObserver() if getattr(here, "kernel", None) is not None else Observer()


class NotebookObserver(Observer):
    """Shows a bar, the states of the jobs, and notes, in the output of the cell that runs."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html: Any = HTML
        self._display: Any = display
        self._handle: Any = None
        self._notes: list[str] = []
        self._bars: dict[str, str] = {}
        self._what, self._total, self._first = "", 0, 0
        self._last = (0, "")
        self._began = self._shown = 0.0

    def note(self, text: str) -> None:
        """Add a fact below the bar."""
        self._notes.append(text)
        self._show()

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Begin a bar."""
        self._what, self._total, self._first = what, total, done
        self._began = time.monotonic()
        self._last = (done, "")
        self._draw()

    def update(self, done: int, jobs: str = "") -> None:
        """Move the bar, if it was not moved just now."""
        self._last = (done, jobs)
        if time.monotonic() - self._shown >= SHOW_EVERY:
            self._draw()

    def end(self) -> None:
        """Show how the task ended."""
        self._draw()

    def _draw(self) -> None:
        done, jobs = self._last
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (done - self._first) / seconds
        words = [f"{done:,} of {self._total:,} {self._what}", jobs, f"{rate:,.0f} {self._what}/s"]
        words.append(f"in {say_duration(seconds)}")
        self._bars[self._what] = bar(done, self._total, ", ".join(filter(None, words)))
        self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        left = len(self._notes) - NOTES_MAX
        rows = [(f"{left:,} more notes",)] if left > 0 else []
        rows += [(note,) for note in self._notes[-NOTES_MAX:]]
        made = self._html(table("eventflock", rows, head="".join(self._bars.values())))
        if self._handle is None:
            self._handle = self._display(made, display_id=True)
        else:
            self._handle.update(made)
