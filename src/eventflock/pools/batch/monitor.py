"""Following the jobs of one wave: what every batch system has to offer for that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from eventflock.core.halving import UnitName
from eventflock.core.states import QueueStatus
from eventflock.errors import EventflockError
from eventflock.failures.codes import FailureCode
from eventflock.pools.batch.states import JobStates, LastSeen
from eventflock.pools.batch.wave import Wave

__all__ = ["WaveMonitor", "is_unreachable"]


class WaveMonitor(ABC):
    """What is known of the jobs of one wave, and the means to know more and to change it.

    Parameters
    ----------
    wave
        It was submitted, or its client died while it was being submitted.
    jobs
        Names of its jobs, in the order of their numbers in the queue.
    states
        Keeps their states.
    """

    def __init__(self, wave: Wave, jobs: tuple[UnitName, ...], states: JobStates) -> None:
        self.wave = wave
        self.jobs = jobs
        self.states = states
        self.away = 0.0
        """Since when the batch system does not answer (monotonic seconds); 0 if it does."""
        self.note = ""
        """Why the queue cannot be asked; empty if it can."""
        self._numbers = {job: number for number, job in enumerate(jobs)}

    @abstractmethod
    def look(self) -> Iterator[tuple[UnitName, LastSeen]]:
        """Take in what is new, and yield the jobs that deserve a line for the user.

        Raises
        ------
        PoolError
            The batch system does not answer, and there is no other source.
        """

    @abstractmethod
    def ask(self) -> None:
        """Compare with the queue.

        Raises
        ------
        PoolError
            The batch system does not answer.
        """

    @abstractmethod
    def is_submitted(self) -> bool:
        """Check whether the wave is known to the batch system."""

    @abstractmethod
    def remove(self, reason: str) -> int:
        """Remove all jobs, and return the number of those that were not over.

        Results that are still with the batch system are fetched before.
        """

    @abstractmethod
    def remove_held(self) -> None:
        """Remove the jobs that are held."""

    @abstractmethod
    def remove_one(self, job: UnitName) -> None:
        """Remove one job, which is tried in another way."""

    @abstractmethod
    def avoid(self, host: str) -> None:
        """Keep the jobs that wait from a machine."""

    @abstractmethod
    def why_idle(self) -> str:
        """Return why no machine can run the jobs that wait; empty if some can, or none waits."""

    @property
    @abstractmethod
    def paused(self) -> str:
        """Why no more jobs are made although some wait for that; empty if they are made."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open."""

    def number_of(self, job: UnitName) -> int:
        """Return the number of a job in the queue."""
        return self._numbers[job]

    def open_jobs(self) -> dict[UnitName, QueueStatus]:
        """Return the jobs that are not over, with their status."""
        statuses = ((job, self.states.status_of(n)) for n, job in enumerate(self.jobs))
        return {job: status for job, status in statuses if not status.is_over()}

    def seen(self, job: UnitName) -> LastSeen:
        """Return what is known last of a job."""
        return self.states.of(self._numbers[job])


def is_unreachable(error: EventflockError) -> bool:
    """Check whether an error is a daemon that does not answer, and not other trouble."""
    return error.code == FailureCode.UNREACHABLE
