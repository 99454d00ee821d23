"""What Slurm says of the tasks of an array, in the words that all batch systems share.

States and reasons are those of squeue(1), "JOB STATE CODES" and "JOB REASON CODES".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from eventflock.core.states import QueueStatus
from eventflock.failures.codes import FailureCode
from eventflock.pools.batch.states import JobStates, LastSeen

__all__ = ["OVER", "SlurmJobStates", "Task", "why_pending"]


class Task(NamedTuple):
    """One task of an array, as squeue or sacct shows it.

    Attributes
    ----------
    state
        In upper case, without what sacct adds to it.
    host
        The node; empty if it has none.
    reason
        Why it waits, or has ended.
    status
        Exit status of the script and, if it was killed, the signal: `1:0`.
    by
        Who cancelled it; empty if that is not known.
    """

    state: str
    host: str = ""
    reason: str = ""
    status: str = ""
    by: str = ""


class _End(NamedTuple):
    """How a task has ended that Slurm itself ended."""

    how: str
    code: str


_ENDS = {
    "TIMEOUT": _End("took longer than its time limit", FailureCode.TIME),
    "DEADLINE": _End("did not end before its deadline", FailureCode.TIME),
    "OUT_OF_MEMORY": _End("used more memory than it had asked for", FailureCode.MEMORY),
    "NODE_FAIL": _End("was lost with its node", FailureCode.LOST),
    "BOOT_FAIL": _End("was lost, as its node did not boot", FailureCode.LOST),
    "PREEMPTED": _End("was preempted", FailureCode.LOST),
    "REVOKED": _End("was revoked by another cluster", FailureCode.LOST),
}
_REMEDIES = {
    FailureCode.TIME: "Cut the work into more jobs, or ask for more with --submit time=2:00:00.",
    FailureCode.MEMORY: "Ask for more with --submit mem=4G, or use smaller chunks.",
}
_PENDING = {"PENDING", "REQUEUED", "REQUEUE_FED", "RESV_DEL_HOLD", "RESIZING"}
_HELD = {"REQUEUE_HOLD", "SPECIAL_EXIT"}
OVER = {"COMPLETED", "FAILED", "CANCELLED", *_ENDS}
"""States of tasks that have ended."""
_LOGS = (
    # what slurmstepd writes into the output of a job, and what that was
    (re.compile(r"memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE), "OUT_OF_MEMORY"),
    (re.compile(r"DUE TO TIME LIMIT"), "TIMEOUT"),
    (re.compile(r"DUE TO PREEMPTION"), "PREEMPTED"),
    (re.compile(r"DUE TO NODE FAILURE"), "NODE_FAIL"),
    (re.compile(r"\*\*\* (?:JOB|STEP) .* CANCELLED AT"), "CANCELLED"),
)
_REASONS = {
    "PartitionTimeLimit": "its time limit is above that of the partition",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs",
    "ReqNodeNotAvail": "the nodes that it asks for are not available",
    "BadConstraints": "no node has what it asks for",
    "NodeDown": "a node that it asks for is down",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its QOS is not valid",
    "Dependency": "a job that it depends on has not ended",
    "DependencyNeverSatisfied": "a job that it depends on has failed",
    "BeginTime": "its begin time has not come",
    "Licenses": "no license is free",
    "Reservation": "its reservation has not begun",
}


def why_pending(reason: str) -> str:
    """Explain why tasks wait; empty if that is as usual."""
    reason = reason.strip("()").partition(",")[0]
    if reason in _REASONS:
        return f"{_REASONS[reason]} ({reason})"
    if reason.startswith(("Assoc", "QOS", "Job")) and "Limit" in reason:
        return f"a limit of your account is reached ({reason})"
    return ""


def _held_by(reason: str) -> tuple[str, FailureCode]:
    """Say why a task is on hold, in words and as a code; no words if it is not."""
    plain = reason.strip("()").replace("_", " ").lower()
    if plain == "jobhelduser":
        return "somebody put it on hold", FailureCode.HOLD_USER
    if plain == "jobheldadmin":
        return "an administrator put it on hold", FailureCode.HOLD_POLICY
    if "held" in plain:
        return f"Slurm could not start it ({plain})", FailureCode.HOLD_SITE_PASSING
    return "", FailureCode.HOLD_UNKNOWN


class SlurmJobStates(JobStates):
    """The states of the tasks of one array; their numbers are Slurm's task numbers."""

    def take(self, tasks: Mapping[int, Task], logs: Mapping[int, str]) -> list[int]:
        """Take in what is known of all tasks; those that Slurm no longer knows are over.

        Parameters
        ----------
        tasks
            What Slurm says of each that it knows.
        logs
            What Slurm wrote into the output of tasks that failed, or that it knows no more.

        Returns
        -------
        list of int
            The tasks that deserve a line for the user.
        """
        told = []
        for number in range(self.jobs):
            last = self.seen.setdefault(number, LastSeen())
            if last.status.is_over():
                continue
            if self._take_one(number, last, tasks.get(number), logs.get(number, "")):
                told.append(number)
            if last.status.is_over():
                self.end(number)
        return told

    def _take_one(self, number: int, last: LastSeen, task: Task | None, log: str) -> bool:
        """Take in the state of one task, and return whether it deserves a line for the user."""
        if task is None:
            self._take_end(last, Task(_from_log(log) or "LEFT", last.host))
            return False
        last.host = task.host or last.host
        words, code = _held_by(task.reason) if task.state in _PENDING else ("", "")
        if task.state in _HELD:
            words, code = "it was put on hold when it was requeued", FailureCode.HOLD_POLICY
        if words:
            return self._hold(number, last, words, code)
        if task.state in _PENDING:
            came_back = last.status == QueueStatus.RUNNING
            was_held = last.status == QueueStatus.HELD
            last.status = QueueStatus.IDLE
            if came_back or was_held:
                last.words, last.remedy = "it came back to the queue" * came_back, ""
            return came_back
        if task.state not in OVER:  # also when it is suspended, or its node is being prepared
            last.status, last.words, last.remedy = QueueStatus.RUNNING, "", ""
            return False
        if task.state == "FAILED":
            task = task._replace(state=_from_log(log) or task.state)
        self._take_end(last, task)
        return False

    def _hold(self, number: int, last: LastSeen, words: str, code: str) -> bool:
        if last.status == QueueStatus.HELD:
            return False
        self.held.append(number)
        last.status, last.words, last.code = QueueStatus.HELD, words, code
        last.remedy = "Release it with 'scontrol release JOBID'."
        return True

    def _take_end(self, last: LastSeen, task: Task) -> None:
        last.words = last.remedy = ""
        if task.state == "CANCELLED":
            last.status = QueueStatus.REMOVED
            last.words = f"it was cancelled by {task.by or 'somebody (scancel)'}"
            return
        last.status = QueueStatus.ENDED
        status, _, signal = task.status.partition(":")
        if task.state in _ENDS:
            last.how, last.end_code = _ENDS[task.state]
            last.remedy = _REMEDIES.get(FailureCode(last.end_code), "")
        elif task.state == "LEFT":
            last.how = "left the queue"
        elif status == "85":
            last.how = "did not find the folder of the run"
            last.remedy = "Choose a folder that all nodes see, with --out."
        elif signal and signal != "0":
            last.how = f"was killed by signal {signal}"
        else:
            last.how = f"ended with exit status {status or '0'}"


def _from_log(text: str) -> str:
    """Read from the output of a task why Slurm ended it; empty if that is not there."""
    return next((state for pattern, state in _LOGS if pattern.search(text)), "")
