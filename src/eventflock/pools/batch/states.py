"""The states of the jobs of one wave, as a batch system reports them."""

from __future__ import annotations

from collections import Counter

import msgspec

from eventflock.core.states import QueueStatus

__all__ = ["JobStates", "LastSeen", "QueueState"]

NEVER_MADE = "it was never made"


class LastSeen(msgspec.Struct):
    """What is known last of a job.

    Attributes
    ----------
    status
        See `QueueStatus`.
    host
        Where it ran last.
    words, remedy
        Why it is held, was removed, or came back to the queue.
    code
        Why it is held, see `FailureCode`.
    how
        How it ended.
    end_code
        Why it ended, where the batch system says so; see `FailureCode`.
    memory_mb
        The largest memory that was reported.
    """

    status: QueueStatus = QueueStatus.IDLE
    host: str = ""
    words: str = ""
    remedy: str = ""
    code: str = ""
    how: str = ""
    end_code: str = ""
    memory_mb: int = 0


class JobStates:
    """Keeps the states of the jobs of one wave, by their numbers in it.

    A batch system derives from this a class that understands its own events. Events that arrive
    twice, or not at all, must do no harm.

    Parameters
    ----------
    jobs
        Number of jobs in the wave. Jobs that are not known yet are `WAITING`: some batch systems
        make them when others end.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.seen: dict[int, LastSeen] = {}
        self.over: list[int] = []
        """Jobs that are over; the executor takes them from here."""
        self.held: list[int] = []
        """Jobs that were put on hold, likewise."""
        self.paused = ""
        """Why no more jobs are made; empty if they are."""
        self.finished = False
        """Whether no more jobs will be made."""
        self._left = jobs

    @property
    def is_over(self) -> bool:
        """Whether all jobs are over."""
        return self._left == 0

    def end(self, number: int) -> None:
        """Count a job as over."""
        self.over.append(number)
        self._left -= 1

    def drop_unmade(self) -> None:
        """Count all jobs as removed that were never made."""
        self.finished = True
        for number in set(range(self.jobs)) - set(self.seen):
            self.seen[number] = LastSeen(status=QueueStatus.REMOVED, words=NEVER_MADE)
            self.end(number)

    def of(self, number: int) -> LastSeen:
        """Return what is known last of a job."""
        unmade = LastSeen(status=QueueStatus.REMOVED, words=NEVER_MADE)
        return self.seen.get(number, unmade)

    def counts(self) -> Counter[QueueStatus]:
        """Count the jobs by their status."""
        found = Counter(last.status for last in self.seen.values())
        found[self._of_unknown()] += self.jobs - len(self.seen)
        return found

    def status_of(self, number: int) -> QueueStatus:
        """Return the status of one job."""
        return self.seen[number].status if number in self.seen else self._of_unknown()

    def _of_unknown(self) -> QueueStatus:
        return QueueStatus.REMOVED if self.finished else QueueStatus.WAITING

    def hosts(self) -> set[str]:
        """Return the machines that have jobs now."""
        running = (last for last in self.seen.values() if last.status == QueueStatus.RUNNING)
        return {last.host for last in running if last.host}


class QueueState(msgspec.Struct, kw_only=True):
    """The state of the jobs of a run in a queue.

    Attributes
    ----------
    counts
        Number of jobs by their status, without those that are over.
    hosts
        Machines that have jobs now.
    reasons
        Why jobs are held, or how they ended without a result, with the number of jobs.
    waits
        Why no machine can run the jobs that wait; may have several lines.
    note
        Why the queue could not be asked, or why no more jobs are made.
    """

    counts: dict[str, int]
    hosts: list[str]
    reasons: dict[str, int]
    waits: str = ""
    note: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether jobs will end without help: held ones will not."""
        return bool(self.counts.keys() - {QueueStatus.HELD})
