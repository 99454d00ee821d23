"""The whole story of a run on one page: plan, run, merge, plot; and going on with one."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

from eventflock._version import __version__
from eventflock.analysis import Analysis, store_parameters
from eventflock.dataset import NamedFile, assemble, expand, restrict
from eventflock.errors import (
    EventflockError,
    InterruptedRunError,
    ResultError,
    UsageError,
    error_from,
    plural,
)
from eventflock.finding import freeze, locate
from eventflock.model import (
    FORMAT,
    AnalysisRef,
    Dataset,
    Failure,
    FileEntry,
    Manifest,
    Plan,
)
from eventflock.observe import JobProgress, Observer
from eventflock.outcome import Outcome
from eventflock.plan import Sizing, assignment_of, cut
from eventflock.pools import Pool, open_pool
from eventflock.results.reader import read_manifest
from eventflock.results.verify import job_states
from eventflock.rundir import RunDir, next_free
from eventflock.worker.messages import (
    Describe,
    Described,
    Failed,
    Reply,
    Request,
    Run,
    Scan,
    Scanned,
    Trial,
)

__all__ = ["Options", "execute", "merge_run", "plot_run", "resume"]

T = TypeVar("T")

GIVE_UP_AFTER = 3
"""If the first jobs all raise the same, the others will too."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said about a run beside the analysis and the files.

    Attributes
    ----------
    pool, workers
        Where jobs run, and in how many processes.
    jobs, events_per_job, chunk
        See `plan.Sizing`.
    entries
        `START:STOP`, in each dataset's files laid end to end.
    parameters
        Of the analysis; as text where `text` is set.
    tree, dataset
        Names for the files that do not say themselves.
    out
        The run folder; chosen if it is None.
    """

    pool: str = "local"
    workers: int | None = None
    jobs: int | None = None
    events_per_job: int | None = None
    entries: str = ""
    chunk: int | None = None
    parameters: Mapping[str, Any] = {}
    text: bool = False
    tree: str = ""
    dataset: str = ""
    out: Path | None = None


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
    with _pool(options.pool, options.workers) as pool:
        run = _make_run(ref, source, files, options, pool, observer)
        return _work(run, pool, observer)


def resume(path: Path, options: Options, observer: Observer) -> Outcome:
    """Go on with a run: do the jobs that have no verified result, and merge.

    Raises
    ------
    UsageError
        There is no run, or another process works on it.
    """
    run = RunDir(path)
    run.load_plan()
    with _pool(options.pool, options.workers) as pool:
        return _work(run, pool, observer)


@contextlib.contextmanager
def _pool(name: str, workers: int | None) -> Iterator[Pool]:
    """Open the pool. While its workers import their packages, import what merging needs."""
    pool = open_pool(name, workers)
    try:
        import eventflock.results.merge
        import eventflock.results.payloads  # noqa: F401

        yield pool
    finally:
        pool.close()


# --- planning ----------------------------------------------------------------------------------


def _make_run(
    ref: AnalysisRef,
    source: bytes,
    files: Sequence[str],
    options: Options,
    pool: Pool,
    observer: Observer,
) -> RunDir:
    """Find, scan, plan, try, and freeze all of it in a new run folder."""
    with _frozen(ref, source) as folder:
        described = _describe(pool, ref, folder, options)
        ref = msgspec.structs.replace(ref, name=described.name, helpers=described.helpers)
        named = expand(files, dataset=options.dataset, tree=options.tree or described.tree)
        datasets = assemble(named, _scan(pool, named, described.columns, observer))
        _note_empty(datasets, observer)
        plan = make_plan(ref, described.parameters, datasets, options)
        _try(pool, plan, folder)
    run = _create(plan, source, options.out)
    files_used = sum(len(one.files) for one in datasets)
    observer.note(
        f"{plural(len(plan.jobs), 'job')}, {plural(plan.entries, 'event')} in "
        f"{plural(files_used, 'file')}: {run.path}"
    )
    return run


@contextlib.contextmanager
def _frozen(ref: AnalysisRef, source: bytes) -> Iterator[str]:
    """Give the folder with the frozen code before there is a run folder, if one is needed."""
    if not ref.file.endswith(".pickle"):
        yield ""
        return
    with TemporaryDirectory(prefix="eventflock-") as folder:
        (Path(folder) / ref.file).write_bytes(source)
        yield folder


def _describe(pool: Pool, ref: AnalysisRef, folder: str, options: Options) -> Described:
    request = Describe(
        analysis=ref,
        folder=folder,
        parameters=store_parameters(options.parameters),
        text=options.text,
    )
    (described,) = _answers(pool, [request], Described)
    return described


def _answers(pool: Pool, requests: Sequence[Request], kind: type[T]) -> list[T]:
    """Ask, and raise the first thing that is wrong."""
    found: dict[int, T] = {}
    for index, reply in pool.ask(requests):
        found[index] = _expect(reply, kind)
    return [found[index] for index in range(len(requests))]


def _expect(reply: Reply, kind: type[T]) -> T:
    if isinstance(reply, Failed):
        raise error_from(reply.failure)
    if not isinstance(reply, kind):
        raise EventflockError(f"A worker answered {type(reply).__name__} to another question.")
    return reply


def _scan(
    pool: Pool, named: Sequence[NamedFile], columns: tuple[str, ...], observer: Observer
) -> list[FileEntry]:
    """Look at every file, and report all that are wrong at once."""
    requests = [Scan(path=one.path, tree=one.tree, columns=columns) for one in named]
    found: dict[int, FileEntry] = {}
    wrong: dict[int, Failure] = {}
    with _shown(observer, "files", len(named)):
        for index, reply in pool.ask(requests):
            if isinstance(reply, Failed):
                wrong[index] = reply.failure
            else:
                found[index] = _expect(reply, Scanned).entry
            observer.update(len(found) + len(wrong))
    if wrong:
        raise _wrong_files([wrong[index] for index in sorted(wrong)], len(named))
    return [found[index] for index in range(len(named))]


@contextlib.contextmanager
def _shown(observer: Observer, what: str, total: int, done: int = 0) -> Iterator[None]:
    """Tell the observer that a task is over, however it ends: it may have hidden a cursor."""
    observer.begin(what, total, done)
    try:
        yield
    finally:
        observer.end()


def _wrong_files(failures: Sequence[Failure], total: int) -> EventflockError:
    first = error_from(failures[0])
    if len(failures) == 1:
        return first
    lines = [f"  {one.message}" for one in failures[:10]]
    if len(failures) > 10:
        lines.append(f"  and {len(failures) - 10:,} more")
    return type(first)(
        f"{len(failures):,} of {total:,} files cannot be used:\n" + "\n".join(lines),
        remedy=first.remedy,
    )


def _note_empty(datasets: Sequence[Dataset], observer: Observer) -> None:
    empty = [file.path for one in datasets for file in one.files if not file.entries]
    for path in empty[:5]:
        observer.note(f"{path} has no entries.")
    if len(empty) > 5:
        observer.note(f"{len(empty) - 5:,} more files have no entries.")


def make_plan(
    ref: AnalysisRef, parameters: dict[str, Any], datasets: Sequence[Dataset], options: Options
) -> Plan:
    """Cut the datasets into jobs, as `options` say."""
    sizing = Sizing(
        jobs=options.jobs,
        events_per_job=options.events_per_job,
        entries=restrict(datasets, options.entries) if options.entries else None,
        chunk=options.chunk,
    )
    return Plan(
        format=FORMAT,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        analysis=ref,
        parameters=parameters,
        datasets=tuple(_without_clusters(one) for one in datasets),
        jobs=cut(datasets, sizing),
    )


def _without_clusters(dataset: Dataset) -> Dataset:
    files = tuple(msgspec.structs.replace(one, clusters=()) for one in dataset.files)
    return msgspec.structs.replace(dataset, files=files)


def _try(pool: Pool, plan: Plan, folder: str) -> None:
    """Call the analysis on no events of each dataset, to find early what would stop every job."""
    seen: set[int] = set()
    requests: list[Request] = []
    for job, one in enumerate(plan.jobs):
        if one.dataset not in seen:
            seen.add(one.dataset)
            requests.append(Trial(assignment=assignment_of(plan, "", job), folder=folder))
    for _, reply in pool.ask(requests):
        if isinstance(reply, Failed):
            raise error_from(reply.failure)


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
        _shown(observer, "events", plan.entries, earlier),
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
    if len(failures) < GIVE_UP_AFTER or len(same) != 1 or next(iter(same))[0] != "analysis":
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
