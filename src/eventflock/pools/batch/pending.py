"""What the executor of a batch system remembers of its jobs between two looks."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eventflock.core.halving import UnitName
from eventflock.core.states import QueueStatus
from eventflock.pools.batch.monitor import WaveMonitor
from eventflock.pools.batch.submitter import BatchQueue
from eventflock.worker.messages import Run

__all__ = ["Asked", "Room", "Watch", "is_active", "taken"]

EXPLAIN_AFTER = 15.0
"""Seconds without a running job, after which it is asked whether any machine could run one."""


def is_active(counts: Counter[QueueStatus]) -> bool:
    """Check whether there are jobs that will end without help."""
    active = (QueueStatus.IDLE, QueueStatus.RUNNING, QueueStatus.COMPLETED)
    return any(counts[status] for status in active)


class Room:
    """How many more jobs the queue takes; it is asked when the first job needs it."""

    def __init__(self, queue: BatchQueue) -> None:
        self._queue = queue
        self._left = -1.0

    def take(self) -> bool:
        """Take the place of one job, if there is one."""
        if self._left < 0:
            room = self._queue.room()
            self._left = math.inf if room is None else max(room, 0)
        if not self._left:
            return False
        self._left -= 1
        return True


def taken(parked: deque[tuple[int, Run]]) -> Iterator[tuple[int, Run]]:
    """Take out what is parked now, one after the other; what is parked again stays."""
    for _ in range(len(parked)):
        yield parked.popleft()


class Asked(NamedTuple):
    """A job that was asked for: the number of its request, and where its result goes."""

    request: int
    result: Path


class Watch:
    """What following remembers between two looks."""

    def __init__(self) -> None:
        self.pending: dict[UnitName, tuple[WaveMonitor, float]] = {}
        self._idle_since = math.inf
        self._explained = False

    def is_idle(self, counts: Counter[QueueStatus]) -> bool:
        """Check whether no job ran for a while although some wait: once, until one runs again."""
        if counts[QueueStatus.RUNNING] or not counts[QueueStatus.IDLE]:
            self._idle_since, self._explained = math.inf, False
            return False
        self._idle_since = min(self._idle_since, time.monotonic())
        if self._explained or time.monotonic() - self._idle_since < EXPLAIN_AFTER:
            return False
        self._explained = True
        return True
