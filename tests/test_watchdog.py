"""A job that hangs is ended, whatever looking at it costs."""

from __future__ import annotations

import threading

import pytest

from eventflock.core.manifest import Failure
from eventflock.core.options import JobLimits
from eventflock.worker import watchdog
from eventflock.worker.receipt import Tally


def test_its_own_looks_are_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    # So many looks take more CPU time than a job may that makes no progress.
    monkeypatch.setattr(watchdog, "LOOKS", 5000)
    given_up = threading.Event()
    found: list[Failure] = []

    def give_up(failure: Failure) -> None:
        found.append(failure)
        given_up.set()

    with watchdog.Watchdog(JobLimits(stall_seconds=1.0), Tally(), give_up):
        assert given_up.wait(30)
    assert "made no progress for 1 s" in found[0].message
