"""What has been done of a plan, found out from the result files alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from eventflock.errors import ResultError
from eventflock.files import MERGING
from eventflock.model import Coverage, Item, Manifest, Plan
from eventflock.results.reader import ResultFile

__all__ = ["JobState", "job_states", "planned_coverage", "read_job"]

MANIFEST_MAX = 2**22
RANGE_MAX = 2**14
"""What the manifest of a job may have in bytes, and in addition for each of its ranges."""


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


def coverage_of(plan: Plan, job: int) -> tuple[Coverage, ...]:
    """Give what the result of a job must contain, range by range."""
    one = plan.jobs[job]
    dataset = plan.datasets[one.dataset]
    return tuple(
        Coverage(
            dataset=dataset.name,
            uuid=dataset.files[part.file].uuid,
            tree=dataset.files[part.file].tree,
            path=dataset.files[part.file].path,
            start=part.start,
            stop=part.stop,
        )
        for part in one.ranges
    )


def planned_coverage(plan: Plan) -> Iterator[Coverage]:
    """Give all planned ranges, in plan order."""
    for job in range(len(plan.jobs)):
        yield from coverage_of(plan, job)


def read_job(
    plan: Plan, plan_digest: str, job: int, path: Path, scratch: Path | None
) -> tuple[JobState, list[tuple[Item, Any]]]:
    """Find out from its file what became of one job, and read its results.

    Parameters
    ----------
    plan, plan_digest
        The plan, and its SHA-256.
    job
        Number of the job.
    path
        Where its result file is, if there is one.
    scratch
        Folder for unpacking skims; None to look at the manifest only.

    Returns
    -------
    JobState
        It is `done` only if the file is this job's, covers its ranges, and all was read.
    list of (Item, value)
        Empty unless it is done and `scratch` is given.
    """
    if not path.exists():
        return JobState(job=job, status="missing"), []
    try:
        with ResultFile(path, MANIFEST_MAX + RANGE_MAX * len(plan.jobs[job].ranges)) as result:
            manifest = result.manifest
            reason = _why_foreign(plan, plan_digest, job, manifest)
            if reason:
                return JobState(job=job, status="unusable", reason=f"{path}: {reason}"), []
            values = result.values(scratch) if scratch and manifest.status == "done" else []
    except ResultError as error:
        return JobState(job=job, status="unusable", reason=error.message), []
    return JobState(job=job, status=manifest.status, manifest=manifest), values


def _why_foreign(plan: Plan, plan_digest: str, job: int, manifest: Manifest) -> str:
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
    numbers = msgspec.structs.astuple(manifest.counters)
    if manifest.counters.events != manifest.planned or not all(
        math.isfinite(one) and 0 <= one < 2**62 for one in numbers
    ):
        return "its counters make no sense"
    if any(
        item.path[:1] != (plan.datasets[plan.jobs[job].dataset].name,) for item in manifest.items
    ):
        return "it has results of another dataset"
    return ""


def job_states(
    plan: Plan, plan_digest: str, paths: Iterable[Path], scratch: Path | None = None
) -> Iterator[JobState]:
    """Give the state of every job, in plan order.

    Parameters
    ----------
    scratch
        Folder for reading all payloads as merging would; None to look at manifests only.
    """
    for job, path in enumerate(paths):
        if scratch is None or not path.exists():
            yield read_job(plan, plan_digest, job, path, None)[0]
            continue
        with tempfile.TemporaryDirectory(prefix=MERGING, dir=scratch) as folder:
            yield read_job(plan, plan_digest, job, path, Path(folder))[0]
