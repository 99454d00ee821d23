"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from eventflock.errors import EventflockError, PoolError

__all__ = ["main"]

INTERRUPTED = 130
TERMINATED = 143


def main() -> NoReturn:
    """Run the command line and exit."""
    code = 0
    stopped = terminated = False

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, interrupt)
    try:
        from eventflock.cli import app

        code = app(standalone_mode=False, prog_name="eventflock") or 0
    except EventflockError as error:
        code = _report(error)
    except KeyboardInterrupt:
        code = _interrupted()
    except SystemExit:  # click's answer to a closed pipe, as in 'eventflock inspect FILE | head'
        code = 0
    except Exception as error:  # noqa: BLE001 -- this is where all others end
        # An interrupt during an import comes out as whatever the module makes of it.
        code = _interrupted() if stopped or terminated else _other(error)
    _leave(TERMINATED if terminated and code == INTERRUPTED else code)


def _leave(code: int) -> NoReturn:
    """Exit at once: all is written, and threads of C++ libraries may not survive a clean end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _interrupted() -> int:
    print("eventflock: interrupted.", file=sys.stderr)
    return INTERRUPTED


def _report(error: EventflockError) -> int:
    if error.traceback:
        print(f"{_printable(error.traceback)}\n", file=sys.stderr)
    print(f"eventflock: {_printable(error.message)}", file=sys.stderr)
    if error.remedy:
        print(_printable(error.remedy), file=sys.stderr)
    return error.exit_code


def _printable(text: str) -> str:
    """Keep what came from a file from driving the terminal."""
    return "".join(one if one.isprintable() or one in "\n\t" else "?" for one in text)


def _other(error: Exception) -> int:
    """Show wrong options as click does; anything else is the disk, or a bug of ours."""
    import click

    if isinstance(error, click.Abort):
        return _interrupted()
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        print(f"eventflock: {error.strerror}{where}.", file=sys.stderr)
        print("What was done is kept: mend this, then 'eventflock resume RUN'.", file=sys.stderr)
        return PoolError.exit_code
    import traceback

    traceback.print_exception(error)
    print("\neventflock: this is a bug; please report it with the lines above.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
