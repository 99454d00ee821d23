"""Following the jobs of a wave: by the event log, and the schedd where that is not enough."""

from __future__ import annotations

import time
from collections.abc import Iterator

from eventflock.errors import EventflockError, PoolError
from eventflock.pools.htcondor.account import OVER, Account, Seen
from eventflock.pools.htcondor.describe import not_on
from eventflock.pools.htcondor.schedd import COMPLETED, HELD, IDLE, EventLog, Schedd
from eventflock.pools.htcondor.wave import Wave

__all__ = ["Following"]

ASK_EVERY = 30.0
"""Seconds after which a silent log is compared with the queue."""
FETCH_EVERY = 3.0
"""Seconds between two questions to a schedd that has no log we can read."""
_PROJECTION = (
    "ProcId",
    "JobStatus",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "RemoteHost",
    "RemoveReason",
)


class Following:
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
        self._procs = {job: proc for proc, job in enumerate(self.record.jobs)}
        self.account = Account(len(self.record.jobs))
        self._schedd = schedd
        self._log = EventLog(wave.events)
        self._asked = self._heard = time.monotonic()

    def look(self) -> Iterator[tuple[str, Seen]]:
        """Take in what is new, and give the jobs of which a person should hear, by name.

        Raises
        ------
        PoolError
            The schedd does not answer, and the log says nothing either.
        """
        if self.record.spool:
            self._fetch()
            return
        for event in self._log.read():
            self._heard = time.monotonic()
            proc = self.account.hear(event)
            if proc is not None:
                yield self.record.jobs[proc], self.account.seen[proc]
        silent = time.monotonic() - max(self._heard, self._asked)
        if silent > ASK_EVERY or (self._log.broken and silent > FETCH_EVERY):
            self.ask()

    def ask(self) -> None:
        """Compare with the queue.

        Raises
        ------
        PoolError
            The schedd does not answer.
        """
        self._asked = time.monotonic()
        if self._schedd is None:
            return
        cluster = self.find_cluster()
        if cluster is None:  # it never came to a submission
            self.account.see_queue([], more=False)
            return
        ads = self._schedd.jobs(f"ClusterId == {cluster}", _PROJECTION)
        more = False
        if len(self.account.seen) < self.account.jobs:
            ad = self._schedd.cluster(cluster)
            more = int(ad.get("JobMaterializeNextProcId", self.account.jobs)) < self.account.jobs
            self.account.paused = str(ad.get("JobMaterializePauseReason", ""))
        self.account.see_queue(ads, more=more)

    def find_cluster(self) -> int | None:
        """Give the cluster; a client that was killed may not have written it down."""
        cluster = self.wave.cluster()
        if cluster is None and self._schedd is not None:
            mark = f'EventflockWave == "{self.record.identity}"'
            found = self._schedd.jobs(mark, ["ClusterId"])
            if found:
                cluster = int(found[0]["ClusterId"])
                self.wave.set_cluster(cluster)
        return cluster

    def _fetch(self) -> None:
        """Ask a schedd that has the files, and fetch those of jobs that have ended."""
        if time.monotonic() - self._asked < FETCH_EVERY or self._schedd is None:
            return
        self._asked = time.monotonic()
        cluster = self.find_cluster()
        if cluster is None:
            self.account.see_queue([], more=False)
            return
        ads = self._schedd.jobs(f"ClusterId == {cluster}", _PROJECTION)
        done = [int(ad["ProcId"]) for ad in ads if ad.get("JobStatus") == COMPLETED]
        if done:
            which = " || ".join(f"ProcId == {proc}" for proc in done[:500])
            constraint = f"ClusterId == {cluster} && JobStatus == {COMPLETED} && ({which})"
            self._schedd.retrieve(constraint)
            self._schedd.remove(constraint, "its results were fetched")
            ads = [ad for ad in ads if int(ad["ProcId"]) not in set(done[:500])]
        self.account.see_queue(ads, more=False)

    def open_jobs(self) -> dict[str, str]:
        """Give the jobs that are not over, by name, with their status."""
        account = self.account
        return {
            job: account.status_of(proc)
            for proc, job in enumerate(self.record.jobs)
            if account.status_of(proc) not in OVER
        }

    def seen(self, job: str) -> Seen:
        """Give what was heard of a job."""
        proc = self._procs[job]
        return self.account.seen.get(proc, Seen(status="removed", words="it was never made"))

    def remove_held(self) -> None:
        """Remove the jobs that are held from the queue."""
        cluster = self.find_cluster()
        if self._schedd is not None and cluster is not None:
            condition = f"ClusterId == {cluster} && JobStatus == {HELD}"
            self._schedd.remove(condition, "it is tried again")

    def remove_one(self, job: str) -> None:
        """Remove one job from the queue, which is tried in another way."""
        cluster = self.find_cluster()
        if self._schedd is not None and cluster is not None:
            condition = f"ClusterId == {cluster} && ProcId == {self._procs[job]}"
            self._schedd.remove(condition, "eventflock tries it in another way")

    def avoid(self, host: str) -> None:
        """Keep the jobs that wait from a machine."""
        cluster = self.find_cluster()
        if self._schedd is not None and cluster is not None and self.open_jobs():
            self._schedd.restrict(f"ClusterId == {cluster} && JobStatus == {IDLE}", not_on([host]))

    def remove(self, reason: str) -> int:
        """Remove all jobs from the queue, and give the number of those that were not over."""
        cluster = self.find_cluster()
        left = len(self.open_jobs())
        if self._schedd is not None and cluster is not None and left:
            self._schedd.remove(cluster, reason)
        return left

    def close(self) -> None:
        """Close the log."""
        self._log.close()


def is_unreachable(error: EventflockError) -> bool:
    """Tell a schedd that does not answer from other trouble."""
    return isinstance(error, PoolError) and "does not answer" in error.message
