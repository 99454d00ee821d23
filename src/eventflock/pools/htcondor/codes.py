"""The numbers by which HTCondor names the states of jobs and the events in its logs."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CondorEvent", "CondorJobStatus"]


class CondorJobStatus(IntEnum):
    """Values of the attribute JobStatus, as in HTCondor's manual, "Job ClassAd Attributes"."""

    IDLE = 1
    RUNNING = 2
    REMOVED = 3
    COMPLETED = 4
    HELD = 5
    TRANSFERRING = 6
    SUSPENDED = 7


class CondorEvent(IntEnum):
    """Event numbers, as in HTCondor's manual, "Job Event Log Codes"."""

    SUBMIT = 0
    EXECUTE = 1
    EXECUTABLE_ERROR = 2
    EVICTED = 4
    TERMINATED = 5
    SHADOW_EXCEPTION = 7
    ABORTED = 9
    HELD = 12
    RELEASED = 13
    RECONNECT_FAILED = 24
    CLUSTER_REMOVE = 36
    FACTORY_PAUSED = 37
    FACTORY_RESUMED = 38
