"""What a run has so far: while it goes on, and for users who may only read it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import eventflock as ef
from eventflock.errors import UsageError
from tests.conftest import Command
from tests.user import User, wait_for, why_no_user

ANALYSIS = """
import time
from pathlib import Path
import awkward as ak
import eventflock as ef
from hist import Hist


@ef.analysis
def gated(events, *, gate: str = ""):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / 1000
    if len(events) and Path(gate).exists():
        first = Path(gate + ".first")
        while first.exists() and Path(gate).exists():
            time.sleep(0.05)
        first.touch()
    return {"E": Hist.new.Reg(20, 0, 2000, name="E").Int64().fill(energy), "n": len(events)}
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users may read."""
    with tempfile.TemporaryDirectory(prefix="eventflock-sofar-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def going(place: Path, sample: Path) -> Iterator[Path]:
    """A run of which the first of four jobs is done, and the second waits."""
    gate, run = place / "gate", place / "run"
    gate.touch()
    (place / "gated.py").write_text(ANALYSIS)
    process = subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "eventflock", "run", place / "gated.py", sample),
            *("--jobs", "4", "--workers", "1", "--param", f"gate={gate}", "--out", run),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: list(run.glob("results/job-*.zip")))
    yield run
    gate.unlink()
    assert process.wait(60) == 0
    assert ef.load(run).complete


def test_merged_and_drawn_while_it_runs(eventflock: Command, going: Path, tmp_path: Path) -> None:
    told = eventflock("merge", going)
    assert told.returncode == 2
    assert f"'eventflock merge {going} --out FOLDER' merges what there is so far" in told.stderr
    told = eventflock("plot", going)
    assert told.returncode == 3
    assert "--out FOLDER" in told.stderr
    before = sorted(path for path in going.rglob("*"))
    told = eventflock("merge", going, "--out", "so far", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert 0 < found["events"] < found["events_planned"] == 10_000
    assert not found["complete"]
    assert (tmp_path / "so far/plots/E.png").stat().st_size > 5000
    result = ef.load(tmp_path / "so far")
    assert result["n"] == found["events"]
    assert result.label.startswith("PARTIAL")
    assert sorted(path for path in going.rglob("*")) == before
    again = ef.merge(going, tmp_path / "again")
    assert np.sum(again["E"].values(flow=True)) == np.sum(result["E"].values(flow=True))


@pytest.mark.skipif(bool(why_no_user()), reason="needs root and another user")
def test_by_a_user_who_may_only_read(going: Path, place: Path) -> None:
    user = User(place / "home")
    for words in (("merge", going), ("resume", going)):
        told = user.run(*words)
        assert told.returncode == 2, told.stderr
        assert f"{going} belongs to somebody else: you cannot write there." in told.stderr
    told = user.run("status", going, "--json")
    assert json.loads(told.stdout)["events"] > 0
    assert user.run("why", going).returncode == 0
    told = user.run("merge", going, "--out", user.home / "mine")
    assert told.returncode == 0, told.stderr
    assert "SO FAR" in told.stdout
    assert (user.home / "mine/plots/E.png").exists()
    told = user.run("plot", user.home / "mine", "--out", user.home / "pictures")
    assert told.returncode == 0, told.stderr


def test_nothing_yet_and_places_that_are_none(
    eventflock: Command, jets: Path, sample: Path, tmp_path: Path
) -> None:
    ef.run(jets, sample, jobs=2, out=tmp_path / "run")
    with pytest.raises(UsageError, match="is the run itself"):
        ef.merge(tmp_path / "run", tmp_path / "run")
    (tmp_path / "file").touch()
    told = eventflock("merge", "run", "--out", "file")
    assert told.returncode == 2
    assert "--out file cannot be made: File exists." in told.stderr
    assert ef.merge(tmp_path / "run", tmp_path / "whole").complete
    for result in (tmp_path / "run/results").iterdir():
        result.unlink()
    told = eventflock("merge", "run", "--out", "none")
    assert told.returncode == 2
    assert "No job of run has a result yet." in told.stderr
    shutil.rmtree(tmp_path / "run")
    assert eventflock("merge", "run", "--out", "none").returncode == 2
