"""Time ten jobs of the tutorial on a real HTCondor pool, beside ten jobs that do nothing.

Run it as root with `.venv/bin/python benchmarks/htcondor.py`; see README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from eventflock.cli.demo import ANALYSIS  # noqa: E402
from eventflock.events.sample import write_sample  # noqa: E402
from tests.condor import Client, running_pool  # noqa: E402

JOBS, EVENTS = 10, 1000
TARGET = 2.0

NOTHING = """
import contextlib, sys, time
import htcondor2
folder, inputs, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
with contextlib.chdir(folder):
    text = "\\n".join([
        "executable = /bin/true", "transfer_executable = false", "log = events.log",
        "should_transfer_files = YES", "when_to_transfer_output = ON_EXIT",
        "request_memory = 128 MB", "request_disk = 200 MB",
        f"transfer_input_files = {inputs}" if inputs else "", f"queue {jobs}", ""])
    schedd = htcondor2.Schedd(htcondor2.Collector().locateAll(htcondor2.DaemonType.Schedd)[0])
    started = time.time()
    schedd.submit(htcondor2.Submit(text))
    ended = 0
    for event in htcondor2.JobEventLog("events.log").events(stop_after=None):
        ended += event.type == htcondor2.JobEventType.JOB_TERMINATED
        if ended == jobs:
            break
    print(time.time() - started)
"""

console = Console(width=110)


def do_nothing(client: Client, inputs: list[Path]) -> float:
    """Run jobs of /bin/true that are sent the same files, and give the seconds they take."""
    folder = Path(tempfile.mkdtemp(dir=client.home))
    client.own(folder)
    for one in inputs:
        shutil.copy(one, folder / one.name)
    names = ",".join(one.name for one in inputs)
    told = client.python("-c", NOTHING, folder, names, str(JOBS))
    assert told.returncode == 0, told.stderr
    return float(told.stdout)


def do_jets(client: Client, data: Path, number: int) -> tuple[float, float, Path]:
    """Run the tutorial's jobs, and give the seconds since the submission, and of all."""
    run = client.home / f"run-{number}"
    started = time.time()
    told = client.run(
        *("run", client.home / "jets.py", data, "--events-per-job", str(EVENTS)),
        *("--pool", "htcondor", "--no-plot", "--out", run),
    )
    ended = time.time()
    assert told.returncode == 0, told.stdout + told.stderr
    wave = run / "pool/wave-001"
    return ended - (wave / "cluster").stat().st_mtime, ended - started, wave


def measure(client: Client, repeat: int) -> dict[str, list[float]]:
    """Take turns, so that a change of the machine's speed meets all of them."""
    data = write_sample(client.home / "sample.root")
    (client.home / "jets.py").write_text(ANALYSIS)
    found: dict[str, list[float]] = {"empty": [], "nothing": [], "jets": [], "whole": []}
    _, _, wave = do_jets(client, data, 0)  # packs, and fills caches
    sent = [*wave.glob("env-*.tar"), *wave.glob("code-*.tar.gz"), wave / "input-00000.root"]
    for number in range(1, repeat + 1):
        console.print(f"{number} of {repeat} ...")
        found["empty"].append(do_nothing(client, []))
        found["nothing"].append(do_nothing(client, [one.resolve() for one in sent]))
        jets, whole, _ = do_jets(client, data, number)
        found["jets"].append(jets)
        found["whole"].append(whole)
    return found


def show(found: dict[str, dict[str, list[float]]]) -> bool:
    """Print the table, and tell whether the target is met everywhere."""
    table = Table(title=f"{JOBS} jobs on two slots: seconds, median (smallest to largest)")
    for name in ("scratch", "/bin/true", "with the same files", "eventflock", "ratio", "command"):
        table.add_column(name)
    met = True
    for scratch, rows in found.items():
        ratio = statistics.median(rows["jets"]) / statistics.median(rows["nothing"])
        met &= ratio <= TARGET
        table.add_row(
            scratch,
            *(_words(rows[name]) for name in ("empty", "nothing", "jets")),
            f"{ratio:.2f} (at most {TARGET:.0f})",
            _words(rows["whole"]),
        )
    console.print(table)
    return met


def _words(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def main() -> int:
    """Measure with the scratch folders of jobs in memory, and on the disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--suite", default="trixie", choices=["trixie", "sid"])
    parser.add_argument("--scratch", choices=["memory", "disk"], help="only this one, not both")
    parser.add_argument("--pool", type=Path, help="folder of a pool's root file system, to be kept")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="eventflock-bench-") as name:
        base = Path(name)
        base.chmod(0o755)
        for scratch in [options.scratch] if options.scratch else ["memory", "disk"]:
            more = ["--disk"] if scratch == "disk" else []
            with running_pool(base, options.suite, *more, root=options.pool) as client:
                found[scratch] = measure(client, options.repeat)
            shutil.rmtree(base / "home")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results/htcondor.json").write_text(json.dumps(found, indent=1))
    return 0 if show(found) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))
