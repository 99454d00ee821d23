"""Time `eventflock pack` and the launcher, and weigh the archives; pex and venv-pack beside them.

Run it with `.venv/bin/python benchmarks/packing.py`; see README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
ANALYSIS = CHECKOUT / "examples" / "jets.py"
MB = 1e6
PACKAGES = ("numpy", "uproot", "awkward", "hist")
"""What the analysis stands on: the packages that pex and venv-pack are given."""

Words = Sequence[str | Path]

console = Console()


@dataclass
class Row:
    """One line of the table: every value of a case, or why there is none.

    `target` is what the median should not exceed, in `unit`; None if nothing was promised.
    """

    case: str
    unit: str
    target: float | None = None
    note: str = ""
    values: list[float] = field(default_factory=list)
    failed: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median is within the target, None without one."""
        if self.target is None:
            return None
        return bool(self.values) and statistics.median(self.values) <= self.target


@dataclass(frozen=True)
class Bench:
    """The folder that everything happens in, and what is always the same."""

    work: Path
    pause: float

    @property
    def user(self) -> Path:
        """The environment of a user: this checkout, installed, and what it requires."""
        return self.work / "user"

    @property
    def tools(self) -> Path:
        """The environment of pip, pex and venv-pack."""
        return self.work / "tools"

    @property
    def analysis(self) -> Path:
        """A copy of the analysis, which may be edited."""
        return self.work / "analysis" / ANALYSIS.name

    def rest(self) -> None:
        """Let the file system settle, before files are unpacked."""
        time.sleep(self.pause)


class PackRows:
    """The rows of `eventflock pack`."""

    def __init__(self) -> None:
        self.cold = Row("pack, empty cache", "s", 8)
        self.environment = Row("archive of the environment", "MB", 32)
        self.code = Row("archive of the code", "MB")
        self.unpacked = Row("environment, unpacked", "MB")
        self.edited = Row("pack, analysis edited", "s", note="same archive of the environment")
        self.unchanged = Row("pack, nothing changed", "s", 0.5)


def main() -> None:
    options = parse()
    bench = Bench(options.work.resolve(), options.pause)
    bench.work.mkdir(parents=True, exist_ok=True)
    say(f"Installing this checkout in {bench.user}")
    run([*pip(bench, make(bench.user)), CHECKOUT], bench.work)
    packages = versions(bench.user)
    # the same versions, so that the sizes can be compared
    pinned = [f"{name}=={packages[name]}" for name in PACKAGES]
    results = [
        *measure(bench, options.repeat, options.root),
        *measure_pex(bench, options.repeat, pinned),
        *measure_venv_pack(bench, options.repeat, pinned),
    ]
    show(results, options)
    save(results, options, {"packages": packages, "tools": versions(bench.tools)})
    sys.exit(any(row.met is False for row in results))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="how often (default 3)")
    parser.add_argument(
        "--root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a root file system to start the launcher in as well; may be repeated",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=0,
        metavar="SECONDS",
        help="wait before each command that unpacks (default 0); see README.md",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=HERE / "data" / "packing-env",
        metavar="DIR",
        help="where environments and archives are made (default: %(default)s)",
    )
    return parser.parse_args()


def say(what: str) -> None:
    console.print(f"{what} ...", style="dim")


# --- Processes and environments -----------------------------------------------------------


def run(
    command: Words, folder: Path, *, may_fail: bool = False, **extra: str | Path
) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Time one whole process; a failed one ends the benchmark with what it printed."""
    # nothing of the Python that runs this may reach the one that is measured
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = ours | {name: str(value) for name, value in extra.items()}
    words = [str(word) for word in command]
    began = time.perf_counter()
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    elapsed = time.perf_counter() - began
    if done.returncode and not may_fail:
        sys.exit(f"{' '.join(words)}\nexited with {done.returncode}\n{done.stdout}{done.stderr}")
    return elapsed, done


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the first line that says why a process failed."""
    lines = [line for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("WARNING")]
    if lines and lines[0].startswith("Traceback"):
        # frames are indented; the first line that is not, is the exception's
        lines = [line for line in lines[1:] if not line.startswith(" ")]
    # pex repeats a whole command before it comes to what pip said
    lines = [line for line in lines if "ERROR: " in line] or lines
    return lines[0].strip() if lines else f"exit status {done.returncode}"


def make(folder: Path, *flags: str) -> Path:
    """Make a virtual environment if there is none, and give its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", *flags, folder], folder.parent)
    return python


def pip(bench: Bench, python: Path) -> list[str | Path]:
    """Return the words that install into the environment of `python`, which needs no pip."""
    words: list[str | Path] = [make(bench.tools), "-m", "pip", "--python", python, "install"]
    return [*words, "--quiet", "--disable-pip-version-check"]


def versions(folder: Path) -> dict[str, str]:
    """Read what is installed in a virtual environment."""
    script = (
        "import json, importlib.metadata as m;"
        "print(json.dumps({one.name: one.version for one in m.distributions()}))"
    )
    _, done = run([folder / "bin" / "python", "-c", script], folder)
    found: dict[str, str] = json.loads(done.stdout)
    return dict(sorted(found.items()))


# --- eventflock ---------------------------------------------------------------------------


def measure(bench: Bench, repeat: int, roots: Sequence[Path]) -> list[Row]:
    """Time packing and the launcher, in turns; round 0 is not counted, it fills the page cache."""
    rows = PackRows()
    places: dict[Path | None, Row] = {}
    for root in (None, *(one.resolve() for one in roots)):
        places[root] = Row(f"start to first event, {system(root)}", "s", 3)
    starts = {root: Row(f"start to Python, {system(root)}", "s") for root in places}
    for number in range(repeat + 1):
        say(f"eventflock: {f'{number} of {repeat}' if number else 'warming up'}")
        now = bench if number else Bench(bench.work, 0)
        cache = fresh(bench.work / "cache")
        measure_pack(now, cache, rows if number else PackRows())
        for root, row in places.items():
            told = measure_launch(now, cache, root)
            row.note = told["libc"].strip()  # not known where /proc is not mounted
            if number:
                row.values.append(told["seconds_to_first_event"])
                starts[root].values.append(told["seconds_to_python"])
    shutil.rmtree(bench.work / "cache")
    launches = [row for root in places for row in (starts[root], places[root])]
    return [*vars(rows).values(), *launches]


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def system(root: Path | None) -> str:
    """Name the system of a root file system; its path would tell a reader nothing."""
    if root is None:
        return "this machine"
    try:
        lines = (root / "etc" / "os-release").read_text().splitlines()
    except OSError:
        return root.name
    told = dict(line.split("=", 1) for line in lines if "=" in line)
    words = [told.get(name, "").strip('"') for name in ("NAME", "VERSION_ID")]
    return " ".join(word for word in words if word) or root.name


def measure_pack(bench: Bench, cache: Path, rows: PackRows) -> None:
    """Pack an analysis for the first time, once more when it was edited, and as it is."""
    fresh(bench.analysis.parent)
    shutil.copyfile(ANALYSIS, bench.analysis)
    bench.rest()
    took, packed = run_pack(bench, cache)
    rows.cold.values.append(took)
    rows.environment.values.append(packed["size"] / MB)
    rows.code.values.append(packed["code_size"] / MB)
    rows.unpacked.values.append(packed["unpacked"] / MB)
    with bench.analysis.open("a") as file:
        file.write("\n# edited\n")
    bench.rest()
    took, edited = run_pack(bench, cache)
    rows.edited.values.append(took)
    was, now = (Path(one["environment"]).name for one in (packed, edited))
    if was != now:
        sys.exit(f"WRONG: a comment in the analysis changed the environment: {was} became {now}.")
    took, _ = run_pack(bench, cache)
    rows.unchanged.values.append(took)


def run_pack(bench: Bench, cache: Path) -> tuple[float, dict[str, Any]]:
    return run_ours(bench, cache, "pack", bench.analysis, "--json")


def measure_launch(bench: Bench, cache: Path, root: Path | None) -> dict[str, Any]:
    """Start the launcher here, or in a root file system, and see what it says."""
    where: Words = [] if root is None else ["--in", root]
    bench.rest()
    return run_ours(bench, cache, "check", bench.analysis, "--json", *where)[1]


def run_ours(bench: Bench, cache: Path, *words: str | Path) -> tuple[float, dict[str, Any]]:
    command = bench.user / "bin" / "eventflock"
    took, done = run([command, *words], bench.analysis.parent, EVENTFLOCK_CACHE=cache)
    return took, json.loads(done.stdout)


# --- pex and venv-pack --------------------------------------------------------------------


def measure_pex(bench: Bench, repeat: int, requirements: list[str]) -> list[Row]:
    """Time pex: once as it downloads the packages, and then with what it has kept of them."""
    note = "has no interpreter, glibc or byte-code"
    first = Row("pex, empty cache: downloads", "s", note=note)
    again = Row("pex, packages downloaded", "s", note=note)
    size = Row("pex, its file", "MB", note=note)
    made = bench.work / "x.pex"
    command: Words = ["pex", *requirements, "-o", made]
    kept = fresh(bench.work / "pex-root")
    take_turns(bench, command, made, [first, *[again] * repeat], size, PEX_ROOT=kept)
    return [first, again, size]


def measure_venv_pack(bench: Bench, repeat: int, requirements: list[str]) -> list[Row]:
    """Time venv-pack on an environment of the packages alone, without even pip."""
    note = "has no interpreter or glibc"
    took = Row("venv-pack, packages installed", "s", note=note)
    size = Row("venv-pack, its archive", "MB", note=note)
    made = bench.work / "x.tar.gz"
    python = make(bench.work / "packages", "--without-pip")
    run([*pip(bench, python), *requirements], bench.work)
    command: Words = ["venv-pack", "--quiet", "--prefix", python.parents[1], "--output", made]
    take_turns(bench, command, made, [took] * repeat, size)
    return [took, size]


def take_turns(
    bench: Bench, command: Words, made: Path, rows: Sequence[Row], size: Row, **extra: Path
) -> None:
    """Install a tool, and run it once for each row; where it fails, all its rows say why."""
    tool = str(command[0])
    python = make(bench.tools)
    _, done = run([*pip(bench, python), tool], bench.work, may_fail=True)
    for number, row in enumerate(rows, start=1):
        if done.returncode:
            break
        say(f"{tool}: {number} of {len(rows)}")
        made.unlink(missing_ok=True)
        words = [python.parent / tool, *command[1:]]
        took, done = run(words, bench.work, may_fail=True, **extra)
        if not done.returncode:
            row.values.append(took)
            size.values.append(made.stat().st_size / MB)
    if done.returncode:
        for row in (*rows, size):
            row.failed = reason(done)


# --- Showing and saving -------------------------------------------------------------------


def show(results: list[Row], options: argparse.Namespace) -> None:
    table = Table(caption=f"Median of {options.repeat}, and the smallest; 1 MB is 10^6 bytes.")
    table.add_column("case")
    for column in ("measured", "target"):
        table.add_column(column, justify="right")
    table.add_column("met")
    for row in results:
        table.add_row(
            row.case + (f"\n[dim]{row.note}[/]" if row.note else ""),
            f"[red]failed[/]: {escape(row.failed[:100])}" if row.failed else spread(row),
            "" if row.target is None else f"<= {row.target:g} {row.unit}",
            {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[row.met],
        )
    console.print(table)


def spread(row: Row) -> str:
    median, smallest = short(statistics.median(row.values)), short(min(row.values))
    again = f"\n[dim]min {smallest}[/]" if row.unit == "s" and len(row.values) > 1 else ""
    return f"{median} {row.unit}{again}"


def short(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def save(results: list[Row], options: argparse.Namespace, installed: dict[str, Any]) -> None:
    from eventflock.core.atomic import atomic_write

    report: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "repeat": options.repeat,
        "pause": options.pause,
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **installed,
        "cases": [
            asdict(row)
            | {"median": statistics.median(row.values) if row.values else None, "met": row.met}
            for row in results
        ],
    }
    path = HERE / "results" / "packing.json"
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, json.dumps(report, indent=2).encode() + b"\n")
    console.print(f"Saved to {path}")


if __name__ == "__main__":
    main()
