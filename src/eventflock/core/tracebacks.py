"""Tracebacks that begin at the user's own lines."""

from __future__ import annotations

import traceback
from types import TracebackType

from eventflock._version import PACKAGE

__all__ = ["crash_in", "raised_in", "user_traceback"]

_HERE = str(PACKAGE)


def _frames(tb: TracebackType | None) -> list[TracebackType]:
    found = []
    while tb is not None:
        found.append(tb)
        tb = tb.tb_next
    return found


def user_traceback(error: BaseException) -> str:
    """Format a traceback without the frames of ours that lead to the user's code.

    Parameters
    ----------
    error
        An exception that was caught in this package.
    """
    frames = _frames(error.__traceback__)
    ours = [n for n, one in enumerate(frames) if _is_ours(one)]
    # Only the leading frames are ours by rights; a callback of ours deeper down stays.
    first = 0
    while first < len(frames) and first in ours:
        first += 1
    start = frames[first] if first < len(frames) else None
    try:
        shown = traceback.TracebackException(type(error), error, start, compact=True)
    except Exception:  # noqa: BLE001 -- an exception whose own text cannot be made
        return f"{type(error).__name__} (its text cannot be shown)"
    return "".join(shown.format()).rstrip()


def _is_ours(one: TracebackType) -> bool:
    name = one.tb_frame.f_code.co_filename
    return name.startswith((_HERE, "<frozen importlib", "<frozen runpy"))


def raised_in(error: BaseException, packages: tuple[str, ...]) -> bool:
    """Check whether any frame of an exception belongs to a module of one of these packages."""
    for frame in _frames(error.__traceback__):
        module = frame.tb_frame.f_globals.get("__name__", "")
        if module.startswith(packages):
            return True
    return False


def crash_in(lines: list[str]) -> list[str]:
    """Find what faulthandler printed of a crash: why, and the frames from the user's code on.

    Returns
    -------
    list of str
        Empty if nothing crashed.
    """
    fatal = [n for n, line in enumerate(lines) if line.startswith("Fatal Python error")]
    if not fatal:
        return []
    dump = lines[fatal[-1] :]
    current = [n for n, line in enumerate(dump) if line.startswith("Current thread")]
    frames = dump[current[-1] + 1 :] if current else []
    stack = [line for line in frames if line.startswith("  File ")]
    ours = [n for n, line in enumerate(stack) if "/eventflock/" in line]
    return [dump[0], *stack[: ours[0] if ours and ours[0] else len(stack)]]
