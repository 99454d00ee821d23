"""Time the merging of many result files, each with a histogram and a number.

.venv/bin/python benchmarks/merging.py          100,000 results; to write them takes minutes
.venv/bin/python benchmarks/merging.py 5000       fewer
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hist import Hist

from eventflock.core.manifest import Counters, KeyPath, Manifest
from eventflock.core.model import (
    FORMAT,
    PLAN_FORMAT,
    AnalysisRef,
    Dataset,
    FileEntry,
    Job,
    Plan,
    Range,
)
from eventflock.core.states import ResultStatus
from eventflock.pools.cores import usable_cores
from eventflock.results.format import write_result
from eventflock.results.merge import merge
from eventflock.runs.folder import RunFolder

EVENTS, JOBS_PER_FILE = 1000, 10
SECONDS, MEGABYTES = 30, 300
"""What 100,000 results may take."""


def main(count: int) -> None:
    """Write and merge, each in a process of its own, so that memory is that of merging."""
    with tempfile.TemporaryDirectory(prefix="eventflock-bench-") as folder:
        for step in ("write", "merge"):
            subprocess.run([sys.executable, __file__, step, folder, str(count)], check=True)


def time_merging(folder: Path, count: int) -> None:
    run = RunFolder(folder / "run")
    frozen = run.load_plan()
    begun = time.perf_counter()
    files = run.result_files(frozen.plan)
    manifest, absent = merge(frozen, files, run.merged, processes=usable_cores())
    took = time.perf_counter() - begun
    if manifest is None or absent or manifest.counters.events != EVENTS * count:
        sys.exit(f"WRONG RESULT: {manifest and manifest.counters}, {len(absent)} jobs absent")
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    processes = min(usable_cores(), -(-count // 1000))
    print(
        f"{count:,} results on {usable_cores()} cores: {took:.1f} s, {1e3 * took / count:.3f} ms "
        f"each, {ours:.0f} MB and {child:.0f} MB in each of {processes} processes (for 100,000: at "
        f"most {SECONDS} s and {MEGABYTES} MB)"
    )


def write(path: Path, count: int) -> RunFolder:
    """Write a plan, and the results of all its jobs."""
    files = tuple(
        FileEntry(
            path=f"/data/{number}.root",
            tree="Events",
            uuid=f"{number:032x}",
            size=EVENTS,
            entries=EVENTS * JOBS_PER_FILE,
        )
        for number in range(-(-count // JOBS_PER_FILE))
    )
    parts = [divmod(number, JOBS_PER_FILE) for number in range(count)]
    ranges = [Range(file, EVENTS * part, EVENTS * (part + 1)) for file, part in parts]
    plan = Plan(
        format=PLAN_FORMAT,
        version="",
        created="",
        analysis=AnalysisRef(name="bench", file="bench.py"),
        parameters={},
        datasets=(Dataset(name="data", files=files),),
        jobs=tuple(Job(0, (one,)) for one in ranges),
    )
    run = RunFolder.create(path, plan, b"")
    frozen = run.load_plan()
    rng = np.random.default_rng(1)
    histogram = Hist.new.Reg(200, 0, 2000, name="E").Int64().fill(rng.random(EVENTS) * 2000)
    for job in range(count):
        manifest = Manifest(
            format=FORMAT,
            status=ResultStatus.DONE,
            plan=frozen.digest,
            job=job,
            planned=EVENTS,
            analysis=plan.analysis,
            parameters={},
            coverage=frozen.coverage(job),
            counters=Counters(events=EVENTS, chunks=1),
            hosts=(f"node-{job % 100}",),
        )
        values: dict[KeyPath, Any] = {("data", "E"): histogram, ("data", "n"): EVENTS}
        write_result(run.result(job), manifest, values)
    return run


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", place, number]:
            write(Path(place) / "run", int(number))
        case ["merge", place, number]:
            time_merging(Path(place), int(number))
        case words:
            main(int(words[0]) if words else 100_000)
