"""The states of the jobs of a wave, from HTCondor's events and from what the schedd says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventflock.core.states import QueueStatus
from eventflock.pools.batch.states import JobStates, LastSeen
from eventflock.pools.htcondor.codes import CondorEvent, CondorJobStatus
from eventflock.pools.htcondor.holds import explain_eviction, explain_hold

__all__ = ["CondorJobStates"]

_BACK_TO_QUEUE = {
    CondorEvent.EVICTED,
    CondorEvent.SHADOW_EXCEPTION,
    CondorEvent.RECONNECT_FAILED,
    CondorEvent.EXECUTABLE_ERROR,
}
_ON_A_NODE = {CondorJobStatus.RUNNING, CondorJobStatus.TRANSFERRING, CondorJobStatus.SUSPENDED}


class CondorJobStates(JobStates):
    """The states of the jobs of one cluster; their numbers are HTCondor's process numbers."""

    def take_event(self, event: Mapping[str, Any]) -> int | None:
        """Take in one event.

        Returns
        -------
        int or None
            The process number of the job, if the event deserves a line for the user.
        """
        kind, proc = int(event.get("EventTypeNumber", -1)), int(event.get("Proc", -1))
        if proc < 0:
            self._take_cluster_event(kind, event)
            return None
        if proc >= self.jobs:
            return None
        last = self.seen.setdefault(proc, LastSeen())
        if last.status.is_over():  # later events repeat what is known
            return None
        memory = event.get("MemoryUsage")
        if isinstance(memory, int):
            last.memory_mb = max(last.memory_mb, memory)
        shown = self._take_job_event(last, kind, event)
        if last.status.is_over():
            self.end(proc)
        return proc if shown else None

    def _take_cluster_event(self, kind: int, event: Mapping[str, Any]) -> None:
        if kind == CondorEvent.CLUSTER_REMOVE:
            self.drop_unmade()
        elif kind == CondorEvent.FACTORY_PAUSED:
            self.paused = str(event.get("Reason", "")) or "paused"
        elif kind == CondorEvent.FACTORY_RESUMED:
            self.paused = ""

    def _take_job_event(self, last: LastSeen, kind: int, event: Mapping[str, Any]) -> bool:
        """Take in an event of a job, and return whether it deserves a line for the user."""
        reason = str(event.get("Reason", "")).strip()
        if kind == CondorEvent.EXECUTE:
            last.status, last.host = QueueStatus.RUNNING, _host(event)
        elif kind == CondorEvent.RELEASED:
            last.status, last.words, last.remedy = QueueStatus.IDLE, "", ""
        elif kind in _BACK_TO_QUEUE:
            last.status = QueueStatus.IDLE
            text = reason or str(event.get("Message", "")).strip()
            last.words = explain_eviction(text) if text else "it came back to the queue"
            return bool(text)
        elif kind == CondorEvent.HELD:
            text = str(event.get("HoldReason", reason))
            self._hold(last, int(event["Proc"]), event, text)
            return True
        elif kind == CondorEvent.ABORTED:
            last.status, last.words = QueueStatus.REMOVED, reason
        elif kind == CondorEvent.TERMINATED:
            last.status, last.how = QueueStatus.ENDED, _how(event)
        return False

    def _hold(self, last: LastSeen, proc: int, attributes: Mapping[str, Any], reason: str) -> None:
        """Take in that a job is held; an event and an ad have the same names for the codes."""
        code = int(attributes.get("HoldReasonCode", 0) or 0)
        subcode = int(attributes.get("HoldReasonSubCode", 0) or 0)
        hold = explain_hold(code, subcode, reason)
        if last.status != QueueStatus.HELD:
            self.held.append(proc)
        last.status = QueueStatus.HELD
        last.words, last.remedy, last.code = hold.sentence, hold.remedy, hold.code

    def take_queue(
        self, ads: list[dict[str, Any]], *, more: bool, how: str = "left the queue"
    ) -> None:
        """Take in what the schedd says of the whole cluster.

        Parameters
        ----------
        ads
            All jobs of the cluster that are in the queue.
        more
            Whether more jobs will be made.
        how
            How the jobs have ended that are not in the queue.
        """
        there = {int(ad["ProcId"]): ad for ad in ads}
        self.finished = not more
        # While more jobs are made, jobs that are unknown here may not have been made yet.
        for proc in range(self.jobs) if self.finished else {**self.seen, **there}:
            last = self.seen.setdefault(proc, LastSeen())
            if last.status.is_over():
                continue
            if proc in there:
                self._take_ad(last, there[proc])
            else:
                last.status, last.how = QueueStatus.ENDED, last.how or how
            if last.status.is_over():
                self.end(proc)

    def _take_ad(self, last: LastSeen, ad: Mapping[str, Any]) -> None:
        status = int(ad.get("JobStatus", 0))
        if status == CondorJobStatus.HELD:
            self._hold(last, int(ad["ProcId"]), ad, str(ad.get("HoldReason", "")))
        elif status in _ON_A_NODE:
            last.status = QueueStatus.RUNNING
            last.host = str(ad.get("RemoteHost", "") or last.host).rpartition("@")[2]
        elif status == CondorJobStatus.IDLE:
            last.status = QueueStatus.IDLE
        elif status == CondorJobStatus.COMPLETED:
            last.status = QueueStatus.COMPLETED
        elif status == CondorJobStatus.REMOVED:
            last.status, last.words = QueueStatus.REMOVED, str(ad.get("RemoveReason", ""))


def _host(event: Mapping[str, Any]) -> str:
    slot = str(event.get("SlotName", ""))
    return slot.rpartition("@")[2] or str(event.get("ExecuteHost", ""))


def _how(event: Mapping[str, Any]) -> str:
    if event.get("TerminatedNormally"):
        return f"ended with exit status {event.get('ReturnValue', '?')}"
    return f"was killed by signal {event.get('TerminatedBySignal', '?')}"
