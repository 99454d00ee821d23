"""Where a run stands, derived from its folder every time it is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eventflock.failures.causes import normalized
from eventflock.planning.forecast import Forecast, compare, facts, memory_to_ask
from eventflock.core.manifest import (Failure, Manifest)
from eventflock.core.model import Plan
from eventflock.core.structs import from_json
from eventflock.results.cover import add_counters
from eventflock.results.verify import JobState, job_states
from eventflock.runs.folder import RunFolder

__all__ = ["Problem", "Standing", "Status", "Usage", "queue_of", "status_of"]


class QueueState(msgspec.Struct, kw_only=True):
    """How the jobs of a run stand in a queue.

    Attributes
    ----------
    counts
        Jobs that are `idle`, `running`, `held`, `waiting` to be made, or `completed`, with their
        results still at a schedd that shares no disk with this machine.
    hosts
        Machines that have jobs now.
    reasons
        Why jobs are held, and how those ended of which nothing has come, with how many each.
    note
        Why the queue could not be asked, or why no more jobs are made.
    """

    counts: dict[str, int]
    hosts: list[str]
    reasons: dict[str, int]
    note: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether jobs will end without anybody's help: not those that are held."""
        return bool(self.counts.keys() - {"held"})


class Usage(msgspec.Struct, kw_only=True):
    """What the jobs that have a result took.

    Attributes
    ----------
    memory_bytes
        Largest resident set of a job.
    memory_requested
        What jobs ask for, as HTCondor is told; empty where they ask for nothing.
    memory_recommended_mb
        What they should ask for, with a margin, in units of 2**20 bytes.
    wall_seconds, cpu_seconds, waiting_seconds
        Of all together; they waited for input when they did not compute.
    bytes_read
        Asked of the files.
    """

    memory_bytes: int
    memory_requested: str
    memory_recommended_mb: int
    wall_seconds: float
    cpu_seconds: float
    waiting_seconds: float
    bytes_read: int


class Problem(msgspec.Struct, kw_only=True):
    """One cause that stopped jobs, with the first place where it did."""

    kind: str
    message: str
    jobs: int = 0
    path: str = ""
    start: int = 0
    stop: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands.

    Attributes
    ----------
    jobs
        Number of jobs that are `done`, `partial`, `failed`, `unusable` or `missing`, or not done
        and `queued`; one that was halved is what its pieces are together.
    busy
        Whether a process works on the run.
    result
        The merged result, if there is one.
    label
        What a partial merged result has to be labelled with.
    queue
        How jobs stand in HTCondor's queue, if the run has any there.
    usage
        What the jobs took that are done.
    forecast
        What was expected, and what it is: rows of three texts.
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

    @property
    def in_pool(self) -> bool:
        """Whether jobs are in a queue."""
        return self.queue is not None and bool(self.queue.counts)

    @property
    def goes_on(self) -> bool:
        """Whether jobs in a queue will end without anybody's help."""
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
    """Find out where a run stands.

    Raises
    ------
    UsageError
        This is not a run folder.
    ResultError
        The plan is damaged.
    """
    run = RunFolder(path)
    plan, plan_digest = run.load_plan()
    counting = _Counting()
    for state in job_states(plan, plan_digest, run.result_files(plan)):
        counting.add(state)
    queue, queued = queue_of(run)
    counts = counting.counts(queued)
    if queue is None:
        del counts["queued"]
    merged, label = _merged(run, plan_digest)
    return Status(
        run=str(path),
        analysis=plan.analysis.origin or plan.analysis.name,
        created=plan.created,
        busy=run.is_busy(),
        complete=counts["done"] == sum(counts.values()) and merged is not None and not label,
        jobs=counts,
        events=counting.events,
        events_planned=plan.entries,
        result=merged,
        label=label,
        problems=counting.problems(),
        queue=queue,
        usage=_usage(run, [manifest for manifest, _ in counting.done]),
        forecast=_forecast(run, plan, counting.done),
    )


class _Counting:
    """What all result files together say."""

    def __init__(self) -> None:
        self.events = 0
        self.done: list[tuple[Manifest, int]] = []
        self._statuses: dict[int, set[str]] = {}
        self._problems: dict[tuple[str, str], tuple[Problem, set[int]]] = {}

    def add(self, state: JobState) -> None:
        self._statuses.setdefault(state.job, set()).add(state.status)
        if state.has_result and state.manifest is not None and state.path is not None:
            self.events += state.manifest.counters.events
            self.done.append((state.manifest, state.path.stat().st_size))
        for failure in state.failures:
            self._add_problem(state.job, failure)
        if state.reason:
            self._add_problem(state.job, Failure(kind="result", message=state.reason))

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

    def counts(self, queued: set[int]) -> dict[str, int]:
        """Count the jobs by their status; what is not done and in a queue is `queued`."""
        words = ("done", "partial", "failed", "unusable", "missing", "queued")
        found = dict.fromkeys(words, 0)
        for job, statuses in self._statuses.items():
            word = _together(statuses)
            found["queued" if job in queued and word != "done" else word] += 1
        return found

    def problems(self) -> list[Problem]:
        """Give what stopped jobs, most jobs first."""
        for problem, jobs in self._problems.values():
            problem.jobs = len(jobs)
        return sorted((one for one, _ in self._problems.values()), key=lambda one: -one.jobs)


def _together(statuses: set[str]) -> str:
    """Give the status of a job by those of its pieces."""
    if len(statuses) == 1:
        return next(iter(statuses))
    if statuses & {"done", "partial"}:
        return "partial"
    return next(one for one in ("failed", "unusable", "missing") if one in statuses)


def queue_of(run: RunFolder) -> tuple[QueueState | None, set[int]]:
    """Find out how the jobs of a run stand in a queue, and which are there."""
    if not run.htcondor.exists():
        return None, set()
    from eventflock.runs.dispatch import standing

    return standing(run) or (None, set())


def _usage(run: RunFolder, done: list[Manifest]) -> Usage | None:
    if not done:
        return None
    total = done[0].counters
    for manifest in done[1:]:
        total = add_counters(total, manifest.counters)
    requested = ""
    if run.htcondor.exists():
        from eventflock.runs.dispatch import memory_requested

        requested = memory_requested(run)
    return Usage(
        memory_bytes=total.peak_memory,
        memory_requested=requested,
        memory_recommended_mb=memory_to_ask(total.peak_memory),
        wall_seconds=total.wall_seconds,
        cpu_seconds=total.cpu_seconds,
        waiting_seconds=total.waiting_seconds,
        bytes_read=total.bytes_read,
    )


def _forecast(
    run: RunFolder, plan: Plan, done: list[tuple[Manifest, int]]
) -> list[tuple[str, str, str]]:
    """Put what was expected beside what it is."""
    try:
        expected = from_json(run.forecast.read_bytes(), Forecast)
    except (OSError, msgspec.MsgspecError):
        return []
    return compare(expected, facts(plan, done))


def _merged(run: RunFolder, plan_digest: str) -> tuple[str | None, str]:
    from eventflock.errors import ResultError
    from eventflock.results.reader import read_manifest
    from eventflock.results.result import label_of

    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return None, ""
    return (str(run.merged), label_of(manifest)) if manifest.plan == plan_digest else (None, "")
