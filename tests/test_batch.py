"""A second batch system: a module, and a line in the table. Nothing else knows of it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.pools.names import BATCH_SYSTEMS
from tests.process_batch import NAME

pytestmark = pytest.mark.packing

ANALYSIS = """
import time
from pathlib import Path
import eventflock as ef


@ef.analysis(tree="t")
def sums(events, *, gate: str = ""):
    while gate and len(events) and events.x[0] >= 100 and not Path(gate).exists():
        time.sleep(0.05)
    return {"n": len(events), "x": float(sum(events.x))}
"""


@pytest.fixture(autouse=True)
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(BATCH_SYSTEMS, NAME, "tests.process_batch")
    with uproot.recreate(tmp_path / "a.root") as file:
        file["t"] = {"x": np.arange(200.0)}
    (tmp_path / "sums.py").write_text(ANALYSIS)


def check(result: ef.Result) -> None:
    assert result.complete
    assert (result["n"], result["x"]) == (200, sum(range(200)))


def submit(folder: Path, gate: Path) -> None:
    """Submit four jobs, of which the last two wait until `gate` is there."""
    ef.submit(
        folder / "sums.py",
        folder / "a.root",
        parameters={"gate": str(gate)},
        jobs=4,
        pool=NAME,
        out=folder / "run",
    )


def test_a_run_from_one_call_to_the_result(tmp_path: Path) -> None:
    run = tmp_path / "run"
    check(ef.run(tmp_path / "sums.py", tmp_path / "a.root", jobs=3, pool=NAME, out=run))
    assert ef.status(run).complete
    assert (run / "pool/wave-001/submit.txt").exists()
    check(ef.resume(run))


def test_submitted_left_alone_stopped_and_resumed(tmp_path: Path) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    submit(tmp_path, gate)
    deadline = time.monotonic() + 120
    while len(list(run.glob("pool/wave-001/*.zip"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    status = ef.status(run)
    assert status.in_pool
    assert status.events == 100
    assert ef.stop(run).removed == 2
    gate.touch()
    check(ef.resume(run))
    assert (run / "pool/wave-002").exists()


def test_watched_by_another_process(tmp_path: Path) -> None:
    run, gate = tmp_path / "run", tmp_path / "gate"
    submit(tmp_path, gate)
    gate.touch()
    check(ef.watch(run))
