"""How a run ended: what is in the result, what is not and why, and how to repeat it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.manifest import Failure, Manifest
from eventflock.core.model import Dataset, Plan
from eventflock.core.states import JobStatus, ResultStatus
from eventflock.core.task import Table
from eventflock.errors import (
    ErrorKind,
    EventflockError,
    IncompleteError,
    error_from,
    listed,
    plural,
)
from eventflock.failures.causes import cause_of
from eventflock.results.cover import count, describe, describe_rows
from eventflock.results.verify import JobState
from eventflock.runs.folder import RunFolder

__all__ = ["Have", "Outcome", "accept_command", "describe_unread", "repeat_command"]

_HERE = frozenset({"analysis", "returned", "branch", "allocation"})
_PACKED = ("FileNotFoundError", "ModuleNotFoundError", "ImportError")
"""What an analysis raises that lacks something on the node."""
_LIMITS = {"stalled": "--stall", "server": "--stall", "time": "--time-limit"}


class Have(NamedTuple):
    """What a result has of what was asked for."""

    events: int
    planned: int
    files: int
    files_asked: int

    @classmethod
    def of(cls, plan: Plan, events: int) -> Have:
        """Return it for so many events of a plan."""
        return cls(events, plan.entries, plan.files - len(plan.unread), plan.files)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended.

    Attributes
    ----------
    run, plan
        The run folder, and what was planned.
    manifest
        Of the merged result; None if there is none.
    absent
        The jobs, or pieces of jobs, that are not or not wholly in it.
    detached
        The jobs were left to a pool; nothing is known yet.
    submitted
        How many were, then: others may have been there.
    refused
        Why a partial result is not accepted that has enough events.
    """

    run: RunFolder
    plan: Plan
    manifest: Manifest | None
    absent: list[JobState]
    detached: bool = False
    submitted: int = 0
    refused: str = ""

    @property
    def complete(self) -> bool:
        """Whether the result contains every planned entry exactly once."""
        return self.manifest is not None and self.manifest.status == ResultStatus.COMPLETE

    @property
    def accepted(self) -> bool:
        """Whether it is not complete, and good enough for who asked."""
        return self.manifest is not None and self.manifest.accepted > 0

    def error(self) -> EventflockError | None:
        """Return what has to be reported, with the cause that comes first in the plan."""
        if self.complete or self.accepted or self.detached:
            return None
        jobs = f"{len({one.job for one in self.absent}):,} of {plural(len(self.plan.jobs), 'job')}"
        found = self._first_cause()
        if found is None:
            return IncompleteError(self._gaps(jobs), remedy="\n".join(self._go_on()))
        job, failure = found
        error = error_from(failure)
        if self.manifest is None:
            error.message = f"{failure.message}{self._where(failure)}"
        else:
            error = IncompleteError(f"{self._gaps(jobs)}\n{failure.message}{self._where(failure)}")
            error.traceback = failure.traceback
        error.remedy = "\n".join(self._remedies(job, failure, jobs))
        return error

    def _remedies(self, job: int, failure: Failure, jobs: str) -> list[str]:
        """Describe what can be done about the first cause, and about the rest."""
        remedies = [failure.remedy] if failure.remedy else []
        printed = self.run.logs / f"{failure.start}.stderr"
        if self.plan.table is not None and printed.exists():
            remedies.append(f"What it printed: {printed}")
        if failure.path and failure.kind != "node":  # which here would not be repeated
            remedies.append(f"Repeat it: {repeat_command(self.run, self.plan, job, failure)}")
        untried = sum(one.status == JobStatus.MISSING for one in self.absent)
        if untried > 0 and failure.kind == ErrorKind.ANALYSIS:
            remedies.append(f"{plural(untried, 'job')} not tried, as all before failed alike.")
        if self.manifest is None:
            kept = "" if failure.kind == ErrorKind.ANALYSIS else "; the others are kept"
            remedies.append(f"{jobs} without a result{kept}.")
        remedies.append(f"All causes: eventflock why {self._run}")
        kinds = {one.kind for state in self.absent for one in state.failures}
        if kinds - {"analysis"} or self.plan.unread:
            remedies.append(f"When a file or a machine is mended: eventflock resume {self._run}")
        what = "analysis" if self.plan.table is None else "script"
        remedies.append(
            f"If you change the {what}: a new run, as resume uses the copy in this one."
        )
        return remedies + self._content(raised="analysis" in kinds)

    def _go_on(self) -> list[str]:
        """Describe what can be done where no job has failed."""
        if self.absent or self.manifest is None:
            return [f"Go on: eventflock resume {self._run}"]
        mended = f"When they can be read: eventflock resume {self._run}"
        return [mended, *self._content(raised=False)]

    def _content(self, *, raised: bool) -> list[str]:
        """Describe how to be content with a partial result."""
        if self.refused:
            return [self.refused]
        if self.manifest is None:
            return []
        have = Have.of(self.plan, self.manifest.counters.events)
        command = accept_command(str(self.run.path), have, raised=raised)
        return [f"To be content with it: {command}"]

    @property
    def _run(self) -> str:
        return shlex.quote(str(self.run.path))

    def _where(self, failure: Failure) -> str:
        if self.plan.table is not None and failure.start in self.plan.table.numbers:
            return f"\nin {row_in_words(self.plan.table, failure.start)}"
        if not failure.path or failure.path in failure.message:
            return ""
        return f"\nin {failure.path}, entries {failure.start:,} to {failure.stop:,}"

    def _first_cause(self) -> tuple[int, Failure] | None:
        return next(((one.job, why) for one in self.absent for why in one.failures), None)

    def _gaps(self, jobs: str) -> str:
        reasons = [f"  {state.reason}" for state in self.absent if state.reason][:3]
        if self.manifest is None:
            return "\n".join([f"{jobs} without a result.", *reasons])
        missing, unread = self.manifest.missing, describe_unread(self.plan)
        what = f"{plural(count(missing), self.plan.noun)} missing, of {jobs}:"
        in_words = describe if self.plan.table is None else describe_rows
        gaps = [what, in_words(missing), *reasons] if missing else []
        return "\n".join(gaps + unread)


def row_in_words(table: Table, number: int) -> str:
    """Return the number of a row and its first values: `row 17 (mass=100, width=2)`."""
    values = [
        f"{name}={value[:40]}{'...' if len(value) > 40 else ''}"
        for name, value in zip(table.columns[:4], table.row(number), strict=False)
    ]
    return f"row {number} ({', '.join(values)})" if values else f"row {number}"


def describe_unread(plan: Plan, limit: int = 5) -> list[str]:
    """Name the files that could not be read, one per line under a heading, if there are any."""
    if not plan.unread:
        return []
    names = [
        file.message if file.path in file.message else f"{file.path}: {file.message}"
        for file in plan.unread
    ]
    heading = f"{len(plan.unread):,} of {plural(plan.files, 'file')} not read:"
    return [heading, *listed(names, limit)]


def accept_command(run: str, have: Have, *, raised: bool) -> str:
    """Return the command that accepts a result as it is.

    Parameters
    ----------
    have
        What is in it.
    raised
        Whether the analysis raised for some events that are missing.
    """
    words = ["eventflock", "merge", shlex.quote(run)]
    if have.events < have.planned or have.files == have.files_asked:
        words.append(f"--accept {_below(have.events, have.planned):g}")
    if have.files < have.files_asked:
        words.append(f"--accept-files {_below(have.files, have.files_asked):g}")
    return " ".join(words + ["--no-strict"] * raised)


def _below(have: int, planned: int) -> float:
    """Return a fraction, rounded down to four digits."""
    return math.floor(1e4 * have / max(planned, 1)) / 1e4


def repeat_command(run: RunFolder, plan: Plan, job: int, failure: Failure) -> str:
    """Return the command that repeats just what failed, on this machine.

    What may end or hang the process has one of its own; all else is done in this one, where a
    debugger works.

    Where the dataset has metadata, which an analysis may use, a small fileset that carries it is
    written into the run folder.
    """
    if plan.table is not None:
        return shlex.join(["eventflock", "repeat", str(run.path), str(failure.start)])
    dataset = plan.datasets[plan.jobs[job].dataset]
    tree = next((file.tree for file in dataset.files if file.path == failure.path), "")
    ref = plan.analysis
    frozen = run.analysis / ref.file
    target = f"{ref.origin or frozen}:{ref.name}"
    words = ["eventflock", "run", target, *_files(run, dataset, job, failure.path, tree)]
    if failure.stop > failure.start:
        size = failure.stop - failure.start
        words += ["--range", f"{failure.start}:{failure.stop}", "--chunk", str(size), "--jobs", "1"]
    for name, value in {**plan.parameters, **dataset.parameters}.items():
        words += ["--param", f"{name}={_text(value)}"]
    if ref.schema:
        words += ["--schema", ref.schema]
    if plan.lumis:
        words += ["--lumis", ",".join(plan.lumis)]
    if plan.seed:
        words += ["--seed", str(plan.seed)]
    cause = cause_of(failure).name
    if run.environment.exists() and any(name in failure.message for name in _PACKED):
        words += ["--pool", "local", "--packed"]  # here, all of it would be found
    else:
        words += ["--pool", "inline" if cause in _HERE else "local"]
    limit = failure.code.partition(":")[2]
    if cause in _LIMITS and limit:
        words += [_LIMITS[cause], f"{limit}s"]
    return shlex.join(words)


def _files(run: RunFolder, dataset: Dataset, job: int, path: str, tree: str) -> Sequence[str]:
    if not dataset.metadata:
        return [path, "--tree", tree, "--dataset", dataset.name]
    fileset = {dataset.name: {"files": {path: tree}, "metadata": dataset.metadata}}
    file = Path(run.pool) / f"repeat-{job:06d}.json"
    atomic_write(file, msgspec.json.encode(fileset))
    return [str(file)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
