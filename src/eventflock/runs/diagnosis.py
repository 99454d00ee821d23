"""What failed in a run and why, most events first, read from its folder alone."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.halving import unit_name
from eventflock.core.manifest import Coverage, Failure
from eventflock.core.model import Plan
from eventflock.core.states import JobStatus
from eventflock.core.tracebacks import crash_in
from eventflock.errors import ErrorKind
from eventflock.failures.causes import Cause, cause_of, normalized
from eventflock.pools.batch.states import QueueState
from eventflock.pools.batch.wave import wave_folders
from eventflock.results.cover import coalesce, count
from eventflock.results.verify import JobState, job_states
from eventflock.runs.folder import RunFolder
from eventflock.runs.outcome import repeat_command
from eventflock.runs.status import queue_of

__all__ = ["Explanation", "Group", "Tried", "explain"]

LAST_LINES = 10
NOT_TRIED = Cause("no result", False, 0, (), 0, False, "not done yet, or nothing is known of it")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')


class Group(msgspec.Struct, kw_only=True):
    """Failures with the same root cause.

    Attributes
    ----------
    cause, words
        Its name in the table of causes, and what it means.
    message
        Of the smallest failing case.
    jobs, events
        How many jobs are concerned, and how many events are missing.
    files
        Files that could not be read when the run was made: nobody knows their events.
    hosts
        Where it happened, with how often.
    missing
        The entries, in the order of the plan.
    traceback, remedy
        Of the smallest failing case.
    output
        The last lines that its job has printed.
    repeat
        A command that does the smallest failing case again on this machine.
    """

    cause: str
    words: str
    message: str = ""
    jobs: int = 0
    events: int = 0
    files: list[str] = []
    hosts: dict[str, int] = {}
    missing: list[Coverage] = []
    traceback: str = ""
    remedy: str = ""
    output: list[str] = []
    repeat: str = ""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about failures while the run went on: how often which step, for which cause."""

    cause: str
    step: str
    times: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why events are missing from a run; if jobs are `under_way`, more may come.

    Attributes
    ----------
    files, files_asked
        Number of the files that are in the plan, and of those that were asked for.
    noun
        What `events` are: events, or rows.
    queue
        The state of its jobs in a queue, if they were ever in one.
    """

    run: str
    events: int
    events_planned: int
    groups: list[Group]
    tried: list[Tried]
    under_way: bool = False
    files: int = 0
    files_asked: int = 0
    noun: str = "event"
    queue: QueueState | None = None


class _Case(msgspec.Struct, frozen=True):
    """Entries that are missing for one reason."""

    state: JobState
    failure: Failure | None
    missing: tuple[Coverage, ...]

    @property
    def entries(self) -> int:
        return count(self.missing)


def explain(path: Path) -> Explanation:
    """Return what failed in a run and why.

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
    grouped: dict[tuple[str, ...], list[_Case]] = {}
    for state in job_states(frozen, run.result_files(plan)):
        for case in _cases(frozen, state):
            grouped.setdefault(_root_of(case), []).append(case)
    groups = [_group(run, plan, cases) for cases in grouped.values()]
    groups += _unread_groups(plan)
    groups.sort(key=lambda one: -one.events)
    queue, _ = queue_of(run)
    return Explanation(
        run=str(path),
        events=plan.entries - sum(group.events for group in groups),
        events_planned=plan.entries,
        groups=groups,
        tried=_tried(run),
        under_way=run.is_busy() or (queue is not None and queue.goes_on),
        files=plan.files - len(plan.unread),
        files_asked=plan.files,
        noun=plan.noun,
        queue=queue,
    )


def _cases(frozen: FrozenPlan, state: JobState) -> Iterator[_Case]:
    if state.status == JobStatus.DONE:
        return
    if state.status == JobStatus.PARTIAL and state.manifest is not None:
        for failure, part in zip(state.failures, state.manifest.missing, strict=True):
            yield _Case(state, failure, (part,))
        return
    missing = frozen.coverage(state.job, state.piece)
    if state.reason:
        yield _Case(state, Failure(kind=ErrorKind.RESULT, message=state.reason), missing)
    else:
        yield _Case(state, state.failures[0] if state.failures else None, missing)


def _cause(case: _Case) -> Cause:
    return cause_of(case.failure) if case.failure is not None else NOT_TRIED


def _root_of(case: _Case) -> tuple[str, ...]:
    """Return what failures of one root share: the cause, the words, and the user's last line."""
    if case.failure is None:
        return (NOT_TRIED.name,)
    frames = _FRAME.findall(case.failure.traceback)
    own = [frame for frame in frames if "site-packages" not in frame[0]] or frames
    place = f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""
    return _cause(case).name, normalized(case.failure), place


def _group(run: RunFolder, plan: Plan, cases: list[_Case]) -> Group:
    smallest = min(cases, key=lambda one: one.entries)
    hosts: Counter[str] = Counter()
    for case in cases:
        of_job = case.state.manifest.hosts if case.state.manifest is not None else ()
        host = case.failure.host if case.failure is not None else ""
        hosts.update([host] if host else of_job)
    cause = _cause(smallest)
    group = Group(
        cause=cause.name,
        words=cause.words,
        jobs=len({one.state.job for one in cases}),
        events=sum(one.entries for one in cases),
        hosts=dict(hosts.most_common()),
        missing=list(coalesce(part for one in cases for part in one.missing)),
        output=_last_lines(run, smallest.state),
    )
    if smallest.failure is not None:
        failure = smallest.failure
        group.message, group.remedy = failure.message, failure.remedy
        group.traceback = failure.traceback
        group.repeat = _repeat(run, plan, smallest)
    else:
        group.message = "There is no result and no receipt."
        group.remedy = f"Go on: eventflock resume {shlex.quote(str(run.path))}"
    return group


def _unread_groups(plan: Plan) -> list[Group]:
    """Group the files that could not be read when the run was made, by reason."""
    found: dict[tuple[str, str], Group] = {}
    for file in plan.unread:
        failure = Failure(kind=file.kind, message=file.message, code=file.code)
        cause = cause_of(failure)
        group = found.setdefault(
            (cause.name, normalized(failure)),
            Group(
                cause=cause.name,
                words="files could not be read when the run was made",
                message=file.message,
                remedy=file.remedy,
                repeat=shlex.join(["eventflock", "inspect", file.path]),
                files=[],
            ),
        )
        group.files.append(file.path)
    return sorted(found.values(), key=lambda group: -len(group.files))


def _repeat(run: RunFolder, plan: Plan, case: _Case) -> str:
    """Return the command that repeats the smallest case."""
    failure, first = case.failure, case.missing[0]
    if failure is None:
        return ""
    if not failure.path or failure.stop <= failure.start:
        start, stop = (0, 0) if first.second else (first.start, first.stop)
        failure = msgspec.structs.replace(failure, path=first.path, start=start, stop=stop)
    return repeat_command(run, plan, case.state.job, failure)


def _last_lines(run: RunFolder, state: JobState) -> list[str]:
    """Return the end of the output of a job, wherever it ran."""
    name = unit_name(state.job, state.piece)
    of_waves = [wave.log(name) for wave in reversed(wave_folders(run.pool))]
    for log in [*of_waves, run.log(state.job, state.piece)]:
        try:
            with log.open("rb") as file:
                file.seek(max(log.stat().st_size - 8192, 0))
                lines = file.read(8192).decode(errors="replace").splitlines()
        except OSError:
            continue
        if lines:
            return crash_in(lines) or lines[-LAST_LINES:]
    return []


class _Record(msgspec.Struct):
    cause: str
    step: str


def _tried(run: RunFolder) -> list[Tried]:
    """Count what the log of failures says; a last line that was not written wholly is left out."""
    found: Counter[tuple[str, str]] = Counter()
    try:
        lines = run.failures.read_bytes().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            record = msgspec.json.decode(line, type=_Record)
        except msgspec.MsgspecError:
            continue
        found[record.cause, record.step] += 1
    return [Tried(cause=one, step=step, times=n) for (one, step), n in found.most_common()]
