"""The pool of worker processes on this machine.

Each worker is a fresh interpreter (nothing is forked from this process, which may have
threads), started as soon as the pool is opened, so that it imports while the client plans.
A worker that dies costs the request it had: it is asked again of a new one, a few times.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from itertools import starmap
from pathlib import Path

import msgspec

from eventflock.core.manifest import Failure
from eventflock.core.tracebacks import crash_in
from eventflock.pools import Listener, Pool
from eventflock.pools.cores import usable_cores
from eventflock.worker.messages import Failed, Progress, Reply, Request, Run
from eventflock.worker.shadow import make_shadow

__all__ = ["LocalPool", "open_pool"]

ATTEMPTS = 3
"""Times that a question is asked, if workers die at it; of jobs, others decide."""
LAST_BYTES, LAST_LINES = 20_000, 20
LOOK_AGAIN = 1.0
"""Seconds after which more requests may be there although no answer came."""
START_AT_ONCE = 8
"""Workers started with the pool; more only when there is work for them."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_decode = msgspec.json.Decoder(Reply).decode


class _Task(msgspec.Struct):
    """A request under way."""

    index: int
    request: Request
    attempts: int = 0
    events: int = 0


class _Worker:
    """One process and the two pipes to it."""

    def __init__(self, scratch: Path, number: int, python: str, path: str) -> None:
        requests_out, self.requests = os.pipe()
        self.replies, replies_in = os.pipe()
        os.set_blocking(self.replies, False)
        self.printed = scratch / f"worker-{number}.log"
        command = ["-u", "-P", "-m", "eventflock.worker", str(requests_out), str(replies_in)]
        with self.printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [python, *command, str(scratch)],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                pass_fds=(requests_out, replies_in),
                env={**_environment(), **({"PYTHONPATH": path} if path else {})},
                start_new_session=True,  # Ctrl-C is for the client, which then ends its workers
            )
        os.close(requests_out)
        os.close(replies_in)
        # The end of the pipe would not do: a process that the analysis forks keeps it open.
        self.gone = os.pidfd_open(self.process.pid)
        self.task: _Task | None = None
        self._buffer = b""

    def give(self, task: _Task) -> None:
        """Send a request. If the process is gone, its silence will say so."""
        self.task = task
        data = memoryview(msgspec.json.encode(task.request) + b"\n")
        try:
            while data:
                data = data[os.write(self.requests, data) :]
        except BrokenPipeError:
            pass

    def read(self) -> list[Reply]:
        """Give the messages that have come in."""
        try:
            data = os.read(self.replies, 1 << 20)
        except BlockingIOError:
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [_decode(line) for line in lines]

    def end(self) -> int:
        """Kill the process if it still runs, and give its exit status."""
        gone = self.process.poll() is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with what the analysis started
        status = self.process.wait() if not gone else self.process.returncode
        for end in (self.requests, self.replies, self.gone):
            os.close(end)
        return status

    def last_words(self) -> str:
        """Give the end of what it printed, where a crash in C code leaves its trace."""
        task = self.task
        named = task is not None and isinstance(task.request, Run) and task.request.log
        log = Path(task.request.log) if named else self.printed  # type: ignore[union-attr]
        try:
            with log.open("rb") as file:
                file.seek(max(log.stat().st_size - LAST_BYTES, 0))
                lines = file.read(LAST_BYTES).decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(crash_in(lines) or lines[-LAST_LINES:])


def _environment() -> dict[str, str]:
    """One thread per worker, as there is a worker per core, and one order of sets for all."""
    return {**dict.fromkeys(_THREADS, "1"), "PYTHONHASHSEED": "0", **os.environ}


class LocalPool(Pool):
    """Worker processes on this machine.

    Parameters
    ----------
    workers
        How many processes at the most.
    python
        The interpreter that they run; by default this one.
    """

    def __init__(self, workers: int, python: str = "") -> None:
        self.workers = workers
        self._scratch = Path(tempfile.mkdtemp(prefix="eventflock-"))
        self._python = python or sys.executable
        self._path = "" if self._python == sys.executable else make_shadow(self._scratch)
        self._selector = selectors.DefaultSelector()
        self._crew: list[_Worker] = []
        self._started = 0
        for _ in range(min(workers, START_AT_ONCE)):
            self._start()

    def _start(self) -> _Worker:
        worker = _Worker(self._scratch, self._started, self._python, self._path)
        self._started += 1
        self._crew.append(worker)
        for end in (worker.replies, worker.gone):
            self._selector.register(end, selectors.EVENT_READ, worker)
        return worker

    def _end(self, worker: _Worker) -> int:
        for end in (worker.replies, worker.gone):
            self._selector.unregister(end)
        self._crew.remove(worker)
        return worker.end()

    def ask(
        self, requests: Iterable[Request], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Answer requests, in the order in which workers finish them."""
        # Not a generator: that would be over for good when there is nothing more for now.
        fresh = starmap(_Task, enumerate(requests))
        again: deque[_Task] = deque()
        try:
            while True:
                self._hand_out(fresh, again)
                if not any(worker.task for worker in self._crew):
                    return
                for worker in {key.data for key, _ in self._selector.select(LOOK_AGAIN)}:
                    yield from self._listen(worker, again, listener)
        finally:
            for worker in [one for one in self._crew if one.task]:
                self._end(worker)

    def _hand_out(self, fresh: Iterator[_Task], again: deque[_Task]) -> None:
        """Give every idle worker a request, starting workers while there are requests."""
        for worker in list(self._crew):
            if worker.task is None:
                task = again.popleft() if again else next(fresh, None)
                if task is None:
                    return
                worker.give(task)
        while len(self._crew) < self.workers:
            task = again.popleft() if again else next(fresh, None)
            if task is None:
                return
            self._start().give(task)

    def _listen(
        self, worker: _Worker, again: deque[_Task], listener: Listener | None
    ) -> Generator[tuple[int, Reply], None, None]:
        is_gone = worker.process.poll() is not None  # before reading: its last words count
        task = worker.task
        for reply in worker.read():
            if task is None:
                continue
            if isinstance(reply, Progress):
                task.events += reply.events
                if listener is not None:
                    listener.on_progress(task.index, task.events)
            else:
                worker.task = None
                if isinstance(reply, Failed) and reply.last:
                    self._end(worker)
                    yield task.index, reply
                    return
                yield task.index, reply
        if is_gone:
            yield from self._bury(worker, again)

    def _bury(
        self, worker: _Worker, again: deque[_Task]
    ) -> Generator[tuple[int, Reply], None, None]:
        """Let a worker go that has died; its request is asked again, a few times."""
        task, status = worker.task, self._end(worker)
        if task is None:
            return
        task.attempts += 1
        if task.attempts < ATTEMPTS and not isinstance(task.request, Run):
            task.events = 0
            again.append(task)
        else:
            yield task.index, Failed(failure=_death(status, worker.last_words()))

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._crew):
            self._end(worker)
        self._selector.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _death(status: int, words: str) -> Failure:
    """Say how a worker ended that left no receipt."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        how, code = f"was killed by the signal {name}", f"signal:{name}"
    else:
        how, code = f"ended with exit status {status}", f"exit:{status}"
    remedy = (
        "Often the memory was full: see 'dmesg', and try --chunk with fewer events, or fewer "
        "--workers."
        if status == -signal.SIGKILL
        else "It may be in native code; repeat it, and look at the last lines above." * bool(words)
    )
    return Failure(
        kind="pool",
        message=f"The worker process {how}.",
        remedy=remedy,
        traceback=words,
        code=code,
        host=socket.gethostname(),
    )


def open_pool(workers: int | None, python: str = "") -> LocalPool:
    """Make the pool, with as many workers as there are cores unless a number is given."""
    return LocalPool(workers or usable_cores(), python)
