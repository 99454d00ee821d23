"""Make run folders with another version of eventflock, for `tests/test_old_runs.py`.

    python -m tests.formats.make_runs SOURCE OUT.zip

SOURCE is the `src` of that version. Only its command line is used. It needs root, for a pool.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import uproot

from tests.condor import running_pool
from tests.user import wait_for

HOME = Path("/tmp/eventflock-formats")
"""A plan has absolute paths, so they are always here."""
ANALYSIS = f'''\
import time
from pathlib import Path

import boost_histogram as bh
import eventflock as ef

MOOD = Path("{HOME}/mood")


@ef.analysis(tree="t")
def sums(events, *, scale: float = 1.0):
    x = events.x * scale
    mood = MOOD.read_text() if MOOD.exists() else ""
    if "small" in mood and len(x) > 30:
        raise MemoryError
    if "picky" in mood and any(x == 333):
        raise ValueError("not 333")
    while "slow" in mood and len(x) and x[0] >= 200:
        time.sleep(0.1)
    histogram = bh.Histogram(bh.axis.Regular(40, 0, 400))
    histogram.fill(x)
    return {{"x": histogram, "n": len(x)}}
'''


def prepare() -> None:
    """Write two files of 200 events, and the analysis."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    for number, name in enumerate("ab"):
        with uproot.recreate(HOME / f"{name}.root") as file:
            file["t"] = {"x": np.arange(200.0 * number, 200.0 * (number + 1))}
    (HOME / "sums.py").write_text(ANALYSIS)


def command(*words: object) -> list[str]:
    return [sys.executable, "-P", "-m", "eventflock", *map(str, words)]


def run(name: str, mood: str, *words: object) -> int:
    """Run the analysis to its end, in a mood."""
    (HOME / "mood").write_text(mood)
    files = [HOME / "a.root", HOME / "b.root"]
    line = ["run", HOME / "sums.py", *files, "--out", HOME / name, "--jobs", 4, "--chunk", 50]
    return subprocess.run(command(*line, *words), check=False).returncode


def kill_half_way(name: str, *words: object) -> None:
    """Start a run, and kill it when half of its jobs have ended."""
    (HOME / "mood").write_text("slow")
    files = [HOME / "a.root", HOME / "b.root"]
    line = ["run", HOME / "sums.py", *files, "--out", HOME / name, "--jobs", 4, "--chunk", 50]
    process = subprocess.Popen(command(*line, *words), start_new_session=True)
    results = HOME / name / "results"
    wait_for(lambda: len(list(results.glob("*.zip"))) >= 2, 120)
    time.sleep(1)
    os.killpg(process.pid, 9)
    process.wait()


def on_a_pool(name: str, base: Path, source: str) -> None:
    """Submit a run, and stop the pool when half of the results lie in the wave, unseen by anyone."""
    (HOME / "mood").write_text("slow")
    shutil.chown(HOME, "flock")
    os.environ["PYTHONPATH"] = source
    with running_pool(base, "trixie", "--share", str(HOME), "--slots", "2") as client:
        files = [HOME / "a.root", HOME / "b.root"]
        line = ["run", "--detach", HOME / "sums.py", *files, "--out", HOME / name, "--jobs", 4]
        told = client.run(*line, "--chunk", 50, "--pool", "htcondor")
        print(told.stdout, told.stderr)
        wave = HOME / name / "pool/wave-001"
        wait_for(lambda: len(list(wave.glob("**/*.zip"))) >= 2, 180)
        time.sleep(2)
    (HOME / "mood").unlink()


def main(source: str, out: Path) -> None:
    os.environ["PYTHONPATH"] = source
    prepare()
    run("local-done", "")
    run("local-halved", "small")
    run("local-failed", "picky")
    kill_half_way("local-killed", "--workers", 2)
    run("packed-done", "", "--packed")
    kill_half_way("packed-killed", "--packed", "--workers", 2)
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        on_a_pool("htcondor-away", Path(base), source)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(HOME.rglob("*")):
            large = path.is_file() and path.stat().st_size > 1_000_000  # archives of environments
            if not large and "plots" not in path.parts:
                archive.write(path, path.relative_to(HOME))
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
