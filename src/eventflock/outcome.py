"""How a run ended: what is in the result, what is not and why, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from eventflock.errors import EventflockError, IncompleteError, error_from, plural
from eventflock.files import atomic_write
from eventflock.model import Dataset, Failure, Manifest, Plan
from eventflock.results.cover import count, describe
from eventflock.results.verify import JobState
from eventflock.rundir import RunDir

__all__ = ["Outcome", "repeat_command"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended.

    Attributes
    ----------
    run, plan
        The run folder, and what was planned.
    manifest
        Of the merged result; None if there is none.
    absent
        The jobs that are not in it.
    failures
        Why jobs failed this time, by job; those that leave no receipt are here only.
    detached
        The jobs were left to a pool; nothing is known yet.
    """

    run: RunDir
    plan: Plan
    manifest: Manifest | None
    absent: list[JobState]
    failures: dict[int, Failure] = {}
    detached: bool = False

    @property
    def complete(self) -> bool:
        """Whether the result contains every planned entry exactly once."""
        return self.manifest is not None and self.manifest.status == "complete"

    def error(self) -> EventflockError | None:
        """Give what has to be reported, with the cause that comes first in the plan."""
        if self.complete or self.detached:
            return None
        jobs = f"{len(self.absent):,} of {plural(len(self.plan.jobs), 'job')}"
        cause = self._first_cause()
        if cause is None:
            return IncompleteError(self._gaps(jobs), remedy=f"Go on: eventflock resume {self._run}")
        job, failure = cause
        error = error_from(failure)
        error.message = f"{failure.message}{_where(failure)}"
        remedies = [failure.remedy] if failure.remedy else []
        if failure.path and failure.kind != "node":  # which here would not be repeated
            remedies.append(f"Repeat it: {repeat_command(self.run, self.plan, job, failure)}")
        untried = sum(
            one.status == "missing" and one.job not in self.failures for one in self.absent
        )
        if untried > 0 and failure.kind == "analysis":
            remedies.append(f"{plural(untried, 'job')} not tried, as all before failed alike.")
        remedies.append(
            f"{jobs} without a result; the others are kept. When it is mended: "
            f"eventflock resume {self._run}"
            if failure.kind != "analysis"
            else f"{jobs} without a result. A changed analysis is a new run."
        )
        error.remedy = "\n".join(remedies)
        return error

    @property
    def _run(self) -> str:
        return shlex.quote(str(self.run.path))

    def _first_cause(self) -> tuple[int, Failure] | None:
        for state in self.absent:
            if state.job in self.failures:
                return state.job, self.failures[state.job]
            if state.manifest is not None and state.manifest.error is not None:
                return state.job, state.manifest.error
        return None

    def _gaps(self, jobs: str) -> str:
        reasons = [f"  {state.reason}" for state in self.absent if state.reason][:3]
        if self.manifest is None:
            return "\n".join([f"{jobs} without a result.", *reasons])
        missing = self.manifest.missing
        return "\n".join(
            [
                f"{jobs} without a result; {plural(count(missing), 'event')} missing:",
                describe(missing),
                *reasons,
            ]
        )


def _where(failure: Failure) -> str:
    if not failure.path or failure.path in failure.message:
        return ""
    return f"\nin {failure.path}, entries {failure.start:,} to {failure.stop:,}"


def repeat_command(run: RunDir, plan: Plan, job: int, failure: Failure) -> str:
    """Give the command that repeats just the chunk that failed, in one process.

    Where the dataset has metadata, which an analysis may use, a small fileset that carries it is
    written into the run folder.
    """
    dataset = plan.datasets[plan.jobs[job].dataset]
    tree = next((one.tree for one in dataset.files if one.path == failure.path), "")
    ref = plan.analysis
    frozen = run.analysis / ref.file
    target = f"{ref.origin or frozen}:{ref.name}"
    words = ["eventflock", "run", target, *_files(run, dataset, job, failure.path, tree)]
    if failure.stop > failure.start:
        size = failure.stop - failure.start
        words += ["--range", f"{failure.start}:{failure.stop}", "--chunk", str(size), "--jobs", "1"]
    for name, value in plan.parameters.items():
        words += ["--param", f"{name}={_text(value)}"]
    return shlex.join([*words, "--pool", "inline"])


def _files(run: RunDir, dataset: Dataset, job: int, path: str, tree: str) -> Sequence[str]:
    if not dataset.metadata:
        return [path, "--tree", tree, "--dataset", dataset.name]
    fileset = {dataset.name: {"files": {path: tree}, "metadata": dataset.metadata}}
    file = Path(run.pool) / f"repeat-{job:06d}.json"
    atomic_write(file, msgspec.json.encode(fileset))
    return [str(file)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
