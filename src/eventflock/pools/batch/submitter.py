"""Submitting jobs in waves: all that ask for the same, as many at a time as the system takes."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

from eventflock.core.model import Assignment
from eventflock.core.observer import Observer
from eventflock.errors import PoolError
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.monitor import WaveMonitor
from eventflock.pools.batch.needs import JobDemands
from eventflock.pools.batch.wave import Wave, WaveDraft

__all__ = ["BatchQueue", "WaveSubmitter"]


class BatchQueue(ABC):
    """The queue of a batch system, as the jobs of one run see it."""

    server: ClassVar[str]
    """What answers for the queue, such as "the schedd", for messages."""
    limit_of_held: ClassVar[str] = ""
    """The setting, if there is one, by which held jobs keep others from being made."""

    @property
    @abstractmethod
    def most_at_once(self) -> int | None:
        """The most jobs of one wave; None for any number."""

    def room(self) -> int | None:
        """Return how many more jobs the queue takes now; None for any number."""
        return None

    @abstractmethod
    def finish(
        self,
        draft: WaveDraft,
        environment: PackedEnvironment,
        demands: JobDemands,
        observer: Observer,
    ) -> Wave:
        """Make a wave of a draft, with the submit description for these demands."""

    @abstractmethod
    def submit(self, wave: Wave, observer: Observer) -> WaveMonitor:
        """Submit a wave, and return what follows it."""

    @abstractmethod
    def monitor(self, wave: Wave) -> WaveMonitor:
        """Return what follows a wave that was submitted."""

    @abstractmethod
    def hosts(self) -> set[str]:
        """Return the names of the machines that may run jobs.

        Raises
        ------
        PoolError
            The batch system does not answer.
        """


class WaveSubmitter:
    """Submits jobs of one run.

    Parameters
    ----------
    folder
        The folder `pool` of the run.
    queue
        Where they go.
    environment
        What jobs bring along.
    observer
        Receives what the user should know.
    """

    def __init__(
        self, folder: Path, queue: BatchQueue, environment: PackedEnvironment, observer: Observer
    ) -> None:
        self._folder = folder
        self._queue = queue
        self._environment = environment
        self._observer = observer
        self.under_way = False
        """Whether a wave is on its way to the queue, or was when this was interrupted."""

    def submit(
        self, assignments: Iterable[Assignment], demands: JobDemands
    ) -> Iterator[WaveMonitor]:
        """Submit jobs that ask for the same, and yield the waves that they become."""
        rest = iter(assignments)
        while True:
            draft = WaveDraft(self._folder, self._environment)
            try:
                for assignment in islice(rest, self._queue.most_at_once):
                    draft.add(assignment)
                if not draft.jobs:
                    return
                yield self._send(draft, demands)
            finally:
                draft.discard()

    def _send(self, draft: WaveDraft, demands: JobDemands) -> WaveMonitor:
        demands = demands._replace(avoid=tuple(self.possible(demands.avoid)))
        wave = self._queue.finish(draft, self._environment, demands, self._observer)
        self.under_way = True
        monitor = self._queue.submit(wave, self._observer)
        self.under_way = False
        return monitor

    def possible(self, avoid: Iterable[str]) -> list[str]:
        """Return the machines to avoid; none if there are no others, or nothing is known."""
        wanted = sorted(avoid)
        if not wanted:
            return []
        hosts: set[str] = set()
        with contextlib.suppress(PoolError):
            hosts = self._queue.hosts()
        return wanted if hosts - set(wanted) else []
