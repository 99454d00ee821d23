"""What is answered for jobs that are over or held: from result files, and from the account."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from eventflock.core.manifest import Failure
from eventflock.errors import ResultError
from eventflock.pools.htcondor.account import LastSeen
from eventflock.pools.htcondor.following import WaveMonitor
from eventflock.results.reader import read_manifest
from eventflock.worker.messages import Done, Failed, Reply

__all__ = ["BadHosts", "collect", "end_in_words", "hold_of", "reply_for"]

BLACK_HOLE = 3
"""So many jobs that fail on a machine, and none that ends well, make it one to avoid."""


class BadHosts:
    """Machines where jobs fail one after the other."""

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self._failed: Counter[str] = Counter()

    def blame(self, host: str) -> bool:
        """Count a failure for which a machine may be the reason; tell if it is avoided now."""
        self._failed[host] += 1
        if host in self.bad or self._failed[host] < BLACK_HOLE:
            return False
        self.bad.add(host)
        return True

    def credit(self, host: str) -> None:
        """Count a job that ended well: what failed there had other reasons."""
        self._failed[host] = 0
        self.bad.discard(host)


def hold_of(job: str, seen: LastSeen) -> Failure:
    """Give the failure of a job that is held."""
    return Failure(
        kind="pool",
        message=f"Job {job} is held: {seen.words}",
        remedy=seen.remedy,
        code=seen.code,
        host=seen.host,
    )


def reply_for(following: WaveMonitor, job: str, target: Path, deadline: float) -> Reply | None:
    """Answer for a job that is over; None while its result may still come."""
    made = following.wave.result(job)
    seen = following.seen(job)
    damage = ""
    if made.is_file():
        try:
            if seen.status != "removed" or not _is_of_earlier_try(made):
                return collect(made, target)
        except ResultError as error:
            damage = f" {error.message}"
    if time.monotonic() < deadline:
        return None
    code = "removed" if seen.status == "removed" else "no-result"
    message = f"Job {job} {end_in_words(seen)}{damage}"
    log = following.wave.log(job)
    remedy = f"See {log}." if log.is_file() and log.stat().st_size else ""
    return Failed(failure=Failure(kind="pool", message=message, remedy=remedy, code=code))


def end_in_words(seen: LastSeen) -> str:
    """Say how a job ended of which there is no result."""
    if seen.status == "removed":
        return f"was removed from the queue: {seen.words.rstrip('.') or 'no reason is known'}."
    where = f" on {seen.host}" if seen.host else ""
    return f"{seen.how}{where}, and no result has arrived."


def _is_of_earlier_try(made: Path) -> bool:
    """Tell whether a receipt is that of a node: of a try after which HTCondor made another."""
    error = read_manifest(made).error
    return error is not None and error.kind in {"node", "pool"}


def collect(made: Path, target: Path) -> Reply:
    """Take in a result file that has arrived, and say what it says.

    Raises
    ------
    ResultError
        It cannot be read.
    """
    manifest = read_manifest(made)
    made.replace(target)
    if manifest.error is not None:
        return Failed(failure=manifest.error)
    return Done(events=manifest.counters.events, partial=manifest.status == "partial")
