"""Time the eight ADL queries with eventflock beside coffea, as whole processes, and compare bins.

Run it with `.venv/bin/python benchmarks/adl_flat.py`; see README.md in this folder. The first run
installs this checkout and coffea in `data/adl-env`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

import files

HERE = Path(__file__).resolve().parent
QUERIES = [f"q{number}" for number in range(1, 9)]
console = Console(width=None if sys.stdout.isatty() else 110)


class Row(NamedTuple):
    """Seconds of each repetition, and seconds of CPU, by program."""

    query: str
    workers: int
    seconds: dict[str, list[float]]
    cpu: dict[str, list[float]]


def main() -> None:
    options = parse()
    binaries = install() if options.bin is None else options.bin
    events = 10_000 if options.quick else options.events
    paths = [files.objects(events, seed) for seed in range(4)]
    files.write_missing(paths)
    files.warm(tuple(paths))
    names = [str(path) for path in paths]
    cases = [(query, workers) for query in options.query or QUERIES for workers in (1, 2)]
    rows = [measure(*case, binaries, names, options) for case in cases]
    show(rows, 4 * events)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results/adl.json").write_text(
        json.dumps([row._asdict() for row in rows], indent=1) + "\n"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few events, once: a smoke test")
    parser.add_argument("--events", type=int, default=250_000, help="of each of four files")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--query", action="append", help="only these: q1 to q8")
    parser.add_argument("--bin", type=Path, help="where python with coffea and eventflock are")
    options = parser.parse_args()
    options.repeat = 1 if options.quick else options.repeat
    return options


def install() -> Path:
    """Install what is measured into an environment of its own."""
    place = files.DATA / "adl-env"
    if not (place / "bin/eventflock").exists():
        venv.create(place, with_pip=True)
    pip = str(place / "bin/pip")
    subprocess.run([pip, "install", "--quiet", "coffea", str(HERE.parent)], check=True)
    return place / "bin"


def measure(
    query: str, workers: int, binaries: Path, paths: list[str], options: argparse.Namespace
) -> Row:
    """Time one query with both, in turns; one round is not counted."""
    times: dict[str, list[float]] = {"eventflock": [], "coffea": []}
    cpu: dict[str, list[float]] = {"eventflock": [], "coffea": []}
    for number in range(options.repeat + 1):
        with tempfile.TemporaryDirectory(prefix="eventflock-bench-") as folder:
            run, counts = Path(folder) / "run", Path(folder) / "counts.npy"
            common = [
                "--no-plot",
                "--workers",
                str(workers),
                "--out",
                run,
                "--param",
                f"query={query}",
            ]
            ours = [binaries / "eventflock", "run", HERE / "adl_eventflock.py", *paths, *common]
            theirs = [binaries / "python", HERE / "adl_coffea.py", query, workers, counts, *paths]
            both = {"eventflock": ours, "coffea": theirs}
            for name in list(both)[:: 1 if number % 2 else -1]:
                took, used = seconds(both[name])
                if number:
                    times[name].append(took)
                    cpu[name].append(used)
            check_bins(counts, run)
    console.print(f"{query}, {workers} workers: {times}", style="dim")
    return Row(query, workers, times, cpu)


def seconds(command: Sequence[object]) -> tuple[float, float]:
    """Time one whole process with its children: seconds, and seconds of CPU."""
    environment = dict(os.environ, PYTHONPATH=str(HERE))
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    elapsed = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command}\nexited with {done.returncode}\n{done.stdout}{done.stderr}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return elapsed, used


def check_bins(counts: Path, run: Path) -> None:
    import eventflock

    found, expected = eventflock.load(run)["h"].view(flow=True), np.load(counts)
    if not np.array_equal(found, expected):
        sys.exit(f"WRONG RESULT in {run}: {found.sum():,} entries, coffea has {expected.sum():,}.")


def show(rows: list[Row], events: int) -> None:
    table = Table(caption=f"Seconds of whole processes on {events:,} events; CPU in brackets.")
    for column in ("query", "workers", "eventflock", "coffea", "ratio", "target"):
        table.add_column(column, justify="right")
    for row in rows:
        wall, cpu = median(row.seconds), median(row.cpu)
        ratio = wall["eventflock"] / wall["coffea"]
        shown = [f"{wall[name]:.2f} ({cpu[name]:.2f})" for name in ("eventflock", "coffea")]
        verdict = "[green]< 1[/]" if ratio < 1 else "[red]< 1, not met[/]"
        table.add_row(row.query, str(row.workers), *shown, f"{ratio:.2f}", verdict)
    console.print(table)


def median(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(some) for name, some in times.items()}


if __name__ == "__main__":
    main()
