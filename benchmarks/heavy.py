"""Heavy packages on bare nodes: `python benchmarks/heavy.py FILE.root [NAME...] [--in ROOT...]`.

Each analysis in `heavy_analyses/` states what it requires. It is installed first, which is not
measured. Measured are packing it with an empty cache of archives, the size, and the time until a
job has done its first events, in each root file system (such as those of Debian 13 and 11, made
with mmdebstrap) and here. The numbers of packed jobs are compared with those of a plain call in the
environment that was installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eventflock.core.observer import Observer
from eventflock.core.options import PackOptions
from eventflock.runs.environment import interpreter_for
from eventflock.usercode.loading import locate
from eventflock.worker.shadow import make_shadow

HERE = Path(__file__).parent
CACHE = HERE / "data/heavy-cache"
os.environ["EVENTFLOCK_CACHE"] = str(CACHE)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # which hardly any user sets
ANALYSES = sorted(path.stem for path in (HERE / "heavy_analyses").glob("*.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="with the tree of the tutorial")
    parser.add_argument("names", nargs="*", default=ANALYSES)
    parser.add_argument("--in", dest="roots", type=Path, action="append", default=[])
    options = parser.parse_args()
    places = [None, *options.roots]
    heads = [f"first events, {place.name if place else 'here'}" for place in places]
    print(f"| analysis | packed | on the node | files | cold pack | {' | '.join(heads)} |")
    print("| --- " * (5 + len(places)) + "|")
    for name in options.names:
        print(measure(HERE / f"heavy_analyses/{name}.py", options.file.resolve(), places))


def measure(analysis: Path, data: Path, places: list[Path | None]) -> str:
    eventflock("pack", analysis, data)  # installs
    for folder in ("archives", "records"):
        shutil.rmtree(CACHE / folder, ignore_errors=True)
    started = time.perf_counter()
    packed = json.loads(eventflock("pack", analysis, data, "--json"))
    seconds = time.perf_counter() - started
    first = []
    for place in places:
        words = ["--in", place] if place else []
        told = json.loads(eventflock("check", analysis, data, "--json", *words))
        first.append(f"{told['seconds_to_first_event']:.1f} s")
    compare(analysis, data)
    size, unpacked = packed["size"] / 1e6, packed["unpacked"] / 1e6
    row = [
        f"{size:,.0f} MB",
        f"{unpacked:,.0f} MB",
        f"{count(analysis, data):,}",
        f"{seconds:.0f} s",
    ]
    return f"| {analysis.stem} | {' | '.join([*row, *first])} |"


def count(analysis: Path, data: Path) -> int:
    """Return how many files there are when the environment is unpacked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = Path(
            json.loads(eventflock("pack", analysis, data, "--to", folder, "--json"))["tree"]
        )
        files = sum(path.is_file() for path in tree.rglob("*"))
        subprocess.run(["chmod", "-R", "u+w", name], check=True)
    return files


def compare(analysis: Path, data: Path) -> None:
    """Compare a packed job with a plain call in the environment that was installed."""
    ref, source = locate(str(analysis))
    python = interpreter_for(ref, source, PackOptions(), Observer())
    with tempfile.TemporaryDirectory() as name:
        env = {"PYTHONPATH": make_shadow(Path(name))}
        plain = numbers(python, analysis, data, env=env)
        more = ["--jobs", "1", "--chunk", "1000000", "--no-plot", "--out", Path(name) / "run"]
        eventflock("run", analysis, data, "--packed", *more)
        packed = numbers(sys.executable, Path(name) / "run", env={})
    if plain != packed:
        sys.exit(f"{analysis.name}: {packed}, expected {plain}")


def numbers(python: str, *words: Path, env: dict[str, str]) -> str:
    told = subprocess.run(
        [python, HERE / "plain_call.py", *words],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return told.stdout.splitlines()[-1]


def eventflock(*words: object) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "eventflock", *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if told.returncode:
        sys.exit(f"eventflock {' '.join(map(str, words))} ended with {told.returncode}")
    return told.stdout


if __name__ == "__main__":
    main()
