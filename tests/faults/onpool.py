"""Sequences of faults on a real HTCondor pool."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from tests.condor import Client
from tests.faults.damage import RESULT_KINDS, Others, damage_events, damage_result
from tests.faults.ground import TOTAL, Ground, wait_until
from tests.faults.local import Deck
from tests.faults.processes import kill_one
from tests.faults.tally import Tally
from tests.faults.verdict import judge

__all__ = ["PoolGround", "run_on_pool"]

LIMIT: Final = 240.0
"""Seconds that any command on such a small run may take."""
RESUMES: Final = 6
PROCESSES: Final = {
    "pool: job killed": "eventflock.worker.once",
    "pool: starter killed": "condor_starter",
    "pool: shadow killed": "condor_shadow",
    "pool: startd killed": "condor_startd",
    "pool: schedd killed": "condor_schedd",
}
CLIENT: Final = "pool: client killed"
PLANTED: Final = {
    "hog": "pool: more memory than asked for",
    "killed": "pool: job kills itself",
    "crash": "pool: job crashes",
}
ON_POOL: Final = (
    *("--pool", "htcondor", "--submit", "request_memory=700 MB"),
    # Else a shadow looks for a node that has died for 40 minutes.
    *("--submit", "job_lease_duration=10"),
)


class PoolGround(Ground):
    """A ground at the access point of a pool: all is the user's.

    Parameters
    ----------
    client
        The user there.
    name
        Of a new folder in the user's home.
    """

    events_per_job = 400

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self._calls = 0
        folder = client.home / name
        folder.mkdir()
        super().__init__(client.own(folder))
        for one in (self.runs, self.scratch, self.data):
            client.own(one)

    def start(self, *words: object) -> subprocess.Popen[Any]:
        """Start eventflock as the user, and let it run."""
        self._calls += 1
        self.log = self.folder / f"client-{self._calls}.log"
        return self.client.start(*words, "--no-plot", "--quiet", log=self.log)

    def ask(self, *words: object) -> str:
        """Run eventflock as the user, and give what it prints."""
        return self.client.run(*words).stdout


def run_on_pool(ground: PoolGround, tally: Tally, chance: random.Random, faults: int) -> None:
    """Run sequences until so many faults were injected."""
    kinds = _Kinds(chance)
    goal, number = tally.total + faults, 0
    while tally.total < goal and len(tally.wrong) < 10:
        sequence = _Sequence(ground, tally, chance, kinds, f"run-{number}")
        (sequence.kill, sequence.damage, sequence.fall, sequence.kill)[number % 4]()
        sequence.close()
        number += 1


class _Kinds:
    """Which kinds come next, over all sequences: also a few faults meet every kind."""

    def __init__(self, chance: random.Random) -> None:
        often = [name for name in PROCESSES if "job" in name or "starter" in name]
        self.killed = Deck([*PROCESSES, *often, CLIENT, CLIENT], chance)
        self.planted = Deck(PLANTED, chance)
        self.damage = Deck(RESULT_KINDS, chance)


class _Sequence:
    """One run on the pool, and all that happens to it."""

    def __init__(
        self, ground: PoolGround, tally: Tally, chance: random.Random, kinds: _Kinds, name: str
    ) -> None:
        self.ground = ground
        self.client = ground.client
        self.tally = tally
        self.chance = chance
        self.kinds = kinds
        self.run = ground.runs / name
        # Only on the nodes, where jobs see no other folder of this machine's: they have a /tmp
        # of their own. So the trial of the analysis at the access point meets no trouble.
        on_nodes = f"/srv/trouble-{name}"
        self.trouble = self.client.folder / f"root{on_nodes}"
        self.trouble.mkdir()
        self.client.own(self.trouble)
        self.planted: dict[Path, str] = {}
        self.words = ["run", *ground.what(ground.inputs), "--out", self.run, *ON_POOL]
        self.words += ["--param", f"trouble={on_nodes}"]

    def kill(self) -> None:
        """Kill parts of the pool and the client while a run goes on, then resume."""
        for _ in range(self.chance.randint(1, 2)):
            self._plant()
        self._disturb(*self.words, "--param", "pause=0.1")
        self._damage_events()
        self._disturb(*(["resume", self.run] if self.run.exists() else self.words))
        self._judge(self._finish())

    def damage(self) -> None:
        """Damage what has arrived, and HTCondor's log, while nobody looks; then go on."""
        self._wait(self.ground.start(*self.words, "--detach"))
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(1, 5))
            self._damage_events()
        wait_until(lambda: not self.client.queue(), LIMIT, every=0.5)
        self._damage_events()
        for _ in range(self.chance.randint(3, 6)):
            self._damage("pool/wave-*/job-*.zip")
        code = self._wait(self.ground.start("watch", self.run))
        self._judge(code)
        for _ in range(self.chance.randint(2, 4)):
            self._damage("results/job-*.zip")
        self._judge(self._finish())

    def fall(self) -> None:
        """Let a node be there on which all jobs fail at once, for the first attempts."""
        with self.client.black_hole():
            code = self._wait(self.ground.start(*self.words, "--param", "pause=0.1"))
            self._judge(code)
            if code:
                self._wait(self.ground.start("resume", self.run))
        logs = [path.read_text() for path in self.run.glob("pool/wave-*/events.log")]
        self.tally.add("pool: job on a black hole", sum(log.count("@black-hole") for log in logs))
        self._judge(self._finish())

    def close(self) -> None:
        """Nothing of the run stays in the queue, nor on the disk."""
        if not wait_until(lambda: not self.client.queue(), 30, every=0.5):
            self._blame(f"left in the queue: {[one['ClusterId'] for one in self.client.queue()]}")
            self.client.inside("condor_rm", "-all")
        self.ground.forget(self.run)
        shutil.rmtree(self.trouble)

    # --- clients -------------------------------------------------------------------------------

    def _wait(self, client: subprocess.Popen[Any]) -> int:
        started = time.monotonic()
        while client.poll() is None:
            self._sprung()
            if time.monotonic() - started > LIMIT:
                self._blame(f"no end after {LIMIT} s")
                client.kill()
                client.wait()
            time.sleep(0.05)
        code = client.returncode
        if code in {1, 2, 4} or (code < 0 and code != -signal.SIGKILL):
            self._blame(f"exit code {code}")
        return code

    def _finish(self) -> int:
        """Resume until it is complete, as often as there may be reasons not to be."""
        code = -1
        for _ in range(RESUMES):
            words = ["resume", self.run] if self.run.exists() else self.words
            code = self._wait(self.ground.start(*words))
            if code == 0:
                return 0
        self._blame(f"not complete after {RESUMES} times of resume, exit code {code}")
        return code

    def _judge(self, code: int | None) -> None:
        verdict = judge(self.ground, self.run, code)
        if verdict.wrong:
            verdict.wrong[-1] += f"\n{self.ground.tail()}"
        self.tally.judge(verdict, f"pool {self.run.name}")

    def _blame(self, words: str) -> None:
        self.tally.wrong.append(f"pool {self.run.name}: {words}\n{self.ground.tail()}")

    # --- faults --------------------------------------------------------------------------------

    def _plant(self) -> None:
        """Let the analysis misbehave at some entry, once."""
        kind = self.kinds.planted.draw()
        path = self.trouble / f"{kind}-{self.chance.randrange(TOTAL)}"
        path.touch()
        self.client.own(path)
        self.planted[path] = kind

    def _sprung(self) -> None:
        """Count the planted faults that happened since the last time."""
        for path in [one for one in self.planted if not one.exists()]:
            self.tally.add(PLANTED[self.planted.pop(path)])

    def _disturb(self, *words: object) -> None:
        """Run a client, and kill some processes at random moments before it ends."""
        client = self.ground.start(*words)
        waves = self.run / "pool"
        wait_until(lambda: client.poll() is not None or list(waves.glob("wave-*/cluster")), 60)
        killed = False
        for _ in range(self.chance.randint(3, 5)):
            time.sleep(self.chance.uniform(0.3, 2.5))
            if client.poll() is not None and not killed:
                break  # it is done; without it, jobs go on
            kind = self.kinds.killed.draw()
            if kind == CLIENT:
                if client.poll() is None:
                    client.kill()
                    killed = True
                    self.tally.add(kind)
            elif kill_one(self._processes(kind), self.chance):
                self.tally.add(kind)
        code = self._wait(client)
        if self.run.exists():  # whatever is there must be true
            self._judge(0 if code == 0 else None)

    def _processes(self, kind: str) -> list[int]:
        """Find the processes that a kind is about; after another fault they may take a while."""
        found: list[int] = []

        def look() -> bool:
            found[:] = self.client.processes(PROCESSES[kind])
            return bool(found)

        wait_until(look, 5, every=0.1)
        return found

    def _damage_events(self) -> None:
        logs = sorted(self.run.glob("pool/wave-*/events.log"))
        if logs:
            missing, doubled = damage_events(self.chance.choice(logs), self.chance, 5)
            self.tally.add("pool: event missing in the log", missing)
            self.tally.add("pool: event twice in the log", doubled)

    def _damage(self, pattern: str) -> None:
        """Damage one result file."""
        paths = sorted(self.run.glob(pattern))
        strangers = sorted(self.ground.calm.glob("results/job-*.zip"))
        if paths:
            kind = self.kinds.damage.draw()
            path = self.chance.choice(paths)
            with contextlib.suppress(FileNotFoundError, ValueError):  # it was damaged before
                damage_result(kind, path, Others(paths, strangers), self.chance)
                self.tally.add(f"pool: {kind}")
