"""What HTCondor says in codes, said in words. The reasons are as real pools write them."""

from __future__ import annotations

import errno
from itertools import product

import pytest

from eventflock.failures.codes import FailureCode
from eventflock.pools.htcondor import holds
from eventflock.pools.htcondor.holds import HoldReason, explain_eviction, explain_hold, is_transient

CAUSES = {
    *(
        "output",
        "memory",
        "disk",
        "time",
        "transfer-in",
        "transfer-out",
        "credential",
        "user",
        "policy",
    ),
    *("executable", "spooling", "site", "unknown"),
}
AT_AP = "Transfer {} files failure at access point ap while {} files {} execution point slot1_2@node. Details: "
AT_EP = "Transfer {} files failure at execution point slot1_2@node while {} files {} access point ap. Details: "
IN_AT_AP = AT_AP.format("input", "sending", "to")
OUT_AT_AP = AT_AP.format("output", "receiving", "from")
IN_AT_EP = AT_EP.format("input", "receiving", "from")
OUT_AT_EP = AT_EP.format("output", "sending", "to")


@pytest.mark.parametrize(
    ("code", "subcode", "reason", "cause", "words"),
    [
        (21, 102, "Error from slot1_1@node: memory usage exceeded request_memory", "memory",
         "it used more memory than it asked for: memory usage exceeded request_memory."),
        (34, 0, "Error from slot1@node: Job has gone over cgroup memory limit of 64 megabytes. Last measured usage: 62 megabytes.",
         "memory", "cgroup memory limit of 64 megabytes"),
        (34, 104, "disk", "disk", "it used more disk"),
        (21, 104, "Error from slot1@node: disk usage exceeded request_disk", "disk", "it used more disk"),
        (26, 0, "Job failed to complete in 72 hrs", "time", "it ran for longer than it may"),
        (26, 0, "The system macro SYSTEM_PERIODIC_HOLD expression 'MemoryUsage > 5 || NumJobStarts > 9' evaluated to TRUE",
         "policy", "the policy of the access point put it on hold: The system macro"),
        (21, 0, "The startd put this job on hold.  (At preemption time, WANT_HOLD evaluated to true: WANT_HOLD = MemoryUsage > Memory)",
         "policy", "the policy of the node put it on hold"),
        (3, 0, "The job attribute PeriodicHold expression 'DiskUsage > 2' evaluated to TRUE", "policy", "periodic_hold"),
        (3, 7, "mine", "policy", "its own periodic_hold or on_exit_hold says so: mine."),
        (4, 0, "Proxy about to expire", "credential", "credentials"),
        (6, 2, "Error from slot1_2@node: Failed to execute '/var/lib/condor/execute/dir_976/run.sh': invalid interpreter (/bin/no) specified on first line of script (errno=2: 'No such file or directory')",
         "executable", "the node could not start it: Failed to execute 'run.sh': invalid interpreter"),
        (6, 8, "Error from slot1_2@node: Failed to execute '/x/dir_985/a.txt': (errno=8: 'Exec format error')", "executable", "no program"),
        (6, 22, "Error from slot1@node: Failed to execute '/x/dir_9/a'", "site", "(errno 22: Invalid argument)"),
        (12, 2, OUT_AT_EP + "reading from file /var/lib/condor/execute/dir_999/result.zip: (errno 2) No such file or directory",
         "output", "it ended, but has not written a file that it should bring back: reading from file result.zip"),
        (12, 2, OUT_AT_AP + "writing to file /no/o.txt: (errno 2) No such file or directory", "transfer-out", "cannot be written on the access point"),
        (12, errno.ENOSPC, OUT_AT_AP + "writing to file /home/me/o.zip: (errno 28) No space left on device", "disk", "the disk of the access point is full"),
        (12, errno.EDQUOT, OUT_AT_AP, "disk", "(errno 122: Disk quota exceeded)"),
        (7, errno.ENOSPC, "", "disk", "the disk of the access point is full: (errno 28: No space left on device)."),
        (13, errno.ENOSPC, IN_AT_EP + "writing to file x: (errno 28) No space left on device", "disk", "the disk of the node"),
        (12, errno.ENOSPC, "Error from glidein_2@node: STARTER at 10.1.5.29 failed to write to file /x/dir_5025/a: (errno 28) No space left on device",
         "disk", "the disk of the node"),
        (13, 2, IN_AT_AP + "reading from file /home/me/nope.dat: (errno 2) No such file or directory", "transfer-in",
         "the access point cannot read one of its input files: reading from file /home/me/nope.dat: (errno 2)"),
        (13, 256, IN_AT_EP + "|Error: could not resolve host|", "transfer-in", "exit status 1 of a transfer plugin; could not resolve host."),
        (13, -1001, IN_AT_EP, "site", "cannot transfer such URLs"),
        (13, 62, IN_AT_EP, "site", "took too long"),
        (14, 2, "Cannot access initial working directory /runs/w: No such file or directory", "transfer-in",
         "the access point cannot enter its folder: Cannot access initial working directory /runs/w: No such file or directory."),
        (14, 13, "Cannot access it", "transfer-in", "Cannot access it (errno 13: Permission denied)."),
        (15, 0, "submitted on hold at user's request", "user", "it was submitted on hold."),
        (16, 0, "Spooling input data files", "spooling", "still being sent"),
        (46, 0, "The job exceeded allowed job duration of 00:03", "time", "00:03"),
        (47, 0, "The job exceeded allowed execute duration of 00:03", "time", "00:03"),
        (999, 0, "Something new", "unknown", "HTCondor held it with code 999: Something new."),
        (1, 0, "Python-initiated action (by user flock)", "user", "somebody put it on hold: Python-initiated action (by user flock)."),
    ],
)  # fmt: skip
def test_why_it_is_held(code: int, subcode: int, reason: str, cause: str, words: str) -> None:
    found = explain_hold(code, subcode, reason)
    assert found.cause == cause
    assert words in found.sentence


@pytest.mark.parametrize("code", [*range(49), 777])
def test_every_code_has_words(code: int) -> None:
    for subcode, reason in product([-1002, 0, 2, 22, 28, 102, 104, 256], ["", IN_AT_AP, OUT_AT_EP]):
        found = explain_hold(code, subcode, reason)
        assert found.sentence.endswith(".")
        assert found.sentence[0].islower() or found.sentence.startswith("HTCondor")
        assert found.cause in CAUSES
        assert found.remedy.endswith((".", "?")) or code in {0, 36, 777}


def test_the_full_disk_says_to_make_room() -> None:
    found = explain_hold(12, errno.ENOSPC, OUT_AT_AP)
    assert found.remedy == "Make room and resume the run."
    assert not is_transient(12, errno.ENOSPC, OUT_AT_AP)
    assert is_transient(13, errno.ENOSPC, IN_AT_EP)


def test_other_nodes_give_the_same_words() -> None:
    first = explain_hold(6, 8, "Error from slot1_1@a: Failed to execute '/x/dir_1/y'")
    second = explain_hold(6, 8, "Error from slot1_7@b.c: Failed to execute '/z/dir_82/y'")
    assert first == second
    long = explain_hold(13, 1, "x" * 5000).sentence
    assert len(long) < 500


def test_what_can_pass_by_itself() -> None:
    passing = {6, 11, 12, 13, 16, 18, 19, 45}
    assert {code for code in range(49) if is_transient(code)} == passing
    assert is_transient(12, 2, OUT_AT_EP)
    assert is_transient(6, 22)
    assert not is_transient(21, 102)
    assert is_transient(1014)
    assert is_transient(1008)
    assert not is_transient(1023)
    assert not is_transient(5000)


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [
        ("Preempted for a Priority user", 0,
         "the node went to a user with a better priority (Preempted for a Priority user)"),
        ("Preempted for a higher Ranked job", 0, "the node took a job that it prefers"),
        ("Job disconnected too long: JobLeaseDuration (2400 seconds) expired", 0,
         "the connection to the node was lost for too long"),
        ("Failed to activate claim", 1006, "the node did not take it"),
        ("Claim vacated by the administrator", 0, "an administrator cleared the node"),
        ("", 1014, "the node is being emptied"),
        ("Error from slot1_1@node: memory usage exceeded request_memory", 0,
         "it used more memory than it asked for: memory usage exceeded request_memory"),
        (OUT_AT_EP + "reading from file /x/dir_9/r.zip: (errno 2) No such file or directory", 0,
         "its files could not be brought back: reading from file r.zip"),
        (OUT_AT_EP + "reading from file /x/dir_9/r.zip: (errno 2) No such file or directory", 12,
         "its files could not be brought back: reading from file r.zip"),
        ("Error from slot1@node: a new thing", 0, "a new thing"),
        ("", 0, "HTCondor does not say why"),
    ],
)  # fmt: skip
def test_why_it_came_back(reason: str, code: int, words: str) -> None:
    assert explain_eviction(reason, code).startswith(words)


def test_every_row_of_the_table_has_a_failure_code_and_every_code_a_row() -> None:
    rows = [*holds._HOLDS.values(), *(row for *_, row in holds._SPECIAL)]
    codes = {HoldReason(row.sentence, row.remedy, row.cause, row.again).code for row in rows}
    known = {code for code in FailureCode if code.startswith("hold:")}
    assert codes <= known
    assert {code.rstrip("!") for code in codes} == {code.rstrip("!") for code in known}
