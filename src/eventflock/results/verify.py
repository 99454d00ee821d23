"""What has been done of a plan, found out from the result files alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from eventflock.errors import ResultError
from eventflock.model import Coverage, Manifest, Plan
from eventflock.plan import coverage_of
from eventflock.results.format import ResultFile

__all__ = ["JobState", "job_state", "job_states", "planned_coverage"]


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """What the result file of one job says.

    Attributes
    ----------
    job
        Number of the job.
    status
        `done`, `failed` (there is a receipt that says why), `unusable` (there is a file that
        cannot be this job's result), or `missing`.
    manifest
        Of a job that is done or failed.
    reason
        Why a file is unusable.
    """

    job: int
    status: str
    manifest: Manifest | None = None
    reason: str = ""


def planned_coverage(plan: Plan) -> Iterator[Coverage]:
    """Give all planned ranges, in plan order."""
    for job in range(len(plan.jobs)):
        yield from coverage_of(plan, job)


def job_state(plan: Plan, plan_digest: str, job: int, path: Path, *, deep: bool) -> JobState:
    """Find out from its file what became of one job.

    Parameters
    ----------
    plan, plan_digest
        The plan, and its SHA-256.
    job
        Number of the job.
    path
        Where its result file is, if there is one.
    deep
        Whether to check the checksums of all payloads as well.
    """
    if not path.exists():
        return JobState(job=job, status="missing")
    try:
        with ResultFile(path) as result:
            manifest = result.manifest
            reason = why_foreign(plan, plan_digest, job, manifest)
            if deep and not reason:
                result.check()
    except ResultError as error:
        return JobState(job=job, status="unusable", reason=error.message)
    if reason:
        return JobState(job=job, status="unusable", reason=f"{path}: {reason}")
    return JobState(job=job, status=manifest.status, manifest=manifest)


def why_foreign(plan: Plan, plan_digest: str, job: int, manifest: Manifest) -> str:
    """Say why a manifest is not that of this job of this plan; empty if it is."""
    if manifest.plan != plan_digest:
        return "it belongs to another plan"
    if manifest.job != job:
        return f"it is the result of job {manifest.job}, not {job}"
    if manifest.status == "failed":
        return ""
    if manifest.status != "done":
        return f"its status is {manifest.status!r}"
    if manifest.coverage != coverage_of(plan, job):
        return "it does not cover the ranges of its job"
    if any(
        item.path[:1] != (plan.datasets[plan.jobs[job].dataset].name,) for item in manifest.items
    ):
        return "it has results of another dataset"
    return ""


def job_states(
    plan: Plan, plan_digest: str, paths: Iterable[Path], *, deep: bool
) -> Iterator[JobState]:
    """Give the state of every job, in plan order."""
    for job, path in enumerate(paths):
        yield job_state(plan, plan_digest, job, path, deep=deep)
