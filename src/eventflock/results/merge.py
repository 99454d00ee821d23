"""Merging: fold the results of all jobs in plan order, and prove what the sum contains.

The order of the fold is the plan's, so pool, retries and order of arrival do not change one
bit. One job's result is in memory at a time, beside the sum.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventflock.core.atomic import MERGING
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.manifest import Counters, Coverage, Failure, Item, KeptFile, Manifest
from eventflock.core.model import FORMAT
from eventflock.core.options import Acceptance
from eventflock.core.states import JobStatus, ResultStatus
from eventflock.core.task import Row
from eventflock.errors import AnalysisError, ErrorKind, ResultError
from eventflock.results import blocks
from eventflock.results.accumulate import Accumulator
from eventflock.results.blocks import BlockSum, add_blocks
from eventflock.results.cover import add_counters, coalesce, compare
from eventflock.results.format import write_result
from eventflock.results.payloads import Templates
from eventflock.results.reader import ResultFile
from eventflock.results.sandbox import SkimSandbox
from eventflock.results.skims import tables_of
from eventflock.results.verify import JobFiles, JobState, job_values, states_of

__all__ = ["add_up", "is_refused", "merge"]

ALL = Acceptance()


class _Sum:
    """What is known of all merged jobs together."""

    def __init__(self) -> None:
        self.coverage: list[Coverage] = []
        self.counters = Counters()
        self.branches: dict[str, None] = {}
        self.keyed = False
        self.hosts: dict[str, None] = {}
        self.software: dict[str, set[str]] = {}
        self.kept: list[KeptFile] = []
        self.rows: list[Row] = []

    def add(self, manifest: Manifest) -> None:
        last = self.coverage[-1:]
        self.coverage[-1:] = coalesce([*last, *manifest.coverage])
        self.counters = add_counters(self.counters, manifest.counters)
        self.branches.update(dict.fromkeys(manifest.branches))
        self.keyed |= manifest.keyed
        self.kept += manifest.kept
        self.rows += manifest.rows
        self.hosts.update(dict.fromkeys(manifest.hosts))
        for name, versions in manifest.software.items():  # several, of a block
            self.software.setdefault(name, set()).update(versions.split(", "))

    def manifest(self, frozen: FrozenPlan, status: ResultStatus) -> Manifest:
        """Return the manifest of a file with all of it."""
        software = {name: ", ".join(sorted(found)) for name, found in sorted(self.software.items())}
        return Manifest(
            format=FORMAT,
            status=status,
            plan=frozen.digest,
            job=-1,
            planned=frozen.plan.entries,
            analysis=frozen.plan.analysis,
            parameters=frozen.plan.parameters,
            seed=frozen.plan.seed,
            coverage=tuple(self.coverage),
            counters=self.counters,
            branches=tuple(sorted(self.branches)),
            keyed=self.keyed,
            hosts=tuple(sorted(self.hosts)),
            started=frozen.plan.created,
            software=software,
            kept=tuple(self.kept),
            rows=tuple(self.rows),
        )


def merge(
    frozen: FrozenPlan,
    files: Sequence[JobFiles],
    target: Path,
    acceptance: Acceptance = ALL,
    processes: int = 1,
) -> tuple[Manifest | None, list[JobState]]:
    """Merge the result files of a plan into one.

    Parameters
    ----------
    frozen
        The plan.
    files
        The result files of each job, in the order of the plan.
    target
        The merged result file. It is written also when some jobs are missing: then it says that it
        is partial, and which entries it lacks.
    acceptance
        When a partial result is good enough; the merged file says so.
    processes
        How many may work on it, where there are many jobs.

    Returns
    -------
    Manifest or None
        Of the merged file; None if no job has a result, then nothing is written.
    list of JobState
        The jobs, or pieces of them, that are not or not wholly in it, and why.

    Raises
    ------
    ResultError
        The plan itself has a range in two jobs.
    AnalysisError
        Results of different jobs cannot be added.
    """
    with _reading(frozen, target.parent) as reading:
        if len(files) <= blocks.BLOCK:
            absent = reading.add_jobs(files, range(len(files)))
        else:
            absent = reading.add_blocks(files, processes)
        if not reading.total.coverage:
            return None, absent
        manifest = _manifest(frozen, reading.total, absent)
        if _is_accepted(frozen, manifest, absent, acceptance):
            manifest = msgspec.structs.replace(
                manifest, accepted=acceptance.fraction, accepted_files=acceptance.files
            )
        return write_result(target, manifest, reading.accumulator.finish()), absent


def add_up(frozen: FrozenPlan, files: Sequence[JobFiles], jobs: range, target: Path) -> BlockSum:
    """Add up the results of some jobs, and write the sum into a file.

    Raises
    ------
    AnalysisError
        They cannot be added.
    """
    with _reading(frozen, target.parent) as reading:
        absent = reading.add_jobs(files, jobs)
        numbers = tuple(sorted({state.job for state in absent}))
        if not reading.total.coverage:
            return BlockSum(absent=numbers)
        manifest = reading.total.manifest(frozen, ResultStatus.PARTIAL)
        write_result(target, manifest, reading.accumulator.finish())
    return BlockSum(name=target.name, absent=numbers)


@contextlib.contextmanager
def _reading(frozen: FrozenPlan, folder: Path) -> Iterator[_Reading]:
    with (
        tempfile.TemporaryDirectory(prefix=MERGING, dir=folder) as scratch,
        SkimSandbox() as sandbox,
    ):
        unpacked = Path(scratch) / "part"
        unpacked.mkdir()
        accumulator = Accumulator(Path(scratch))
        yield _Reading(frozen, unpacked, sandbox, Templates(), accumulator, _Sum())


class _Reading(NamedTuple):
    """The plan whose results are read, what reading them needs, and their sum."""

    frozen: FrozenPlan
    scratch: Path
    sandbox: SkimSandbox
    templates: Templates
    accumulator: Accumulator
    total: _Sum

    def add_jobs(self, files: Sequence[JobFiles], jobs: range) -> list[JobState]:
        """Add the results of some jobs; return the states of those that are not done."""
        absent: list[JobState] = []
        for job in jobs:
            states = self._fold(job, files[job], self.accumulator)
            for state in states:
                if state.manifest is not None and state.has_result:
                    self.total.add(state.manifest)
            absent += [state for state in states if state.status != JobStatus.DONE]
        return absent

    def add_blocks(self, files: Sequence[JobFiles], processes: int) -> list[JobState]:
        """Have all results added up in blocks, and add these."""
        absent: list[JobState] = []
        for told, path in add_blocks(self.frozen, files, self.scratch, processes):
            if told.name:
                with ResultFile(path) as block:
                    self.total.add(block.manifest)
                    _fold(
                        self.accumulator, block.values(self.sandbox, self.scratch, self.templates)
                    )
                path.unlink()
            for job in told.absent:
                states = states_of(self.frozen, job, files[job], self.scratch, self.sandbox)
                absent += [state for state in states if state.status != JobStatus.DONE]
        return absent

    def _fold(self, job: int, files: JobFiles, accumulator: Accumulator) -> list[JobState]:
        """Add the results of one job, and return its state or those of its pieces."""
        state, values = self._read(job, files.path, "")
        if state.has_result or not files.pieces:
            with _naming(state):
                _fold(accumulator, values)
            return [state]
        # The pieces of a job first make one sum, as the job would have, along the same tree.
        whole = Accumulator(self.scratch)
        states = []
        for piece in states_of(self.frozen, job, files):
            state, values = self._read(job, piece.path, piece.piece)
            with _naming(state):
                number = self.frozen.part(job, piece.piece).first
                _fold(accumulator, values, whole, number)
            states.append(state)
        with _naming(states[0]):
            for path, value in whole.finish().items():
                accumulator.add_one(path, value)
        return states

    def _read(
        self, job: int, path: Path | None, piece: str
    ) -> tuple[JobState, list[tuple[Item, Any]]]:
        return job_values(self.frozen, job, path, self.scratch, self.sandbox, piece, self.templates)


@contextlib.contextmanager
def _naming(state: JobState) -> Iterator[None]:
    """Name the job in an error if its results do not fit to those before."""
    try:
        yield
    except AnalysisError as error:
        name = f"job {state.job} ({state.path})"
        error.message = f"The result of {name} does not fit: {error.message}"
        raise


def _fold(
    accumulator: Accumulator,
    values: Iterable[tuple[Item, Any]],
    whole: Accumulator | None = None,
    number: int = 0,
) -> None:
    """Add the results of one job; those of a piece, but for rows, to the sum of its job first."""
    for item, value in values:
        if item.kind == "skim":
            for table in tables_of(value):
                accumulator.skim(item.path).append_table(table)
        else:
            (whole or accumulator).add_one(item.path, value, number)


def _is_accepted(
    frozen: FrozenPlan, manifest: Manifest, absent: Iterable[JobState], acceptance: Acceptance
) -> bool:
    """Check whether a partial result is good enough for the user."""
    if manifest.status == ResultStatus.COMPLETE or not _has_enough(frozen, manifest, acceptance):
        return False
    kinds = {failure.kind for state in absent for failure in state.failures}
    return not (acceptance.strict and ErrorKind.ANALYSIS in kinds)


def is_refused(frozen: FrozenPlan, manifest: Manifest, acceptance: Acceptance) -> bool:
    """Check whether a result has enough events and is not accepted all the same."""
    is_partial = manifest.status == ResultStatus.PARTIAL
    enough = _has_enough(frozen, manifest, acceptance)
    return is_partial and enough and not manifest.accepted


def _has_enough(frozen: FrozenPlan, manifest: Manifest, acceptance: Acceptance) -> bool:
    """Check whether events and files are as many as are asked for."""
    files = frozen.plan.files
    if files - len(manifest.unread) < acceptance.files * files:
        return False
    if acceptance.fraction >= 1:  # then nothing of second trees may be missing either
        return not manifest.missing
    return manifest.counters.events >= acceptance.fraction * manifest.planned


def _manifest(frozen: FrozenPlan, total: _Sum, absent: Iterable[JobState]) -> Manifest:
    plan = frozen.plan
    compared = compare(frozen.planned_coverage(), total.coverage)
    if compared.doubled or compared.foreign:
        raise ResultError(
            "The plan is not a partition of its files: a range is in two jobs.",
            remedy="The plan was changed by hand; start a new run.",
        )
    is_complete = compared.exact and not plan.unread
    status = ResultStatus.COMPLETE if is_complete else ResultStatus.PARTIAL
    return msgspec.structs.replace(
        total.manifest(frozen, status),
        missing=compared.missing,
        error=_first_failure(absent),
        unread=plan.unread,
        metadata={one.name: one.metadata for one in plan.datasets if one.metadata},
        checked=sum(file.checked for dataset in plan.datasets for file in dataset.files),
    )


def _first_failure(absent: Iterable[JobState]) -> Failure | None:
    manifests = (state.manifest for state in absent if state.manifest is not None)
    found = ([manifest.error, *manifest.failures] for manifest in manifests)
    return next((one for some in found for one in some if one is not None), None)
