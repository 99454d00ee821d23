"""Following the jobs of a wave: by the event log, and by the schedd where that is not enough."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from eventflock.core.halving import UnitName
from eventflock.core.states import QueueStatus
from eventflock.errors import PoolError
from eventflock.pools.batch.monitor import WaveMonitor, is_unreachable
from eventflock.pools.batch.states import LastSeen
from eventflock.pools.batch.wave import Wave, WaveRecord
from eventflock.pools.htcondor.codes import CondorJobStatus
from eventflock.pools.htcondor.description import not_on
from eventflock.pools.htcondor.events import CondorJobStates
from eventflock.pools.htcondor.match import explain, in_words
from eventflock.pools.htcondor.schedd import EventLog, Schedd

__all__ = ["CondorMonitor", "CondorWaveRecord", "Schedds"]

ASK_EVERY = 30.0
"""Seconds after which a silent log is compared with the queue."""
FETCH_EVERY = 3.0
"""Seconds between two questions to a schedd that has no log we can read."""
FETCH_MOST = 500
"""The most jobs of which results are fetched at a time."""
_PROJECTION = (
    "ProcId",
    "JobStatus",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "RemoteHost",
    "RemoveReason",
)


class CondorWaveRecord(WaveRecord, frozen=True):
    """What is known of a wave before it is submitted; every job has `identity` as EventflockWave.

    Attributes
    ----------
    schedd, collector
        Where it was submitted; empty for this machine's.
    spool
        Whether files were sent to the schedd and have to be fetched from it.
    """

    schedd: str = ""
    collector: str = ""
    spool: bool = False


class Schedds:
    """The schedds that the waves of a run were submitted to, each found once.

    Parameters
    ----------
    name, collector
        Where jobs are submitted now, see `Schedd`. Earlier waves may be elsewhere: the run may
        have been on another access point, or had other settings.
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

    def of(self, record: CondorWaveRecord) -> Schedd:
        """Return the schedd that a wave was submitted to.

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

    def _is_own(self, record: CondorWaveRecord) -> bool:
        if record.collector != self._collector:
            return False
        with contextlib.suppress(PoolError):  # there may be none here any more
            return record.schedd == self.own.name
        return False


class CondorMonitor(WaveMonitor):
    """What is known of the jobs of one wave, and the means to know more and to change it.

    Parameters
    ----------
    wave
        It was submitted, or its client died while it was being submitted.
    schedd
        Where it was submitted; None to use the log alone.
    """

    def __init__(self, wave: Wave, schedd: Schedd | None) -> None:
        self.record = wave.record(CondorWaveRecord)
        self.states: CondorJobStates = CondorJobStates(len(self.record.jobs))
        super().__init__(wave, self.record.jobs, self.states)
        self._schedd = schedd
        self._log = EventLog(wave.events)
        self._cluster = wave.cluster()
        self._asked = self._heard = time.monotonic()

    def look(self) -> Iterator[tuple[UnitName, LastSeen]]:
        """Take in what is new, and yield the jobs that deserve a line for the user."""
        if self.record.spool:
            if time.monotonic() - self._asked >= FETCH_EVERY:
                self._ask(fetch=FETCH_MOST)
            return
        for event in self._log.read():
            self._heard = time.monotonic()
            self.away = 0.0
            proc = self.states.take_event(event) if self._is_ours(event) else None
            if proc is not None:
                yield self.jobs[proc], self.states.seen[proc]
        silent = time.monotonic() - max(self._heard, self._asked)
        if silent > ASK_EVERY or (self._log.broken and silent > FETCH_EVERY):
            self.ask()

    def _is_ours(self, event: Mapping[str, Any]) -> bool:
        """Check that an event is of this wave; events of others should not be in its log."""
        if self._cluster is None:  # the client was killed; the log is the wave's own
            self._cluster = event.get("Cluster")
        return event.get("Cluster") == self._cluster

    def ask(self) -> None:
        """Compare with the queue, and leave results with the schedd."""
        self._ask(fetch=0)

    def _ask(self, fetch: int | None) -> None:
        """Compare with the queue.

        Parameters
        ----------
        fetch
            The most jobs of which results are fetched, where the schedd keeps them; None for all.
        """
        self._asked = time.monotonic()
        if self._schedd is None:
            return
        with self._reaching():
            self._compare(self._schedd, fetch)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Remember whether the schedd answers."""
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
            self.states.take_queue([], more=False, how="was never submitted")
            return
        more = False
        # The cluster first: a job that is made between the two questions is in the second answer.
        if len(self.states.seen) < self.states.jobs:
            ad = schedd.cluster(self._ours(cluster))
            more = int(ad.get("JobMaterializeNextProcId", self.states.jobs)) < self.states.jobs
            self.states.paused = _paused(ad)
        ads = schedd.jobs(self._ours(cluster), _PROJECTION)
        if self.record.spool:
            ended = [
                int(ad["ProcId"]) for ad in ads if ad.get("JobStatus") == CondorJobStatus.COMPLETED
            ][:fetch]
            self._fetch(schedd, cluster, ended)
            ads = [ad for ad in ads if int(ad["ProcId"]) not in set(ended)]
        self.states.take_queue(ads, more=more)

    def _fetch(self, schedd: Schedd, cluster: int, procs: list[int]) -> None:
        """Fetch the results of jobs that have ended, and remove these jobs."""
        for first in range(0, len(procs), FETCH_MOST):
            which = " || ".join(f"ProcId == {proc}" for proc in procs[first : first + FETCH_MOST])
            completed = f"JobStatus == {int(CondorJobStatus.COMPLETED)}"
            constraint = self._ours(cluster, completed, f"({which})")
            schedd.retrieve(constraint)
            schedd.remove(constraint, "eventflock has fetched its results")

    def is_submitted(self) -> bool:
        """Check whether the schedd has taken the wave."""
        return self.find_cluster() is not None

    def find_cluster(self) -> int | None:
        """Return the cluster; a client that was killed may not have written it down."""
        cluster = self.wave.cluster()
        if cluster is None and self._schedd is not None:
            cluster = self._schedd.find_cluster(self._mark)
            if cluster is not None:
                self._cluster = cluster
                self.wave.set_cluster(cluster)
        return cluster

    @property
    def _mark(self) -> str:
        return f'EventflockWave == "{self.record.identity}"'

    def _ours(self, cluster: int, *more: str) -> str:
        """Return the condition for jobs of this wave: another schedd may use its number, too."""
        return " && ".join([f"ClusterId == {cluster}", self._mark, *more])

    @property
    def paused(self) -> str:
        """Why no more jobs are made although some wait for that; empty if they are made."""
        states = self.states
        waiting = states.counts()[QueueStatus.WAITING] if states.paused else 0
        if not waiting:
            return ""
        cluster = self.wave.cluster()
        return (
            f"HTCondor makes no more jobs of cluster {cluster}, and {waiting:,} are waiting: "
            f"{states.paused}. When that is mended: condor_release {cluster}"
        )

    def remove_held(self) -> None:
        """Remove the jobs that are held."""
        self._act(_with_status(CondorJobStatus.HELD), "eventflock tries it again")

    def remove_one(self, job: UnitName) -> None:
        """Remove one job, which is tried in another way."""
        with self._reaching():
            self._act(f"ProcId == {self.number_of(job)}", "eventflock tries it in another way")

    def _act(self, condition: str, reason: str) -> None:
        """Remove the jobs of this wave that meet a condition."""
        cluster = self.find_cluster()
        if self._schedd is not None and cluster is not None:
            self._schedd.remove(self._ours(cluster, condition), reason)

    def avoid(self, host: str) -> None:
        """Keep the jobs that wait from a machine."""
        cluster = self.find_cluster()
        if self._schedd is not None and cluster is not None and self.open_jobs():
            idle = self._ours(cluster, _with_status(CondorJobStatus.IDLE))
            self._schedd.restrict(idle, not_on([host]))

    def why_idle(self) -> str:
        """Return why no slot can run the jobs that wait; empty if some can, or none waits."""
        cluster = self.find_cluster()
        if self._schedd is None or cluster is None:
            return ""
        idle = self._ours(cluster, _with_status(CondorJobStatus.IDLE))
        job = self._schedd.full_job(idle)
        if job is None:
            return ""
        verdict = explain(job, self._schedd.slots())
        return "" if verdict.matching else in_words(verdict)

    def remove(self, reason: str) -> int:
        """Remove all jobs, and return the number of those that were not over."""
        cluster = self.find_cluster()
        if self.record.spool:
            self._ask(fetch=None)
        left = len(self.open_jobs())
        if self._schedd is not None and cluster is not None and left:
            self._schedd.remove(self._ours(cluster), reason)
        return left

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def _with_status(status: CondorJobStatus) -> str:
    return f"JobStatus == {int(status)}"


def _paused(ad: Mapping[str, Any]) -> str:
    """Read from the ad of a cluster why no more of its jobs are made."""
    if not int(ad.get("JobMaterializePaused", 0) or 0):
        return ""
    return str(ad.get("JobMaterializePauseReason", "")) or "paused"
