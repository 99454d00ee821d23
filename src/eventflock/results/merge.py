"""Merging: fold the results of all jobs in plan order, and prove what the sum contains.

The order of the fold is the plan's, so pool, retries and order of arrival do not change one
bit. One job's result is in memory at a time, beside the sum.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from eventflock.errors import AnalysisError, ResultError
from eventflock.files import MERGING
from eventflock.model import FORMAT, Counters, Coverage, Failure, Item, Manifest, Plan
from eventflock.results.accumulate import Accumulator
from eventflock.results.cover import coalesce, compare
from eventflock.results.format import write_result
from eventflock.results.skim import tables_of
from eventflock.results.verify import JobState, planned_coverage, read_job

__all__ = ["merge"]


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


def add_counters(a: Counters, b: Counters) -> Counters:
    """Add what two jobs did; of memory, take the larger."""
    return Counters(
        events=a.events + b.events,
        chunks=a.chunks + b.chunks,
        bytes_read=a.bytes_read + b.bytes_read,
        wall_seconds=a.wall_seconds + b.wall_seconds,
        cpu_seconds=a.cpu_seconds + b.cpu_seconds,
        peak_memory=max(a.peak_memory, b.peak_memory),
    )


def merge(
    plan: Plan, plan_digest: str, paths: Sequence[Path], target: Path
) -> tuple[Manifest | None, list[JobState]]:
    """Merge the result files of a plan into one.

    Parameters
    ----------
    plan, plan_digest
        The plan, and its SHA-256.
    paths
        Where the result file of each job is, if there is one.
    target
        The merged result file; written at once, also when some jobs are missing: then it says
        that it is partial, and which entries it lacks.

    Returns
    -------
    Manifest or None
        Of the merged file; None if no job has a result, then nothing is written.
    list of JobState
        The jobs that are not in it, and why.

    Raises
    ------
    ResultError
        The plan itself has a range in two jobs.
    AnalysisError
        Results of different jobs cannot be added.
    """
    total = _Sum()
    absent: list[JobState] = []
    with tempfile.TemporaryDirectory(prefix=MERGING, dir=target.parent) as scratch:
        part = Path(scratch) / "part"
        part.mkdir()
        accumulator = Accumulator(Path(scratch))
        for job, path in enumerate(paths):
            state, values = read_job(plan, plan_digest, job, path, part)
            if state.status == "done" and state.manifest is not None:
                with _naming(job, path):
                    _fold(accumulator, values)
                total.add(state.manifest)
            else:
                absent.append(state)
        if not total.coverage:
            return None, absent
        merged = accumulator.finish()
        manifest = write_result(target, _manifest(plan, plan_digest, total, absent), merged)
    return manifest, absent


@contextlib.contextmanager
def _naming(job: int, path: Path) -> Iterator[None]:
    """Say whose results do not fit to those before."""
    try:
        yield
    except AnalysisError as error:
        error.message = f"The result of job {job} ({path}) does not fit: {error.message}"
        raise


def _fold(accumulator: Accumulator, values: Iterable[tuple[Item, Any]]) -> None:
    """Add the results of one job."""
    for item, value in values:
        if item.kind == "skim":
            for table in tables_of(value):
                accumulator.skim(item.path).append_table(table)
        else:
            accumulator.add_one(item.path, value)


def _manifest(plan: Plan, plan_digest: str, total: _Sum, absent: Iterable[JobState]) -> Manifest:
    compared = compare(planned_coverage(plan), total.coverage)
    if compared.doubled or compared.foreign:
        raise ResultError(
            "The plan is not a partition of its files: a range is in two jobs.",
            remedy="The plan was changed by hand; start a new run.",
        )
    return Manifest(
        format=FORMAT,
        status="complete" if compared.exact else "partial",
        plan=plan_digest,
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
    )


def _first_failure(absent: Iterable[JobState]) -> Failure | None:
    found: Iterator[Failure] = (
        state.manifest.error for state in absent if state.manifest and state.manifest.error
    )
    return next(found, None)
