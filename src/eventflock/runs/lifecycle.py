"""The whole story of a run on one page: plan, pack, run, merge; and resuming it."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import AnalysisRef, Plan
from eventflock.core.observer import Observer, shown
from eventflock.core.options import Options, SubmitOptions
from eventflock.core.states import JobStatus
from eventflock.core.structs import to_json
from eventflock.errors import AnalysisError, InterruptedRunError, UsageError, plural
from eventflock.events.credentials import find_credentials, needs_credentials
from eventflock.planning.credentials import credential_notes
from eventflock.planning.forecast import Forecast, describe_forecast, forecast
from eventflock.planning.unread import look_again
from eventflock.pools.names import batch_hint
from eventflock.pools.roles import Executor, Pool, Stopped, Submission, Workers
from eventflock.pools.table import find_pool, open_workers, pool_of_run
from eventflock.results.verify import job_states
from eventflock.runs.folder import RunFolder, next_free
from eventflock.runs.merging import merge_jobs, merge_run
from eventflock.runs.outcome import Outcome
from eventflock.runs.scheduler import adopt_arrivals, do_jobs, jobs_to_submit
from eventflock.runs.site_table import with_site
from eventflock.runs.work import Work
from eventflock.usercode.loading import check_helpers

if TYPE_CHECKING:
    from eventflock.packing.environment import PackedEnvironment

__all__ = ["execute", "resume", "show_submission", "stop", "watch"]

LOOK_EVERY = 1.0
"""Seconds between two looks at a run that another process works on."""


def execute(work: Work, options: Options, observer: Observer) -> Outcome:
    """Run an analysis over all events of its files, or a task for all rows of its table.

    Parameters
    ----------
    work
        What is done, on what.
    options, observer
        How, and what receives its progress.

    Raises
    ------
    EventflockError
        Before anything ran: something about the call or the files is wrong.
    InterruptedRunError
        The user interrupted the run; the error says how to resume it.
    """
    pool = find_pool(options.pool)
    options = _complete(pool, options, reach=True)
    with _planned(work, options, pool, observer) as (workers, draft):
        run = _make_run(draft, options, observer)
        return _run(run, pool, workers, options, observer)


def _complete(pool: Pool, options: Options, *, reach: bool) -> Options:
    """Fill in what the pool and the site have to say."""
    options = pool.complete(options, reach=reach)
    packing = with_site(options.packing, Path.cwd())
    if reach and packing is not None and packing.container:
        pool.check_container(packing.container, options.submission)
    return msgspec.structs.replace(options, packing=packing)


def show_submission(work: Work, options: Options, observer: Observer) -> tuple[str, Plan]:
    """Return the submit description that a run on a batch system would have, and its plan."""
    pool = find_pool(options.pool)
    options = _complete(pool, options, reach=False)
    with _planned(work, options, pool, observer) as (_, draft):
        if draft.submission is None or draft.environment is None:
            raise UsageError(
                "--dry-run shows what is submitted to a batch system.",
                remedy=f"Add {batch_hint()}.",
            )
        name = options.out.name if options.out else draft.plan.analysis.name
        jobs = len(draft.plan.jobs)
        return draft.submission.show(draft.environment, name, jobs), draft.plan


def resume(path: Path, options: Options, observer: Observer) -> Outcome:
    """Resume a run: do the jobs that have no verified result, and merge.

    Where no pool is named, it is the one that the run had before.

    Raises
    ------
    UsageError
        There is no run, or another process works on it.
    """
    run = RunFolder(path)
    frozen = run.load_plan()
    if not run.environment.exists():  # packed jobs have their own copies
        _check_data_files(frozen.plan.analysis)
    pool = find_pool(options.pool) if options.pool else pool_of_run(path)
    pool.check_resumable(run)
    if options.submission != SubmitOptions():
        pool.amend(run, options.submission)
    with _workers(pool, options.workers, frozen.plan.analysis) as workers:
        if frozen.plan.unread:
            with run.lock():
                _look_again(run, workers, observer)
        return _run(run, pool, workers, options, observer)


def _look_again(run: RunFolder, workers: Workers, observer: Observer) -> None:
    """Add the files to the plan that could not be read before, and can be now."""
    frozen = run.load_plan()
    addition = look_again(workers, frozen, str(run.analysis), observer)
    if addition is not None:
        run.add(addition)


def _check_data_files(ref: AnalysisRef) -> None:
    """Refuse to go on with other data files: some jobs would have the old ones, some the new."""
    try:
        check_helpers(ref, data_only=True)
    except AnalysisError as error:
        raise UsageError(error.message, remedy=error.remedy) from None


def watch(path: Path, options: Options, observer: Observer) -> Outcome:
    """Follow a run to its end, whichever process works on it; submit nothing.

    Where no process works on it, this one adopts what arrives, and merges.
    """
    run = RunFolder(path)
    frozen = run.load_plan()
    while run.is_busy():
        _look_on(run, frozen.plan, observer)
    executor = pool_of_run(path).follow(run, observer)
    if executor is None:
        return merge_run(path, options, observer)
    with closing(executor):
        return _work(run, executor, options, observer)


def stop(path: Path) -> Stopped:
    """Remove the jobs of a run from the queue; what is done is kept.

    Raises
    ------
    UsageError
        There is no run, or it has no jobs in a queue.
    PoolError
        The batch system cannot be reached.
    """
    run = RunFolder(path)
    run.load_plan()
    return pool_of_run(path).stop(run)


# --- planning ----------------------------------------------------------------------------------


class _Draft(NamedTuple):
    """All that a run folder is made of."""

    source: bytes
    extra: Mapping[str, bytes]
    plan: Plan
    environment: PackedEnvironment | None
    expected: Forecast | None
    submission: Submission | None


@contextlib.contextmanager
def _planned(
    work: Work, options: Options, pool: Pool, observer: Observer
) -> Iterator[tuple[Workers, _Draft]]:
    """Plan, and pack if jobs bring their environment along; yield the workers that were asked."""
    ref, source = work.locate()
    python = ""
    if options.packing is not None:
        from eventflock.runs.environment import interpreter_for

        python = interpreter_for(ref, source, options.packing, observer)
    with _workers(pool, options.workers, ref, python) as workers:
        prepared = work.plan(workers, ref, source, options, observer)
        plan, environment, sent = prepared.plan, None, None
        if options.packing is not None:
            from eventflock.runs.environment import pack_plan

            environment = pack_plan(plan, source, options.packing, observer)
            sent = environment.sizes(inputs=pool.is_batch_system)
        expected = None
        if prepared.measured:
            expected = forecast(plan, prepared.measured, prepared.target_seconds, sent)
            _note_credentials(plan, expected.longest_seconds, observer)
        submission = None
        if sent is not None and pool.is_batch_system:
            from eventflock.planning.needs import job_needs

            needs = job_needs(plan, sent, expected, options.limits)
            submission = pool.plan_submission(needs, options.submission)
            for doubt in pool.doubts(submission) if submission is not None else ():
                observer.note(doubt)
        yield workers, _Draft(source, work.attachments(), plan, environment, expected, submission)


def _note_credentials(plan: Plan, seconds: float, observer: Observer) -> None:
    if needs_credentials(file.path for dataset in plan.datasets for file in dataset.files):
        for note in credential_notes(find_credentials(), seconds):
            observer.note(note)


@contextlib.contextmanager
def _workers(
    pool: Pool, count: int | None, ref: AnalysisRef, python: str = ""
) -> Iterator[Workers]:
    """Open the workers. While they import their packages, import what merging needs."""
    with closing(open_workers(pool, count, python, events=ref.task is None)) as workers:
        import eventflock.results.merge
        import eventflock.results.payloads  # noqa: F401

        yield workers


def _make_run(draft: _Draft, options: Options, observer: Observer) -> RunFolder:
    """Freeze all of it in a new run folder."""
    plan = draft.plan
    run = _create(draft, options.out)
    if draft.environment is not None:
        from eventflock.runs.environment import freeze_environment

        freeze_environment(run, draft.environment)
    if draft.expected is not None:
        atomic_write(run.forecast, to_json(draft.expected))
        observer.note(describe_forecast(draft.expected))
    if draft.submission is not None:
        draft.submission.freeze(run)
    entries, files = plural(plan.entries, plan.noun), plan.files - len(plan.unread)
    where = f" in {plural(files, 'file')}" if plan.table is None else ""
    observer.note(f"{plural(len(plan.jobs), 'job')}, {entries}{where}: {run.path}")
    return run


def _create(draft: _Draft, out: Path | None) -> RunFolder:
    parts = draft.plan, draft.source, draft.extra
    if out is not None:
        return RunFolder.create(out, *parts)
    while True:
        path = next_free(draft.plan.analysis, Path("runs"))
        try:
            return RunFolder.create(path, *parts)
        except UsageError:
            if not (path / "plan.json").exists():  # else another process took the name
                raise


# --- running -----------------------------------------------------------------------------------


def _run(
    run: RunFolder, pool: Pool, workers: Workers, options: Options, observer: Observer
) -> Outcome:
    """Have the jobs done that are not, by the executor of the pool."""
    environment = None
    if run.environment.exists():
        from eventflock.runs.environment import recall_environment

        environment = recall_environment(run, observer)
    with closing(pool.open_executor(run, workers, environment, observer)) as executor:
        if options.detach:
            return _submit(run, executor, options)
        return _work(run, executor, options, observer)


def _work(run: RunFolder, executor: Executor, options: Options, observer: Observer) -> Outcome:
    """Do all jobs without a verified result, and merge."""
    frozen = run.load_plan()
    with run.lock():
        try:
            adopt_arrivals(run, frozen)
            do_jobs(run, frozen, executor, options.limits, observer)
            return merge_jobs(run, frozen, options, observer)
        except KeyboardInterrupt:
            raise _interrupted(run, frozen, executor) from None


def _submit(run: RunFolder, executor: Executor, options: Options) -> Outcome:
    """Submit all jobs without a verified result, and do not wait for them."""
    frozen = run.load_plan()
    with run.lock():
        try:
            adopt_arrivals(run, frozen)
            count = executor.submit(jobs_to_submit(run, frozen, options.limits))
        except KeyboardInterrupt:
            raise _interrupted(run, frozen, executor) from None
    return Outcome(
        run=run, plan=frozen.plan, manifest=None, absent=[], detached=True, submitted=count
    )


def _look_on(run: RunFolder, plan: Plan, observer: Observer) -> None:
    """Show the progress of a run that another process works on, as long as it does."""
    entries = [job.entries for job in plan.jobs]
    done = run.results_there(plan)
    with shown(observer, f"{plan.noun}s", plan.entries, sum(entries[job] for job in done)):
        while run.is_busy():
            done = run.results_there(plan)
            jobs = f"{len(done):,} of {plural(len(entries), 'job')}"
            observer.update(sum(entries[job] for job in done), jobs)
            time.sleep(LOOK_EVERY)


def _interrupted(run: RunFolder, frozen: FrozenPlan, executor: Executor) -> InterruptedRunError:
    states = job_states(frozen, run.result_files(frozen.plan))
    open_jobs = {state.job for state in states if state.status != JobStatus.DONE}
    done, jobs = frozen.job_count - len(open_jobs), plural(frozen.job_count, "job")
    name = shlex.quote(str(run.path))
    if executor.has_jobs_elsewhere:
        return InterruptedRunError(
            f"Interrupted: {done:,} of {jobs} are done and kept; the others go on in the pool.",
            remedy=f"Follow them: eventflock watch {name}\nEnd them:    eventflock stop {name}",
        )
    return InterruptedRunError(
        f"Interrupted: {done:,} of {jobs} are done and kept.",
        remedy=f"Go on: eventflock resume {name}",
    )
