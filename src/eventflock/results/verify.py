"""What has been done of a plan, found out from the result files alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventflock.core.atomic import MERGING
from eventflock.core.halving import can_halve, part_of, unit_name
from eventflock.core.manifest import Coverage, Failure, Item, Manifest
from eventflock.core.model import Job, Plan
from eventflock.errors import ResultError
from eventflock.results.cover import coalesce, compare, count
from eventflock.results.reader import ResultFile
from eventflock.results.sandbox import SkimSandbox

__all__ = [
    "JobFiles",
    "JobState",
    "coverage_of",
    "job_states",
    "planned_coverage",
    "read_job",
    "states_of",
]

MANIFEST_MAX = 2**22
RANGE_MAX = 2**14
"""What the manifest of a job may have in bytes, and in addition for each of its ranges."""


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """What the result file of a job, or of a piece of one, says.

    Attributes
    ----------
    job, piece
        Number of the job, and which part of it this is (see `pieces`); empty for all of it.
    path
        The file, if there is one.
    status
        `done`, `partial` (some of its entries are missing, and it says why), `failed` (there is
        a receipt that says why), `unusable` (there is a file that cannot be this job's result),
        or `missing`.
    manifest
        Of a job that is done, partial or failed.
    reason
        Why a file is unusable.
    """

    job: int
    status: str
    path: Path | None = None
    piece: str = ""
    manifest: Manifest | None = None
    reason: str = ""

    @property
    def has_result(self) -> bool:
        """Whether there is something to merge."""
        return self.status in {"done", "partial"}

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why entries of it have no result, as far as its file says."""
        if self.manifest is None or self.status == "done":
            return ()
        error = self.manifest.error
        return self.manifest.failures if error is None else (error,)


class JobFiles(NamedTuple):
    """Where the result file of a job is, if there is one, and by name those of its pieces."""

    path: Path | None = None
    pieces: Mapping[str, Path] = {}


def coverage_of(plan: Plan, job: int, piece: str = "") -> tuple[Coverage, ...]:
    """Give what the result of a job, or of a piece, must contain, range by range."""
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
        for part in part_of(one, piece).ranges
    )


def planned_coverage(plan: Plan) -> Iterator[Coverage]:
    """Give all planned ranges, in plan order."""
    for job in range(len(plan.jobs)):
        yield from coverage_of(plan, job)


def read_job(
    plan: Plan,
    plan_digest: str,
    job: int,
    path: Path | None,
    scratch: Path | None,
    piece: str = "",
    sandbox: SkimSandbox | None = None,
) -> tuple[JobState, list[tuple[Item, Any]]]:
    """Find out from its file what became of a job or a piece, and read its results.

    Parameters
    ----------
    plan, plan_digest
        The plan, and its SHA-256.
    job, piece
        Number of the job, and which part of it.
    path
        Where its result file is, if there is one.
    scratch, sandbox
        Folder for unpacking skims, and who reads them first; None to look at the manifest only.

    Returns
    -------
    JobState
        It is `done` only if the file is this job's, covers its ranges, and all was read.
    list of (Item, value)
        Empty unless it has a result and `scratch` is given.
    """
    if path is None or not path.exists():
        return JobState(job=job, piece=piece, status="missing"), []

    def state(status: str, manifest: Manifest | None = None, reason: str = "") -> JobState:
        return JobState(
            job=job, piece=piece, path=path, status=status, manifest=manifest, reason=reason
        )

    try:
        with ResultFile(path, MANIFEST_MAX + RANGE_MAX * len(plan.jobs[job].ranges)) as result:
            manifest = result.manifest
            reason = _why_foreign(plan, plan_digest, job, piece, manifest)
            if reason:
                return state("unusable", reason=f"{path}: {reason}"), []
            wanted = manifest.status in {"done", "partial"}
            values = result.values(sandbox, scratch) if wanted and scratch and sandbox else []
    except ResultError as error:
        return state("unusable", reason=error.message), []
    return state(manifest.status, manifest), values


def _why_foreign(plan: Plan, plan_digest: str, job: int, piece: str, manifest: Manifest) -> str:
    """Say why a manifest is not that of this part of this plan; empty if it is."""
    if manifest.plan != plan_digest:
        return "it belongs to another plan"
    if (manifest.job, manifest.piece) != (job, piece):
        name = unit_name(manifest.job, manifest.piece)
        return f"it is the result of job {name}, not {unit_name(job, piece)}"
    if manifest.status == "failed":
        return ""
    wanted = coverage_of(plan, job, piece)
    if manifest.status == "partial":
        if not _makes_up(manifest, wanted):
            return "what it covers and what it lacks are not the ranges of its job"
    elif manifest.status != "done":
        return f"its status is {manifest.status!r}"
    elif tuple(coalesce(manifest.coverage)) != tuple(coalesce(wanted)) or manifest.missing:
        return "it does not cover the ranges of its job"
    numbers = msgspec.structs.astuple(manifest.counters)
    if manifest.counters.events != count(manifest.coverage) or not all(
        math.isfinite(one) and 0 <= one < 2**62 for one in numbers
    ):
        return "its counters make no sense"
    if any(
        item.path[:1] != (plan.datasets[plan.jobs[job].dataset].name,) for item in manifest.items
    ):
        return "it has results of another dataset"
    return ""


def _makes_up(manifest: Manifest, wanted: tuple[Coverage, ...]) -> bool:
    """Tell whether what a partial result covers and lacks is just what it should have."""
    if not manifest.coverage or not manifest.missing:
        return False
    if len(manifest.failures) != len(manifest.missing):
        return False
    both = [*manifest.coverage, *manifest.missing]
    return all(one.stop > one.start for one in both) and compare(wanted, both).exact


def states_of(
    plan: Plan,
    plan_digest: str,
    job: int,
    files: JobFiles,
    scratch: Path | None = None,
    sandbox: SkimSandbox | None = None,
) -> list[JobState]:
    """Give the state of a job: of all of it, or of the pieces that make it up, in their order.

    A result of a whole outranks those of its halves.

    Parameters
    ----------
    scratch, sandbox
        Folder for reading all payloads as merging would; None to look at manifests only.
    """

    def read(piece: str, path: Path | None) -> JobState:
        if scratch is None or path is None:
            return read_job(plan, plan_digest, job, path, None, piece)[0]
        with tempfile.TemporaryDirectory(prefix=MERGING, dir=scratch) as folder:
            return read_job(plan, plan_digest, job, path, Path(folder), piece, sandbox)[0]

    def below(piece: str, path: Path | None) -> list[JobState]:
        whole = read(piece, path)
        if whole.has_result or not _is_halved(plan.jobs[job], piece, files.pieces):
            return [whole]
        halves = (f"{piece}{digit}" for digit in "01")
        return [one for half in halves for one in below(half, files.pieces.get(half))]

    return below("", files.path)


def _is_halved(job: Job, piece: str, pieces: Mapping[str, Path]) -> bool:
    """Tell whether anything is known of parts of a piece; what is no part of it is ignored."""
    longer = any(one != piece and one.startswith(piece) for one in pieces)
    return longer and can_halve(job, piece)


def job_states(
    plan: Plan, plan_digest: str, files: Iterable[JobFiles], scratch: Path | None = None
) -> Iterator[JobState]:
    """Give the states of all jobs, or of their pieces, in plan order; see `states_of`."""
    with SkimSandbox() as sandbox:
        for job, one in enumerate(files):
            yield from states_of(plan, plan_digest, job, one, scratch, sandbox)
