"""What came out of a run, counted event by event in its result."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eventflock.core.manifest import Coverage
from eventflock.errors import ResultError
from eventflock.results.result import Result, load
from tests.faults.ground import ENTRIES, TOTAL, Ground, content

__all__ = ["Verdict", "judge"]


@dataclass
class Verdict:
    """What came out.

    Attributes
    ----------
    complete
        Every event is there once.
    lost
        Events that are not in the result and that it does not name as missing.
    doubled
        Events that are in it more than once.
    wrong
        What must not be, in words.
    """

    complete: bool
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)


def judge(ground: Ground, run: Path, code: int | None) -> Verdict:
    """Count the events of a result, and compare with what is said about it.

    Parameters
    ----------
    code
        The exit code of the command that made it, if that is known.
    """
    try:
        result = load(run)
    except ResultError as error:
        return _without_result(ground, run, code, error.message)
    seen = np.asarray(result["seen"])
    absent = seen == 0
    named = _mask(result.missing)
    verdict = Verdict(
        complete=not absent.any(),
        lost=int(np.sum(absent & ~named)),
        doubled=int(np.sum(np.maximum(seen - 1, 0))),
    )
    wrong = verdict.wrong
    if verdict.lost:
        wrong.append(f"{verdict.lost} events are lost: {np.flatnonzero(absent & ~named)[:5]} ...")
    if verdict.doubled:
        wrong.append(f"{verdict.doubled} events are doubled: {np.flatnonzero(seen > 1)[:5]} ...")
    if np.any(named & ~absent):
        wrong.append(f"{np.sum(named & ~absent)} events are named as missing, and are there")
    if not np.array_equal(_mask(result.coverage), ~absent):
        wrong.append("the coverage is not what is in the result")
    if result["n"] != seen.sum():
        wrong.append(f"{result['n']} events were counted, {seen.sum()} were seen")
    if verdict.complete:
        wrong += _complete(ground, run, result, code)
    else:
        wrong += _partial(ground, run, result, code)
    return verdict


def _without_result(ground: Ground, run: Path, code: int | None, why: str) -> Verdict:
    """No result at all loses nothing, as long as it is not called a success."""
    wrong = []
    if code == 0:
        wrong.append(f"exit code 0, but no result: {why}")
    if json.loads(ground.ask("status", run, "--json"))["complete"]:
        wrong.append(f"status says complete, but there is no result: {why}")
    return Verdict(complete=False, wrong=wrong)


def _complete(ground: Ground, run: Path, result: Result, code: int | None) -> list[str]:
    wrong = []
    if not result.complete or result.label:
        wrong.append(f"all events are there, but it says {result.label!r}")
    if content(run / "result.zip") != ground.bits:
        wrong.append("the bits are not those of the undisturbed run")
    if code not in {0, None}:
        wrong.append(f"all events are there, but the exit code is {code}")
    return wrong


def _partial(ground: Ground, run: Path, result: Result, code: int | None) -> list[str]:
    """A partial result has to say so wherever it shows."""
    wrong = []
    label = result.label
    if result.complete or not label.startswith("PARTIAL"):
        wrong.append(f"a partial result is labelled {label!r}")
    if code == 0:
        wrong.append("a partial result with exit code 0")
    status = json.loads(ground.ask("status", run, "--json"))
    if status["complete"] or status["label"] != label:
        wrong.append(f"status says {status['label']!r} of a result that is {label!r}")
    ground.ask("plot", run, "--format", "svg")
    pictures = [path.read_text() for path in (run / "plots").glob("*.svg")]
    if not pictures or not all(re.search(r"<!-- PARTIAL -->", picture) for picture in pictures):
        wrong.append("a picture of a partial result does not say so")
    return wrong


def _mask(parts: tuple[Coverage, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark events by their numbers; those of a range that is named twice are marked once."""
    mask = np.zeros(TOTAL, bool)
    for part in parts:
        first = int(Path(part.path).stem.rpartition("-")[2]) * ENTRIES
        mask[first + part.start : first + part.stop] = True
    return mask
