"""Answers for jobs that are over or held: from result files, and from the states of the jobs."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from eventflock.core.halving import UnitName
from eventflock.core.manifest import Failure
from eventflock.core.states import QueueStatus, ResultStatus
from eventflock.errors import ErrorKind, ResultError
from eventflock.failures.codes import FailureCode
from eventflock.pools.batch.monitor import WaveMonitor
from eventflock.pools.batch.states import LastSeen
from eventflock.results.reader import read_manifest
from eventflock.worker.messages import Done, Failed, Reply

__all__ = ["BadHosts", "collect", "end_in_words", "hold_of", "reply_for"]

BLACK_HOLE = 3
"""A machine is avoided after so many failed jobs without one that ended well."""


class BadHosts:
    """The machines on which one job after the other fails."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self._failed: Counter[str] = Counter()

    def blame(self, host: str) -> bool:
        """Count a failure that may be due to a machine; return whether it is avoided from now."""
        self._failed[host] += 1
        if host in self.bad or self._failed[host] < BLACK_HOLE:
            return False
        self.bad.add(host)
        return True

    def credit(self, host: str) -> None:
        """Count a job that ended well: earlier failures there had other reasons."""
        self._failed[host] = 0
        self.bad.discard(host)


def hold_of(job: UnitName, seen: LastSeen) -> Failure:
    """Return the failure of a job that is held."""
    return Failure(
        kind=ErrorKind.POOL,
        message=f"Job {job} is held: {seen.words}",
        remedy=seen.remedy,
        code=seen.code,
        host=seen.host,
    )


def reply_for(monitor: WaveMonitor, job: UnitName, target: Path, deadline: float) -> Reply | None:
    """Answer for a job that is over.

    Parameters
    ----------
    monitor
        Of its wave.
    job, target
        Its name, and where its result file goes.
    deadline
        Until then its result may still arrive, in monotonic seconds.

    Returns
    -------
    Reply or None
        None while the result may still arrive.
    """
    arrived = monitor.wave.result(job)
    seen = monitor.seen(job)
    damage = ""
    if arrived.is_file():
        try:
            knows_better = seen.status == QueueStatus.REMOVED or seen.end_code
            if not knows_better or not _is_of_earlier_try(arrived):
                return collect(arrived, target)
        except ResultError as error:
            damage = f" {error.message}"
    if time.monotonic() < deadline:
        return None
    removed = seen.status == QueueStatus.REMOVED
    log = monitor.wave.log(job)
    return Failed(
        failure=Failure(
            kind=ErrorKind.POOL,
            message=f"Job {job} {end_in_words(seen)}{damage}",
            remedy=seen.remedy or (f"See {log}." if log.is_file() and log.stat().st_size else ""),
            code=FailureCode.REMOVED if removed else seen.end_code or FailureCode.NO_RESULT,
        )
    )


def end_in_words(seen: LastSeen) -> str:
    """Return a sentence that says how a job ended that has no result."""
    if seen.status == QueueStatus.REMOVED:
        return f"was removed from the queue: {seen.words.rstrip('.') or 'no reason is known'}."
    where = f" on {seen.host}" if seen.host else ""
    return f"{seen.how}{where}, and no result has arrived."


def _is_of_earlier_try(arrived: Path) -> bool:
    """Check whether a receipt says that a node failed, of which the batch system knows more."""
    error = read_manifest(arrived).error
    return error is not None and error.kind in {ErrorKind.NODE, ErrorKind.POOL}


def collect(arrived: Path, target: Path) -> Reply:
    """Move a result file that has arrived to the others, and answer what it says.

    Raises
    ------
    ResultError
        It cannot be read.
    """
    manifest = read_manifest(arrived)
    arrived.replace(target)
    if manifest.error is not None:
        return Failed(failure=manifest.error)
    partial = manifest.status == ResultStatus.PARTIAL
    return Done(events=manifest.counters.events, partial=partial)
