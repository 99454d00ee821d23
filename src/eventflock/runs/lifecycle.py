"""The whole story of a run on one page: plan, pack, run, merge, plot; and going on with one."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from eventflock.usercode.decorator import Analysis
from eventflock.errors import InterruptedRunError, ResultError, UsageError, plural
from eventflock.core.atomic import atomic_write
from eventflock.usercode.loading import freeze, locate
from eventflock.planning.forecast import Forecast, describe_forecast, forecast
from eventflock.core.manifest import Manifest
from eventflock.core.model import Plan
from eventflock.core.options import (Acceptance, SubmitOptions, PackOptions)
from eventflock.core.structs import to_json
from eventflock.core.observer import Observer, shown
from eventflock.core.options import Options
from eventflock.runs.outcome import Outcome
from eventflock.pools import HTCONDOR, Pool, open_pool
from eventflock.planning.prepare import Prepared, prepare
from eventflock.results.reader import read_manifest
from eventflock.results.verify import job_states
from eventflock.runs.folder import RunFolder, next_free
from eventflock.runs.scheduler import Work, do_jobs, take_in, units_left

if TYPE_CHECKING:
    from eventflock.runs.dispatch import Dispatch
    from eventflock.runs.environment import Shipment

__all__ = ["execute", "merge_run", "plot_run", "resume", "show_submission", "watch"]

TARGET_SECONDS = 1200.0
"""Of a job on a batch system, where the user does not say how to cut."""
LOOK_EVERY = 1.0
"""Seconds between two looks at a run that another process works on."""


def execute(
    analysis: str | Path | Analysis, files: Sequence[str], options: Options, observer: Observer
) -> Outcome:
    """Run an analysis over all events of the files: from the names to the merged result.

    Raises
    ------
    EventflockError
        Before anything ran: something about the call or the files is wrong.
    InterruptedRunError
        By the user, in the middle; it says how to go on.
    """
    with _planned(analysis, files, options, observer) as (pool, draft):
        run = _make_run(draft, options, observer)
        with _for_jobs(run, pool, observer, on_nodes=draft.dispatch is not None) as workers:
            if options.detach:
                return _hand_over(run, workers, options)
            return _work(run, workers, observer, options)


def show_submission(
    analysis: str | Path | Analysis, files: Sequence[str], options: Options, observer: Observer
) -> tuple[str, Plan]:
    """Give the submit description that a run on HTCondor would have, and its plan."""
    with _planned(analysis, files, options, observer, reach=False) as (_, draft):
        if draft.dispatch is None or draft.shipment is None:
            raise UsageError(
                "--dry-run shows what is submitted to HTCondor.", remedy="Add --pool htcondor."
            )
        name = options.out.name if options.out else draft.plan.analysis.name
        return draft.dispatch.show(draft.shipment, name, len(draft.plan.jobs)), draft.plan


def resume(path: Path, options: Options, observer: Observer) -> Outcome:
    """Go on with a run: do the jobs that have no verified result, and merge.

    Where no pool is named, it is the one that the run has had.

    Raises
    ------
    UsageError
        There is no run, or another process works on it.
    """
    run = RunFolder(path)
    run.load_plan()
    on_nodes = options.pool == HTCONDOR or (not options.pool and run.htcondor.exists())
    if on_nodes and not run.htcondor.exists():
        raise UsageError(
            f"{path} was not made for an HTCondor pool.",
            remedy="Go on without --pool, or start a new run with --pool htcondor.",
        )
    if options.submission != SubmitOptions():
        _amend(run, options.submission, on_nodes=on_nodes)
    with (
        _pool(options.pool or "local", options.workers) as pool,
        _for_jobs(run, pool, observer, on_nodes=on_nodes) as workers,
    ):
        if options.detach:
            return _hand_over(run, workers, options)
        return _work(run, workers, observer, options)


def _amend(run: RunFolder, site: SubmitOptions, *, on_nodes: bool) -> None:
    if not on_nodes:
        raise UsageError(
            "Submit commands and profiles are for jobs on an HTCondor pool.",
            remedy="Leave out --submit and --profile.",
        )
    from eventflock.runs.dispatch import amend_call

    amend_call(run, site)


def watch(path: Path, options: Options, observer: Observer) -> Outcome:
    """Follow a run to its end, whichever process works on it; nothing is submitted.

    Where none does, this one takes in what arrives, and merges.
    """
    run = RunFolder(path)
    plan, _ = run.load_plan()
    while run.is_busy():
        _look_on(run, plan, observer)
    if not run.htcondor.exists():
        return merge_run(path, options)
    from eventflock.runs.dispatch import open_htcondor

    with contextlib.closing(open_htcondor(run, observer, submit=False)) as pool:
        return _work(run, pool, observer, options)


@contextlib.contextmanager
def _pool(name: str, workers: int | None, python: str = "") -> Iterator[Pool]:
    """Open the pool. While its workers import their packages, import what merging needs."""
    pool = open_pool(name, workers, python)
    try:
        import eventflock.results.merge
        import eventflock.results.payloads  # noqa: F401

        yield pool
    finally:
        pool.close()


@contextlib.contextmanager
def _for_jobs(
    run: RunFolder, pool: Pool, observer: Observer, *, on_nodes: bool = False
) -> Iterator[Pool]:
    """Give the pool for the jobs: the same, or one whose jobs bring their environment along."""
    if not run.environment.exists():
        yield pool
        return
    if on_nodes:
        from eventflock.runs.dispatch import open_htcondor

        with contextlib.closing(open_htcondor(run, observer)) as nodes:
            yield nodes
        return
    from eventflock.pools.packed import PackedPool
    from eventflock.runs.environment import recall_for

    shipment = recall_for(run, observer)
    packed = PackedPool(pool.workers, shipment.archives, shipment.digest, shipment.glibc)
    try:
        yield packed
    finally:
        packed.close()


# --- planning ----------------------------------------------------------------------------------


class _Draft(NamedTuple):
    """All that a run folder is made of."""

    source: bytes
    plan: Plan
    shipment: Shipment | None
    expected: Forecast | None
    dispatch: Dispatch | None


@contextlib.contextmanager
def _planned(
    analysis: str | Path | Analysis,
    files: Sequence[str],
    options: Options,
    observer: Observer,
    *,
    reach: bool = True,
) -> Iterator[tuple[Pool, _Draft]]:
    """Plan, and pack if jobs bring their environment along; give the pool that was asked."""
    on_nodes = options.pool == HTCONDOR
    if on_nodes:
        options = _for_nodes(options, reach=reach)
    ref, source = freeze(analysis) if isinstance(analysis, Analysis) else locate(str(analysis))
    python = ""
    if options.packing is not None:
        from eventflock.runs.environment import interpreter_for

        python = interpreter_for(ref, source, options.packing, observer)
    with _pool(options.pool, options.workers, python) as pool:
        prepared = prepare(pool, ref, source, files, options, observer)
        shipment = None
        if options.packing is not None:
            from eventflock.runs.environment import pack_for

            shipment = pack_for(prepared.plan, source, options.packing, observer)
        expected = _forecast(prepared, shipment, on_nodes)
        dispatch = None
        if on_nodes and shipment is not None:
            from eventflock.runs.dispatch import dispatch_for

            dispatch = dispatch_for(prepared.plan, shipment, expected, options)
        yield pool, _Draft(source, prepared.plan, shipment, expected, dispatch)


def _for_nodes(options: Options, *, reach: bool) -> Options:
    """Fill in what a run on a batch system has by default, and check the rest before it starts."""
    from eventflock.runs.dispatch import check_call

    check_call(options, reach=reach)
    cut = options.jobs or options.events_per_job or options.target_seconds
    return msgspec.structs.replace(
        options,
        packing=options.packing or PackOptions(),
        target_seconds=options.target_seconds if cut else TARGET_SECONDS,
    )


def _forecast(prepared: Prepared, shipment: Shipment | None, on_nodes: bool) -> Forecast | None:
    if not prepared.measured:
        return None
    ship = None
    if shipment is not None:
        ship = shipment.weigh(inputs=on_nodes)
    return forecast(prepared.plan, prepared.measured, prepared.target_seconds, ship)


def _make_run(draft: _Draft, options: Options, observer: Observer) -> RunFolder:
    """Freeze all of it in a new run folder."""
    plan = draft.plan
    run = _create(plan, draft.source, options.out)
    if draft.shipment is not None:
        draft.shipment.freeze(run)
    if draft.expected is not None:
        atomic_write(run.forecast, to_json(draft.expected))
        observer.note(describe_forecast(draft.expected))
    if draft.dispatch is not None:
        draft.dispatch.freeze(run)
    files_used = sum(len(one.files) for one in plan.datasets)
    observer.note(
        f"{plural(len(plan.jobs), 'job')}, {plural(plan.entries, 'event')} in "
        f"{plural(files_used, 'file')}: {run.path}"
    )
    return run


def _create(plan: Plan, source: bytes, out: Path | None) -> RunFolder:
    if out is not None:
        return RunFolder.create(out, plan, source)
    while True:
        path = next_free(plan.analysis, Path("runs"))
        try:
            return RunFolder.create(path, plan, source)
        except UsageError:
            if not (path / "plan.json").exists():  # else another process took the name
                raise


# --- running -----------------------------------------------------------------------------------


def _work(run: RunFolder, pool: Pool, observer: Observer, options: Options) -> Outcome:
    """Do all jobs without a verified result, and merge."""
    plan, plan_digest = run.load_plan()
    with run.lock():
        try:
            take_in(run, plan, plan_digest)
            do_jobs(run, plan, plan_digest, pool, observer, options.limits)
            return _merge(run, plan, plan_digest, options)
        except KeyboardInterrupt:
            raise _interrupted(run, plan, plan_digest, pool) from None


def _hand_over(run: RunFolder, pool: Pool, options: Options) -> Outcome:
    """Let the pool have the jobs, and do not wait for them."""
    plan, plan_digest = run.load_plan()
    with run.lock():
        try:
            take_in(run, plan, plan_digest)
            states = job_states(plan, plan_digest, run.result_files(plan))
            units = units_left(plan, states, options.limits)
            count = pool.submit(Work(run, plan, plan_digest, units, Observer()))
        except KeyboardInterrupt:
            raise _interrupted(run, plan, plan_digest, pool) from None
    return Outcome(run=run, plan=plan, manifest=None, absent=[], detached=True, submitted=count)


def _look_on(run: RunFolder, plan: Plan, observer: Observer) -> None:
    """Show how a run goes on that another process works on, until it does not any more."""
    entries = [job.entries for job in plan.jobs]
    done = run.results_there(plan)
    with shown(observer, "events", plan.entries, sum(entries[job] for job in done)):
        while run.is_busy():
            done = run.results_there(plan)
            jobs = f"{len(done):,} of {plural(len(entries), 'job')}"
            observer.update(sum(entries[job] for job in done), jobs)
            time.sleep(LOOK_EVERY)


def _interrupted(run: RunFolder, plan: Plan, plan_digest: str, pool: Pool) -> InterruptedRunError:
    states = job_states(plan, plan_digest, run.result_files(plan))
    done = len(plan.jobs) - len({one.job for one in states if one.status != "done"})
    words = f"{done:,} of {plural(len(plan.jobs), 'job')} are done and kept"
    name = shlex.quote(str(run.path))
    if pool.outlives:
        return InterruptedRunError(
            f"Interrupted: {words}; the others go on in the pool.",
            remedy=f"Follow them: eventflock watch {name}\nEnd them:    eventflock stop {name}",
        )
    return InterruptedRunError(f"Interrupted: {words}.", remedy=f"Go on: eventflock resume {name}")


# --- merging and plotting ----------------------------------------------------------------------


def merge_run(path: Path, options: Options) -> Outcome:
    """Merge again what result files there are.

    Raises
    ------
    UsageError
        There is no run, or another process works on it.
    """
    run = RunFolder(path)
    plan, plan_digest = run.load_plan()
    with run.lock():
        take_in(run, plan, plan_digest)
        kept = _complete_result(run, plan_digest)
        if kept is not None:
            states = job_states(plan, plan_digest, run.result_files(plan), run.path)
            if any(one.status != "done" for one in states):
                return Outcome(run=run, plan=plan, manifest=kept, absent=[])
        return _merge(run, plan, plan_digest, options)


def _complete_result(run: RunFolder, plan_digest: str) -> Manifest | None:
    """Give the manifest of a merged result that is complete: what it proves stays true."""
    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return None
    ours = manifest.plan == plan_digest and manifest.status == "complete"
    return manifest if ours else None


def _merge(run: RunFolder, plan: Plan, plan_digest: str, options: Options) -> Outcome:
    from eventflock.results.merge import is_refused, merge

    acceptance = options.acceptance
    if acceptance == Acceptance():  # what was accepted once stays accepted
        acceptance = _accepted_before(run, plan_digest)
    manifest, absent = merge(plan, plan_digest, run.result_files(plan), run.merged, acceptance)
    refused = ""
    if manifest is not None and is_refused(manifest, acceptance):
        refused = (
            f"There are enough events for --accept {acceptance.fraction:g}, but the analysis "
            "raised for some that are missing: add --no-strict to accept that."
        )
    return Outcome(run=run, plan=plan, manifest=manifest, absent=absent, refused=refused)


def _accepted_before(run: RunFolder, plan_digest: str) -> Acceptance:
    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return Acceptance()
    if manifest.plan != plan_digest or not manifest.accepted:
        return Acceptance()
    return Acceptance(fraction=manifest.accepted, strict=False)


def plot_run(
    path: Path, *, log: bool = False, formats: Sequence[str] = ("png",), out: Path | None = None
) -> list[Path]:
    """Draw every histogram of a run, or of a single result file.

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
