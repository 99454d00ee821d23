"""The whole story of a run on one page: plan, run, merge, plot; and going on with one."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from eventflock.analysis import Analysis
from eventflock.errors import InterruptedRunError, ResultError, UsageError, plural
from eventflock.finding import freeze, locate
from eventflock.model import AnalysisRef, Failure, Manifest, Plan
from eventflock.observe import JobProgress, Observer, shown
from eventflock.options import Options
from eventflock.outcome import Outcome
from eventflock.plan import assignment_of
from eventflock.pools import Pool, open_pool
from eventflock.prepare import prepare
from eventflock.results.reader import read_manifest
from eventflock.results.verify import job_states
from eventflock.rundir import RunDir, next_free
from eventflock.worker.messages import Failed, Run

__all__ = ["execute", "merge_run", "plot_run", "resume"]

GIVE_UP_AFTER = 3
"""If the first jobs all raise the same, the others will too."""


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
    ref, source = freeze(analysis) if isinstance(analysis, Analysis) else locate(str(analysis))
    python = ""
    if options.packing is not None:
        from eventflock.shipping import interpreter_for

        python = interpreter_for(ref, source, options.packing, observer)
    with _pool(options.pool, options.workers, python) as pool:
        run = _make_run(ref, source, files, options, pool, observer)
        with _for_jobs(run, pool, observer) as workers:
            return _work(run, workers, observer)


def resume(path: Path, options: Options, observer: Observer) -> Outcome:
    """Go on with a run: do the jobs that have no verified result, and merge.

    Raises
    ------
    UsageError
        There is no run, or another process works on it.
    """
    run = RunDir(path)
    run.load_plan()
    with (
        _pool(options.pool, options.workers) as pool,
        _for_jobs(run, pool, observer) as workers,
    ):
        return _work(run, workers, observer)


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
def _for_jobs(run: RunDir, pool: Pool, observer: Observer) -> Iterator[Pool]:
    """Give the pool for the jobs: the same, or one whose jobs bring their environment along."""
    if not run.environment.exists():
        yield pool
        return
    from eventflock.pools.packed import PackedPool
    from eventflock.shipping import recall_for

    shipment = recall_for(run, observer)
    packed = PackedPool(pool.workers, shipment.archives, shipment.digest, shipment.glibc)
    try:
        yield packed
    finally:
        packed.close()


# --- planning ----------------------------------------------------------------------------------


def _make_run(
    ref: AnalysisRef,
    source: bytes,
    files: Sequence[str],
    options: Options,
    pool: Pool,
    observer: Observer,
) -> RunDir:
    """Plan, pack, and freeze all of it in a new run folder."""
    plan = prepare(pool, ref, source, files, options, observer)
    shipment = None
    if options.packing is not None:
        from eventflock.shipping import pack_for

        shipment = pack_for(plan, source, options.packing, observer)
    run = _create(plan, source, options.out)
    if shipment is not None:
        shipment.freeze(run)
    files_used = sum(len(one.files) for one in plan.datasets)
    observer.note(
        f"{plural(len(plan.jobs), 'job')}, {plural(plan.entries, 'event')} in "
        f"{plural(files_used, 'file')}: {run.path}"
    )
    return run


def _create(plan: Plan, source: bytes, out: Path | None) -> RunDir:
    if out is not None:
        return RunDir.create(out, plan, source)
    while True:
        path = next_free(plan.analysis, Path("runs"))
        try:
            return RunDir.create(path, plan, source)
        except UsageError:
            if not (path / "plan.json").exists():  # else another process took the name
                raise


# --- running -----------------------------------------------------------------------------------


def _work(run: RunDir, pool: Pool, observer: Observer) -> Outcome:
    """Do all jobs without a verified result, and merge."""
    plan, plan_digest = run.load_plan()
    with run.lock():
        try:
            failures = _do_jobs(run, plan, plan_digest, pool, observer)
            return _merge(run, plan, plan_digest, failures)
        except KeyboardInterrupt:
            raise _interrupted(run, plan, plan_digest) from None


def _do_jobs(
    run: RunDir, plan: Plan, plan_digest: str, pool: Pool, observer: Observer
) -> dict[int, Failure]:
    """Run the jobs that are not done; give the failures by job."""
    states = job_states(plan, plan_digest, run.result_files(plan), run.path)
    todo = [state.job for state in states if state.status != "done"]
    earlier = plan.entries - sum(plan.jobs[job].entries for job in todo)
    progress = JobProgress(observer, earlier, len(todo))
    failures: dict[int, Failure] = {}
    requests = (_request(run, plan, plan_digest, job) for job in todo)
    with (
        shown(observer, "events", plan.entries, earlier),
        contextlib.closing(pool.ask(requests, progress.on_progress)) as answers,
    ):
        for index, reply in answers:
            if isinstance(reply, Failed):
                failures[todo[index]] = _placed(reply.failure, plan, todo[index])
            progress.finished(index, plan.jobs[todo[index]].entries, isinstance(reply, Failed))
            done = len(plan.jobs) - len(todo) + progress.done
            if done == 0 and _is_hopeless(plan, failures, todo):
                break
    return failures


def _request(run: RunDir, plan: Plan, plan_digest: str, job: int) -> Run:
    return Run(
        assignment=assignment_of(plan, plan_digest, job),
        folder=str(run.analysis.resolve()),
        result=str(run.result(job).resolve()),
        log=str(run.log(job).resolve()),
    )


def _interrupted(run: RunDir, plan: Plan, plan_digest: str) -> InterruptedRunError:
    states = job_states(plan, plan_digest, run.result_files(plan))
    done = sum(one.status == "done" for one in states)
    return InterruptedRunError(
        f"Interrupted: {done:,} of {plural(len(plan.jobs), 'job')} are done and kept.",
        remedy=f"Go on: eventflock resume {shlex.quote(str(run.path))}",
    )


def _placed(failure: Failure, plan: Plan, job: int) -> Failure:
    """Say where a worker died that could not say it itself: somewhere in its job."""
    if failure.path:
        return failure
    one = plan.jobs[job]
    first = one.ranges[0]
    path = plan.datasets[one.dataset].files[first.file].path
    return msgspec.structs.replace(failure, path=path, start=first.start, stop=first.stop)


def _is_hopeless(plan: Plan, failures: dict[int, Failure], todo: Sequence[int]) -> bool:
    """Tell whether going on is a waste: jobs of all datasets raise, and all the same."""
    same = {(one.kind, one.message) for one in failures.values()}
    if len(failures) < GIVE_UP_AFTER or len(same) != 1:
        return False
    if next(iter(same))[0] not in {"analysis", "node"}:
        return False
    return {plan.jobs[job].dataset for job in failures} == {plan.jobs[job].dataset for job in todo}


# --- merging and plotting ----------------------------------------------------------------------


def merge_run(path: Path) -> Outcome:
    """Merge again what result files there are.

    Raises
    ------
    UsageError
        There is no run, or another process works on it.
    """
    run = RunDir(path)
    plan, plan_digest = run.load_plan()
    with run.lock():
        kept = _complete_result(run, plan_digest)
        if kept is not None:
            states = job_states(plan, plan_digest, run.result_files(plan), run.path)
            if any(one.status != "done" for one in states):
                return Outcome(run=run, plan=plan, manifest=kept, absent=[])
        return _merge(run, plan, plan_digest, {})


def _complete_result(run: RunDir, plan_digest: str) -> Manifest | None:
    """Give the manifest of a merged result that is complete: what it proves stays true."""
    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return None
    ours = manifest.plan == plan_digest and manifest.status == "complete"
    return manifest if ours else None


def _merge(run: RunDir, plan: Plan, plan_digest: str, failures: dict[int, Failure]) -> Outcome:
    from eventflock.results.merge import merge

    manifest, absent = merge(plan, plan_digest, run.result_files(plan), run.merged)
    return Outcome(run=run, plan=plan, manifest=manifest, absent=absent, failures=failures)


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
