"""Run folders and results of an earlier version open, resume and merge.

`formats/runs-1.zip` was made by `formats/make_runs.py` with the version before the folders of the
package were laid out anew. A plan has absolute paths, so the folders are unpacked where they were.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import eventflock as ef
from tests.conftest import Command
from tests.formats.make_runs import HOME

INCOMPLETE = 7
ARCHIVE = Path(__file__).parent / "formats" / "runs-1.zip"


@pytest.fixture
def runs() -> Iterator[Path]:
    """Unpack the run folders; one test at a time has them, also of tests side by side."""
    with HOME.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(HOME, ignore_errors=True)
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(HOME)
        yield HOME
        shutil.rmtree(HOME)


def check(result: ef.Result) -> None:
    """Check that a result has every event once."""
    assert result.complete
    assert result["n"] == 400
    assert np.all(result["x"].view() == 10)
    assert result["x"].sum(flow=True) == 400


@pytest.mark.parametrize("name", ["local-done", "local-halved", "packed-done"])
def test_a_complete_run_opens_and_merges_again(eventflock: Command, runs: Path, name: str) -> None:
    run = runs / name
    check(ef.load(run))
    check(ef.load(run / "result.zip"))
    assert ef.status(run).complete
    assert not ef.why(run).groups
    before = ef.load(run / "result.zip")["x"]
    (run / "result.zip").unlink()
    assert eventflock("merge", run).returncode == 0
    check(ef.load(run / "result.zip"))
    assert ef.load(run / "result.zip")["x"] == before
    if name != "packed-done":  # its environment is gone, see below
        check(ef.resume(run))


def test_what_was_tried_before_is_still_known(runs: Path) -> None:
    assert {group.cause for group in ef.why(runs / "local-halved").tried} == {"allocation"}


def test_an_event_that_failed_is_known_and_tried_again(eventflock: Command, runs: Path) -> None:
    run = runs / "local-failed"
    partial = ef.load(run)
    assert [(gap.start, gap.stop) for gap in partial.missing] == [(133, 134)]
    (group,) = ef.why(run).groups
    assert (group.cause, group.events) == ("analysis", 1)
    assert "not 333" in group.message
    assert eventflock("merge", run).returncode == INCOMPLETE
    accepted = eventflock("merge", run, "--accept", "0.9975", "--no-strict")
    assert accepted.returncode == 0, accepted.stderr
    check(ef.resume(run))  # the reason is gone


def test_a_run_that_was_killed_goes_on(runs: Path) -> None:
    run = runs / "local-killed"
    status = ef.status(run)
    assert not status.complete
    done = {path: path.stat().st_mtime_ns for path in (run / "results").glob("*.zip")}
    assert len(done) == 2
    check(ef.resume(run))
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.packing
def test_a_packed_run_whose_environment_is_gone_says_so_and_keeps_its_results(
    eventflock: Command, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs / "packed-killed"
    assert not ef.status(run).complete
    monkeypatch.setenv("EVENTFLOCK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ef.EventflockError, match="is not in the cache any more"):
        ef.resume(run)
    assert len(list((run / "results").glob("*.zip"))) == 2
    assert eventflock("merge", run).returncode == INCOMPLETE
    assert ef.load(run)["n"] == 200


def test_results_that_lie_in_a_wave_of_htcondor_arrive(
    eventflock: Command, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pool is gone; what had arrived before is in the account."""
    run = runs / "htcondor-away"
    monkeypatch.setenv("CONDOR_CONFIG", str(runs / "nowhere"))
    assert not list((run / "results").glob("*.zip"))
    assert len(list(run.glob("pool/wave-001/*.zip"))) == 2
    status = json.loads(eventflock("status", run, "--json").stdout)
    assert status["events"] == 200
    assert eventflock("merge", run).returncode == INCOMPLETE
    assert ef.load(run)["n"] == 200
    assert len(list((run / "results").glob("*.zip"))) == 2
