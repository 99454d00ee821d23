"""Following the jobs of a wave: by the event log, and the schedd where that is not enough."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from eventflock.errors import EventflockError, PoolError
from eventflock.pools.htcondor.account import OVER, JobStates, LastSeen
from eventflock.pools.htcondor.description import not_on
from eventflock.pools.htcondor.schedd import COMPLETED, HELD, IDLE, UNREACHABLE, EventLog, Schedd
from eventflock.pools.htcondor.wave import Wave, WaveRecord

__all__ = ["Schedds", "WaveMonitor", "is_unreachable"]

ASK_EVERY = 30.0
"""Seconds after which a silent log is compared with the queue."""
FETCH_EVERY = 3.0
"""Seconds between two questions to a schedd that has no log we can read."""
FETCH_MOST = 500
"""Jobs of which results are fetched at a time."""
_PROJECTION = (
    "ProcId",
    "JobStatus",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "RemoteHost",
    "RemoveReason",
)


class Schedds:
    """The schedds that the waves of a run were submitted to, each found once.

    Parameters
    ----------
    name, collector
        Where jobs are submitted now, see `Schedd`. Earlier waves may be elsewhere: the run may
        have been on another access point, or its settings others.
    """

    def __init__(self, name: str, collector: str) -> None:
        self._name = name
        self._collector = collector
        self._own: Schedd | None = None
        self._others: dict[tuple[str, str], Schedd] = {}

    @property
    def own(self) -> Schedd:
        """Where jobs are submitted now."""
        if self._own is None:
            self._own = Schedd(self._name, self._collector)
        return self._own

    def of(self, record: WaveRecord) -> Schedd:
        """Give the schedd that a wave was submitted to.

        Raises
        ------
        PoolError
            It cannot be found.
        """
        if not record.schedd or self._is_own(record):
            return self.own
        key = (record.schedd, record.collector)
        if key not in self._others:
            self._others[key] = Schedd(*key)
        return self._others[key]

    def _is_own(self, record: WaveRecord) -> bool:
        if record.collector != self._collector:
            return False
        with contextlib.suppress(PoolError):  # there may be none here any more
            return record.schedd == self.own.name
        return False


class WaveMonitor:
    """What is known of the jobs of one wave, and finding out more.

    Parameters
    ----------
    wave
        It has been submitted, or its client died while it was.
    schedd
        Where it was submitted; None to believe the log alone.
    """

    def __init__(self, wave: Wave, schedd: Schedd | None) -> None:
        self.wave = wave
        self.record = wave.record()
        self.account = JobStates(len(self.record.jobs))
        self._schedd = schedd
        self._log = EventLog(wave.events)
        self._cluster = wave.cluster()
        self._procs = {job: proc for proc, job in enumerate(self.record.jobs)}
        self._asked = self._heard = time.monotonic()
        self.away = 0.0
        """Since when the schedd does not answer; 0 if nothing is known of that."""

    def look(self) -> Iterator[tuple[str, LastSeen]]:
        """Take in what is new, and give the jobs of which a person should hear, by name.

        Raises
        ------
        PoolError
            The schedd does not answer, and the log says nothing either.
        """
        if self.record.spool:
            if time.monotonic() - self._asked >= FETCH_EVERY:
                self.ask(fetch=FETCH_MOST)
            return
        for event in self._log.read():
            self._heard = time.monotonic()
            self.away = 0.0
            proc = self.account.hear(event) if self._is_ours(event) else None
            if proc is not None:
                yield self.record.jobs[proc], self.account.seen[proc]
        silent = time.monotonic() - max(self._heard, self._asked)
        if silent > ASK_EVERY or (self._log.broken and silent > FETCH_EVERY):
            self.ask()

    def _is_ours(self, event: Mapping[str, Any]) -> bool:
        """Tell an event of this wave from that of another, which should not be in its log."""
        if self._cluster is None:  # the client was killed; the log is the wave's own
            self._cluster = event.get("Cluster")
        return event.get("Cluster") == self._cluster

    def ask(self, fetch: int | None = 0) -> None:
        """Compare with the queue.

        Parameters
        ----------
        fetch
            Of how many jobs that have ended the results are fetched, where the schedd keeps them;
            None for all.

        Raises
        ------
        PoolError
            The schedd does not answer.
        """
        self._asked = time.monotonic()
        if self._schedd is None:
            return
        with self._reaching():
            self._compare(self._schedd, fetch)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Keep in mind whether the schedd answers."""
        try:
            yield
        except PoolError as error:
            if is_unreachable(error):
                self.away = self.away or time.monotonic()
            raise
        self.away = 0.0

    def _compare(self, schedd: Schedd, fetch: int | None) -> None:
        cluster = self.find_cluster()
        if cluster is None:  # its client died before
            self.account.see_queue([], more=False, how="was never submitted")
            return
        more = False
        # The cluster first: of jobs that are made between the two questions, the second tells.
        if len(self.account.seen) < self.account.jobs:
            ad = schedd.cluster(self._ours(cluster))
            more = int(ad.get("JobMaterializeNextProcId", self.account.jobs)) < self.account.jobs
            self.account.paused = _paused(ad)
        ads = schedd.jobs(self._ours(cluster), _PROJECTION)
        if self.record.spool:
            ended = [int(ad["ProcId"]) for ad in ads if ad.get("JobStatus") == COMPLETED][:fetch]
            self._fetch(schedd, cluster, ended)
            ads = [ad for ad in ads if int(ad["ProcId"]) not in set(ended)]
        self.account.see_queue(ads, more=more)

    def _fetch(self, schedd: Schedd, cluster: int, procs: list[int]) -> None:
        """Fetch the results of jobs that have ended, and let these go."""
        for first in range(0, len(procs), FETCH_MOST):
            which = " || ".join(f"ProcId == {proc}" for proc in procs[first : first + FETCH_MOST])
            constraint = self._ours(cluster, f"JobStatus == {COMPLETED}", f"({which})")
            schedd.retrieve(constraint)
            schedd.remove(constraint, "eventflock has fetched its results")

    def find_cluster(self) -> int | None:
        """Give the cluster; a client that was killed may not have written it down."""
        cluster = self.wave.cluster()
        if cluster is None and self._schedd is not None:
            cluster = self._schedd.find_cluster(f'EventflockWave == "{self.record.identity}"')
            if cluster is not None:
                self._cluster = cluster
                self.wave.set_cluster(cluster)
        return cluster

    def _ours(self, cluster: int, *more: str) -> str:
        """Give the condition for jobs of this wave: its number may be that of others elsewhere."""
        mark = f'EventflockWave == "{self.record.identity}"'
        return " && ".join([f"ClusterId == {cluster}", mark, *more])

    @property
    def paused(self) -> str:
        """Say why no more jobs are made although some wait for that; empty if they are."""
        waiting = self.account.counts()["waiting"] if self.account.paused else 0
        if not waiting:
            return ""
        cluster = self.wave.cluster()
        return (
            f"HTCondor makes no more jobs of cluster {cluster}, and {waiting:,} are waiting: "
            f"{self.account.paused}. When that is mended: condor_release {cluster}"
        )

    def open_jobs(self) -> dict[str, str]:
        """Give the jobs that are not over, by name, with their status."""
        account = self.account
        return {
            job: account.status_of(proc)
            for proc, job in enumerate(self.record.jobs)
            if account.status_of(proc) not in OVER
        }

    def seen(self, job: str) -> LastSeen:
        """Give what was heard of a job."""
        proc = self._procs[job]
        return self.account.seen.get(proc, LastSeen(status="removed", words="it was never made"))

    def remove_held(self) -> None:
        """Remove the jobs that are held from the queue."""
        cluster = self.find_cluster()
        if self._schedd is not None and cluster is not None:
            condition = self._ours(cluster, f"JobStatus == {HELD}")
            self._schedd.remove(condition, "eventflock tries it again")

    def remove_one(self, job: str) -> None:
        """Remove one job from the queue, which is tried in another way."""
        with self._reaching():
            cluster = self.find_cluster()
            if self._schedd is not None and cluster is not None:
                condition = self._ours(cluster, f"ProcId == {self._procs[job]}")
                self._schedd.remove(condition, "eventflock tries it in another way")

    def avoid(self, host: str) -> None:
        """Keep the jobs that wait from a machine."""
        cluster = self.find_cluster()
        if self._schedd is not None and cluster is not None and self.open_jobs():
            condition = self._ours(cluster, f"JobStatus == {IDLE}")
            self._schedd.restrict(condition, not_on([host]))

    def waiting_job(self) -> Any:
        """Give all of one job that waits, as a ClassAd; None if none does."""
        cluster = self.find_cluster()
        if self._schedd is None or cluster is None:
            return None
        return self._schedd.full_job(self._ours(cluster, f"JobStatus == {IDLE}"))

    def slots(self) -> list[Any]:
        """Give the ads of the slots of its pool."""
        return self._schedd.slots() if self._schedd is not None else []

    def remove(self, reason: str) -> int:
        """Remove all jobs from the queue, and give the number of those that were not over.

        What has ended and is still with the schedd is fetched before.
        """
        cluster = self.find_cluster()
        if self.record.spool:
            self.ask(fetch=None)
        left = len(self.open_jobs())
        if self._schedd is not None and cluster is not None and left:
            self._schedd.remove(self._ours(cluster), reason)
        return left

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def _paused(ad: Mapping[str, Any]) -> str:
    """Read from the ad of a cluster why no more of its jobs are made."""
    if not int(ad.get("JobMaterializePaused", 0) or 0):
        return ""
    return str(ad.get("JobMaterializePauseReason", "")) or "paused"


def is_unreachable(error: EventflockError) -> bool:
    """Tell a daemon that does not answer from other trouble."""
    return error.code == UNREACHABLE
