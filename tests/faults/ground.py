"""What all sequences share: input, analysis, the undisturbed run, and a way to call eventflock."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from eventflock.results.reader import read_manifest
from eventflock.results.result import load

__all__ = ["CLUSTER", "ENTRIES", "FILES", "TOTAL", "Ground", "content", "wait_until"]

FILES: Final = 2
ENTRIES: Final = 2_000
TOTAL: Final = FILES * ENTRIES
CLUSTER: Final = 100
_COMMAND: Final = [sys.executable, "-P", "-m", "eventflock"]

ANALYSIS: Final = f"""
import os
import resource
import signal
import time
from pathlib import Path

import numpy as np
import eventflock as ef
from hist import Hist


def misbehave(folder, start, stop):
    for one in sorted(Path(folder).glob("*-*")):
        kind, _, number = one.name.partition("-")
        if not start <= int(number) < stop:
            continue
        try:
            one.unlink()  # once, whoever comes first
        except FileNotFoundError:
            continue
        if kind == "hang":
            while True:
                time.sleep(60)
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "crash":
            os.abort()
        if kind == "raise":
            raise RuntimeError("for once")
        if kind == "memory":
            limits = resource.getrlimit(resource.RLIMIT_AS)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, limits[1]))
            try:
                np.ones(2**28)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, limits)
        if kind == "hog":
            hog = np.ones(int(1.2 * 2**27))
            time.sleep(60)
            del hog


@ef.analysis
def count(events, *, trouble: str = "", pause: float = 0.0):
    number = np.asarray(events["number"])
    x = np.asarray(events["x"])
    if trouble and len(number):
        time.sleep(pause)
        misbehave(trouble, number[0], number[-1] + 1)
    return {{
        "seen": np.bincount(number, minlength={TOTAL}),
        "n": len(events),
        "sum": float(np.sum(x)),
        "x": Hist.new.Reg(20, 0, 1, name="x").Weight().fill(x, weight=np.cos(x)),
        "kept": events[:1],
    }}
"""


def content(path: Path) -> object:
    """Return all of a merged result that must not depend on what happened."""
    manifest = read_manifest(path)
    sums = {name: one.sha256 for name, one in manifest.payloads.items()}
    covered = [(one.dataset, one.uuid, one.tree, one.start, one.stop) for one in manifest.coverage]
    return sums, manifest.items, covered, manifest.counters.events


def wait_until(what: Callable[[], Any], seconds: float, every: float = 0.01) -> bool:
    """Wait until something is so, for some time; tell whether it is."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


class Ground:
    """The place of a suite: everything is in one folder.

    Parameters
    ----------
    folder
        Empty. On a pool, it has to be seen by the nodes.
    runs, scratch
        Where run folders and temporary files go: small disks, where there are such.
    """

    events_per_job = 130
    """Not a multiple of the cluster: jobs begin within baskets, and one spans both files."""

    def __init__(self, folder: Path, runs: Path | None = None, scratch: Path | None = None) -> None:
        self.folder = folder
        self.runs = runs or folder / "runs"
        self.scratch = scratch or folder / "scratch"
        self.log = folder / "client.log"
        self.data = folder / "data"
        for one in (self.runs, self.scratch, self.data):
            one.mkdir(exist_ok=True)
        self.analysis = folder / "count.py"
        self.analysis.write_text(ANALYSIS)
        self.inputs = [self._write(number) for number in range(FILES)]
        self.calm = folder / "calm"
        self.bits: object = None
        self._stall: bool | None = None
        self.give_up = 3.0
        """Seconds after which a user gives up who sees that nothing happens."""

    def _write(self, number: int) -> Path:
        """Write a file in which each entry has its own number, the first of this file's cluster."""
        import uproot

        path = self.data / f"part-{number}.root"
        chance = np.random.default_rng(number)
        with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
            tree = file.mktree("events", {"number": "int64", "x": "float64"})
            for start in range(number * ENTRIES, (number + 1) * ENTRIES, CLUSTER):
                numbers = np.arange(start, start + CLUSTER)
                # Compressed, so that damage shows: a basket that is not has no checksum at all.
                x = chance.integers(0, 256, CLUSTER) / 256
                tree.extend({"number": numbers, "x": x})
        return path

    def make_calm(self) -> None:
        """Do the undisturbed run."""
        code = self.call("run", *self.what(self.inputs), "--out", self.calm, "--workers", "2")
        assert code == 0, self.tail()
        assert np.all(np.asarray(load(self.calm)["seen"]) == 1)
        self.bits = content(self.calm / "result.zip")

    def what(self, inputs: Sequence[Path]) -> list[object]:
        """Return the words that say what is run, and how it is cut."""
        cut = ["--events-per-job", self.events_per_job, "--chunk", "26"]
        return [self.analysis, *inputs, "--dataset", "d", *cut]

    def patience(self) -> list[str]:
        """Return the words that let a worker end itself which hangs, where that is known."""
        if self._stall is None:
            told = subprocess.run(
                [*_COMMAND, "resume", "--help"], capture_output=True, text=True, check=True
            )
            self._stall = "--stall" in told.stdout
            self.give_up = 20.0 if self._stall else self.give_up
        return ["--stall", "5"] if self._stall else []

    def start(self, *words: object) -> subprocess.Popen[Any]:
        """Start eventflock, and let it run."""
        environment = {**os.environ, "TMPDIR": str(self.scratch)}
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(map(str, words))}\n".encode())
            log.flush()
            return subprocess.Popen(
                [*_COMMAND, *map(str, words), "--no-plot", "--quiet"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def call(self, *words: object, patience: float = 120) -> int:
        """Run eventflock, and give its exit code."""
        client = self.start(*words)
        try:
            return client.wait(patience)
        except subprocess.TimeoutExpired:
            client.kill()
            client.wait()
            return -1

    def ask(self, *words: object) -> str:
        """Run eventflock, and give what it prints."""
        told = subprocess.run(
            [*_COMMAND, *map(str, words)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return told.stdout

    def tail(self, size: int = 3000) -> str:
        """Return the last that clients have said."""
        return self.log.read_text(errors="replace")[-size:]

    def forget(self, run: Path) -> None:
        """Remove a run."""
        shutil.rmtree(run, ignore_errors=True)
