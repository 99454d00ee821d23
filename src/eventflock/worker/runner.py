"""Doing one job: read its ranges chunk by chunk, call the analysis, add up, write one file.

Whatever happens in Python ends in a result file: a job that failed leaves a receipt that says
where and why. Only a process that dies leaves none.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from eventflock.core.manifest import Failure, Manifest
from eventflock.core.model import Assignment, FileEntry
from eventflock.core.states import ResultStatus
from eventflock.core.task import TaskKind
from eventflock.errors import EventflockError
from eventflock.events.open_files import OpenFiles
from eventflock.events.reader import TreeReader, reader_of
from eventflock.failures.codes import FailureCode
from eventflock.results.accumulate import Accumulator, Earlier
from eventflock.results.format import write_result
from eventflock.results.keeper import Keeper
from eventflock.rows.keeper import RowKeeper
from eventflock.usercode.decorator import Analysis
from eventflock.usercode.parameters import restore_parameters
from eventflock.usercode.processors import inside
from eventflock.usercode.programs import RowWork
from eventflock.worker.calling import missing_branch, raise_if_interrupted, unexpected
from eventflock.worker.events import events_of
from eventflock.worker.job_loop import ChunkError, JobLoop, Report, context_of
from eventflock.worker.lumis import lumis_of
from eventflock.worker.messages import DryCalled
from eventflock.worker.receipt import Clock, Tally, receipt
from eventflock.worker.watchdog import Watchdog

__all__ = ["Runner"]

LastWords = Callable[[Manifest], None]


class _Kept(NamedTuple):
    """What a job has made so far: results, files that the analysis keeps, and what rows left."""

    accumulator: Accumulator
    keeper: Keeper
    rows: RowKeeper

    def write(self, target: Path, made: Manifest, dataset: str) -> Manifest:
        """Write it into the result file of the job."""
        values = {(dataset, *path): value for path, value in self.accumulator.finish().items()}
        made = msgspec.structs.replace(
            made, kept=tuple(self.keeper.kept), rows=tuple(self.rows.rows)
        )
        return write_result(target, made, values, {**self.keeper.members, **self.rows.members})


class Runner:
    """Does jobs, one after the other, in this process.

    It keeps the last few files open, as the next jobs often continue in them, and remembers which
    objects the analysis returned last, as an object that is returned again has events twice.

    Parameters
    ----------
    environment
        Digest of the packed environment that this process runs in, for the result files.
    places
        From planned paths to where the files are, for those that are elsewhere here.
    files
        Those that are open.
    """

    def __init__(
        self,
        environment: str = "",
        places: Mapping[str, str] | None = None,
        files: OpenFiles | None = None,
    ) -> None:
        self._environment = environment
        self._places = places or {}
        self._files = files or OpenFiles()
        self._earlier = Earlier()

    def run(
        self,
        assignment: Assignment,
        load: Callable[[], Analysis | RowWork],
        target: Path,
        report: Report,
        last_words: LastWords | None = None,
    ) -> Manifest:
        """Do one job and write its result file, which may say that it failed.

        Parameters
        ----------
        assignment
            The job.
        load
            Gives the analysis; if it raises, that is in the receipt as well.
        target
            Where the result file goes.
        report
            Called after every chunk with its number of events.
        last_words
            Called, in another thread, when the job makes no progress any more, or takes too
            long: its receipt is written, and this process should end now. Without it the job
            has all the time that it wants.

        Returns
        -------
        Manifest
            As written; its status is `done`, `partial` or `failed`.
        """
        clock, tally = Clock(), Tally()
        with tempfile.TemporaryDirectory(prefix="eventflock-") as scratch:
            kept = _Kept(
                Accumulator(Path(scratch), self._earlier),
                Keeper(Path(scratch) / "kept", assignment.job, assignment.piece),
                RowKeeper(Path(scratch) / "rows", assignment.job, assignment.piece),
            )

            def failed(failure: Failure) -> Manifest:
                status = ResultStatus.FAILED
                made = receipt(assignment, self._environment, status, tally, clock, failure)
                made = msgspec.structs.replace(made, rows=tuple(kept.rows.rows))
                return write_result(target, made, {}, kept.rows.members)

            watchdog = Watchdog(
                assignment.limits, tally, lambda failure: last_words and last_words(failed(failure))
            )
            watched = last_words is not None and not _runs_programs(assignment)
            try:
                with watchdog if watched else contextlib.nullcontext():
                    alone = last_words is not None
                    failure = self._do(assignment, load, kept, tally, report, alone=alone)
                if failure is None:
                    status = ResultStatus.PARTIAL if tally.missing else ResultStatus.DONE
                    made = receipt(assignment, self._environment, status, tally, clock)
                    return kept.write(target, made, assignment.dataset)
            except ChunkError as error:
                failure = error.failure
            except EventflockError as error:
                failure = Failure.of(error)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it becomes a receipt
                failure = Failure.of(unexpected(error))
            self.close()
            return failed(failure)

    def _do(
        self,
        assignment: Assignment,
        load: Callable[[], Analysis | RowWork],
        kept: _Kept,
        tally: Tally,
        report: Report,
        *,
        alone: bool,
    ) -> Failure | None:
        """Do what can be done of a job; return why nothing could be, if that is so."""
        work = load()
        if isinstance(work, Analysis):
            self._do_events(assignment, work, kept, tally, report)
        else:
            from eventflock.worker.row_loop import RowLoop  # which a job of events does without

            RowLoop(assignment, work, kept.rows, tally, self._places, report, alone=alone).do()
        return tally.failures[0] if tally.failures and not tally.coverage else None

    def _do_events(
        self, assignment: Assignment, analysis: Analysis, kept: _Kept, tally: Tally, report: Report
    ) -> None:
        assignment = _with_parameters(assignment, analysis)

        def opened(entry: FileEntry, analysis: Analysis) -> TreeReader:
            return self._open(entry, analysis, assignment.limits.replica)

        JobLoop(assignment, analysis, kept.accumulator, kept.keeper, tally, opened, report).do()

    def trial(self, assignment: Assignment, analysis: Analysis) -> DryCalled:
        """Call the analysis on no events, and raise what would stop every job as well.

        An analysis may well fail on no events and be right on some, so only what cannot depend
        on their number counts: a branch that is not there, and a result of a wrong kind.
        """
        assignment = _with_parameters(assignment, analysis)
        entry = assignment.files[0]
        for number, tree in enumerate(entry.second, 1):
            self._try(assignment, entry.of_tree(number), analysis.of_tree(tree.name))
        return self._try(assignment, entry, analysis)

    def _try(self, assignment: Assignment, entry: FileEntry, analysis: Analysis) -> DryCalled:
        """Call the function of one tree on none of its entries."""
        reader = reader_of(self._files, entry.path, entry, analysis.columns)
        scratch = Path(tempfile.mkdtemp(prefix="eventflock-"))
        try:
            context = context_of(assignment, entry, 0, 0, Keeper(scratch / "kept"))
            events = events_of(reader, analysis, context)
            try:
                returned = analysis.on_chunk(events, context, assignment.parameters)
            except BaseException as error:
                raise_if_interrupted(error)
                if isinstance(error, EventflockError) and error.code == FailureCode.BRANCH:
                    raise
                missing = missing_branch(error, events, context, analysis)
                if missing is not None:
                    raise missing from None
                return DryCalled()
            Accumulator(scratch).add(inside(returned, context.dataset))
            if assignment.lumis and entry == assignment.files[0]:
                lumis_of(reader, assignment.lumis, 0, 0)
            _, touched = reader.done()
            return DryCalled(branches=tuple(sorted(touched)), share=reader.share_of(touched))
        finally:
            reader.done()
            shutil.rmtree(scratch, ignore_errors=True)

    def _open(self, entry: FileEntry, analysis: Analysis, replica: int) -> TreeReader:
        planned = entry.place(replica)
        return reader_of(self._files, self._places.get(planned, planned), entry, analysis.columns)

    def close(self) -> None:
        """Close the files that are open."""
        self._files.close()


def _with_parameters(assignment: Assignment, analysis: Analysis) -> Assignment:
    """Convert parameters to the types that the analysis wants, which JSON may not have."""
    parameters = restore_parameters(analysis, assignment.parameters)
    return msgspec.structs.replace(assignment, parameters=parameters)


def _runs_programs(assignment: Assignment) -> bool:
    """Check whether programs are run, which have limits of their own, and not functions."""
    task = assignment.analysis.task
    return task is not None and task.kind != TaskKind.FUNCTION
