"""Where a run stands, derived from its folder every time it is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eventflock.forecast import Forecast, compare, facts
from eventflock.model import Manifest, Plan, from_json
from eventflock.results.verify import job_states
from eventflock.rundir import RunDir

__all__ = ["Problem", "Standing", "Status", "status_of"]


class Standing(msgspec.Struct, kw_only=True):
    """How the jobs of a run stand in a queue.

    Attributes
    ----------
    counts
        Jobs that are `idle`, `running`, `held` or `waiting` to be made.
    hosts
        Machines that have jobs now.
    reasons
        Why jobs are held, with how many are.
    note
        Why the queue could not be asked.
    """

    counts: dict[str, int]
    hosts: list[str]
    reasons: dict[str, int]
    note: str = ""


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
        Number of jobs that are `done`, `failed`, `unusable` or `missing`.
    busy
        Whether a process works on the run.
    result
        The merged result, if there is one.
    label
        What a partial merged result has to be labelled with.
    queue
        How jobs stand in HTCondor's queue, if the run has any there.
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
    queue: Standing | None = None
    forecast: list[tuple[str, str, str]] = []

    @property
    def in_pool(self) -> bool:
        """Whether jobs are in a queue."""
        return self.queue is not None and bool(self.queue.counts)

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
    run = RunDir(path)
    plan, plan_digest = run.load_plan()
    counts = dict.fromkeys(("done", "failed", "unusable", "missing"), 0)
    problems: dict[tuple[str, str], Problem] = {}
    events = 0
    done: list[tuple[Manifest, int]] = []
    files = run.result_files(plan)
    for state in job_states(plan, plan_digest, files):
        counts[state.status] += 1
        if state.status == "done" and state.manifest is not None:
            events += plan.jobs[state.job].entries
            done.append((state.manifest, files[state.job].stat().st_size))
        elif state.manifest is not None and state.manifest.error is not None:
            error = state.manifest.error
            problem = problems.setdefault(
                (error.kind, error.message),
                Problem(
                    kind=error.kind,
                    message=error.message,
                    path=error.path,
                    start=error.start,
                    stop=error.stop,
                ),
            )
            problem.jobs += 1
        elif state.reason:
            key = ("result", state.reason)
            problems.setdefault(key, Problem(kind="result", message=state.reason)).jobs += 1
    merged, label = _merged(run, plan_digest)
    queue = _queue(run)
    if queue is not None:  # a job that is in the queue is not missing
        counts["missing"] = max(counts["missing"] - sum(queue.counts.values()), 0)
        counts["queued"] = sum(queue.counts.values())
    return Status(
        run=str(path),
        analysis=plan.analysis.origin or plan.analysis.name,
        created=plan.created,
        busy=run.is_busy(),
        complete=counts["done"] == len(plan.jobs) and merged is not None and not label,
        jobs=counts,
        events=events,
        events_planned=plan.entries,
        result=merged,
        label=label,
        problems=sorted(problems.values(), key=lambda one: -one.jobs),
        queue=queue,
        forecast=_forecast(run, plan, done),
    )


def _queue(run: RunDir) -> Standing | None:
    if not run.htcondor.exists():
        return None
    from eventflock.dispatch import standing

    return standing(run)


def _forecast(
    run: RunDir, plan: Plan, done: list[tuple[Manifest, int]]
) -> list[tuple[str, str, str]]:
    """Put what was expected beside what it is."""
    try:
        expected = from_json(run.forecast.read_bytes(), Forecast)
    except (OSError, msgspec.MsgspecError):
        return []
    return compare(expected, facts(plan, done))


def _merged(run: RunDir, plan_digest: str) -> tuple[str | None, str]:
    from eventflock.errors import ResultError
    from eventflock.results.reader import read_manifest
    from eventflock.results.result import label_of

    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return None, ""
    return (str(run.merged), label_of(manifest)) if manifest.plan == plan_digest else (None, "")
