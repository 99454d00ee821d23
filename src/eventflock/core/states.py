"""The states in which a result file, a job, or a job in a queue can be."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["JobStatus", "QueueStatus", "ResultStatus", "UnitEnd"]


class ResultStatus(StrEnum):
    """What a result file says of itself."""

    DONE = "done"
    """A job with all its entries."""
    PARTIAL = "partial"
    """A job or a merged run that lacks entries, and says which."""
    FAILED = "failed"
    """The receipt of a job without any result: it says why."""
    COMPLETE = "complete"
    """A merged run with all its entries."""
    IMPORTED = "imported"
    """Made of what other programs pickled: nothing is known of entries."""


class JobStatus(StrEnum):
    """The state of a job, or of a piece of it, as its result file shows it."""

    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    UNUSABLE = "unusable"
    """There is a file that cannot be the result of this job."""
    MISSING = "missing"
    """There is no file."""
    QUEUED = "queued"
    """It is not done, and a batch system has it."""


class QueueStatus(StrEnum):
    """The state of a job in the queue of a batch system."""

    WAITING = "waiting"
    """The batch system has not made it yet."""
    IDLE = "idle"
    RUNNING = "running"
    HELD = "held"
    COMPLETED = "completed"
    """It has ended, and its results are still with the batch system."""
    ENDED = "ended"
    REMOVED = "removed"

    def is_over(self) -> bool:
        """Check whether the batch system does no more for it."""
        return self in {QueueStatus.ENDED, QueueStatus.REMOVED}


class UnitEnd(StrEnum):
    """How a try of a job, or of a piece of it, has ended."""

    DONE = "done"
    """The job is over, with a result of all that can be done."""
    FAILED = "failed"
    """The job is over, without any result."""
    RETRIED = "retried"
    """It is tried again."""
    PARTLY = ""
    """Other pieces of the job are not over."""
