"""Merging what the jobs of a run have left, bringing what belongs beside it, and plotting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.manifest import Manifest
from eventflock.core.observer import Observer
from eventflock.core.options import Acceptance, Options
from eventflock.core.states import JobStatus, ResultStatus
from eventflock.errors import ResultError
from eventflock.pools.cores import usable_cores
from eventflock.results.reader import read_manifest
from eventflock.results.verify import JobFiles, JobState, job_states
from eventflock.runs.folder import RunFolder
from eventflock.runs.outcome import Outcome
from eventflock.runs.scheduler import adopt_arrivals
from eventflock.runs.then import run_then

__all__ = ["bring_beside", "merge_jobs", "merge_run", "plot_run"]


def merge_run(path: Path, options: Options, observer: Observer) -> Outcome:
    """Merge the result files of a run again. A complete result is kept.

    Raises
    ------
    UsageError
        There is no run, or another process works on it.
    """
    run = RunFolder(path)
    frozen = run.load_plan()
    with run.lock():
        adopt_arrivals(run, frozen)
        kept = _complete_result(run, frozen)
        if kept is not None:
            states = job_states(frozen, run.result_files(frozen.plan), run.path)
            if any(state.status != JobStatus.DONE for state in states):
                return Outcome(run=run, plan=frozen.plan, manifest=kept, absent=[])
        return merge_jobs(run, frozen, options, observer)


def _complete_result(run: RunFolder, frozen: FrozenPlan) -> Manifest | None:
    """Return the manifest of a complete merged result: what it proves stays true."""
    manifest = _merged_before(run, frozen)
    is_complete = manifest is not None and manifest.status == ResultStatus.COMPLETE
    return manifest if is_complete else None


def _merged_before(run: RunFolder, frozen: FrozenPlan) -> Manifest | None:
    """Return the manifest of the merged result, if there is one of this plan."""
    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return None
    return manifest if manifest.plan == frozen.digest else None


def merge_jobs(run: RunFolder, frozen: FrozenPlan, options: Options, observer: Observer) -> Outcome:
    """Merge the results of the jobs, and bring the files that belong to them."""
    from eventflock.results.merge import is_refused, merge

    acceptance = options.acceptance
    if acceptance == Acceptance():  # what was accepted once stays accepted
        earlier = _merged_before(run, frozen)
        if earlier is not None and earlier.accepted:
            acceptance = Acceptance(
                fraction=earlier.accepted, files=earlier.accepted_files or 1.0, strict=False
            )
    files = run.result_files(frozen.plan)
    manifest, absent = merge(frozen, files, run.merged, acceptance, usable_cores())
    bring_beside(run, frozen, files, manifest, absent)
    refused = ""
    if manifest is not None and is_refused(frozen, manifest, acceptance):
        refused = (
            f"There are enough events for --accept {acceptance.fraction:g}, but the analysis "
            "raised for some that are missing: add --no-strict to accept that."
        )
    outcome = Outcome(run=run, plan=frozen.plan, manifest=manifest, absent=absent, refused=refused)
    if outcome.complete and frozen.plan.analysis.task is not None:
        run_then(run, frozen.plan.analysis.task, observer)
    if (outcome.complete or (manifest and manifest.accepted)) and frozen.plan.analysis.postprocess:
        from eventflock.runs.postprocessing import postprocess

        postprocess(run, frozen.plan, observer)
    return outcome


def bring_beside(
    run: RunFolder,
    frozen: FrozenPlan,
    files: Sequence[JobFiles],
    manifest: Manifest | None,
    absent: list[JobState],
) -> None:
    """Bring the files that belong beside a merged result into its folder."""
    if manifest is not None and (manifest.kept or run.kept.exists()):
        from eventflock.results.kept import bring_kept

        bring_kept(manifest, files, run.kept)
    if frozen.plan.table is not None:
        _bring_rows(run, files, manifest, absent)


def _bring_rows(
    run: RunFolder, files: Sequence[JobFiles], manifest: Manifest | None, absent: list[JobState]
) -> None:
    """Bring what rows left, and what those printed that failed."""
    from eventflock.results.outputs import bring_rows

    failed = [state.manifest for state in absent if state.manifest and not state.has_result]
    rows = [row for one in (manifest, *failed) if one is not None for row in one.rows]
    bring_rows(rows, files, run.outputs, run.logs)


def plot_run(
    path: Path, *, log: bool = False, formats: Sequence[str] = ("png",), out: Path | None = None
) -> list[Path]:
    """Draw every histogram of a run, or of a single result file.

    Parameters
    ----------
    path
        A run folder or a result file.
    log
        Use a logarithmic scale.
    formats
        Kinds of files: `png`, `pdf`, `svg`.
    out
        Folder for the pictures; by default `plots` in the run folder.

    Returns
    -------
    list of Path
        The pictures.

    Raises
    ------
    ResultError
        There is no merged result.
    """
    from eventflock.plot import plot_results
    from eventflock.results.result import load

    result = load(path)
    folder = out or (path / "plots" if path.is_dir() else path.with_suffix(""))
    return plot_results(result, folder, log=log, formats=formats, partial=result.label)
