"""What became of the jobs of a wave, from HTCondor's events: doubled or missing ones do no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from eventflock.pools.htcondor import schedd as queue
from eventflock.pools.htcondor.holds import eviction_in_words, hold_in_words

__all__ = ["JobStates", "LastSeen"]

SUBMIT, EXECUTE, EXECUTABLE_ERROR, EVICTED, TERMINATED = 0, 1, 2, 4, 5
SHADOW_EXCEPTION, ABORTED, HELD, RELEASED = 7, 9, 12, 13
RECONNECT_FAILED, CLUSTER_REMOVE, FACTORY_PAUSED, FACTORY_RESUMED = 24, 36, 37, 38
OVER = frozenset({"ended", "removed"})


class LastSeen(msgspec.Struct):
    """The last that was heard of a job.

    Attributes
    ----------
    status
        `idle`, `running`, `held`, `completed` (its results are still with the schedd), `ended` or
        `removed`.
    host
        Where it ran last.
    words, remedy
        Why it is held, was removed, or came back to the queue.
    code
        Why it is held, for `causes`.
    how
        How it ended.
    memory_mb
        The most memory that was seen.
    """

    status: str = "idle"
    host: str = ""
    words: str = ""
    remedy: str = ""
    code: str = ""
    how: str = ""
    memory_mb: int = 0


class JobStates:
    """Keeps what was heard of the jobs of one cluster.

    Parameters
    ----------
    jobs
        How many jobs the wave has. Those of which nothing was heard yet are `waiting`: they are
        made when others end.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.seen: dict[int, LastSeen] = {}
        self.over: list[int] = []
        """Jobs that are over, to be taken by who follows."""
        self.held: list[int] = []
        """Jobs that were put on hold, likewise."""
        self.paused = ""
        self.finished = False
        """No more jobs will be made."""
        self._left = jobs

    @property
    def is_over(self) -> bool:
        """Whether all jobs are over."""
        return self._left == 0

    def _end(self, proc: int) -> None:
        self.over.append(proc)
        self._left -= 1

    def hear(self, event: Mapping[str, Any]) -> int | None:
        """Take in one event.

        Returns
        -------
        int or None
            The process number of the job for which the event says something to be told.
        """
        kind, proc = int(event.get("EventTypeNumber", -1)), int(event.get("Proc", -1))
        if proc < 0:
            self._hear_of_cluster(kind, event)
            return None
        if proc >= self.jobs:
            return None
        one = self.seen.setdefault(proc, LastSeen())
        if one.status in OVER:  # whatever comes later was said before
            return None
        memory = event.get("MemoryUsage")
        if isinstance(memory, int):
            one.memory_mb = max(one.memory_mb, memory)
        told = self._hear_of_job(one, kind, event)
        if one.status in OVER:
            self._end(proc)
        return proc if told else None

    def _hear_of_cluster(self, kind: int, event: Mapping[str, Any]) -> None:
        if kind == CLUSTER_REMOVE:
            self.finished = True
            for proc in set(range(self.jobs)) - set(self.seen):
                self.seen[proc] = LastSeen(status="removed", words="it was never made")
                self._end(proc)
        elif kind == FACTORY_PAUSED:
            self.paused = str(event.get("Reason", "")) or "paused"
        elif kind == FACTORY_RESUMED:
            self.paused = ""

    def _hear_of_job(self, one: LastSeen, kind: int, event: Mapping[str, Any]) -> bool:
        """Take in an event of a job, and tell whether a person should hear of it."""
        reason = str(event.get("Reason", "")).strip()
        match kind:
            case _ if kind == EXECUTE:
                one.status, one.host = "running", _host(event)
            case _ if kind == RELEASED:
                one.status, one.words, one.remedy = "idle", "", ""
            case _ if kind in {EVICTED, SHADOW_EXCEPTION, RECONNECT_FAILED, EXECUTABLE_ERROR}:
                one.status = "idle"
                text = reason or str(event.get("Message", "")).strip()
                one.words = eviction_in_words(text) if text else "it came back to the queue"
                return bool(text)
            case _ if kind == HELD:
                self._hold(
                    one,
                    int(event["Proc"]),
                    int(event.get("HoldReasonCode", 0) or 0),
                    int(event.get("HoldReasonSubCode", 0) or 0),
                    str(event.get("HoldReason", reason)),
                )
                return True
            case _ if kind == ABORTED:
                one.status, one.words = "removed", reason
            case _ if kind == TERMINATED:
                one.status, one.how = "ended", _how(event)
        return False

    def _hold(self, one: LastSeen, proc: int, code: int, subcode: int, reason: str) -> None:
        words = hold_in_words(code, subcode, reason)
        if one.status != "held":
            self.held.append(proc)
        one.status, one.words, one.remedy = "held", words.sentence, words.remedy
        one.code = words.code

    def see_queue(
        self, ads: list[dict[str, Any]], *, more: bool, how: str = "left the queue"
    ) -> None:
        """Take in what the schedd says of the whole cluster.

        Parameters
        ----------
        ads
            All jobs of the cluster that are in the queue.
        more
            Whether jobs will still be made.
        how
            What became of those that are not in the queue.
        """
        there = {int(ad["ProcId"]): ad for ad in ads}
        self.finished = not more
        # While jobs are still made, those that are unknown here may not have been made yet.
        for proc in range(self.jobs) if self.finished else {**self.seen, **there}:
            one = self.seen.setdefault(proc, LastSeen())
            if one.status in OVER:
                continue
            if proc in there:
                self._see_job(one, there[proc])
            else:
                one.status, one.how = "ended", one.how or how
            if one.status in OVER:
                self._end(proc)

    def _see_job(self, one: LastSeen, ad: Mapping[str, Any]) -> None:
        status = int(ad.get("JobStatus", 0))
        if status == queue.HELD:
            self._hold(
                one,
                int(ad["ProcId"]),
                int(ad.get("HoldReasonCode", 0) or 0),
                int(ad.get("HoldReasonSubCode", 0) or 0),
                str(ad.get("HoldReason", "")),
            )
        elif status in {queue.RUNNING, queue.TRANSFERRING, queue.SUSPENDED}:
            one.status = "running"
            one.host = str(ad.get("RemoteHost", "") or one.host).rpartition("@")[2]
        elif status == queue.IDLE:
            one.status = "idle"
        elif status == queue.COMPLETED:
            one.status = "completed"
        elif status == queue.REMOVED:
            one.status, one.words = "removed", str(ad.get("RemoveReason", ""))

    def counts(self) -> Counter[str]:
        """Count the jobs by their status; those that are not made yet are `waiting`."""
        found = Counter(one.status for one in self.seen.values())
        missing = self.jobs - len(self.seen)
        found["removed" if self.finished else "waiting"] += missing
        return found

    def status_of(self, proc: int) -> str:
        """Give the status of one job."""
        if proc in self.seen:
            return self.seen[proc].status
        return "removed" if self.finished else "waiting"

    def hosts(self) -> set[str]:
        """Give the machines that have jobs now."""
        return {one.host for one in self.seen.values() if one.status == "running" and one.host}


def _host(event: Mapping[str, Any]) -> str:
    slot = str(event.get("SlotName", ""))
    return slot.rpartition("@")[2] or str(event.get("ExecuteHost", ""))


def _how(event: Mapping[str, Any]) -> str:
    if event.get("TerminatedNormally"):
        return f"ended with exit status {event.get('ReturnValue', '?')}"
    return f"was killed by signal {event.get('TerminatedBySignal', '?')}"
