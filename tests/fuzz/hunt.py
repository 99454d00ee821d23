"""The hunt: mutate, have it read, judge what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

import eventflock
from tests.fuzz.mutations import Mutant, mutate
from tests.fuzz.seeds import FROZEN, Seed, make_seeds

ROOT = Path(__file__).parents[2]
EXCESS = 2**30
"""Bytes of memory that reading one of these small files may not take."""
COVERED = json.loads(msgspec.json.encode(FROZEN.coverage(0)))
PATIENCE = 120.0


class Reader:
    """The process that reads; a new one is started when it has died."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _start(self) -> subprocess.Popen[str]:
        path = [ROOT / "tests/fuzz/hook", Path(eventflock.__file__).parents[1], ROOT]
        (self.folder / "work").mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.reader", self.folder / "work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, path)),
                "PYTHONDONTWRITEBYTECODE": "1",
                "EVENTFLOCK_FUZZ_LOG": str(self.log),
                "TMPDIR": str(self.folder),
            },
        )

    def read(self, path: Path, second: Path | None) -> dict[str, Any]:
        """Have a file read, and return the outcome, also of a crash or a hang."""
        child = self._child = self._child or self._start()
        assert child.stdin
        assert child.stdout
        with contextlib.suppress(
            BrokenPipeError
        ):  # it may be dead already: then it answers nothing
            print(json.dumps([str(path), str(second or "")]), file=child.stdin, flush=True)
        ready = select.select([child.stdout], [], [], PATIENCE)[0]
        line = child.stdout.readline() if ready else ""
        if not line:
            code = child.poll() if ready else None
            self._end()
            return {"outcome": "odd", "why": "it hangs" if not ready else f"a crash ({code})"}
        answer = dict(json.loads(line))
        if self.log.exists() and (ran := self.log.read_text()):
            self.log.write_text("")
            if answer["outcome"] != "odd":  # printing a traceback compiles its lines
                answer = {**answer, "outcome": "odd", "why": f"it runs code: {ran}"}
        return answer

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.stdin and child.stdout:
            child.kill()
            child.wait()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            child.stdout.close()


class Finding(NamedTuple):
    """What should not be, and how to make it again."""

    kind: str
    number: int
    what: str


class Hunt:
    """Reads mutations one by one, and keeps count.

    Every mutation is made from a number, so that it can be made again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seeds = make_seeds(folder)
        self.reader = Reader(folder)
        self.counts: dict[str, Counter[str]] = {}
        self.findings: list[Finding] = []
        self._whole: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> Self:
        for seed in self.seeds:
            answer = self._read(seed.data, seed)
            assert answer["outcome"] == ("refused" if seed.name == "receipt" else "read"), answer[
                "why"
            ]
            assert answer.get("merged") == ("complete" if seed.second else None), answer
            self._whole[seed.name] = [answer]
            if seed.second:
                self._whole[seed.name].append(self._read(seed.second, seed, merge=False))
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.__exit__()

    def _read(self, data: bytes, seed: Seed, *, merge: bool = True) -> dict[str, Any]:
        path, second = self.folder / "mutant.zip", self.folder / "second.zip"
        path.write_bytes(data)
        second.write_bytes(seed.second)
        return self.reader.read(path, second if merge and seed.second else None)

    def try_one(self, kind: str, number: int) -> str:
        """Read one mutation, and say what is wrong with how it was read."""
        begun = time.monotonic()
        rng = random.Random(f"{kind} {number}")
        seed, mutant = mutate(kind, rng, self.seeds)
        # Merging starts a process of its own for skims, which takes time.
        merge = "skim" not in seed.name or rng.random() < 0.03
        answer = self._read(mutant.data, seed, merge=merge)
        counts = self.counts.setdefault(kind, Counter())
        counts["all"] += 1
        counts["microseconds"] += int(1e6 * (time.monotonic() - begun))
        counts[answer["outcome"]] += 1
        counts["memory"] = max(counts["memory"], answer.get("memory", 0))
        what = judge(mutant, answer, self._whole[seed.name])
        if what:
            counts["findings"] += 1
            self.findings.append(Finding(kind, number, f"{seed.name}: {what}"))
        return what


def judge(mutant: Mutant, answer: dict[str, Any], wholes: list[dict[str, Any]]) -> str:
    """Describe what is wrong: nothing if it was refused, or read as it had to be.

    Without a corrected checksum it has to be what it was, or all of the file it was spliced with.
    """
    if answer["outcome"] == "odd":
        return str(answer["why"])
    if answer["memory"] > EXCESS:
        return f"{answer['memory']:,} bytes of memory"
    if answer["job"] == "done" and answer["covers"] != COVERED:
        return f"it is the job's result, and covers {answer['covers']}"
    if answer.get("merged") not in {None, "complete", "does not fit"}:
        return f"merging it is {answer['merged']}"
    if answer["outcome"] == "refused":
        return ""
    if mutant.touched is None:
        content = (answer["items"], answer["manifest"])
        known = [(whole["items"], whole["manifest"]) for whole in wholes if "items" in whole]
        return "" if content in known else "it is read as something else"
    return _judge_parts(mutant, answer, wholes[0])


def _full(said: Any) -> Any:
    """Return what is said of a field with what format 1 leaves out: that no tree is a second one."""
    if not isinstance(said, list):
        return said
    return [[*one, False] if isinstance(one, list) and len(one) == 6 else one for one in said]


def _judge_parts(mutant: Mutant, answer: dict[str, Any], whole: dict[str, Any]) -> str:
    """Compare what was not touched, and what the manifest says."""
    if mutant.manifest is not None:
        said = json.loads(mutant.manifest)
        for field in ("status", "job", "planned", "coverage", "missing", "plan"):
            if said.get(field) is not None and answer["manifest"][field] != _full(said[field]):
                return f"{field} is read as {answer['manifest'][field]}"
    elif answer["manifest"]["coverage"] != whole["manifest"]["coverage"]:
        return "its coverage is read as another"
    before = {_source(item): item[-1] for item in whole.get("items", [])}
    for item in answer["items"]:
        touched = any(one.startswith(item[2]) for one in mutant.touched or ()) and item[2]
        source = _source(item)
        if mutant.manifest is None and source not in before:
            return f"{item[0]} was not there before"
        if not touched and item[-1] != before.get(source, item[-1]):
            return f"{item[0]} is read as something else"
    return ""


def _source(item: list[Any]) -> tuple[str, str, str]:
    return (item[1], item[2], item[3])
