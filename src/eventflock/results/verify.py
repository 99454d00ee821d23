"""The state of each job of a plan, found in the result files alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from eventflock.core.atomic import MERGING
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.halving import can_halve, unit_name
from eventflock.core.manifest import Coverage, Failure, Item, Manifest
from eventflock.core.model import Job
from eventflock.core.states import JobStatus, ResultStatus
from eventflock.errors import ResultError
from eventflock.results.cover import coalesce, compare, count
from eventflock.results.reader import ResultFile
from eventflock.results.sandbox import SkimSandbox

if TYPE_CHECKING:
    from eventflock.results.payloads import Templates

__all__ = [
    "JobFiles",
    "JobState",
    "job_state",
    "job_states",
    "job_values",
    "states_of",
]

MANIFEST_MAX = 2**22
RANGE_MAX = 2**14
"""What the manifest of a job may have in bytes, and in addition for each of its ranges."""


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """What the result file of a job, or of a piece of it, says.

    Attributes
    ----------
    job, piece
        Number of the job, and which part of it this is (see `core.halving`); empty for all of it.
    path
        The file, if there is one.
    status
        See `JobStatus`.
    manifest
        Of a job that is done, partial or failed.
    reason
        Why a file is unusable.
    """

    job: int
    status: JobStatus
    path: Path | None = None
    piece: str = ""
    manifest: Manifest | None = None
    reason: str = ""

    @property
    def has_result(self) -> bool:
        """Whether there is something to merge."""
        return self.status in {JobStatus.DONE, JobStatus.PARTIAL}

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why entries of it have no result, as far as its file says."""
        if self.manifest is None or self.status == JobStatus.DONE:
            return ()
        error = self.manifest.error
        return self.manifest.failures if error is None else (error,)


class JobFiles(NamedTuple):
    """Where the result file of a job is, if there is one, and by name those of its pieces."""

    path: Path | None = None
    pieces: Mapping[str, Path] = {}

    def of_piece(self, piece: str) -> Path | None:
        """Return the file of a piece, or of the whole job where none is named."""
        return self.pieces.get(piece) if piece else self.path


def job_state(frozen: FrozenPlan, job: int, path: Path | None, piece: str = "") -> JobState:
    """Return the state of a job or a piece, from the manifest of its result file alone.

    Parameters
    ----------
    frozen
        The plan.
    job, piece
        Number of the job, and which part of it.
    path
        Where its result file is, if there is one.
    """
    if path is None or not path.exists():
        return JobState(job=job, piece=piece, status=JobStatus.MISSING)
    try:
        with _opened(frozen, job, path) as result:
            return _state_of(frozen, job, piece, result)
    except ResultError as error:
        return _unusable(job, piece, path, error.message)


def job_values(
    frozen: FrozenPlan,
    job: int,
    path: Path | None,
    scratch: Path,
    sandbox: SkimSandbox,
    piece: str = "",
    templates: Templates | None = None,
) -> tuple[JobState, list[tuple[Item, Any]]]:
    """Return the state of a job or a piece, and its results, which are all read and checked.

    Parameters
    ----------
    frozen, job, path, piece
        See `job_state`.
    scratch
        Folder for unpacking skims.
    sandbox
        Reads skims first.
    templates
        See `ResultFile.values`.

    Returns
    -------
    JobState
        It is done only if the file is this job's, covers its ranges, and all was read.
    list of (Item, value)
        Empty unless it has a result.
    """
    if path is None or not path.exists():
        return JobState(job=job, piece=piece, status=JobStatus.MISSING), []
    try:
        with _opened(frozen, job, path) as result:
            state = _state_of(frozen, job, piece, result)
            values = result.values(sandbox, scratch, templates) if state.has_result else []
            return state, values
    except ResultError as error:
        return _unusable(job, piece, path, error.message), []


def _opened(frozen: FrozenPlan, job: int, path: Path) -> ResultFile:
    planned = frozen.plan.jobs[job]
    parts = len(planned.ranges) if frozen.plan.table is None else planned.entries
    return ResultFile(path, MANIFEST_MAX + RANGE_MAX * parts)


def _state_of(frozen: FrozenPlan, job: int, piece: str, result: ResultFile) -> JobState:
    reason = _why_foreign(frozen, job, piece, result.manifest)
    if reason:
        return _unusable(job, piece, result.path, f"{result.path}: {reason}")
    status = JobStatus(result.manifest.status)
    return JobState(job=job, piece=piece, path=result.path, status=status, manifest=result.manifest)


def _unusable(job: int, piece: str, path: Path, reason: str) -> JobState:
    return JobState(job=job, piece=piece, path=path, status=JobStatus.UNUSABLE, reason=reason)


def _why_foreign(frozen: FrozenPlan, job: int, piece: str, manifest: Manifest) -> str:
    """Return why a manifest is not that of this part of this plan; empty if it is."""
    if manifest.plan != frozen.digest:
        return "it belongs to another plan"
    if (manifest.job, manifest.piece) != (job, piece):
        name = unit_name(manifest.job, manifest.piece)
        return f"it is the result of job {name}, not {unit_name(job, piece)}"
    if manifest.status == ResultStatus.FAILED:
        return ""
    wanted = frozen.coverage(job, piece)
    if manifest.status == ResultStatus.PARTIAL:
        if not _makes_up(manifest, wanted):
            return "what it covers and what it lacks are not the ranges of its job"
    elif manifest.status != ResultStatus.DONE:
        return f"its status is {manifest.status.value!r}"
    elif tuple(coalesce(manifest.coverage)) != tuple(coalesce(wanted)) or manifest.missing:
        return "it does not cover the ranges of its job"
    if frozen.plan.table is not None:
        done = [row.number for row in manifest.rows if row.ok]
        covered = [row for one in manifest.coverage for row in range(one.start, one.stop)]
        if sorted(done) != sorted(covered):
            return "its rows are not those that it covers"
    numbers = msgspec.structs.astuple(manifest.counters)
    if manifest.counters.events != count(manifest.coverage) or not all(
        math.isfinite(number) and 0 <= number < 2**62 for number in numbers
    ):
        return "its counters make no sense"
    if any(item.path[:1] != (frozen.dataset_name(job),) for item in manifest.items):
        return "it has results of another dataset"
    return ""


def _makes_up(manifest: Manifest, wanted: tuple[Coverage, ...]) -> bool:
    """Check whether what a partial result covers and lacks is just what it should have."""
    if not manifest.coverage or not manifest.missing:
        return False
    if len(manifest.failures) != len(manifest.missing):
        return False
    both = [*manifest.coverage, *manifest.missing]
    return all(one.stop > one.start for one in both) and compare(wanted, both).exact


def states_of(
    frozen: FrozenPlan,
    job: int,
    files: JobFiles,
    scratch: Path | None = None,
    sandbox: SkimSandbox | None = None,
) -> list[JobState]:
    """Return the state of a job, or of the pieces that make it up, in their order.

    A result of a whole outranks those of its halves.

    Parameters
    ----------
    frozen, job
        The plan, and the number of the job.
    files
        Its result files.
    scratch, sandbox
        Where to unpack payloads, and what reads skims first, to check all payloads as merging
        does; None to look at manifests only.
    """

    def read(piece: str, path: Path | None) -> JobState:
        if scratch is None or sandbox is None or path is None:
            return job_state(frozen, job, path, piece)
        with tempfile.TemporaryDirectory(prefix=MERGING, dir=scratch) as folder:
            return job_values(frozen, job, path, Path(folder), sandbox, piece)[0]

    def below(piece: str, path: Path | None) -> list[JobState]:
        whole = read(piece, path)
        if whole.has_result or not _is_halved(frozen.plan.jobs[job], piece, files.pieces):
            return [whole]
        halves = (f"{piece}{digit}" for digit in "01")
        return [state for half in halves for state in below(half, files.pieces.get(half))]

    return below("", files.path)


def _is_halved(job: Job, piece: str, pieces: Mapping[str, Path]) -> bool:
    """Check whether a file belongs to a part of a piece; files of no part of it are ignored."""
    longer = any(other != piece and other.startswith(piece) for other in pieces)
    return longer and can_halve(job, piece)


def job_states(
    frozen: FrozenPlan, files: Iterable[JobFiles], scratch: Path | None = None
) -> Iterator[JobState]:
    """Yield the states of all jobs, or of their pieces, in the order of the plan.

    Parameters
    ----------
    frozen, files, scratch
        See `states_of`; the files of each job, in the order of the plan.
    """
    with SkimSandbox() as sandbox:
        for job, found in enumerate(files):
            yield from states_of(frozen, job, found, scratch, sandbox)
