"""Looking at many far files at a time: each waits for its server most of the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from eventflock.core.manifest import Failure
from eventflock.errors import ErrorKind, EventflockError
from eventflock.events.files import url_stamp
from eventflock.events.open_files import OpenFiles
from eventflock.events.scan import scan_file
from eventflock.failures.codes import FailureCode
from eventflock.worker.calling import unexpected
from eventflock.worker.messages import Failed, Scan, Scanned

__all__ = ["scan_far", "scan_many"]

SECONDS = 120.0
"""A server that has not shown a file by then is given up."""


def scan_far(request: Scan, files: OpenFiles | None = None) -> Scanned | Failed:
    """Look at a file at a server, unless it is the one that is known.

    Parameters
    ----------
    files
        Keeps it open.
    """
    try:
        stamp = url_stamp(request.path)
        if request.known is not None and stamp and stamp == request.stamp:
            return Scanned(entry=request.known, stamp=stamp)
        entry = scan_file(request.path, request.tree, request.columns, request.second, files)
    except EventflockError as error:
        return Failed(failure=Failure.of(error))
    except Exception as error:  # noqa: BLE001 -- whatever it is, other files go on
        return Failed(failure=Failure.of(unexpected(error)))
    return Scanned(entry=entry, stamp=stamp)


def scan_many(requests: Sequence[Scan], files: OpenFiles) -> tuple[Scanned | Failed, ...]:
    """Look at files at the same time, each in a thread, and give up those that take too long.

    Parameters
    ----------
    files
        Keeps the file open if there is just one: that is not for several threads.
    """
    replies: dict[int, Scanned | Failed] = {}

    def look(number: int) -> None:
        replies[number] = scan_far(requests[number], files if len(requests) == 1 else None)

    # Daemons: one that hangs must not keep this process alive.
    threads = [
        threading.Thread(target=look, args=(number,), daemon=True)
        for number in range(len(requests))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0.0))
    found = dict(replies)
    return tuple(
        found[number] if number in found else _given_up(request)
        for number, request in enumerate(requests)
    )


def _given_up(request: Scan) -> Failed:
    failure = Failure(
        kind=ErrorKind.INPUT,
        message=f"{request.path} cannot be opened: its server has not answered in {SECONDS:g} s.",
        remedy="Check the address and the network, or name another place with --redirector.",
        code=FailureCode.UNREACHABLE,
    )
    return Failed(failure=failure)
