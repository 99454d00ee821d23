"""Doing the jobs of a run: what is left of them, asking a pool, and trying again what failed."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Self

import msgspec

from eventflock.failures.causes import RecoveryStep, cause_of, normalized
from eventflock.errors import ResultError
from eventflock.core.manifest import Failure
from eventflock.core.model import (Assignment, Plan)
from eventflock.core.options import JobLimits
from eventflock.core.structs import to_json
from eventflock.core.observer import JobProgress, Observer, shown
from eventflock.core.halving import part_of, piece_of, unit_name, within_chunk
from eventflock.planning.partition import assignment_of
from eventflock.pools import Pool
from eventflock.failures.retries import Unit, next_units, pause_of, step_for
from eventflock.results.format import write_result
from eventflock.results.verify import JobState, job_states, read_job
from eventflock.runs.folder import RunFolder
from eventflock.worker.messages import Done, Failed, Reply, Run
from eventflock.worker.receipt import receipt_of

__all__ = ["Work", "do_jobs", "take_in", "units_left"]

GIVE_UP_AFTER = 3
"""If the first jobs all raise the same, the others will too."""
PARTS_MAX = 10
"""If so many parts of a job were given up, its others are not halved any more."""
DEATHS = 10
"""Processes that may die at the beginning, all alike, before nobody believes in chance."""


def take_in(run: RunFolder, plan: Plan, plan_digest: str) -> None:
    """Put result files that have arrived to the others, if they are better."""
    for (job, piece), path in run.arrivals():
        if job >= len(plan.jobs):
            continue
        target = run.result(job, piece)
        there = read_job(plan, plan_digest, job, target, None, piece)[0]
        came = read_job(plan, plan_digest, job, path, None, piece)[0]
        if _rank(came) > _rank(there):
            path.replace(target)
        elif _rank(there) == _DONE:
            path.unlink(missing_ok=True)


_DONE = (3, 0)


def _rank(state: JobState) -> tuple[int, int]:
    """Order results by what is in them; a receipt is better than nothing that can be used."""
    if state.status == "done":
        return _DONE
    if state.status == "partial" and state.manifest is not None:
        return (2, state.manifest.counters.events)
    return (1, 0) if state.status == "failed" else (0, 0)


def units_left(plan: Plan, states: Iterable[JobState], limits: JobLimits) -> list[Unit]:
    """Give what has to be done, from what is there.

    A half of a chunk is not done again, but the whole chunk: with nothing to stop it this time, it
    gives the bits that it would have given at first.
    """
    found: dict[tuple[int, str], Unit] = {}
    careful = msgspec.structs.replace(limits, isolate=True)
    for state in states:
        if state.status == "partial":
            name = (state.job, state.piece)
            found[name] = Unit(job=state.job, piece=state.piece, limits=careful, better=True)
        elif state.status != "done":
            piece = within_chunk(plan.jobs[state.job], state.piece)
            found.setdefault((state.job, piece), Unit(job=state.job, piece=piece, limits=limits))
    return list(found.values())


def do_jobs(
    run: RunFolder, plan: Plan, plan_digest: str, pool: Pool, observer: Observer, limits: JobLimits
) -> None:
    """Do what is not done, and recover what can be; what cannot leaves a receipt."""
    states = list(job_states(plan, plan_digest, run.result_files(plan), run.path))
    units = units_left(plan, states, limits)
    left = sum(part_of(plan.jobs[one.job], one.piece).entries for one in units)
    progress = JobProgress(observer, plan.entries - left, len({one.job for one in units}))
    work = Work(run, plan, plan_digest, units, observer, asks=pool.asks, recovers=pool.recovers)
    work.done_before = any(one.has_result for one in states)
    with (
        shown(observer, "events", plan.entries, plan.entries - left),
        contextlib.closing(work),
        contextlib.closing(pool.ask(work, progress)) as answers,
    ):
        for index, reply in answers:
            progress.finished(index, *work.take(index, reply))
            if work.hopeless:
                pool.abandon()
                break
    take_in(run, plan, plan_digest)


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


class Work:
    """Gives out what is to be done, and decides what becomes of what fails.

    It is an iterator that may have more to give later than it has now: a pool asks it again after
    each answer.

    Parameters
    ----------
    units
        What is to be done.
    asks
        Whether jobs ask the pool for memory and disk.
    recovers
        Whether anything can be tried again.
    """

    def __init__(
        self,
        run: RunFolder,
        plan: Plan,
        plan_digest: str,
        units: Iterable[Unit],
        observer: Observer,
        *,
        asks: bool = False,
        recovers: bool = True,
    ) -> None:
        self._run = run
        self._plan = plan
        self._digest = plan_digest
        self._asks = asks
        self._recovers = recovers
        self._observer = observer
        self._ready = deque(units)
        self._later: list[tuple[float, int, Unit]] = []
        self._under_way: dict[int, Unit] = {}
        self._given = 0
        self._told: Counter[tuple[str, RecoveryStep]] = Counter()
        self._failed = _FirstFailures()
        self._datasets = {plan.jobs[one.job].dataset for one in self._ready}
        self.done_before = False
        """Whether anything of the run has a result."""
        self.hopeless = False
        """Whether to go on is a waste: jobs of all datasets fail, and all alike."""
        self._stopped = False
        self._open = Counter(one.job for one in self._ready)
        self._parts: Counter[int] = Counter()
        self._lost: set[int] = set()
        self._unsettled: dict[str, tuple[Unit, Failure]] = {}

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
        whole = assignment_of(self._plan, self._digest, unit.job)
        piece = piece_of(whole, self._plan.jobs[unit.job], unit.piece) if unit.piece else whole
        return msgspec.structs.replace(piece, limits=unit.limits)

    def take(self, index: int, reply: Reply) -> tuple[int, str]:
        """Hear how a request ended.

        Returns
        -------
        entries
            How many are done with it.
        word
            `done` or `failed` if its job is over with all its pieces; `again` if it is tried
            again; else empty.
        """
        unit = self._under_way.pop(index)
        self._unsettled.pop(unit_name(unit.job, unit.piece), None)
        if isinstance(reply, Done):
            self.done_before = True
            planned = part_of(self._plan.jobs[unit.job], unit.piece).entries
            entries = reply.events if reply.partial else planned
            return entries, self._over(unit)
        failure = reply.failure if isinstance(reply, Failed) else _not_understood(reply)
        failure = self._placed(failure, unit)
        step = self._step(unit, failure)
        self._note(unit, failure, step)
        units = next_units(unit, step, failure)
        self._open[unit.job] += max(len(units) - 1, 0)
        for one in units:
            self._put_off(one, pause_of(unit, step, failure), first=step is not RecoveryStep.ISOLATE)
            self._unsettled[unit_name(one.job, one.piece)] = (one, failure)
        self._failed.add(unit.job, self._plan.jobs[unit.job].dataset, failure)
        self.hopeless = self._is_hopeless()
        if units:
            return 0, "again"
        self._leave_receipt(unit, failure)
        self._stopped = self._stopped or step is RecoveryStep.STOP
        self._lost.add(unit.job)
        return 0, self._over(unit)

    def close(self) -> None:
        """Write down why jobs failed that were to be tried again, and will not be any more."""
        for unit, failure in self._unsettled.values():
            # Of a half, it may be known of the whole only.
            known = msgspec.structs.replace(failure, path="") if unit.piece else failure
            self._leave_receipt(unit, self._placed(known, unit))
        self._unsettled.clear()

    def _over(self, unit: Unit) -> str:
        """Count a unit as over; tell whether that was the last of its job."""
        self._open[unit.job] -= 1
        if self._open[unit.job]:
            return ""
        return "failed" if unit.job in self._lost else "done"

    def _step(self, unit: Unit, failure: Failure) -> RecoveryStep:
        """Decide what to do, but do not halve a job for ever of which every part fails."""
        step = step_for(unit, failure, self._plan, asks=self._asks)
        if not self._recovers and step is not RecoveryStep.STOP:
            return RecoveryStep.FAIL
        if step in {RecoveryStep.HALVE, RecoveryStep.HALVE_CHUNKS} and self._parts[unit.job] >= PARTS_MAX:
            return RecoveryStep.FAIL
        if step is RecoveryStep.FAIL and unit.piece:
            self._parts[unit.job] += 1
        return step

    def _put_off(self, unit: Unit, pause: float, *, first: bool) -> None:
        """Let a unit come again: soon, or after all that was not tried at all."""
        if first:
            entry = (time.monotonic() + pause, self._given + len(self._later), unit)
            heapq.heappush(self._later, entry)
        else:
            self._ready.append(unit)

    def _is_hopeless(self) -> bool:
        failed = self._failed
        if self.done_before or len(failed.jobs) < GIVE_UP_AFTER or len(failed.roots) != 1:
            return False
        cause = next(iter(failed.roots))[0]
        deaths = sum(n for (name, _), n in self._told.items() if name == "died")
        if cause not in {"analysis", "returned", "branch", "node"} and deaths < DEATHS:
            return False
        if cause == "node" and self._asks and len(failed.hosts) < GIVE_UP_AFTER:
            return False  # others may be better
        return failed.datasets == self._datasets

    def _placed(self, failure: Failure, unit: Unit) -> Failure:
        """Say where a job failed that could not say it itself: somewhere in its entries."""
        if failure.path:
            return failure
        job = self._plan.jobs[unit.job]
        first = part_of(job, unit.piece).ranges[0]
        path = self._plan.datasets[job.dataset].files[first.file].path
        return msgspec.structs.replace(failure, path=path, start=first.start, stop=first.stop)

    def _leave_receipt(self, unit: Unit, failure: Failure) -> None:
        """Write the receipt of a job that left none, so that its file says what became of it."""
        target = self._run.result(unit.job, unit.piece)
        there = read_job(self._plan, self._digest, unit.job, target, None, unit.piece)[0]
        if there.has_result or (there.manifest is not None and there.manifest.error == failure):
            return
        with contextlib.suppress(ResultError):
            write_result(target, receipt_of(self._assignment(unit), failure), {})

    def _note(self, unit: Unit, failure: Failure, step: RecoveryStep) -> None:
        """Write down what happened; tell a person of each cause once."""
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
        self._told[cause.name, step] += 1
        if self._told[cause.name, step] == 1 and step not in {RecoveryStep.FAIL, RecoveryStep.STOP}:
            name = unit_name(unit.job, unit.piece)
            self._observer.note(f"job {name}: {_first_line(failure.message)} It is {step}.")


def _first_line(text: str) -> str:
    line = text.splitlines()[0] if text else "it failed"
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _not_understood(reply: Reply) -> Failure:
    return Failure(kind="bug", message=f"A job was answered with {type(reply).__name__}.")
