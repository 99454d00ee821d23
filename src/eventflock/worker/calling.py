"""Calling the analysis, and telling what went wrong: its own errors, unreadable events, memory."""

from __future__ import annotations

import errno
import signal
import traceback
from bdb import BdbQuit
from collections.abc import Mapping
from typing import Any

from eventflock.core.tracebacks import raised_in, user_traceback
from eventflock.errors import (
    AnalysisError,
    EventflockError,
    InputError,
    OutOfMemoryError,
    nearest,
)
from eventflock.events.files import has_friends
from eventflock.failures.codes import FailureCode
from eventflock.results.accumulate import DEPTH_MAX
from eventflock.results.skims import is_skim
from eventflock.usercode.context import Context
from eventflock.usercode.decorator import Analysis

__all__ = [
    "call",
    "missing_branch",
    "out_of_memory",
    "raise_if_interrupted",
    "unexpected",
]

IGNORED = signal.SIG_IGN


def call(analysis: Analysis, events: Any, context: Context, parameters: dict[str, Any]) -> Any:
    """Call the user's function, and tell its own errors from those of reading the events.

    Raises
    ------
    InputError
        The events cannot be read, or have no such branch.
    OutOfMemoryError
        There is not enough memory for this chunk.
    AnalysisError
        Anything else that the function raised.
    """
    try:
        returned = analysis.on_chunk(events, context, parameters)
        _read_rows(returned)
    except EventflockError as error:
        error.traceback = error.traceback or user_traceback(error)
        raise
    except BaseException as error:
        raise_if_interrupted(error)
        if isinstance(error, MemoryError):
            raise out_of_memory(error) from error
        missing = missing_branch(error, events, context, analysis)
        if missing is not None:
            raise missing from None
        if raised_in(error, ("uproot.", "fsspec.")):
            raise InputError(
                f"{context.file}: entries {context.start:,} to {context.stop:,} of "
                f"{context.tree!r} cannot be read: {type(error).__name__}: {_line(error)}",
                remedy="The file may be damaged: copy it again, or leave it out.",
                traceback=user_traceback(error),
                code=FailureCode.READ,
            ) from error
        raise AnalysisError(
            f"The analysis {analysis.name!r} raised {type(error).__name__}: {_line(error)}",
            traceback=user_traceback(error),
        ) from error
    return returned


def _read_rows(returned: Any, depth: int = 0) -> None:
    """Read the rows to keep now, while an error can still name what cannot be read."""
    if is_skim(returned):
        import awkward as ak

        ak.materialize(returned)
    elif isinstance(returned, Mapping) and depth < DEPTH_MAX:
        for value in returned.values():
            _read_rows(value, depth + 1)


def out_of_memory(error: BaseException) -> EventflockError:
    """Return an error for a process that could not have more memory."""
    return OutOfMemoryError(
        f"There was not enough memory: {_line(error)}",
        remedy="Use smaller chunks (--chunk), or ask for more memory.",
        traceback=user_traceback(error),
    )


def raise_if_interrupted(error: BaseException) -> None:
    """Pass on Ctrl-C. It does not reach a worker process: there, the analysis itself raised it."""
    if isinstance(error, BdbQuit):  # the user leaves the debugger
        raise KeyboardInterrupt from error
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not IGNORED:
        raise error


def unexpected(error: BaseException) -> EventflockError:
    """Return an unexpected exception as an error that can be reported."""
    if isinstance(error, MemoryError):
        return out_of_memory(error)
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    return EventflockError(
        f"The worker failed with {type(error).__name__}: {_line(error)}",
        remedy="Make room on that disk and resume the run."
        if full
        else "Resume the run; if it stays, this is a bug of eventflock: please report it.",
        traceback="".join(traceback.format_exception(error)).rstrip(),
        code=FailureCode.DISK if full else "",
    )


def _line(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001 -- the exception is the user's own, and may be broken
        text = ""
    return text.splitlines()[0] if text else "(no message)"


def missing_branch(
    error: BaseException, events: Any, context: Context, analysis: Analysis
) -> InputError | None:
    """Recognise that the analysis asked the events for what they do not have."""
    name, path, tree = _field_asked_for(error, events), context.file, context.tree
    if name is None or name in events.fields:
        return None
    near = nearest(name, events.fields)
    remedy = f"'eventflock inspect {path}' lists the branches, and which are readable."
    if analysis.columns:
        remedy += " The analysis declares columns=[...]: others are hidden."
    if has_friends(path, tree):
        remedy += " Branches of its friend trees are not read: join them first (Snapshot in ROOT)."
    what = f"no collection {name!r}" if analysis.schema else f"no branch {name!r}"
    where = f"the tree {tree!r} of {path}{f', seen as {analysis.schema}' * bool(analysis.schema)}"
    return InputError(
        f"There is {what} in {where}{'; ' + near if near else '.'}",
        remedy=remedy,
        traceback=user_traceback(error),
        code=FailureCode.BRANCH,
    )


def _field_asked_for(error: BaseException, events: Any) -> str | None:
    """Read the field's name out of awkward's message, if it speaks of a record like the events."""
    if not isinstance(error, LookupError | AttributeError):
        return None
    text = str(error)
    quoted = text.split("'")
    if len(quoted) < 3:
        return None
    if f"no field '{quoted[1]}' in record with {len(events.fields)} fields" in text:
        return quoted[1]
    if isinstance(error, AttributeError) and "no field named" in text:
        return quoted[1] if getattr(error, "obj", events) is events else None
    return None
