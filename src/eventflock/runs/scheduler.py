"""Doing the jobs of a run: which are left, handing them out, and trying again what failed."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Self

import msgspec

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.halving import UnitName, unit_name, within_chunk
from eventflock.core.manifest import Failure
from eventflock.core.model import Assignment, first_events
from eventflock.core.observer import JobProgress, Observer, shown
from eventflock.core.options import JobLimits
from eventflock.core.states import JobStatus, UnitEnd
from eventflock.core.structs import to_json
from eventflock.errors import ErrorKind, ResultError
from eventflock.failures.causes import RecoveryStep, cause_of, normalized
from eventflock.failures.retries import Unit, next_units, pause_of, step_for
from eventflock.pools.roles import Abilities, Executor
from eventflock.results.format import write_result
from eventflock.results.verify import JobState, job_state, job_states
from eventflock.runs.folder import RunFolder
from eventflock.worker.messages import Done, Failed, Reply, Run
from eventflock.worker.receipt import receipt_of

__all__ = ["JobScheduler", "adopt_arrivals", "do_jobs", "jobs_to_submit", "units_left"]

GIVE_UP_AFTER = 3
ROWS_GIVE_UP_AFTER = 10
"""If so many jobs fail first, and all alike, the others will, too. Rows differ more than events."""
PARTS_MAX = 10
"""If so many parts of a job were given up, its others are not halved any more."""
DEATHS = 10
"""If so many processes die at the beginning, all alike, it is not by chance."""


def adopt_arrivals(run: RunFolder, frozen: FrozenPlan) -> None:
    """Move result files that have arrived to the others, if they are better."""
    for (job, piece), path in run.arrivals():
        if job >= frozen.job_count:
            continue
        target = run.result(job, piece)
        there = _rank(job_state(frozen, job, target, piece))
        if _rank(job_state(frozen, job, path, piece)) > there:
            path.replace(target)
        elif there == _DONE:
            path.unlink(missing_ok=True)


_DONE = (3, 0)


def _rank(state: JobState) -> tuple[int, int]:
    """Order results by what is in them; a receipt is better than a file that cannot be used."""
    if state.status == JobStatus.DONE:
        return _DONE
    if state.status == JobStatus.PARTIAL and state.manifest is not None:
        return (2, state.manifest.counters.events)
    if state.status == JobStatus.FAILED and state.manifest is not None:
        return (1, len(state.manifest.rows))  # what they have printed is in it
    return (0, 0)


def units_left(frozen: FrozenPlan, states: Iterable[JobState], limits: JobLimits) -> list[Unit]:
    """Return what has to be done, from the states of the jobs.

    A half of a chunk is not done again, but the whole chunk: if nothing stops it this time, it
    gives the bits that it would have given at first.
    """
    found: dict[tuple[int, str], Unit] = {}
    careful = msgspec.structs.replace(limits, isolate=True)
    for state in states:
        if state.status == JobStatus.PARTIAL:
            unit = Unit(job=state.job, piece=state.piece, limits=careful, better=True)
            found[state.job, state.piece] = unit
        elif state.status != JobStatus.DONE:
            piece = within_chunk(frozen.plan.jobs[state.job], state.piece)
            unit = Unit(job=state.job, piece=piece, limits=limits)
            found.setdefault((state.job, piece), unit)
    return list(found.values())


def jobs_to_submit(run: RunFolder, frozen: FrozenPlan, limits: JobLimits) -> JobScheduler:
    """Return the jobs without a result, as a call needs them that does not wait for answers."""
    states = job_states(frozen, run.result_files(frozen.plan))
    return JobScheduler(run, frozen, units_left(frozen, states, limits), Observer())


def do_jobs(
    run: RunFolder,
    frozen: FrozenPlan,
    executor: Executor,
    limits: JobLimits,
    observer: Observer,
) -> None:
    """Do what is not done, and recover what can be recovered; the rest leaves a receipt."""
    states = list(job_states(frozen, run.result_files(frozen.plan), run.path))
    units = units_left(frozen, states, limits)
    left = sum(frozen.part(unit.job, unit.piece).entries for unit in units)
    earlier = frozen.entries - left
    progress = JobProgress(observer, earlier, len({unit.job for unit in units}))
    scheduler = JobScheduler(run, frozen, units, observer, executor.abilities)
    scheduler.done_before = any(state.has_result for state in states)
    with (
        shown(observer, f"{frozen.plan.noun}s", frozen.entries, earlier),
        contextlib.closing(scheduler),
        contextlib.closing(executor.do(scheduler, progress)) as answers,
    ):
        for index, reply in answers:
            progress.finished(index, *scheduler.take(index, reply))
            if scheduler.hopeless:
                executor.abandon()
                break
    adopt_arrivals(run, frozen)


def _spread(frozen: FrozenPlan, units: Iterable[Unit], readers: int) -> Iterator[Unit]:
    """Order jobs so that neighbours are of different files, as many as there are readers.

    To open a file with a thousand branches takes as long as reading many of them, so each worker
    should go on in the file that it has open.
    """
    if readers == 1:
        yield from units
        return
    by_file: dict[tuple[int, int], list[Unit]] = {}
    for unit in units:
        file = first_events(frozen.part(unit.job, unit.piece).ranges).file
        by_file.setdefault((frozen.plan.jobs[unit.job].dataset, file), []).append(unit)
    groups = list(by_file.values())
    for start in range(0, len(groups), readers):
        for row in zip_longest(*groups[start : start + readers]):
            yield from (unit for unit in row if unit is not None)


PLAIN = Abilities()


class _FirstFailures:
    """The first failure of each job, as far as it matters whether they are all alike."""

    def __init__(self) -> None:
        self.jobs: set[int] = set()
        self.roots: set[tuple[str, str]] = set()
        self.hosts: set[str] = set()
        self.datasets: set[int] = set()

    def add(self, job: int, dataset: int, failure: Failure) -> None:
        """Count a failure, if it is the first of its job."""
        if job in self.jobs:
            return
        self.jobs.add(job)
        self.datasets.add(dataset)
        self.hosts.add(failure.host)
        if len(self.roots) < 2:  # more are not told apart
            self.roots.add((cause_of(failure).name, normalized(failure)))


class JobScheduler:
    """Hands out jobs, and decides what is done about those that fail.

    It is an iterator that may have more jobs later, when it has none now: an executor asks it again
    after each answer.

    Parameters
    ----------
    run, frozen
        The run folder, and its plan.
    units
        What is to be done.
    observer
        Receives the failures.
    abilities
        Of the executor.
    """

    def __init__(
        self,
        run: RunFolder,
        frozen: FrozenPlan,
        units: Iterable[Unit],
        observer: Observer,
        abilities: Abilities = PLAIN,
    ) -> None:
        self._run = run
        self._frozen = frozen
        self._abilities = abilities
        self._observer = observer
        self._ready = deque(_spread(frozen, units, abilities.readers))
        self._later: list[tuple[float, int, Unit]] = []
        self._under_way: dict[int, Unit] = {}
        self._given = 0
        self._reported: Counter[tuple[str, RecoveryStep]] = Counter()
        self._failed = _FirstFailures()
        self._datasets = {frozen.plan.jobs[unit.job].dataset for unit in self._ready}
        self.done_before = False
        """Whether anything of the run has a result."""
        self.hopeless = False
        """Whether jobs of all datasets fail, and all alike: then the others will, too."""
        self._stopped = False
        self._open = Counter(unit.job for unit in self._ready)
        self._parts: Counter[int] = Counter()
        self._lost: set[int] = set()
        self._unsettled: dict[UnitName, tuple[Unit, Failure]] = {}

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Run:
        unit = self._next()
        if unit is None:
            raise StopIteration
        self._under_way[self._given] = unit
        self._given += 1
        return self._request(unit)

    def _next(self) -> Unit | None:
        if self._stopped or self.hopeless:
            return None
        if self._later and not self._ready and not self._under_way:
            time.sleep(max(self._later[0][0] - time.monotonic(), 0))
        due = bool(self._later) and self._later[0][0] <= time.monotonic()
        # As long as nothing is done, other jobs show whether all will fail.
        if due and (self.done_before or not self._ready):
            return heapq.heappop(self._later)[2]
        return self._ready.popleft() if self._ready else None

    def _request(self, unit: Unit) -> Run:
        run = self._run
        target = run.better(unit.job, unit.piece) if unit.better else None
        return Run(
            assignment=self._assignment(unit),
            folder=str(run.analysis.resolve()),
            result=str((target or run.result(unit.job, unit.piece)).resolve()),
            log=str(run.log(unit.job, unit.piece).resolve()),
            memory=unit.memory,
            disk=unit.disk,
            avoid=unit.avoid,
        )

    def _assignment(self, unit: Unit) -> Assignment:
        assignment = self._frozen.assignment(unit.job, unit.piece)
        return msgspec.structs.replace(assignment, limits=unit.limits)

    def take(self, index: int, reply: Reply) -> tuple[int, UnitEnd]:
        """Take the answer to a request.

        Returns
        -------
        entries
            How many are done by it.
        end
            How this try of the unit ended.
        """
        unit = self._under_way.pop(index)
        self._unsettled.pop(unit_name(unit.job, unit.piece), None)
        if isinstance(reply, Done):
            self.done_before = True
            planned = self._frozen.part(unit.job, unit.piece).entries
            entries = reply.events if reply.partial else planned
            return entries, self._over(unit)
        failure = reply.failure if isinstance(reply, Failed) else _not_understood(reply)
        failure = self._placed(failure, unit)
        step = self._step(unit, failure)
        self._note(unit, failure, step)
        units = next_units(unit, step, failure)
        self._open[unit.job] += max(len(units) - 1, 0)
        for following in units:
            pause = pause_of(unit, step, failure)
            self._put_off(following, pause, first=step is not RecoveryStep.ISOLATE)
            self._unsettled[unit_name(following.job, following.piece)] = (following, failure)
        self._failed.add(unit.job, self._frozen.plan.jobs[unit.job].dataset, failure)
        self.hopeless = self._is_hopeless()
        if units:
            return 0, UnitEnd.RETRIED
        self._leave_receipt(unit, failure)
        self._stopped = self._stopped or step is RecoveryStep.STOP
        self._lost.add(unit.job)
        return 0, self._over(unit)

    def close(self) -> None:
        """Write receipts of the jobs that were to be tried again and will not be any more."""
        for unit, failure in self._unsettled.values():
            # The place of a half may be known for the whole only.
            known = msgspec.structs.replace(failure, path="") if unit.piece else failure
            self._leave_receipt(unit, self._placed(known, unit))
        self._unsettled.clear()

    def _over(self, unit: Unit) -> UnitEnd:
        """Count a unit as over, and return how its job ended if that was its last unit."""
        self._open[unit.job] -= 1
        if self._open[unit.job]:
            return UnitEnd.PARTLY
        return UnitEnd.FAILED if unit.job in self._lost else UnitEnd.DONE

    def _step(self, unit: Unit, failure: Failure) -> RecoveryStep:
        """Decide what to do; a job of which every part fails is not halved for ever."""
        step = step_for(unit, failure, self._frozen.plan, asks=self._abilities.limits_resources)
        if not self._abilities.retries and step is not RecoveryStep.STOP:
            return RecoveryStep.FAIL
        if (
            step in {RecoveryStep.HALVE, RecoveryStep.HALVE_CHUNKS}
            and self._parts[unit.job] >= PARTS_MAX
        ):
            return RecoveryStep.FAIL
        if step is RecoveryStep.FAIL and unit.piece:
            self._parts[unit.job] += 1
        return step

    def _put_off(self, unit: Unit, pause: float, *, first: bool) -> None:
        """Queue a unit again: soon, or after all that was not tried at all."""
        if first:
            entry = (time.monotonic() + pause, self._given + len(self._later), unit)
            heapq.heappush(self._later, entry)
        else:
            self._ready.append(unit)

    def _is_hopeless(self) -> bool:
        failed = self._failed
        enough = GIVE_UP_AFTER if self._frozen.plan.table is None else ROWS_GIVE_UP_AFTER
        if self.done_before or len(failed.jobs) < enough or len(failed.roots) != 1:
            return False
        cause = next(iter(failed.roots))[0]
        deaths = sum(n for (name, _), n in self._reported.items() if name == "died")
        if cause not in {"analysis", "returned", "program", "branch", "node"} and deaths < DEATHS:
            return False
        if (
            cause == "node"
            and self._abilities.limits_resources
            and len(failed.hosts) < GIVE_UP_AFTER
        ):
            return False  # others may be better
        return failed.datasets == self._datasets

    def _placed(self, failure: Failure, unit: Unit) -> Failure:
        """Fill in where a job failed that could not say it: somewhere in its entries."""
        if failure.path:
            return failure
        plan = self._frozen.plan
        first = first_events(self._frozen.part(unit.job, unit.piece).ranges)
        path = plan.datasets[plan.jobs[unit.job].dataset].files[first.file].path
        return msgspec.structs.replace(failure, path=path, start=first.start, stop=first.stop)

    def _leave_receipt(self, unit: Unit, failure: Failure) -> None:
        """Write the receipt of a job that left none, so that its file says why it failed."""
        target = self._run.result(unit.job, unit.piece)
        there = job_state(self._frozen, unit.job, target, unit.piece)
        if there.has_result or _says(there, failure):
            return
        with contextlib.suppress(ResultError):
            write_result(target, receipt_of(self._assignment(unit), failure), {})

    def _note(self, unit: Unit, failure: Failure, step: RecoveryStep) -> None:
        """Write a failure into the log; tell a person of each cause once."""
        cause = cause_of(failure)
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "unit": unit_name(unit.job, unit.piece),
            "cause": cause.name,
            "step": step.value,
            "failure": failure,
        }
        with contextlib.suppress(OSError), self._run.failures.open("ab") as file:
            file.write(to_json(record) + b"\n")
        self._reported[cause.name, step] += 1
        if self._reported[cause.name, step] == 1 and step not in {
            RecoveryStep.FAIL,
            RecoveryStep.STOP,
        }:
            name = unit_name(unit.job, unit.piece)
            self._observer.note(f"job {name}: {_first_line(failure.message)} It is {step}.")


def _says(there: JobState, failure: Failure) -> bool:
    """Check whether a receipt says why its job failed; if it has the output of rows, it stays.

    A pool may know the host by another name.
    """
    if there.manifest is None or there.manifest.error is None:
        return False
    error = there.manifest.error
    if there.manifest.rows:
        error = msgspec.structs.replace(error, host=failure.host)
    return error == failure


def _first_line(text: str) -> str:
    line = text.splitlines()[0] if text else "it failed"
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _not_understood(reply: Reply) -> Failure:
    return Failure(kind=ErrorKind.BUG, message=f"A job was answered with {type(reply).__name__}.")
