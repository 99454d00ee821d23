"""The rows of one job: one after the other, each in a folder of its own, each with its own end."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.manifest import Coverage, Failure
from eventflock.core.model import Assignment, Range
from eventflock.core.task import VALUE, Row, Table, Task, TaskKind
from eventflock.core.tracebacks import user_traceback
from eventflock.core.units import say_duration
from eventflock.errors import AnalysisError, ErrorKind, EventflockError, error_from
from eventflock.failures.causes import cause_of
from eventflock.failures.codes import FailureCode
from eventflock.results import plain
from eventflock.rows.folder import RowFolder, outputs_in
from eventflock.rows.keeper import RowKeeper
from eventflock.rows.process import Ended, adopt_orphans, environment_of, run_program
from eventflock.usercode.programs import Program, RowWork
from eventflock.worker.calling import out_of_memory, raise_if_interrupted, unexpected
from eventflock.worker.receipt import Tally

__all__ = ["RowLoop"]

LAST_BYTES = 20_000
LAST_LINES = 40
_NO_MEMORY = ("MemoryError", "numpy._core._exceptions._ArrayMemoryError")
_LITTLE = 2**16
_FULL = "No space left on device"


class RowLoop:
    """The rows of one job.

    Parameters
    ----------
    assignment
        The job.
    work
        What is done for each row.
    keeper, tally
        Take what rows leave, and what has been done.
    places
        Where files are that came with the job.
    report
        Called after every row.
    alone
        Whether this process does nothing else: then what programs leave behind is its own.
    """

    def __init__(
        self,
        assignment: Assignment,
        work: RowWork,
        keeper: RowKeeper,
        tally: Tally,
        places: Mapping[str, str],
        report: Callable[[int], None],
        *,
        alone: bool,
    ) -> None:
        self._assignment = assignment
        self._work = work
        self._keeper = keeper
        self._tally = tally
        self._places = places
        self._report = report
        self._table = assignment.rows or Table()
        self._task = assignment.analysis.task or Task(kind=TaskKind.SCRIPT)
        self._adopts = alone and isinstance(work, Program) and adopt_orphans()
        self._tries = 0

    def do(self) -> None:
        """Do all rows; those that fail are counted as missing, and the others are done."""
        for part in self._assignment.ranges:
            for number in range(part.start, part.stop):
                self._do_row(part, number)
                self._report(1)

    def _do_row(self, part: Range, number: int) -> None:
        entry = self._assignment.files[part.file]
        here = Range(part.file, number, number + 1)
        self._tally.where = (entry.path, number, number + 1)
        failure = self._try_row(number)
        again = 0
        while failure is not None and again < self._again(failure):
            again += 1
            failure = self._try_row(number)
        if failure is None:
            self._tally.events += 1
            self._tally.cover(Coverage.of(self._assignment.dataset, entry, here))
        else:
            self._tally.miss(self._assignment.dataset, entry, here, failure)
        self._tally.chunks += 1

    def _again(self, failure: Failure) -> int:
        """Return how often a row is tried again here: alone in its job, the whole job is."""
        if sum(part.stop - part.start for part in self._assignment.ranges) == 1:
            return 0
        cause = cause_of(failure)
        return 0 if cause.permanent or cause.elsewhere else cause.again

    def _try_row(self, number: int) -> Failure | None:
        """Do a row, and return why it failed, if it did."""
        self._tries += 1
        scratch = self._keeper.folder.with_name(f"row-{self._tries}")
        try:
            if isinstance(self._work, Program):
                self._run(self._work, number, scratch)
            else:
                self._call(self._work, number, scratch)
        except (EventflockError, OSError) as error:
            known = error if isinstance(error, EventflockError) else unexpected(error)
            return Failure.of(known, self._assignment.files[0].path, number, number + 1)
        finally:
            for folder in (scratch, scratch.with_name(f"{scratch.name}-files")):
                shutil.rmtree(folder, ignore_errors=True)
        return None

    # --- a program -----------------------------------------------------------------------------

    def _run(self, program: Program, number: int, scratch: Path) -> None:
        ref = self._assignment.analysis
        made = RowFolder.make(scratch, number, self._table, self._task, ref.working, self._places)
        printed = tuple(scratch.with_name(f"{scratch.name}.{end}") for end in ("out", "err"))
        command = program.command(self._task, made.values)
        try:
            ended = run_program(
                command, made.path, (printed[0], printed[1]), environment_of(number),
                self._assignment.limits, adopts=self._adopts,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise AnalysisError(
                f"{command[0]} cannot be run: {getattr(error, 'strerror', None) or error}.",
                remedy="A script needs a first line such as '#!/bin/sh'.",
                code=FailureCode.PROGRAM.with_detail("start"),
            ) from None
        row = Row(
            number=number,
            exit_code=ended.code,
            seconds=round(ended.seconds, 6),
            cpu_seconds=round(ended.cpu_seconds, 6),
            memory=ended.memory,
            host=socket.gethostname(),
        )
        self._tally.programs(ended.cpu_seconds, ended.memory)
        logs = {"stdout": printed[0], "stderr": printed[1]}
        try:
            self._check(ended, printed[1])
            outputs = outputs_in(made, self._task)
            self._keeper.check(outputs)
        except EventflockError:
            self._keeper.add(msgspec.structs.replace(row, ok=False), {}, logs)
            raise
        self._keeper.add(row, outputs, logs)

    def _check(self, ended: Ended, errors: Path) -> None:
        """Check how a program ended.

        Raises
        ------
        EventflockError
            Not well.
        """
        what = self._task.kind.value
        last = _last_lines(errors)
        words = f": {last[-1].strip()}" if last else ""
        trace = "\n".join(last)
        if ended.limit:
            raise _passed(what, ended.limit, self._assignment, trace)
        if ended.code < 0:
            name = _signal_name(-ended.code)
            memory = " Often the memory was full." if ended.code == -signal.SIGKILL else ""
            raise _error(
                ErrorKind.POOL,
                f"The {what} was ended by {name}{words}",
                f"See its output in the folder logs of the run.{memory}",
                trace,
                FailureCode.SIGNAL.with_detail(name),
            )
        if ended.code not in self._task.ok_codes:
            kind, code = ErrorKind.ANALYSIS, FailureCode.PROGRAM.with_detail(ended.code)
            # On a full disk, not even the traceback may be there.
            full = shutil.disk_usage(errors.parent).free < _LITTLE
            if full or _FULL in "\n".join(last[-5:]):
                words = words or f": {_FULL}"
                kind, code = ErrorKind.POOL, str(FailureCode.DISK)
            elif last and last[-1].startswith(
                ("MemoryError", "numpy._core._exceptions._ArrayMemory")
            ):
                kind, code = ErrorKind.MEMORY, ""
            raise _error(
                kind, f"The {what} ended with exit code {ended.code}{words}", "", trace, code
            )
        if ended.left:
            raise _error(
                ErrorKind.ANALYSIS,
                f"The {what} ended, but left running: {', '.join(ended.left[:3])}. This was ended, "
                "and nobody knows what it would still have written.",
                "Let it wait for what it starts.",
                trace,
                FailureCode.PROGRAM.with_detail("child"),
            )

    # --- a function ----------------------------------------------------------------------------

    def _call(self, function: Callable[[Any], Any], number: int, scratch: Path) -> None:
        item = plain.decode(self._table.row(number)[0])
        wall, cpu = time.monotonic(), time.process_time()
        try:
            returned = function(item)
        except BaseException as error:
            raise_if_interrupted(error)
            if isinstance(error, MemoryError):
                raise out_of_memory(error) from error
            name = self._assignment.analysis.name
            text = (str(error).splitlines() or ["(no message)"])[0]
            raise AnalysisError(
                f"{name!r} raised {type(error).__name__}: {text}", traceback=user_traceback(error)
            ) from error
        try:
            text = plain.encode(returned, "returned value")
        except AnalysisError as error:
            error.code = FailureCode.RETURNED
            raise
        scratch.mkdir(parents=True)
        (scratch / VALUE).write_text(text)
        row = Row(
            number=number,
            seconds=round(time.monotonic() - wall, 6),
            cpu_seconds=round(time.process_time() - cpu, 6),
            host=socket.gethostname(),
        )
        outputs = {VALUE: scratch / VALUE}
        self._keeper.check(outputs)
        self._keeper.add(row, outputs, {})


def _last_lines(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - LAST_BYTES, 0))
        lines = file.read(LAST_BYTES).decode(errors="replace").rstrip().splitlines()
    return lines[-LAST_LINES:]


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _error(kind: ErrorKind, text: str, remedy: str, trace: str, code: str) -> EventflockError:
    return error_from(
        Failure(kind=kind, message=text[:2000], remedy=remedy, traceback=trace, code=code)
    )


def _passed(what: str, limit: str, assignment: Assignment, trace: str) -> EventflockError:
    """Return the error of a program that took too long, or made no progress."""
    limits = assignment.limits
    if limit == FailureCode.TIME:
        seconds, words = limits.limit_seconds, "took longer than the {} it may take"
        remedy = "Raise --time-limit."
    else:
        seconds, words = limits.stall_seconds, "made no progress for {}"
        remedy = "See what it waits for; --stall says how long it may wait."
    return _error(
        ErrorKind.POOL,
        f"The {what} {words.format(say_duration(seconds))}, and was ended.",
        remedy,
        trace,
        FailureCode(limit).with_detail(f"{seconds:g}"),
    )
