"""The error tree: what went wrong in one sentence, what to do about it, and the exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import ClassVar, Protocol

__all__ = [
    "AnalysisError",
    "EnvError",
    "ErrorKind",
    "EventflockError",
    "IncompleteError",
    "InputError",
    "InterruptedRunError",
    "NodeError",
    "OutOfMemoryError",
    "PoolError",
    "ResultError",
    "UsageError",
    "error_from",
    "listed",
    "nearest",
    "plural",
]


class ErrorKind(StrEnum):
    """The short names of errors that travel in result files."""

    BUG = "bug"
    USAGE = "usage"
    INPUT = "input"
    RESULT = "result"
    ENVIRONMENT = "environment"
    NODE = "node"
    POOL = "pool"
    MEMORY = "memory"
    ANALYSIS = "analysis"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"


class EventflockError(Exception):
    """Anything that eventflock reports on purpose.

    Parameters
    ----------
    message
        One sentence with the offending value and what was expected.
    remedy
        What the user can do about it.
    traceback
        The user's own traceback, where user code raised.
    code
        What programs need to know in addition to the kind; see `failures.codes`.

    Attributes
    ----------
    kind
        A short name that travels in result files; `error_from` finds the class again.
    exit_code
        What the command line exits with.
    """

    kind: ClassVar[ErrorKind] = ErrorKind.BUG
    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, remedy: str = "", traceback: str = "", code: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.traceback = traceback
        self.code = code
        if traceback:  # Python shows it, too, if the error is not caught
            self.add_note(traceback)

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class UsageError(EventflockError):
    """The call itself is wrong: an option, a parameter, a name of an analysis."""

    kind = ErrorKind.USAGE
    exit_code = 2


class InputError(EventflockError):
    """A file, a tree or a branch is not what the call needs."""

    kind = ErrorKind.INPUT
    exit_code = 3


class ResultError(EventflockError):
    """A result file or a run folder cannot be read, or results do not fit together."""

    kind = ErrorKind.RESULT
    exit_code = 3


class EnvError(EventflockError):
    """The environment cannot be packed, or a node cannot run it."""

    kind = ErrorKind.ENVIRONMENT
    exit_code = 4


class NodeError(EnvError):
    """A node is not fit for a job; another one may be."""

    kind = ErrorKind.NODE


class PoolError(EventflockError):
    """A worker process ended without a result, or the pool cannot be used."""

    kind = ErrorKind.POOL
    exit_code = 5


class OutOfMemoryError(PoolError):
    """A worker process could not have the memory that it needed."""

    kind = ErrorKind.MEMORY


class AnalysisError(EventflockError):
    """The analysis raised, or returned what cannot be merged."""

    kind = ErrorKind.ANALYSIS
    exit_code = 6


class IncompleteError(EventflockError):
    """The run ended, but some of the planned ranges are missing or doubled."""

    kind = ErrorKind.INCOMPLETE
    exit_code = 7


class InterruptedRunError(EventflockError):
    """The user stopped a run, which can be resumed."""

    kind = ErrorKind.INTERRUPTED
    exit_code = 130


_BY_KIND: dict[str, type[EventflockError]] = {
    cls.kind: cls
    for cls in (
        EventflockError,
        UsageError,
        InputError,
        ResultError,
        EnvError,
        NodeError,
        PoolError,
        OutOfMemoryError,
        AnalysisError,
        IncompleteError,
    )
}


class _Described(Protocol):
    """What an error is when it travels: `model.Failure`."""

    @property
    def kind(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def remedy(self) -> str: ...
    @property
    def traceback(self) -> str: ...
    @property
    def code(self) -> str: ...


def error_from(failure: _Described) -> EventflockError:
    """Return the error that came back from another process, by its `kind`."""
    kind = _BY_KIND.get(failure.kind, EventflockError)
    return kind(
        failure.message, remedy=failure.remedy, traceback=failure.traceback, code=failure.code
    )


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return the names most like `name`, as the end of a message; empty if none is like it."""
    by_lower = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)
    if not close:  # people often leave out a part of a longer name
        close = [other for other in by_lower if name and name.lower() in other][:count]
    return f"did you mean {' or '.join(repr(by_lower[key]) for key in close)}?" if close else ""


def listed(lines: Sequence[str], most: int) -> list[str]:
    """Return the first few lines, indented, and how many more there are."""
    more = [f"  and {len(lines) - most:,} more"] if len(lines) > most else []
    return [f"  {line}" for line in lines[:most]] + more


def plural(count: int, noun: str, many: str = "") -> str:
    """Return a count with its noun: `1 job`, `2,000 jobs`; `many` is for nouns without an s."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
