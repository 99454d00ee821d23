"""The pool that is this machine: worker processes, which answer questions and do jobs.

Each worker is a fresh interpreter (nothing is forked from this process, which may have threads). It
starts as soon as the pool is opened, so that it imports while the client plans. A worker that dies
costs the request that it had: another worker answers it, but after a few deaths it is given up.
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
from typing import TYPE_CHECKING, ClassVar

import msgspec

from eventflock.core.manifest import Failure
from eventflock.core.observer import Observer
from eventflock.core.options import SubmitOptions
from eventflock.core.tracebacks import crash_in
from eventflock.errors import ErrorKind, PoolError
from eventflock.failures.codes import FailureCode
from eventflock.pools.cores import usable_cores
from eventflock.pools.roles import Executor, Listener, Pool, RunPlace, Workers
from eventflock.worker.messages import Failed, Progress, Reply, Request, Run
from eventflock.worker.shadow import make_shadow

if TYPE_CHECKING:
    from eventflock.packing.environment import PackedEnvironment

__all__ = ["POOL", "LocalExecutor", "LocalPool", "LocalWorkers"]

ATTEMPTS = 3
"""How often a question is asked, if workers die of it; for jobs, the scheduler decides."""
LAST_BYTES, LAST_LINES = 20_000, 20
LOOK_AGAIN = 1.0
"""Seconds after which more requests may be there although no answer came."""
START_AT_ONCE = 8
"""Workers that are started at first; more only when there is work for them."""
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

    def __init__(self, scratch: Path, number: int, python: str, path: str, does: str) -> None:
        requests_out, self.requests = os.pipe()
        self.replies, replies_in = os.pipe()
        os.set_blocking(self.replies, False)
        self.printed = scratch / f"worker-{number}.log"
        command = ["-u", "-P", "-m", "eventflock.worker", str(requests_out), str(replies_in)]
        with self.printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [python, *command, str(scratch), does],
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
        """Send a request. If the process is gone, reading from it will show that."""
        self.task = task
        data = memoryview(msgspec.json.encode(task.request) + b"\n")
        try:
            while data:
                data = data[os.write(self.requests, data) :]
        except BrokenPipeError:
            pass

    def read(self) -> list[Reply]:
        """Return the messages that have come in."""
        try:
            data = os.read(self.replies, 1 << 20)
        except BlockingIOError:
            return []
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [_decode(line) for line in lines]

    def end(self) -> int:
        """Kill the process if it still runs, and return its exit status."""
        gone = self.process.poll() is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with what the analysis started
        status = self.process.wait() if not gone else self.process.returncode
        for end in (self.requests, self.replies, self.gone):
            os.close(end)
        return status

    def last_words(self) -> str:
        """Return the end of what it printed, where a crash in C code leaves its trace."""
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


class LocalWorkers(Workers):
    """Worker processes on this machine.

    Parameters
    ----------
    count
        The largest number of processes.
    python
        The interpreter that they run; by default this one.
    events
        Whether they will read events.
    """

    def __init__(self, count: int, python: str = "", *, events: bool = True) -> None:
        self.count = count
        self._does = "events" if events else "rows"
        self._scratch = Path(tempfile.mkdtemp(prefix="eventflock-"))
        self._python = python or sys.executable
        self._path = "" if self._python == sys.executable else make_shadow(self._scratch)
        self._selector = selectors.DefaultSelector()
        self._crew: list[_Worker] = []
        self._started = 0
        for _ in range(min(count, START_AT_ONCE)):
            self._start()

    def _start(self) -> _Worker:
        worker = _Worker(self._scratch, self._started, self._python, self._path, self._does)
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
        """Send every idle worker a request, starting workers while there are requests."""
        for worker in list(self._crew):
            if worker.task is None:
                task = again.popleft() if again else next(fresh, None)
                if task is None:
                    return
                worker.give(task)
        while len(self._crew) < self.count:
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
        # At first while they live: if this process is killed meanwhile, they remove the rest.
        shutil.rmtree(self._scratch, ignore_errors=True)
        for worker in list(self._crew):
            self._end(worker)
        self._selector.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _death(status: int, words: str) -> Failure:
    """Describe how a worker ended that left no receipt."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        how, code = f"was killed by the signal {name}", FailureCode.SIGNAL.with_detail(name)
    else:
        how, code = f"ended with exit status {status}", FailureCode.EXIT.with_detail(status)
    remedy = (
        "Often the memory was full: see 'dmesg', and try --chunk with fewer events, or fewer "
        "--workers."
        if status == -signal.SIGKILL
        else "It may be in native code; repeat it, and look at the last lines above." * bool(words)
    )
    return Failure(
        kind=ErrorKind.POOL,
        message=f"The worker process {how}.",
        remedy=remedy,
        traceback=words,
        code=code,
        host=socket.gethostname(),
    )


class LocalExecutor(Executor):
    """Has the jobs done by workers on this machine, with what is installed here.

    Parameters
    ----------
    workers
        Open ones, which stay open when the executor is closed.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.abilities = msgspec.structs.replace(self.abilities, readers=workers.count)

    def do(
        self, jobs: Iterable[Run], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Do jobs, and yield their answers in the order in which they end."""
        return self._workers.ask(jobs, listener)

    def close(self) -> None:
        """Leave the workers to their owner."""


RUNTIMES = ("apptainer", "singularity", "podman", "docker")
"""What runs containers, in the order in which `container.sh` looks for it."""


class LocalPool(Pool):
    """Worker processes on this machine."""

    name = "local"
    plain: ClassVar[type[LocalExecutor]] = LocalExecutor
    """Does the jobs that bring no environment along."""

    def check_container(self, image: str, options: SubmitOptions) -> None:  # noqa: ARG002
        """Check that this machine has a runtime for containers."""
        if image.startswith("/") and not Path(image).exists():
            raise PoolError(f"There is no image {image}.", remedy="Check the path.")
        if not any(shutil.which(name) for name in RUNTIMES):
            raise PoolError(
                f"This machine cannot run the container {image}: it has none of "
                f"{', '.join(RUNTIMES)}.",
                remedy="Install one of them, or leave out --container.",
            )

    def open_workers(
        self, count: int | None = None, python: str = "", *, events: bool = True
    ) -> Workers:
        """Start workers, as many as there are cores for this process if no number is given."""
        return LocalWorkers(count or usable_cores(), python, events=events)

    def open_executor(
        self,
        place: RunPlace,  # noqa: ARG002 -- jobs leave nothing but results
        workers: Workers,
        environment: PackedEnvironment | None,
        observer: Observer,  # noqa: ARG002 -- nothing more to tell
    ) -> Executor:
        """Open what does jobs on this machine: in the workers, or as a node would."""
        if environment is None:
            return self.plain(workers)
        from eventflock.pools.packed import PackedExecutor

        return PackedExecutor(workers.count, environment)


POOL = LocalPool()
