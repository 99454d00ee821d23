"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from eventflock.errors import EventflockError

__all__ = ["main"]

INTERRUPTED = 130
TERMINATED = 143


def main() -> NoReturn:
    """Run the command line and exit."""
    code = 0
    terminated = False

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    try:
        from eventflock.cli import app

        code = app(standalone_mode=False, prog_name="eventflock") or 0
    except EventflockError as error:
        code = _report(error)
    except KeyboardInterrupt:
        print("eventflock: interrupted.", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # as in 'eventflock inspect FILE | head'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 -- this is where all others end
        code = _other(error)
    sys.exit(TERMINATED if terminated and code == INTERRUPTED else code)


def _report(error: EventflockError) -> int:
    if error.traceback:
        print(error.traceback, file=sys.stderr)
        print(file=sys.stderr)
    print(f"eventflock: {error.message}", file=sys.stderr)
    if error.remedy:
        print(error.remedy, file=sys.stderr)
    return error.exit_code


def _other(error: Exception) -> int:
    """Show wrong options as click does; anything else is the disk, or a bug of ours."""
    import click

    if isinstance(error, click.Abort):
        print("eventflock: interrupted.", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        print(f"eventflock: {error.strerror}{where}.", file=sys.stderr)
        print("What was done is kept: mend this, then 'eventflock resume RUN'.", file=sys.stderr)
        return 1
    import traceback

    traceback.print_exception(error)
    print("\neventflock: this is a bug; please report it with the lines above.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
