"""Killed at random moments, client or worker, a run ends with the same bits."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eventflock as ef
from eventflock.results.reader import read_manifest
from eventflock.results.result import Result
from tests.conftest import alive

pytestmark = pytest.mark.slow

ANALYSIS = """
import awkward as ak
import numpy as np
import eventflock as ef
from hist import Hist

@ef.analysis
def weighted(events):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / 1000
    made = Hist.new.Reg(50, 0, 500, name="E").Weight().fill(energy, weight=np.cos(energy))
    return {"E": made, "n": len(events), "sum": float(ak.sum(energy)), "kept": events[:1]}
"""
KILLS = 60
JOBS = 40


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def content(result: Result) -> object:
    manifest = read_manifest(result.path)
    sums = {name: one.sha256 for name, one in manifest.payloads.items()}
    return sums, manifest.items, manifest.coverage, manifest.counters.events


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "eventflock", *words]
    if words[0] != "map":
        command += ["--no-plot", "--quiet"]
    environment = {**os.environ, "TMPDIR": str(folder / "scratch")}
    with (folder / "client.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)


@pytest.mark.timeout(600)
def test_whatever_is_killed_resume_ends_with_the_same_bits(tmp_path: Path, sample: Path) -> None:
    """Moments are random but from a seed; each is a kill of a client or of one of its workers."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "a.py").write_text(ANALYSIS)
    size = ["--events-per-job", str(10_000 // JOBS), "--chunk", "50", "--workers", "2"]
    undisturbed = ef.run(
        tmp_path / "a.py", sample, events_per_job=10_000 // JOBS, chunk=50, out=tmp_path / "calm"
    )
    chance = random.Random(20_14)
    kills = {"client": 0, "worker": 0}
    rounds = 0
    started = time.monotonic()
    while sum(kills.values()) < KILLS:
        run = f"run-{rounds}"
        words = ["run", "a.py", str(sample), "--out", run, *size]
        for _ in range(3):
            if (tmp_path / run).exists():
                words = ["resume", run, "--workers", "2"]
            client = start(words, tmp_path)
            kill_some(client, chance, kills)
        assert finish(words, run, tmp_path) == 0, (tmp_path / "client.log").read_text()[-3000:]
        assert content(ef.load(tmp_path / run)) == content(undisturbed)
        rounds += 1
    print(f"{kills} in {rounds} runs, {time.monotonic() - started:.0f} s")
    assert min(kills.values()) >= KILLS // 5
    assert leftovers(tmp_path) == []


SCRIPT = """
import os, pathlib, sys, time
mark = os.urandom(8).hex()  # which run of this row it is
pathlib.Path("first.txt").write_text(mark)
os.mkdir("sub")
for n in range(4):
    time.sleep(0.02)
    pathlib.Path(f"sub/{n}.txt").write_text(f"{mark} {sys.argv[1]} {n}")
print(mark)
pathlib.Path("last.txt").write_text(mark)
"""
ROWS = 60
ROW_KILLS = 40


@pytest.mark.timeout(600)
def test_outputs_of_a_row_are_those_of_one_complete_run_of_it(tmp_path: Path) -> None:
    """Clients, workers and scripts are killed, at moments that are random but from a seed."""
    (tmp_path / "scratch").mkdir()
    (tmp_path / "row.py").write_text(SCRIPT)
    chance = random.Random(20_26)
    kills = {"client": 0, "worker": 0, "script": 0}
    rounds = 0
    while sum(kills.values()) < ROW_KILLS or min(kills.values()) < 5:
        run = f"run-{rounds}"
        size = ["--count", str(ROWS), "--group", str(chance.choice([1, 4])), "--workers", "2"]
        words = ["map", "row.py", "--out", run, *size, "--quiet", "--", "{index}"]
        for _ in range(4):
            if (tmp_path / run).exists():
                words = ["resume", run, "--workers", "2"]
            client = start(words, tmp_path)
            for _ in range(chance.randint(0, 4)):
                kill_script(client, chance, kills)
            kill_some(client, chance, kills)
        while finish(words, run, tmp_path):  # a row whose script was killed too often has failed
            pass
        check_rows(tmp_path / run)
        rounds += 1
    print(f"{kills} in {rounds} runs")
    assert leftovers(tmp_path) == []


def kill_script(
    client: subprocess.Popen[bytes], chance: random.Random, kills: dict[str, int]
) -> None:
    """Wait until a worker of a client runs a script, and kill it soon after."""
    deadline = time.monotonic() + 5
    while client.poll() is None and time.monotonic() < deadline:
        scripts = [one for worker in children(client.pid) for one in children(worker)]
        if scripts:
            time.sleep(chance.uniform(0.0, 0.1))
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(scripts), signal.SIGKILL)
                kills["script"] += 1
            return
        time.sleep(0.01)


def check_rows(run: Path) -> None:
    """Check that each row has the files of one run of it, whole, and none of another."""
    assert sorted(int(one.name) for one in (run / "outputs").iterdir()) == list(range(ROWS))
    for number in range(ROWS):
        folder = run / f"outputs/{number}"
        mark = (run / f"logs/{number}.stdout").read_text().strip()
        found = {str(one.relative_to(folder)): one.read_text() for one in folder.rglob("*.txt")}
        parts = {f"sub/{n}.txt": f"{mark} {number} {n}" for n in range(4)}
        assert found == {"first.txt": mark, "last.txt": mark, **parts}


def kill_some(
    client: subprocess.Popen[bytes], chance: random.Random, kills: dict[str, int]
) -> None:
    """Kill a worker now and then, and at last the client, unless it was done before."""
    for _ in range(chance.randint(0, 5)):
        time.sleep(chance.uniform(0.05, 0.4))
        workers = children(client.pid)
        if workers and client.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills["worker"] += 1
    time.sleep(chance.uniform(0.05, 0.7))
    workers = children(client.pid)
    if client.poll() is None:
        client.kill()
        kills["client"] += 1
    client.wait()
    wait_until_gone(workers)


def wait_until_gone(pids: list[int]) -> None:
    """Without their client, workers end by themselves."""
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a worker outlives its client"
        time.sleep(0.005)


def finish(words: list[str], run: str, folder: Path) -> int:
    if (folder / run).exists():
        words = ["resume", run, "--workers", "2"]
    return start(words, folder).wait()


def leftovers(folder: Path) -> list[str]:
    """Temporary files in run folders that are finished, and in the folder for such files."""
    hidden = [path for run in folder.glob("run-*") for path in run.rglob(".*")]
    return [str(one) for one in [*hidden, *(folder / "scratch").iterdir()]]
