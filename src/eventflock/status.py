"""Where a run stands, derived from its folder every time it is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec

from eventflock.results.verify import job_states
from eventflock.rundir import RunDir

__all__ = ["Problem", "Status", "status_of"]


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
    for state in job_states(plan, plan_digest, run.result_files(plan)):
        counts[state.status] += 1
        if state.status == "done":
            events += plan.jobs[state.job].entries
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
    )


def _merged(run: RunDir, plan_digest: str) -> tuple[str | None, str]:
    from eventflock.errors import ResultError
    from eventflock.results.reader import read_manifest
    from eventflock.results.result import label_of

    try:
        manifest = read_manifest(run.merged)
    except ResultError:
        return None, ""
    return (str(run.merged), label_of(manifest)) if manifest.plan == plan_digest else (None, "")
