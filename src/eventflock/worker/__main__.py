"""A worker process: `python -m eventflock.worker REQUESTS REPLIES SCRATCH [events]`.

REQUESTS and REPLIES are file descriptors of pipes, SCRATCH a folder for temporary files. With
`events` it imports at once what reads events.

Requests come in on one pipe and answers go out on the other, so that what the analysis prints
cannot be mistaken for an answer. When the client is gone, however it ended, so is the worker.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from eventflock.core.manifest import Failure
from eventflock.worker.messages import Failed, Reply, Request, Run


def main(requests: int, replies: int, scratch: str, does: str = "") -> None:
    """Answer requests until the client closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's to answer
    tempfile.tempdir = scratch
    incoming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    reader = threading.Thread(target=_listen, args=(requests, incoming, scratch), daemon=True)
    reader.start()
    with os.fdopen(replies, "wb") as out:
        faulthandler.enable()
        if does == "events":
            _preload()
        from eventflock.worker.service import Service

        service = Service(end=lambda: os._exit(1))
        decoder = msgspec.json.Decoder(Request)
        while True:
            request = decoder.decode(incoming.get())
            if isinstance(request, Run) and request.log:
                _print_to(Path(request.log))
            try:
                service.answer(request, lambda reply: _send(out, reply))
            except BaseException as error:  # noqa: BLE001 -- the client has to know, whatever it is
                _send(out, Failed(failure=_bug(error)))
            sys.stdout.flush()
            sys.stderr.flush()


def _listen(requests: int, incoming: queue.SimpleQueue[bytes], scratch: str) -> None:
    """Pass requests on; at the end of the pipe, end the process, even in the middle of a job."""
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            incoming.put(line)
    for _ in range(50):  # the main thread still works, and may put something new there
        shutil.rmtree(scratch, ignore_errors=True)
        if not os.path.exists(scratch):  # noqa: PTH110 -- every moment counts
            break
        time.sleep(0.01)
    os._exit(0)


def _preload() -> None:
    """Import what every job needs while the client is still busy with other things."""
    import awkward  # noqa: F401
    import boost_histogram  # noqa: F401
    import uproot  # noqa: F401


def _print_to(log: Path) -> None:
    """Send what this process prints, in C code as well, to the log of the job."""
    sys.stdout.flush()
    sys.stderr.flush()
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


def _send(out: BinaryIO, reply: Reply) -> None:
    out.write(msgspec.json.encode(reply) + b"\n")
    out.flush()


def _bug(error: BaseException) -> Failure:
    from eventflock.worker.calling import unexpected

    return Failure.of(unexpected(error))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
