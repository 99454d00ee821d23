"""Explaining the codes of HTCondor: why a job is held, and why it lost its node.

The codes are those of HTCondor's manual, in the appendices on hold reason codes and vacate reason
codes, and of its `condor_holdcodes.h`.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from eventflock.failures.codes import FailureCode

__all__ = ["HoldReason", "explain_eviction", "explain_hold", "is_transient"]


class HoldReason(NamedTuple):
    """Why a job is held.

    Attributes
    ----------
    sentence
        What happened to the job ("it"); it follows "the job is held:".
    remedy
        What the user can do, in sentences of its own.
    cause
        One of `memory`, `disk`, `time`, `transfer-in`, `transfer-out`, `credential`, `user`,
        `policy`, `executable`, `spooling`, `site`, `output`, `unknown`.
    again
        Whether another try can end differently with nothing changed.
    """

    sentence: str
    remedy: str
    cause: str
    again: bool = False

    @property
    def code(self) -> FailureCode:
        """By which the cause is recognised."""
        return FailureCode(f"hold:{self.cause}{'!' * self.again}")


class _Hold(NamedTuple):
    """A row of the table below."""

    cause: str
    again: bool  # whether another try can end differently with nothing changed
    sentence: str
    remedy: str


_RELEASE = "Release it with condor_release."
_RENEW = "Renew the credentials (a proxy, a token or a Kerberos ticket), and release it."
_FOLDER = "Check that the folder exists and can be written by you on the access point."
_ELSEWHERE = "Another node may do better: release it. If it is always the same, tell the site."
_ADMIN = "Tell the administrators of the pool."
# fmt: off
_MEMORY = _Hold("memory", False, "it used more memory than it asked for",
               "Ask for more with request_memory, or use smaller chunks.")
_DISK = _Hold("disk", False, "it used more disk than it asked for",
             "Ask for more with request_disk.")
_TIME = _Hold("time", False, "it ran for longer than it may", "Cut the work into more jobs.")
_OBSOLETE = _Hold("site", False, "it failed in a part of HTCondor that is used no more", _ADMIN)
_CLOUD = _Hold("site", False, "the cloud that it was sent to failed", _ADMIN)
_HOLDS = {
    0: _Hold("unknown", False, "HTCondor gives no code for why", ""),
    1: _Hold("user", False, "somebody put it on hold", _RELEASE),
    2: _OBSOLETE,  # Globus
    3: _Hold("policy", False, "its own periodic_hold or on_exit_hold says so",
            "Change that submit command, or release it with condor_release."),
    4: _Hold("credential", False, "its credentials are missing, invalid or run out", _RENEW),
    5: _Hold("policy", False, "one of its own policies, as periodic_hold, is undefined",
            "Correct that submit command."),
    6: _Hold("executable", True, "the node could not start it", _ELSEWHERE),
    7: _Hold("transfer-out", False, "its standard output could not be opened", _FOLDER),
    8: _Hold("transfer-in", False, "its standard input could not be opened",
            "Check that the file exists and can be read."),
    9: _Hold("transfer-out", False, "the stream of its output could not be opened", _FOLDER),
    10: _Hold("transfer-in", False, "the stream of its input could not be opened",
             "Check that the file exists and can be read."),
    11: _Hold("site", True, "the two ends of a file transfer misunderstood each other", _RELEASE),
    12: _Hold("transfer-out", True, "its files could not be brought back", _RELEASE),
    13: _Hold("transfer-in", True, "its input files could not be brought to the node", _RELEASE),
    14: _Hold("transfer-in", False, "the access point cannot enter its folder",
             "Is the folder still there, and on a disk that the access point has too?"),
    15: _Hold("user", False, "it was submitted on hold", _RELEASE),
    16: _Hold("spooling", True, "its input files are still being sent to the access point",
             "Wait, or send them again by resuming the run."),
    17: _OBSOLETE,  # standard universe
    18: _Hold("site", True, "the two ends of a file transfer did not agree to begin", _RELEASE),
    19: _Hold("site", True, "a program of the site that prepares jobs failed", _ELSEWHERE),
    20: _Hold("time", False, "it missed the time at which it should have started",
             "Leave out deferral_time, or allow more with deferral_window."),
    21: _Hold("policy", False, "the policy of the node put it on hold", _ADMIN),
    22: _Hold("transfer-out", False, "its event log cannot be written", _FOLDER),
    23: _Hold("site", False, "the access point cannot act as your account", _ADMIN),
    24: _Hold("site", False, "the access point has no fitting condor_shadow", _ADMIN),
    25: _Hold("user", False, "its cron settings are wrong", "Correct these submit commands."),
    26: _Hold("policy", False, "the policy of the access point put it on hold", _ADMIN),
    27: _Hold("policy", False, "a policy of the access point is undefined for it", _ADMIN),
    28: _OBSOLETE, 29: _OBSOLETE, 30: _OBSOLETE, 31: _OBSOLETE,  # glexec, PrivSep
    32: _Hold("transfer-in", False, "its input files are larger than is allowed",
             "See max_transfer_input_mb; let jobs open large files by URL."),
    33: _Hold("transfer-out", False, "its output files are larger than is allowed",
             "See max_transfer_output_mb; cut the work into more jobs."),
    34: _MEMORY,
    35: _Hold("executable", False, "its container image is not valid", "Check docker_image."),
    36: _Hold("executable", False, "it failed to write a checkpoint when asked to", ""),
    37: _CLOUD, 38: _CLOUD, 39: _CLOUD, 40: _CLOUD, 41: _CLOUD, 42: _CLOUD,
    43: _Hold("executable", False, "its pre-script failed", "See what the script writes."),
    44: _Hold("executable", False, "its post-script failed", "See what the script writes."),
    45: _Hold("site", True, "the node cannot run containers", _ELSEWHERE),
    46: _TIME._replace(remedy=f"{_TIME.remedy} Or raise allowed_job_duration."),
    47: _TIME._replace(remedy=f"{_TIME.remedy} Or raise allowed_execute_duration."),
    48: _Hold("site", False, "a program of the access point that prepares jobs failed", _ADMIN),
}
"""By HoldReasonCode."""
_WITH_ERRNO = {6, 7, 8, 9, 10, 12, 13, 14}
_SPECIAL = (
    # codes, subcodes (none: any), what the reason says
    ({21, 34}, {102}, "", _MEMORY),
    ({21, 34}, {103, 104}, "", _DISK),
    ({21, 26, 34}, (), r"memory|\bRSS\b|image ?size", _MEMORY),
    ({21, 26, 34}, (), r"\bdisk|scratch", _DISK),
    ({21, 26}, (), r"\brun ?time|wall ?(clock )?time|duration|too long|\bhrs\b|\bhours\b", _TIME),
    ({6}, {22}, "", _Hold(
        "site", True, "the node could not give it file systems of its own (its root is no "
        "mount point)", _ELSEWHERE)),
    ({6}, {8}, "", _Hold("executable", False, "it is no program that the node can run",
                        "Is it for another kind of processor, or a script without '#!'?")),
    ({12, 13}, {28, 122}, r"at execution point|STARTER at \S+ failed to write", _Hold(
        "disk", True, "the disk of the node, or its share of it, is full",
        "Another node may do better: release it, or ask for more with request_disk.")),
    ({7, 9, 12, 22}, {28, 122}, "", _Hold(
        "disk", False, "the disk of the access point is full", "Make room and resume the run.")),
    ({12}, {2}, "at execution point", _Hold(
        "output", True, "it ended, but has not written a file that it should bring back",
        "See its log for why; perhaps the node did not even start it.")),
    ({12}, {1, 2, 13, 20, 30}, "at access point", _Hold(
        "transfer-out", False, "what it brings back cannot be written on the access point",
        _FOLDER)),
    ({13}, {1, 2, 13, 20, 21}, "at access point", _Hold(
        "transfer-in", False, "the access point cannot read one of its input files",
        "Is the file still there, and on a disk that the access point has too?")),
    ({12, 13}, {-1001}, "", _Hold("site", True, "the node cannot transfer such URLs", _ELSEWHERE)),
    ({12, 13}, {62}, "", _Hold("site", True, "the transfer of its files took too long", _RELEASE)),
)
"""What a subcode or the reason adds; the first that fits. Subcodes are errno, or a policy's own."""
_VACATES = {
    1000: "its own periodic_vacate says so",
    1001: "the policy of the access point says so",
    1002: "the access point had an error with it",
    1003: "it could not be prepared",
    1004: "somebody sent it back",
    1005: "HTCondor does not say why",
    1006: "the node did not take it",
    1007: "HTCondor had an error on the node",
    1008: "the connection to the node was lost for too long",
    1009: "the access point sent it back",
    1010: "an administrator cleared the node",
    1011: "the policy of the node sent it away",
    1012: "HTCondor on the node crashed",
    1013: "HTCondor on the node was shut down",
    1014: "the node is being emptied",
    1015: "the node was needed for something larger",
    1016: "the node went to sleep",
    1017: "the access point gave the node back",
    1018: "the node took a job that it prefers",
    1019: "the node went to a user with a better priority",
    1020: "the node could not run the virtual machine",
    1021: "the node could not run the container",
    1022: "the access point sent it back",
    1023: "it was removed",
    1024: "the node had an error with its scratch folder",
    1025: "its node was taken while it wrote a checkpoint",
    **dict.fromkeys(range(1026, 1037), "the node did not take it"),
}
"""By VacateReasonCode; those below 1000 are HoldReasonCodes."""
_VACATE_TEXTS = (
    (r"higher ranked job", 1018), (r"priority", 1019), (r"PREEMPT expression", 1011),
    (r"vacated by the administrator", 1010), (r"schedd released", 1017), (r"drain", 1014),
    (r"claim deactivated", 1009), (r"user requested", 1004), (r"failed to activate", 1006),
    (r"shut ?(ting )?down", 1013), (r"disconnected too long|reconnect", 1008),
    (r"problem preparing", 1003), (r"unspecified", 1005), (r"memory usage exceeded", 34),
    (r"transfer input files", 13), (r"transfer output files", 12), (r"failed to execute", 6),
)
"""For event logs, which have only the reason: the code for which HTCondor gives it."""
_NOISE = re.compile(r"^Error from [^:]{1,200}?: |^Transfer \w+ files failure .*?Details: |"
                    r"\|Error: |[^\s'\"]*/dir_\d+/|<[\d.:]+>|\|$", re.DOTALL)
"""What differs from node to node: without it, jobs with the same trouble have the same words."""
_EXPRESSION = re.compile(r"expression '.*'|WANT_HOLD = .*", re.DOTALL)
"""A policy quoted as it is: all that it may mind, not what it minded."""
# fmt: on


def _hold_of(code: int, subcode: int, reason: str) -> _Hold:
    said = _EXPRESSION.sub("", reason)
    for codes, subcodes, pattern, hold in _SPECIAL:
        fits = code in codes and (not subcodes or subcode in subcodes)
        if fits and re.search(pattern, said, re.IGNORECASE):
            return hold
    return _HOLDS.get(code, _Hold("unknown", False, f"HTCondor held it with code {code}", ""))


def _detail(reason: str, most: int = 300) -> str:
    text = " ".join(_NOISE.sub("", reason).split()).rstrip(".")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def explain_hold(code: int, subcode: int, reason: str) -> HoldReason:
    """Explain why a job is held.

    Parameters
    ----------
    code, subcode, reason
        The attributes HoldReasonCode, HoldReasonSubCode and HoldReason of the job, or of the
        event.
    """
    hold = _hold_of(code, subcode, reason)
    detail = "" if code in {15, 16} else _detail(reason)  # these say the same
    if code in _WITH_ERRNO and 0 < subcode < 134 and os.strerror(subcode) not in detail:
        detail = f"{detail} (errno {subcode}: {os.strerror(subcode)})".strip()
    if code in {12, 13} and subcode > 255:  # that of a plugin is shifted by eight bits
        detail = f"exit status {subcode >> 8} of a transfer plugin; {detail}".rstrip("; ")
    sentence = f"{hold.sentence}: {detail}." if detail else f"{hold.sentence}."
    return HoldReason(sentence, hold.remedy, hold.cause, hold.again)


def is_transient(code: int, subcode: int = 0, reason: str = "") -> bool:
    """Check whether trying again can help although nothing is changed.

    Parameters
    ----------
    code, subcode, reason
        As in `explain_hold`; a VacateReasonCode will do, too.
    """
    return (
        code in _VACATES and code != 1023 if code >= 1000 else _hold_of(code, subcode, reason).again
    )


def explain_eviction(reason: str, code: int = 0, subcode: int = 0) -> str:
    """Explain why a job lost its node and went back to the queue.

    Parameters
    ----------
    reason
        VacateReason of the job, or what the event says.
    code, subcode
        VacateReasonCode and VacateReasonSubCode, if they are known.
    """
    if "OnExitRemove" in reason:
        return "it failed on its node, and HTCondor tries it once more"
    if not code:
        codes = (number for text, number in _VACATE_TEXTS if re.search(text, reason, re.IGNORECASE))
        code = next(codes, 0)
    detail = _detail(reason)
    if code in _VACATES:
        return f"{_VACATES[code]} ({detail})" if detail else _VACATES[code]
    if code:
        return explain_hold(code, subcode, reason).sentence.rstrip(".")
    return detail or "HTCondor does not say why"
