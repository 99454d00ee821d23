"""Unpacked once per node: `python benchmarks/node_cache.py [--with coffea]`.

Four jobs of an analysis on two cores: bare, with the packed environment unpacked by each job, and
with a cache on the node, when it is filled and after that. The results of all runs are compared.
With --with, a distribution is installed into an environment of its own, imported by the analysis
and packed; the goals are those for coffea.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eventflock.events.sample import write_sample
from eventflock.results.reader import read_manifest

DATA = Path(__file__).parent / "data"
HERE = str(Path(__file__).parents[1])
ANALYSIS = """
import awkward as ak
import eventflock as ef
from hist import Hist
{imports}


@ef.analysis
def jets(events):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / 1000
    return {{"E": Hist.new.Reg(200, 0, 2000, name="E").Int64().fill(energy)}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with", dest="name", default="", help="a distribution, as coffea")
    options = parser.parse_args()
    python = environment(options.name) if options.name else Path(sys.executable)
    with tempfile.TemporaryDirectory(prefix="node-cache-") as name:
        folder = Path(name)
        write_sample(folder / "sample.root")
        imports = f"import {options.name}" if options.name else ""
        (folder / "jets.py").write_text(ANALYSIS.format(imports=imports))
        try:
            measure(python, folder)
        finally:  # jobs cannot write the tree, and neither can those who clean up
            subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


def environment(name: str) -> Path:
    """Return the interpreter of an environment with a distribution, made the first time."""
    folder = DATA / f"{name}-env"
    python, pip = folder / "bin/python", ["-m", "pip", "install", "--quiet"]
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, *pip, name, HERE], check=True)
        (folder / "ready").touch()
    subprocess.run([python, *pip, "--no-deps", "--force-reinstall", HERE], check=True)
    return python


def measure(python: Path, folder: Path) -> None:
    """Time all ways, and print them."""
    start = [str(python), "-P", "-m", "eventflock"]
    files = ["jets.py", "sample.root"]
    cold = timed([*start, "pack", *files], folder)
    print(f"cold pack                     {cold:6.1f} s")
    usual = ["--jobs", "4", "--workers", "2", "--no-plot", "-q"]
    packed, cache = ["--packed"], ["--packed", "--node-cache", str(folder / "node")]
    ways = {
        "bare": [],
        "each job unpacks": packed,
        "fills the cache": cache,
        "from the cache": cache,
    }
    seen = set()
    for number, (way, words) in enumerate(ways.items()):
        took = timed([*start, "run", *files, *usual, *words, "--out", f"run-{number}"], folder)
        manifest = read_manifest(folder / f"run-{number}/result.zip")
        seen.add(str((manifest.items, manifest.payloads)))
        print(f"four jobs, {way:<18} {took:6.1f} s   a job {of_jobs(folder, number):5.1f} s")
    assert len(seen) == 1, "the results differ"


def of_jobs(folder: Path, number: int) -> float:
    """Return the wall time of the last launcher of a run, or of its last job in a worker."""
    logs = sorted((folder / f"run-{number}/pool").glob("job-*.log"))
    if not logs or "unpacked" not in (text := logs[-1].read_text()):
        results = sorted((folder / f"run-{number}/results").glob("job-*.zip"))
        return read_manifest(results[-1]).counters.wall_seconds
    stamps = [
        line.split()[1].rstrip(",") for line in text.splitlines() if line[:5] in {"start", "ended"}
    ]
    first, last = (time.mktime(time.strptime(one, "%Y-%m-%dT%H:%M:%SZ")) for one in stamps)
    return last - first


def timed(command: list[str], folder: Path) -> float:
    """Run a command, and return its wall time in seconds."""
    env = {**os.environ, "EVENTFLOCK_CACHE": str(folder / "cache")}
    began = time.monotonic()
    subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
