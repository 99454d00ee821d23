"""The executor that does on this machine what a node does.

Each job is started by the launcher, with nearly no environment, from the two archives: it unpacks
them, runs in the packed interpreter, leaves a result file, and is cleaned away.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path

from eventflock.core.atomic import atomic_path
from eventflock.core.manifest import Failure
from eventflock.core.states import ResultStatus
from eventflock.core.structs import to_json
from eventflock.errors import ErrorKind, ResultError
from eventflock.failures.codes import FailureCode
from eventflock.packing.environment import PackedEnvironment
from eventflock.packing.launching import (
    NODE_PROGRAMS,
    launch_command,
    receipt_template,
    start_words,
)
from eventflock.pools import supervisor
from eventflock.pools.roles import Executor, Listener
from eventflock.results.reader import read_manifest
from eventflock.worker.messages import Done, Failed, Reply, Run
from eventflock.worker.once import RESULT, OneJob

__all__ = ["PackedExecutor"]

LOOK_AGAIN = 1.0
"""Seconds after which more requests may be there although no answer came."""


class PackedExecutor(Executor):
    """Runs each job through the launcher, in a packed environment.

    Parameters
    ----------
    count
        How many jobs at the same time.
    environment
        What jobs bring along.
    """

    def __init__(self, count: int, environment: PackedEnvironment) -> None:
        self._count = count
        both = (environment.environment, environment.code)
        self._archives = [str(archive.resolve()) for archive in both]
        self._digest = environment.digest
        self._flags = environment.flags
        self._container = environment.options.container
        self._threads = ThreadPoolExecutor(count)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def do(
        self, jobs: Iterable[Run], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Run jobs, and yield their answers in the order in which they end."""
        waiting = enumerate(jobs)  # which may have more later
        running: dict[Future[Reply], int] = {}
        try:
            while True:
                for index, job in islice(waiting, self._count - len(running)):
                    running[self._threads.submit(self._run, job)] = index
                if not running:
                    return
                done, _ = wait(running, LOOK_AGAIN, return_when=FIRST_COMPLETED)
                for future in done:
                    index, reply = running.pop(future), future.result()
                    if listener is not None and isinstance(reply, Done):
                        listener.on_progress(index, reply.events)
                    yield index, reply
        finally:
            self._stop()

    def _run(self, request: Run) -> Reply:
        with tempfile.TemporaryDirectory(
            prefix="eventflock-job-", ignore_cleanup_errors=True
        ) as name:
            folder = Path(name)
            status = self._launch(request, folder)
            if not self._stopped:
                return _collect(folder / RESULT, request, status)
        return Failed(
            failure=Failure(
                kind=ErrorKind.POOL, message="The job was stopped.", code=FailureCode.LOST
            )
        )

    def _launch(self, request: Run, folder: Path) -> int:
        """Lay out the job's folder as it would be on a node, and run the launcher in it."""
        job = OneJob(assignment=request.assignment, environment=self._digest)
        (folder / "job.json").write_bytes(to_json(job))
        (folder / "template.json").write_bytes(receipt_template(request.assignment, self._digest))
        for program in NODE_PROGRAMS:
            shutil.copyfile(program, folder / program.name)
        words = ["-m", "eventflock.worker.once", "job.json", RESULT]
        launch = launch_command(*self._archives, "template.json", RESULT, *words, flags=self._flags)
        start = ["/bin/sh", *start_words(self._container)]
        environ, env = [], None
        if self._container:  # what runs it is configured for a user, and lets little of that in
            seen = _folders_of(request.assignment.inputs)
            environ, env = ["--environ"], {**os.environ, "EVENTFLOCK_SEES": ":".join(seen)}
        command = [sys.executable, "-S", supervisor.__file__, *environ, str(folder), *start]
        with Path(request.log).open("wb") as log:
            process = subprocess.Popen(
                [*command, *launch],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
            )
        self._running.add(process)
        if self._stopped:  # between the submission of this job and here
            self._stop()
        status = process.wait()
        self._running.discard(process)
        if process.stdin is not None:
            process.stdin.close()
        return status

    def _stop(self) -> None:
        """End the jobs under way: their supervisors see the end of their standard input."""
        self._stopped = True
        for process in list(self._running):
            with contextlib.suppress(OSError, ValueError):
                process.stdin.close()  # type: ignore[union-attr]

    def close(self) -> None:
        """End all jobs."""
        self._stop()
        self._threads.shutdown(cancel_futures=True)


def _folders_of(inputs: Iterable[str]) -> list[str]:
    """Return the folders of those inputs that are on this machine."""
    return sorted({str(Path(one).parent) for one in inputs if Path(one).exists()})


def _collect(made: Path, request: Run, status: int) -> Reply:
    """Move a result file into the run folder, and read from it what to answer."""
    target = Path(request.result)
    try:
        manifest = read_manifest(made)
    except ResultError as error:
        return Failed(
            failure=Failure(
                kind=ErrorKind.POOL,
                message=f"The launcher ended with exit status {status} and no receipt.",
                remedy=f"See {request.log}. {error.message}",
                code=FailureCode.EXIT.with_detail(status),
            )
        )
    with atomic_path(target) as partial:
        shutil.copyfile(made, partial)
    if manifest.error is not None:
        return Failed(failure=manifest.error)
    return Done(events=manifest.counters.events, partial=manifest.status == ResultStatus.PARTIAL)
