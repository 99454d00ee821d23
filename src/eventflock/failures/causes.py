"""Why jobs fail, and what is done about it: the whole table, to be read from top to bottom.

A failure is recognised by its code (see `codes`), or else by its kind (see `errors.ErrorKind`).
Workers write both into receipts. For a job without a receipt, the pool says how the job ended.
`retries` decides from this table what is done, for all pools alike.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from eventflock.core.manifest import Failure
from eventflock.errors import ErrorKind
from eventflock.failures.codes import FailureCode

__all__ = ["CAUSES", "TRIES_MAX", "Cause", "RecoveryStep", "cause_of", "normalized"]

TRIES_MAX = 12
"""A job, or a piece of one, is not tried more often than this, whatever the causes."""


class RecoveryStep(StrEnum):
    """What can be done about a failure."""

    AGAIN = "tried again"
    REPLICA = "read from another replica"
    MEMORY = "tried with more memory"
    DISK = "tried with more disk"
    ISOLATE = "tried part by part, to find what fails"
    HALVE = "halved"
    HALVE_CHUNKS = "halved down to chunks"
    FAIL = "given up"
    STOP = "given up, and so are all jobs that have not begun"


class Cause(NamedTuple):
    """One cause of failures.

    Attributes
    ----------
    name
        In a word or two.
    permanent
        Whether the same must be expected from another try with nothing changed.
    again
        Tries with nothing changed.
    steps
        What is done then, the first that is possible.
    pause
        Seconds before the first of these tries; doubled with each.
    elsewhere
        Whether the machine is avoided from then on.
    words
        What it is, for people.
    """

    name: str
    permanent: bool
    again: int
    steps: tuple[RecoveryStep, ...]
    pause: float
    elsewhere: bool
    words: str


_S = RecoveryStep
# fmt: off
CAUSES = {cause.name: cause for cause in (
    # name, permanent, again, then, pause, elsewhere, words
    Cause("analysis", True, 0, (_S.ISOLATE,), 0, False, "the analysis raised"),
    Cause("returned", True, 0, (), 0, False, "the analysis returned what cannot be added"),
    Cause("program", True, 0, (), 0, False, "the program failed"),
    Cause("branch", True, 0, (_S.ISOLATE,), 0, False, "a branch is not there"),
    Cause("read", True, 1, (_S.REPLICA, _S.ISOLATE), 2, False, "events cannot be read"),
    Cause("file", True, 1, (_S.REPLICA, _S.ISOLATE), 2, False, "a file cannot be opened"),
    Cause("memory", True, 0, (_S.MEMORY, _S.HALVE), 0, False, "memory exceeded"),
    Cause("allocation", True, 0, (_S.MEMORY, _S.ISOLATE), 0, False, "memory could not be had"),
    Cause("time", True, 0, (_S.HALVE_CHUNKS,), 0, False, "time exceeded"),
    Cause("stalled", False, 1, (_S.REPLICA, _S.HALVE_CHUNKS), 2, True, "no progress"),
    Cause("server", False, 2, (_S.REPLICA,), 10, True, "a server does not answer"),
    Cause("died", False, 1, (_S.HALVE,), 0, False, "the process died"),
    Cause("node", False, 3, (), 1, True, "unusable node"),
    Cause("lost", False, 10, (), 5, False, "the node was lost"),
    Cause("result", False, 3, (), 1, False, "the result did not arrive"),
    Cause("disk", False, 1, (_S.DISK,), 1, True, "disk full"),
    Cause("transfer", False, 2, (), 10, True, "files could not be transferred"),
    Cause("site", False, 2, (), 10, True, "the site could not run it"),
    Cause("unknown", False, 1, (), 1, False, "an error that is not in this table"),
    Cause("place", True, 0, (_S.STOP,), 0, False, "files of this machine cannot be used"),
    Cause("credential", True, 0, (_S.STOP,), 0, False, "credentials missing or expired"),
    Cause("held", True, 0, (), 0, False, "on hold by a policy or a person"),
    Cause("removed", True, 0, (), 0, False, "removed from the queue"),
    Cause("call", True, 0, (_S.STOP,), 0, False, "the run itself is wrong"),
)}
# fmt: on

_CODES: dict[str, str] = {
    # of receipts
    FailureCode.BRANCH: "branch",
    FailureCode.RETURNED: "returned",
    FailureCode.PROGRAM: "program",
    FailureCode.READ: "read",
    FailureCode.GONE: "file",
    FailureCode.TIME: "time",
    FailureCode.MEMORY: "memory",
    FailureCode.STALLED: "stalled",
    FailureCode.SERVER: "server",
    FailureCode.DISK: "disk",
    # of pools
    FailureCode.SIGNAL: "died",
    FailureCode.EXIT: "died",
    FailureCode.LOST: "lost",
    FailureCode.REMOVED: "removed",
    FailureCode.NO_RESULT: "result",
    # of batch systems, why a job is held
    FailureCode.HOLD_MEMORY: "memory",
    FailureCode.HOLD_DISK: "place",
    FailureCode.HOLD_DISK_PASSING: "disk",
    FailureCode.HOLD_TIME: "time",
    FailureCode.HOLD_TRANSFER_IN: "place",
    FailureCode.HOLD_TRANSFER_IN_PASSING: "transfer",
    FailureCode.HOLD_TRANSFER_OUT: "place",
    FailureCode.HOLD_TRANSFER_OUT_PASSING: "transfer",
    FailureCode.HOLD_CREDENTIAL: "credential",
    FailureCode.HOLD_USER: "held",
    FailureCode.HOLD_POLICY: "held",
    FailureCode.HOLD_EXECUTABLE: "site",
    FailureCode.HOLD_SITE: "site",
    FailureCode.HOLD_SPOOLING: "transfer",
    # Even a job that fails writes its file, unless it never started.
    FailureCode.HOLD_OUTPUT: "node",
    FailureCode.HOLD_UNKNOWN: "site",
}
_KINDS: dict[str, str] = {
    ErrorKind.ANALYSIS: "analysis",
    ErrorKind.INPUT: "file",
    ErrorKind.MEMORY: "allocation",
    ErrorKind.NODE: "node",
    ErrorKind.ENVIRONMENT: "node",
    ErrorKind.POOL: "died",
    ErrorKind.RESULT: "result",
    ErrorKind.USAGE: "call",
    ErrorKind.BUG: "unknown",
}


def cause_of(failure: Failure) -> Cause:
    """Recognise the cause of a failure."""
    code = failure.code
    for known in (code, code.removesuffix("!"), code.partition(":")[0]):
        if known in _CODES:
            return CAUSES[_CODES[known]]
    return CAUSES[_KINDS.get(failure.kind, "unknown")]


_VARIES = re.compile(r"0x[0-9a-f]+|(?<![\w.])[^\s'\"]*/[^\s'\":,]*|\d[\d,.]*", re.IGNORECASE)


def normalized(failure: Failure) -> str:
    """Return the message without what differs between jobs: numbers, paths, addresses."""
    return " ".join(_VARIES.sub("*", failure.message).split())
