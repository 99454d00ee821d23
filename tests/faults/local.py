"""Sequences of faults on the worker processes of this machine."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.faults.damage import RESULT_KINDS, Others, corrupt_basket, damage_result
from tests.faults.disks import fill, small_disk, why_no_disks
from tests.faults.ground import TOTAL, Ground, wait_until
from tests.faults.processes import children, freeze_one, kill_one, still_there
from tests.faults.tally import Tally
from tests.faults.verdict import judge

__all__ = ["Deck", "ground_here", "run_local"]

LIMIT: Final = 60.0
"""Seconds that any command on such a small run may take."""
PLANTED: Final = {
    "killed": "worker killed for its memory",
    "memory": "worker out of memory",
    "crash": "worker crashes",
    "raise": "analysis raises once",
    "hang": "analysis hangs once",
}
TWO: Final = ("--workers", "2")


class Deck:
    """Gives kinds in random order, each as often as the others."""

    def __init__(self, kinds: Iterable[str], chance: random.Random) -> None:
        self._kinds = list(kinds)
        self._chance = chance
        self._left: list[str] = []

    def draw(self) -> str:
        """Return the next kind."""
        if not self._left:
            self._left = self._chance.sample(self._kinds, len(self._kinds))
        return self._left.pop()


@contextlib.contextmanager
def ground_here(folder: Path) -> Iterator[Ground]:
    """Prepare for sequences on this machine, with small disks where there can be some."""
    with small_disk(folder / "runs") as runs, small_disk(folder / "scratch") as scratch:
        ground = Ground(folder, runs, scratch)
        ground.make_calm()
        yield ground


def run_local(ground: Ground, tally: Tally, chance: random.Random, faults: int) -> None:
    """Run sequences until so many faults were injected."""
    kinds = _Kinds(chance)
    goal, number = tally.total + faults, 0
    if why_no_disks():
        tally.skipped |= dict.fromkeys(("run folder full", "scratch full"), why_no_disks())
    while tally.total < goal and len(tally.wrong) < 10:
        sequence = _Sequence(ground, tally, chance, kinds, f"run-{number}")
        if number % 3 == 1:
            sequence.on_corrupt_input()
        else:
            sequence.on_all_else()
        sequence.close()
        number += 1


class _Kinds:
    """Which kinds come next, over all sequences: also a few faults meet every kind."""

    def __init__(self, chance: random.Random) -> None:
        during = ["worker killed", "client killed"] * 2 + ["worker frozen", "damage"]
        disks = [] if why_no_disks() else ["run folder full", "scratch full"]
        self.during = Deck([*during, *disks], chance)
        self.planted = Deck(PLANTED, chance)
        self.damage = Deck(RESULT_KINDS, chance)


class _Sequence:
    """One run, and all that happens to it."""

    def __init__(
        self, ground: Ground, tally: Tally, chance: random.Random, kinds: _Kinds, name: str
    ) -> None:
        self.ground = ground
        self.tally = tally
        self.chance = chance
        self.kinds = kinds
        self.run = ground.runs / name
        self.data = ground.folder / f"data-{name}"
        self.trouble = ground.folder / f"trouble-{name}"
        self.trouble.mkdir()
        self.planted: dict[Path, str] = {}
        self.workers: set[int] = set()

    def on_all_else(self) -> None:
        """Disturb a run while it goes on, then resume; damage what it made, then resume."""
        self._plant()
        words = ["run", *self.ground.what(self.ground.inputs), "--out", self.run]
        words += ["--param", f"trouble={self.trouble}", "--param", "pause=0.02"]
        for _ in range(3):
            self._disturb(*self._go_on(words))
        if not self.run.exists():
            self._wait(self._start(*words))
        self._judge(self._finish(tries=2 + len(self.planted)))
        for _ in range(3):
            for _ in range(self.chance.randint(5, 12)):
                self._damage()
            if self.chance.random() < 0.4:
                self._merge_what_is_there()
            self._judge(self._finish(tries=2))

    def on_corrupt_input(self) -> None:
        """Run on input with bad baskets; then repair it."""
        shutil.copytree(self.ground.data, self.data)
        inputs = [self.data / one.name for one in self.ground.inputs]
        for _ in range(self.chance.choice([1, 1, 2, 4])):
            corrupt_basket(self.chance.choice(inputs), self.chance)
            self.tally.add("basket corrupt")
        self._judge(self._wait(self._start("run", *self.ground.what(inputs), "--out", self.run)))
        self._judge(self._wait(self._start("resume", self.run)))
        for one in self.ground.inputs:
            shutil.copy(one, self.data)
        self._judge(self._wait(self._start("resume", self.run)))

    def close(self) -> None:
        """Look for what is left behind, and remove it all."""
        for pid in still_there(self.workers, 30):
            self._blame(f"the worker {pid} outlives its client")
            kill_one([pid], self.chance)
        left = [str(one) for one in [*self.run.rglob(".*"), *self.ground.scratch.iterdir()]]
        if left:
            self._blame(f"left behind: {left}")
        self.ground.forget(self.run)
        for path in (self.data, self.trouble, *self.ground.scratch.iterdir()):
            shutil.rmtree(path, ignore_errors=True)

    # --- clients -------------------------------------------------------------------------------

    def _start(self, *words: object) -> subprocess.Popen[Any]:
        return self.ground.start(*words, *TWO, *self.ground.patience())

    def _go_on(self, words: list[object]) -> list[object]:
        return ["resume", self.run] if self.run.exists() else words

    def _wait(self, client: subprocess.Popen[Any]) -> int:
        """Wait for a client; if the analysis hangs, its user gives up, with Ctrl-C or for good."""
        started = time.monotonic()
        given_up = 0.0
        while client.poll() is None:
            self.workers |= set(children(client.pid))
            now = time.monotonic()
            if self._sprung() and not given_up:
                given_up = now + self.ground.give_up
            if given_up and now > given_up:
                client.send_signal(self.chance.choice([signal.SIGINT, signal.SIGKILL]))
                given_up = now + 5
            if now - started > LIMIT:
                self._blame(f"no end after {LIMIT} s")
                client.kill()
            time.sleep(0.02)
        code = client.returncode
        if code in {1, 4} or (code < 0 and code != -signal.SIGKILL):
            self._blame(f"exit code {code}")
        return code

    def _finish(self, tries: int) -> int:
        """Resume until it is complete, as often as there may be reasons not to be."""
        for _ in range(tries):
            code = self._wait(self._start("resume", self.run))
            if code == 0:
                return 0
        self._blame(f"not complete after {tries} times of resume, exit code {code}")
        return code

    def _merge_what_is_there(self) -> None:
        """Merge without doing anything again: the result must say what it lacks."""
        kept = self.chance.random() < 0.3
        if not kept:
            (self.run / "result.zip").unlink(missing_ok=True)
        self._judge(self._wait(self.ground.start("merge", self.run)))

    def _judge(self, code: int | None) -> None:
        verdict = judge(self.ground, self.run, code)
        if verdict.wrong:
            verdict.wrong[-1] += f"\n{self.ground.tail()}"
        self.tally.judge(verdict, self.run.name)

    def _blame(self, words: str) -> None:
        self.tally.wrong.append(f"{self.run.name}: {words}\n{self.ground.tail()}")

    # --- faults --------------------------------------------------------------------------------

    def _plant(self) -> None:
        """Let the analysis misbehave at some entries, once each."""
        for _ in range(self.chance.randint(0, 2)):
            kind = self.kinds.planted.draw()
            path = self.trouble / f"{kind}-{self.chance.randrange(TOTAL)}"
            path.touch()
            self.planted[path] = kind

    def _sprung(self) -> bool:
        """Count the planted faults that happened since the last time; tell if one is a hang."""
        gone = [path for path in self.planted if not path.exists()]
        kinds = [self.planted.pop(path) for path in gone]
        for kind in kinds:
            self.tally.add(PLANTED[kind])
        return "hang" in kinds

    def _disturb(self, *words: object) -> None:
        """Run a client, and inject some faults at random moments before it ends."""
        client = self._start(*words)
        wait_until(lambda: client.poll() is not None or children(client.pid), 10)
        for _ in range(self.chance.randint(2, 6)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(self.chance.uniform(0.05, 0.6))
                break
            self.workers |= set(children(client.pid))
            self._inject(self.kinds.during.draw(), client)
        code = self._wait(client)
        if self.run.exists():  # whatever is there must be true
            self._judge(0 if code == 0 else None)

    def _inject(self, kind: str, client: subprocess.Popen[Any]) -> None:
        done = True
        match kind:
            case "worker killed":
                done = kill_one(children(client.pid), self.chance)
            case "client killed":
                client.kill()
            case "worker frozen":
                done = freeze_one(client, self.chance)
            case "run folder full":
                self._fill(self.ground.runs)
            case "scratch full":
                self._fill(self.ground.scratch)
            case "damage":
                self._damage()
                return
        if done:
            self.tally.add(kind)

    def _fill(self, disk: Path) -> None:
        filler = fill(disk)
        time.sleep(self.chance.uniform(0.1, 0.8))
        filler.unlink()

    def _damage(self) -> None:
        """Damage one result file, mostly of a job."""
        paths = sorted(self.run.glob("results/job-*.zip"))
        strangers = sorted(self.ground.calm.glob("results/job-*.zip"))
        merged = self.run / "result.zip"
        if merged.exists() and self.chance.random() < 0.1:
            paths, strangers = [merged], [self.ground.calm / "result.zip"]
        if paths:
            kind = self.kinds.damage.draw()
            path = self.chance.choice(paths)
            with contextlib.suppress(FileNotFoundError, ValueError):  # it was damaged before
                damage_result(kind, path, Others(paths, strangers), self.chance)
                self.tally.add(kind)
