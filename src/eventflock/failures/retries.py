"""What is tried next of a job that failed: pure decisions, from the table of causes."""

from __future__ import annotations

import msgspec

from eventflock.core.halving import can_halve, is_chunk
from eventflock.core.manifest import Failure
from eventflock.core.model import Job, Plan
from eventflock.core.options import JobLimits
from eventflock.failures.causes import TRIES_MAX, Cause, RecoveryStep, cause_of

__all__ = ["Unit", "next_units", "pause_of", "step_for"]

GROWTH = 2.0
GROWTH_MAX = 4.0
"""Memory and disk are asked for up to so many times what was asked for at first."""
PAUSE_MAX = 300.0
AVOID_MAX = 20
CHUNK_AGAIN = 3
_READING = {"read", "file"}


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A job, or a piece of one, and what has been tried of it.

    Attributes
    ----------
    job, piece
        See `pieces`.
    tries
        Failures by the name of their cause, since it became a unit of its own.
    limits
        How it is done next.
    memory, disk
        How many times the usual it asks for.
    avoid
        Machines where it is not tried again.
    better
        There is a partial result, which this try may replace.
    """

    job: int
    piece: str = ""
    tries: dict[str, int] = {}
    limits: JobLimits = JobLimits()
    memory: float = 1.0
    disk: float = 1.0
    avoid: tuple[str, ...] = ()
    better: bool = False


def step_for(unit: Unit, failure: Failure, plan: Plan, *, asks: bool) -> RecoveryStep:
    """Decide what to do about a failure.

    Parameters
    ----------
    unit
        With its failures so far, without this one.
    asks
        Whether jobs ask for memory and disk on this pool.
    """
    cause = cause_of(failure)
    if sum(unit.tries.values()) + 1 >= TRIES_MAX:
        return RecoveryStep.FAIL
    job = plan.jobs[unit.job]
    if unit.tries.get(cause.name, 0) < _again(cause, unit, failure, job):
        return RecoveryStep.AGAIN
    possible = {
        RecoveryStep.REPLICA: unit.limits.replica < _replicas(plan, job),
        RecoveryStep.MEMORY: asks and unit.memory < GROWTH_MAX,
        RecoveryStep.DISK: asks and unit.disk < GROWTH_MAX,
        RecoveryStep.ISOLATE: not unit.limits.isolate,
        RecoveryStep.HALVE: can_halve(job, unit.piece),
        RecoveryStep.HALVE_CHUNKS: can_halve(job, unit.piece, chunks=False),
        RecoveryStep.STOP: True,
    }
    return next((step for step in cause.steps if possible[step]), RecoveryStep.FAIL)


def _again(cause: Cause, unit: Unit, failure: Failure, job: Job) -> int:
    """Return how often a failure is tried again with nothing changed.

    Chunks are not halved lightly: sums over their halves may differ in the last bit. So what
    looks like chance is tried more often there, and not at all before a job of several is halved
    once more, nor in halves of chunks, where the cause turned out to be permanent.
    """
    if cause.name in _READING and "://" not in failure.path:
        return 0  # a disk gives the same again
    if RecoveryStep.HALVE in cause.steps and cause.again:
        if is_chunk(job, unit.piece):
            return CHUNK_AGAIN
        return 0 if unit.piece else cause.again
    return cause.again


def _replicas(plan: Plan, job: Job) -> int:
    files = plan.datasets[job.dataset].files
    return max(len(files[part.file].replicas) for part in job.ranges)


def next_units(unit: Unit, step: RecoveryStep, failure: Failure) -> list[Unit]:
    """Return what is tried next: the same with other limits, its halves, or nothing."""
    if step in {RecoveryStep.FAIL, RecoveryStep.STOP}:
        return []
    replace = msgspec.structs.replace
    if step in {RecoveryStep.HALVE, RecoveryStep.HALVE_CHUNKS}:
        # Of halves nothing is known yet, but for what was learned of memory and machines.
        return [replace(unit, piece=f"{unit.piece}{half}", tries={}) for half in "01"]
    cause = cause_of(failure)
    tries = {**unit.tries, cause.name: unit.tries.get(cause.name, 0) + 1}
    if cause.elsewhere and failure.host and failure.host not in unit.avoid:
        unit = replace(unit, avoid=(*unit.avoid, failure.host)[-AVOID_MAX:])
    if step is RecoveryStep.REPLICA:
        unit = replace(unit, limits=replace(unit.limits, replica=unit.limits.replica + 1))
    elif step is RecoveryStep.ISOLATE:
        unit = replace(unit, limits=replace(unit.limits, isolate=True))
    elif step is RecoveryStep.MEMORY:
        unit = replace(unit, memory=unit.memory * GROWTH)
    elif step is RecoveryStep.DISK:
        unit = replace(unit, disk=unit.disk * GROWTH)
    return [replace(unit, tries=tries)]


def pause_of(unit: Unit, step: RecoveryStep, failure: Failure) -> float:
    """Return the seconds to wait before the next try: doubled with each, for the same cause."""
    cause = cause_of(failure)
    if step is not RecoveryStep.AGAIN:
        return 0.0
    return min(cause.pause * 2.0 ** unit.tries.get(cause.name, 0), PAUSE_MAX)
