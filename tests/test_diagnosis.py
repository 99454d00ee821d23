"""Why events are missing: five causes in 200 jobs, named in order, each with a command."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import eventflock as ef
from eventflock.core.options import JobLimits
from eventflock.errors import IncompleteError
from eventflock.runs.diagnosis import explain as why
from tests.damage import make_tree, spoil_basket

ANALYSIS = """
import os, time
import awkward as ak
import eventflock as ef

@ef.analysis(tree="t")
def five(events):
    x = events.x
    if ak.any((x >= 2000) & (x < 2004)):
        raise ValueError("no such jet")
    if ak.any((x >= 6000) & (x < 6002)):
        os._exit(9)
    if ak.any((x >= 10_000) & (x < 10_300)):
        print("waiting for a server that does not answer", flush=True)
        time.sleep(600)
    if ak.any(x == 14_007):
        raise MemoryError("cannot allocate 1 TB")
    return {"n": len(events), "y": float(ak.sum(events.y))}
"""


@pytest.mark.slow
def test_five_causes_in_two_hundred_jobs(tmp_path: Path) -> None:
    data = make_tree(tmp_path / "data.root", clusters=1000, size=20)
    for number in range(900, 910):
        spoil_basket(data, "y", number)
    (tmp_path / "five.py").write_text(ANALYSIS)
    run = tmp_path / "run"
    with pytest.raises(IncompleteError) as error:
        ef.run(tmp_path / "five.py", data, jobs=200, out=run, limits=JobLimits(stall_seconds=1.5))
    assert f"eventflock why {run}" in error.value.remedy
    found = why(run)
    assert [(one.cause, one.events, one.jobs) for one in found.groups] == [
        ("stalled", 300, 3),
        ("read", 200, 2),
        ("analysis", 4, 1),
        ("died", 2, 1),
        ("allocation", 1, 1),
    ]
    assert found.events == 20_000 - 507
    lacking = ef.load(run).missing
    assert sum(one.stop - one.start for one in lacking) == 507
    stalled, read, raised, died, memory = found.groups
    assert stalled.output[-1] == "waiting for a server that does not answer"
    assert "basket 90" in read.message
    assert raised.traceback.endswith("ValueError: no such jet")
    assert "exit status 9" in died.message
    assert memory.missing[0].start == 14_007
    assert all(one.hosts for one in found.groups)
    says = ["made no progress", "cannot read basket", "no such jet", "exit status 9", "1 TB"]
    for group, said in zip(found.groups, says, strict=True):
        assert said in repeated(group.repeat, tmp_path), group.repeat


def repeated(command: str, folder: Path) -> str:
    """Run a command that `why` gives; it has to fail, and give what it says."""
    words = shlex.split(command)
    assert words[0] == "eventflock"
    done = subprocess.run(
        [sys.executable, "-P", "-m", *words, "--no-plot"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode not in {0, 1, 2}, done.stderr
    return done.stderr


def test_it_is_shown_and_given_as_json(tmp_path: Path) -> None:
    make_tree(tmp_path / "data.root", clusters=4)
    (tmp_path / "a.py").write_text(
        'import eventflock as ef\n@ef.analysis(tree="t")\ndef a(events):\n'
        '    if (events.x.to_numpy() == 17).any(): raise ValueError("x is 17")\n'
        '    return {"n": len(events)}\n'
    )
    command = [sys.executable, "-P", "-m", "eventflock"]
    run = subprocess.run(
        [*command, "run", "a.py", "data.root", "--jobs", "4", "--out", "r", "--no-plot"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 7
    assert "To be content with it: eventflock merge r --accept 0.975 --no-strict" in run.stderr
    shown = subprocess.run(
        [*command, "why", "r"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert "1 event of 40 missing, 1 cause" in shown
    assert "1. the analysis raised: 1 event, 1 job" in shown
    assert "ValueError: x is 17" in shown
    assert "entries 17 to 18 (1)" in shown
    assert "repeat it:  eventflock run" in shown
    assert "analysis: tried part by part, to find what fails (1 time)" in shown
    assert "to be content with them: eventflock merge r --accept 0.975 --no-strict" in shown
    content = [*command, "merge", "r", "--accept", "0.975", "--no-plot"]
    refused = subprocess.run(content, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 7
    assert "add --no-strict to accept that" in refused.stderr
    told = json.loads(
        subprocess.run(
            [*command, "why", "r", "--json"], cwd=tmp_path, capture_output=True, check=True
        ).stdout
    )
    assert told["groups"][0]["events"] == 1
    accepted = subprocess.run(
        [*command, "merge", "r", "--accept", "0.975", "--no-strict", "--no-plot"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "PARTIAL   39 of 40 events, accepted: 0.975 is enough" in accepted
    kept = subprocess.run(
        [*command, "merge", "r", "--no-plot"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "accepted: 0.975 is enough" in kept
    for words in (["--accept", "nan"], ["--no-strict"]):
        told = subprocess.run(
            [*command, "merge", "r", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert told.returncode == 2
        assert "--accept" in told.stderr


def test_where_nothing_failed_it_says_so(tmp_path: Path) -> None:
    data = make_tree(tmp_path / "data.root", clusters=2)
    (tmp_path / "a.py").write_text(
        "import eventflock as ef\n@ef.analysis\ndef a(events):\n    return {'n': len(events)}\n"
    )
    ef.run(tmp_path / "a.py", data, out=tmp_path / "r")
    found = why(tmp_path / "r")
    assert (found.groups, found.tried, found.events) == ([], [], 20)
