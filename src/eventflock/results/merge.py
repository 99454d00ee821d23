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
from eventflock.core.manifest import Counters, Coverage, Failure, Item, Manifest
from eventflock.core.model import FORMAT
from eventflock.core.options import Acceptance
from eventflock.core.states import JobStatus, ResultStatus
from eventflock.errors import AnalysisError, ErrorKind, ResultError
from eventflock.results.accumulate import Accumulator
from eventflock.results.cover import add_counters, coalesce, compare
from eventflock.results.format import write_result
from eventflock.results.payloads import Templates
from eventflock.results.sandbox import SkimSandbox
from eventflock.results.skims import tables_of
from eventflock.results.verify import JobFiles, JobState, job_values, states_of

__all__ = ["is_refused", "merge"]

ALL = Acceptance()


class _Sum:
    """What is known of all merged jobs together."""

    def __init__(self) -> None:
        self.coverage: list[Coverage] = []
        self.counters = Counters()
        self.branches: dict[str, None] = {}
        self.hosts: dict[str, None] = {}
        self.software: dict[str, set[str]] = {}

    def add(self, manifest: Manifest) -> None:
        last = self.coverage[-1:]
        self.coverage[-1:] = coalesce([*last, *manifest.coverage])
        self.counters = add_counters(self.counters, manifest.counters)
        self.branches.update(dict.fromkeys(manifest.branches))
        self.hosts.update(dict.fromkeys(manifest.hosts))
        for name, version in manifest.software.items():
            self.software.setdefault(name, set()).add(version)


def merge(
    frozen: FrozenPlan,
    files: Sequence[JobFiles],
    target: Path,
    acceptance: Acceptance = ALL,
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
    total = _Sum()
    absent: list[JobState] = []
    with (
        tempfile.TemporaryDirectory(prefix=MERGING, dir=target.parent) as scratch,
        SkimSandbox() as sandbox,
    ):
        unpacked = Path(scratch) / "part"
        unpacked.mkdir()
        accumulator = Accumulator(Path(scratch))
        reading = _Reading(frozen, unpacked, sandbox, Templates())
        for job, found in enumerate(files):
            states = reading.fold(job, found, accumulator)
            for state in states:
                if state.manifest is not None and state.has_result:
                    total.add(state.manifest)
            absent += [state for state in states if state.status != JobStatus.DONE]
        if not total.coverage:
            return None, absent
        manifest = _manifest(frozen, total, absent)
        if _is_accepted(frozen, manifest, absent, acceptance):
            manifest = msgspec.structs.replace(
                manifest, accepted=acceptance.fraction, accepted_files=acceptance.files
            )
        return write_result(target, manifest, accumulator.finish()), absent


class _Reading(NamedTuple):
    """The plan whose results are read, and what reading them needs."""

    frozen: FrozenPlan
    scratch: Path
    sandbox: SkimSandbox
    templates: Templates

    def fold(self, job: int, files: JobFiles, accumulator: Accumulator) -> list[JobState]:
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
    return Manifest(
        format=FORMAT,
        status=ResultStatus.COMPLETE if is_complete else ResultStatus.PARTIAL,
        plan=frozen.digest,
        job=-1,
        planned=plan.entries,
        analysis=plan.analysis,
        parameters=plan.parameters,
        coverage=tuple(total.coverage),
        missing=compared.missing,
        counters=total.counters,
        branches=tuple(sorted(total.branches)),
        hosts=tuple(sorted(total.hosts)),
        started=plan.created,
        software={name: ", ".join(sorted(found)) for name, found in sorted(total.software.items())},
        error=_first_failure(absent),
        unread=plan.unread,
        metadata={one.name: one.metadata for one in plan.datasets if one.metadata},
        checked=sum(file.checked for dataset in plan.datasets for file in dataset.files),
    )


def _first_failure(absent: Iterable[JobState]) -> Failure | None:
    manifests = (state.manifest for state in absent if state.manifest is not None)
    found = ([manifest.error, *manifest.failures] for manifest in manifests)
    return next((one for some in found for one in some if one is not None), None)
