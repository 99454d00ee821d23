"""The status of a run, derived from its folder every time."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.html import bar, table
from eventflock.core.manifest import Failure, Manifest
from eventflock.core.model import Plan
from eventflock.core.states import JobStatus
from eventflock.core.structs import from_json
from eventflock.errors import ErrorKind, ResultError
from eventflock.failures.causes import normalized
from eventflock.planning.forecast import Forecast, compare, facts, memory_to_ask
from eventflock.pools.batch.states import QueueState
from eventflock.pools.table import pool_of_run
from eventflock.results.cover import add_counters
from eventflock.results.reader import read_manifest
from eventflock.results.verify import JobState, job_states
from eventflock.runs.folder import RunFolder

__all__ = ["Problem", "Status", "Usage", "queue_of", "status_of"]


class Usage(msgspec.Struct, kw_only=True):
    """The resources that the jobs with a result used.

    Attributes
    ----------
    memory_bytes
        Largest resident set of a job.
    memory_requested
        What jobs ask a batch system for; empty where they ask for nothing.
    memory_recommended_mb
        What they should ask for, with a margin, in units of 2**20 bytes.
    wall_seconds, cpu_seconds, waiting_seconds
        Of all jobs together; they waited for input when they did not compute.
    bytes_read
        Bytes requested from the files.
    """

    memory_bytes: int
    memory_requested: str
    memory_recommended_mb: int
    wall_seconds: float
    cpu_seconds: float
    waiting_seconds: float
    bytes_read: int


class Problem(msgspec.Struct, kw_only=True):
    """One cause that stopped jobs, with the first place where it stopped one."""

    kind: str
    message: str
    jobs: int = 0
    path: str = ""
    start: int = 0
    stop: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a run.

    Attributes
    ----------
    jobs
        Number of jobs by their `JobStatus`; the pieces of a halved job count together.
    busy
        Whether a process works on the run.
    unread
        Messages about files that could not be read when the run was made, of `files` in all.
    result
        The merged result, if there is one.
    label
        The label of a partial merged result; empty for a complete one.
    queue
        The state of the jobs in a queue, if the run ever had jobs there.
    usage
        The resources that jobs used.
    forecast
        Rows of three texts: quantity, forecast, and fact.
    noun
        What `events` are: events, or rows.
    """

    run: str
    analysis: str
    created: str
    busy: bool
    complete: bool
    jobs: dict[str, int]
    events: int
    events_planned: int
    result: str | None
    label: str
    problems: list[Problem]
    queue: QueueState | None = None
    usage: Usage | None = None
    forecast: list[tuple[str, str, str]] = []
    files: int = 0
    unread: list[str] = []
    noun: str = "event"

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        rows = [("jobs", ", ".join(f"{number:,} {name}" for name, number in self.jobs.items()))]
        if self.in_pool and self.queue is not None:
            queue = ", ".join(f"{number:,} {name}" for name, number in self.queue.counts.items())
            rows.append(("in the pool", queue))
        rows += [("problem", one.message) for one in self.problems]
        rows += [("result", f"{self.result} {self.label}".strip())] * bool(self.result)
        words = f"{self.events:,} of {self.events_planned:,} {self.noun}s"
        head = bar(self.events, self.events_planned, words)
        return table(f"{self.analysis}: {self.state}", rows, self.run, head)

    @property
    def in_pool(self) -> bool:
        """Whether jobs are in a queue."""
        return self.queue is not None and bool(self.queue.counts)

    @property
    def goes_on(self) -> bool:
        """Whether jobs in a queue will end without help."""
        return self.queue is not None and self.queue.goes_on

    @property
    def state(self) -> str:
        """The state in a word or two."""
        if self.busy:
            return "running"
        if self.complete:
            return "complete"
        return "in the pool" if self.in_pool else "not running"


def status_of(path: Path) -> Status:
    """Return the status of a run.

    Raises
    ------
    UsageError
        This is not a run folder.
    ResultError
        The plan is damaged.
    """
    run = RunFolder(path)
    frozen = run.load_plan()
    plan = frozen.plan
    counting = _Counting()
    for state in job_states(frozen, run.result_files(plan)):
        counting.add(state)
    queue, queued = queue_of(run)
    counts = counting.counts(queued)
    if queue is None:
        del counts[JobStatus.QUEUED]
    merged, label = _merged(run, frozen)
    is_done = counts[JobStatus.DONE] == sum(counts.values())
    return Status(
        run=str(path),
        analysis=plan.analysis.origin or plan.analysis.name,
        created=plan.created,
        busy=run.is_busy(),
        complete=is_done and merged is not None and not label,
        jobs={str(status): count for status, count in counts.items()},
        events=counting.events,
        events_planned=plan.entries,
        result=merged,
        label=label,
        problems=counting.problems(),
        queue=queue,
        usage=_usage(run, [manifest for manifest, _ in counting.done]),
        forecast=_forecast(run, plan, counting.done),
        files=plan.files,
        unread=[file.message for file in plan.unread],
        noun=plan.noun,
    )


class _Counting:
    """Adds up what all result files say."""

    def __init__(self) -> None:
        self.events = 0
        self.done: list[tuple[Manifest, int]] = []
        self._statuses: dict[int, set[JobStatus]] = {}
        self._problems: dict[tuple[str, str], tuple[Problem, set[int]]] = {}

    def add(self, state: JobState) -> None:
        self._statuses.setdefault(state.job, set()).add(state.status)
        if state.has_result and state.manifest is not None and state.path is not None:
            self.events += state.manifest.counters.events
            self.done.append((state.manifest, state.path.stat().st_size))
        for failure in state.failures:
            self._add_problem(state.job, failure)
        if state.reason:
            self._add_problem(state.job, Failure(kind=ErrorKind.RESULT, message=state.reason))

    def _add_problem(self, job: int, failure: Failure) -> None:
        new = Problem(
            kind=failure.kind,
            message=failure.message,
            path=failure.path,
            start=failure.start,
            stop=failure.stop,
        )
        key = (failure.kind, normalized(failure))
        self._problems.setdefault(key, (new, set()))[1].add(job)

    def counts(self, queued: set[int]) -> dict[JobStatus, int]:
        """Count the jobs by their status; a job that is not done and in a queue is queued."""
        found = dict.fromkeys(JobStatus, 0)
        for job, statuses in self._statuses.items():
            status = _together(statuses)
            if job in queued and status != JobStatus.DONE:
                status = JobStatus.QUEUED
            found[status] += 1
        return found

    def problems(self) -> list[Problem]:
        """Return what stopped jobs, most jobs first."""
        for problem, jobs in self._problems.values():
            problem.jobs = len(jobs)
        problems = (problem for problem, _ in self._problems.values())
        return sorted(problems, key=lambda problem: -problem.jobs)


def _together(statuses: set[JobStatus]) -> JobStatus:
    """Return the status of a job by those of its pieces."""
    if len(statuses) == 1:
        return next(iter(statuses))
    if statuses & {JobStatus.DONE, JobStatus.PARTIAL}:
        return JobStatus.PARTIAL
    worst = (JobStatus.FAILED, JobStatus.UNUSABLE, JobStatus.MISSING)
    return next(status for status in worst if status in statuses)


def queue_of(run: RunFolder) -> tuple[QueueState | None, set[int]]:
    """Return the state of a run's jobs in a queue, and the numbers of the jobs that are there."""
    return pool_of_run(run.path).queue_state(run)


def _usage(run: RunFolder, done: list[Manifest]) -> Usage | None:
    if not done:
        return None
    total = done[0].counters
    for manifest in done[1:]:
        total = add_counters(total, manifest.counters)
    return Usage(
        memory_bytes=total.peak_memory,
        memory_requested=pool_of_run(run.path).memory_requested(run),
        memory_recommended_mb=memory_to_ask(total.peak_memory),
        wall_seconds=total.wall_seconds,
        cpu_seconds=total.cpu_seconds,
        waiting_seconds=total.waiting_seconds,
        bytes_read=total.bytes_read,
    )


def _forecast(
    run: RunFolder, plan: Plan, done: list[tuple[Manifest, int]]
) -> list[tuple[str, str, str]]:
    """Compare the forecast with what the jobs took."""
    try:
        expected = from_json(run.forecast.read_bytes(), Forecast)
    except (OSError, msgspec.MsgspecError):
        return []
    return compare(expected, facts(plan, done))


def _merged(run: RunFolder, frozen: FrozenPlan) -> tuple[str | None, str]:
    """Return the path of the merged result, if there is one of this plan, and its label."""
    from eventflock.results.result import label_of

    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return None, ""
    is_ours = manifest.plan == frozen.digest
    return (str(run.merged), label_of(manifest)) if is_ours else (None, "")
