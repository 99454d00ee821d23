"""Time whole `eventflock` processes against the bare script, and check that the bins agree.

Run it with `make bench`; see README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import files

HERE = Path(__file__).resolve().parent
MILLION = 1_000_000

console = Console(width=None if sys.stdout.isatty() else 130)


@dataclass(frozen=True)
class Case:
    """One command of eventflock, and what it should not exceed.

    `limit` is a ratio to the bare script where there is one to compare with, else seconds.
    """

    name: str
    workers: int
    limit: float


@dataclass(frozen=True)
class Group:
    """Cases on the same files; they and the bare script take turns."""

    files: tuple[Path, ...]
    cases: tuple[Case, ...]
    script: Path = HERE / "bare.py"
    analysis: Path = HERE.parent / "examples" / "jets.py"
    name: str = "E"


@dataclass
class Times:
    """Seconds of each repetition; those at the same place ran after one another.

    `before` are those of another eventflock, see `--beside`.
    """

    case: Case
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """Ratio of the medians, None without a bare script."""
        if not self.bare:
            return None
        return statistics.median(self.ours) / statistics.median(self.bare)

    @property
    def pairwise(self) -> float | None:
        """Median of the ratios of neighbours: a drift of the machine's speed cancels."""
        if not self.bare:
            return None
        return statistics.median(
            ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)
        )

    @property
    def met(self) -> bool:
        """Whether the ratio, or without one the median, is within the limit."""
        figure = self.ratio if self.ratio is not None else statistics.median(self.ours)
        return figure <= self.case.limit


def main() -> None:
    options = parse()
    if not options.command.exists():
        sys.exit(f"There is no {options.command}: install eventflock, or use 'make bench'.")
    events = 50_000 if options.quick else 5 * MILLION
    small = 20_000 if options.quick else MILLION // 2
    broad = 5_000 if options.quick else MILLION // 4
    large = tuple(files.jets(events, seed) for seed in range(4))
    one = (files.jets(small, 9),)
    wide = tuple(files.wide(broad, seed) for seed in range(4))
    many = tuple(files.many(20 if options.quick else options.files))
    written = files.write_missing([*large, *one, *wide])
    files.write_copies(list(many))
    console.print(f"Written, this once: {len(written):,} files in {files.DATA}")
    total, branches = f"{4 * events:,} events, 4 files", f"{4 * broad:,} events, 947 branches"
    wide_cases = Case(f"{branches}, 1 worker", 1, 1.15), Case(f"{branches}, 2 workers", 2, 0.65)
    small_files = Case(f"{len(many):,} files of 1,000 events, 947 branches, 1 worker", 1, 1.1)
    groups = [
        Group(large, (Case(f"{total}, 1 worker", 1, 1.15), Case(f"{total}, 2 workers", 2, 0.65))),
        Group(one, (Case(f"{small:,} events, 1 file, 1 worker", 1, 1.5),)),
        Group(wide, wide_cases, HERE / "bare_met.py", HERE / "met.py", "MET"),
        Group(many, (small_files,), HERE / "bare_met.py", HERE / "met.py", "MET"),
    ]
    groups = [group for group in groups if options.only in group.cases[0].name]
    results = [times for group in groups for times in measure(group, options)]
    results.append(measure_help(options))
    show(results)
    save(results, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few events, once: a smoke test")
    parser.add_argument("--files", type=int, default=100, help="small wide files (default 100)")
    parser.add_argument("--only", default="", help="the cases with this in their names")
    parser.add_argument("--repeat", type=int, help="how often (default 5, with --quick 1)")
    parser.add_argument(
        "--command",
        type=Path,
        default=Path(sys.executable).parent / "eventflock",
        help="the eventflock to time (default: the one beside this Python)",
    )
    parser.add_argument(
        "--beside",
        type=Path,
        help="another eventflock to time in turns with it, such as that of an earlier commit",
    )
    options = parser.parse_args()
    options.repeat = options.repeat or (1 if options.quick else 5)
    return options


# --- Timing -------------------------------------------------------------------------------


def seconds(command: list[str]) -> float:
    """Time one whole process; a failed one ends the benchmark with what it printed."""
    environment = dict(os.environ)
    # both sides may keep their byte-code, as they do for a user
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nexited with {done.returncode}\n{done.stdout}{done.stderr}")
    return elapsed


def measure(group: Group, options: argparse.Namespace) -> list[Times]:
    files.warm(group.files)
    results = [Times(case) for case in group.cases]
    for number, last in rounds(options.repeat):
        console.print(f"{group.cases[0].name.rpartition(',')[0]}: {last}", style="dim")
        with tempfile.TemporaryDirectory(prefix="eventflock-bench-") as folder:
            once(group, Path(folder), sides(options, number), results, count=number > 0)
    return results


def rounds(repeat: int) -> Iterator[tuple[int, str]]:
    """Count the repetitions from 1; number 0 is not to be counted, it fills all caches."""
    yield 0, "warming up"
    for number in range(1, repeat + 1):
        yield number, f"{number} of {repeat}"


def sides(options: argparse.Namespace, number: int) -> dict[str, Path]:
    """Return the commands to time by the lists of their times; each comes first in turn."""
    both = {"ours": options.command, "before": options.beside}
    order = [name for name in both if both[name]][:: 1 if number % 2 else -1]
    return {name: both[name] for name in order}


def once(
    group: Group, folder: Path, commands: dict[str, Path], results: list[Times], *, count: bool
) -> None:
    """Run the bare script and each case after it, and compare all bins."""
    names = [str(path) for path in group.files]
    counts = folder / "counts.npy"
    bare = seconds([sys.executable, str(group.script), str(counts), *names])
    for times in results:
        if count:
            times.bare.append(bare)
        for side, command in commands.items():
            out = folder / f"{side}-{times.case.workers}"
            words = ["--no-plot", "--workers", str(times.case.workers), "--out", str(out)]
            took = seconds([str(command), "run", str(group.analysis), *names, *words])
            check_bins(counts, out, group.name)
            if count:
                getattr(times, side).append(took)


def check_bins(counts: Path, run: Path, name: str) -> None:
    import numpy as np

    import eventflock

    expected = np.load(counts)
    found = eventflock.load(run)[name].view(flow=True)
    if not np.array_equal(found, expected):
        sys.exit(
            f"WRONG RESULT in {run}: eventflock filled {found.sum():,} of {expected.sum():,}, "
            f"{np.count_nonzero(found != expected)} of {expected.size} bins differ."
        )


def measure_help(options: argparse.Namespace) -> Times:
    times = Times(Case("eventflock --help", 0, 0.3))
    for number, _ in rounds(options.repeat):
        for side, command in sides(options, number).items():
            took = seconds([str(command), "--help"])
            if number:
                getattr(times, side).append(took)
    return times


# --- Showing and saving -------------------------------------------------------------------


def show(results: list[Times]) -> None:
    table = Table(caption="Seconds of whole processes: median, and smallest to largest.")
    table.add_column("case", no_wrap=True)
    beside = any(times.before for times in results)
    for column in ("bare script", "eventflock", "ratio", "pairwise", "target"):
        table.add_column(column, justify="right")
    if beside:
        for column in ("beside it", "ratio", "eventflock\nto that"):
            table.add_column(column, justify="right")
    for times in results:
        verdict = "[green]met[/]" if times.met else "[red]not met[/]"
        unit = " s" if times.ratio is None else ""
        table.add_row(
            times.case.name.replace(", ", "\n", 1),
            spread(times.bare),
            spread(times.ours),
            "" if times.ratio is None else f"{times.ratio:.2f}",
            "" if times.pairwise is None else f"{times.pairwise:.2f}",
            f"<= {times.case.limit}{unit}\n{verdict}",
            *(beside_it(times) if beside else ()),
        )
    console.print(table)


def beside_it(times: Times) -> tuple[str, str, str]:
    """Return what the other eventflock took, its ratio to the bare script, and ours to it."""
    median = statistics.median(times.before)
    ratio = f"{median / statistics.median(times.bare):.2f}" if times.bare else ""
    return spread(times.before), ratio, f"{statistics.median(times.ours) / median:.2f}"


def spread(times: list[float]) -> str:
    if not times:
        return ""
    return f"{statistics.median(times):.2f}\n[dim]{min(times):.2f}-{max(times):.2f}[/]"


def save(results: list[Times], options: argparse.Namespace) -> None:
    from eventflock.core.atomic import atomic_write

    report: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "quick": options.quick,
        "repeat": options.repeat,
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("uproot", "awkward", "boost-histogram")},
        "cases": [
            {
                "case": times.case.name,
                "bare_seconds": times.bare,
                "eventflock_seconds": times.ours,
                "beside_seconds": times.before,
                "ratio_of_medians": times.ratio,
                "median_of_pairwise_ratios": times.pairwise,
                "target": times.case.limit,
                "met": times.met,
            }
            for times in results
        ],
    }
    path = HERE / "results" / "speed.json"
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, json.dumps(report, indent=2).encode() + b"\n")
    console.print(f"Saved to {path}")


if __name__ == "__main__":
    main()
