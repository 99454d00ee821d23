"""The words by which failures are recognised: in receipts of workers, and in answers of pools."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["FailureCode"]


class FailureCode(StrEnum):
    """What `Failure.code` begins with; `with_detail` appends a detail, as in `signal:SIGKILL`."""

    BRANCH = "branch"
    """A branch is missing: no part of the file can do better."""
    RETURNED = "returned"
    """The analysis returned results that cannot be added; other events do not change that."""
    READ = "read"
    """Entries cannot be read."""
    TIME = "time"
    """The job took longer than its limit; the detail is the limit in seconds."""
    MEMORY = "memory"
    """The job used more memory than it had asked for."""
    STALLED = "stalled"
    """The job made no progress; the detail is the limit in seconds."""
    SERVER = "server"
    """A server of files did not answer for so many seconds, which are the detail."""
    PROGRAM = "program"
    """The program of a row failed; the detail is its exit code, or what was wrong with it."""
    DISK = "disk"
    """A disk is full."""
    UNREACHABLE = "unreachable"
    """A daemon or a server does not answer; it may come back."""
    GONE = "gone"
    """There is no such file."""

    SIGNAL = "signal"
    """The process was killed; the detail is the signal."""
    EXIT = "exit"
    """The process ended without a receipt; the detail is its exit status."""
    LOST = "lost"
    """The node, or the process that kept the job, was lost."""
    REMOVED = "removed"
    """The job was removed from the queue."""
    NO_RESULT = "no-result"
    """The job ended, but its result did not arrive."""

    HOLD_MEMORY = "hold:memory"
    HOLD_DISK = "hold:disk"
    HOLD_DISK_PASSING = "hold:disk!"
    HOLD_TIME = "hold:time"
    HOLD_TRANSFER_IN = "hold:transfer-in"
    HOLD_TRANSFER_IN_PASSING = "hold:transfer-in!"
    HOLD_TRANSFER_OUT = "hold:transfer-out"
    HOLD_TRANSFER_OUT_PASSING = "hold:transfer-out!"
    HOLD_CREDENTIAL = "hold:credential"
    HOLD_USER = "hold:user"
    HOLD_POLICY = "hold:policy"
    HOLD_EXECUTABLE = "hold:executable"
    HOLD_EXECUTABLE_PASSING = "hold:executable!"
    HOLD_SITE = "hold:site"
    HOLD_SITE_PASSING = "hold:site!"
    HOLD_SPOOLING = "hold:spooling"
    HOLD_SPOOLING_PASSING = "hold:spooling!"
    HOLD_OUTPUT = "hold:output"
    HOLD_OUTPUT_PASSING = "hold:output!"
    HOLD_UNKNOWN = "hold:unknown"
    """A batch system holds the job; with "!" where another try can end differently."""

    def with_detail(self, detail: object) -> str:
        """Return the code with a detail, such as a number of seconds or the name of a signal."""
        return f"{self}:{detail}"
