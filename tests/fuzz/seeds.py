"""The files that are mutated: small ones, of every kind of content."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import hist
import numpy as np
from hist import Hist

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.manifest import Counters, Failure, Manifest
from eventflock.core.model import FORMAT, AnalysisRef, Dataset, FileEntry, Job, Plan, Range
from eventflock.core.states import ResultStatus
from eventflock.core.structs import to_json
from eventflock.results.accumulate import Accumulator
from eventflock.results.format import MANIFEST, write_result
from eventflock.results.merge import merge
from eventflock.results.verify import JobFiles

PLAN = Plan(
    format=FORMAT,
    version="0",
    created="",
    analysis=AnalysisRef(name="jets"),
    parameters={"scale": 2.5, "cuts": {"pt": [20, 30]}},
    datasets=(
        Dataset(
            name="d",
            files=(FileEntry(path="/a.root", tree="t", uuid="a", size=1, entries=20),),
        ),
    ),
    jobs=(Job(0, (Range(0, 0, 7), Range(0, 7, 10))), Job(0, (Range(0, 10, 20),))),
)

FROZEN = FrozenPlan(PLAN, "0" * 64)


class Seed(NamedTuple):
    """A file to be mutated; without members, it is the manifest alone.

    `second` is the result of the next job, with which it can be merged.
    """

    name: str
    data: bytes
    members: dict[str, bytes]
    second: bytes


def make_seeds(folder: Path) -> list[Seed]:
    """Write the files and read them back."""
    seeds = []
    for name, values in _contents():
        first, second = (_write(folder, name, values, job) for job in range(2))
        seeds.append(_seed(name, first.read_bytes(), second.read_bytes()))
        if name == "mixed":
            merged = folder / "merged.zip"
            merge(FROZEN, [JobFiles(first), JobFiles()], merged)
            seeds.append(_seed("partial", merged.read_bytes(), b""))
    old = Path(__file__).parents[1] / "formats" / "result-1.zip"
    seeds.append(_seed("format 1", old.read_bytes(), b""))
    seeds.append(Seed("receipt", to_json(_manifest(0, error=_failure())), {}, b""))
    return seeds


def _seed(name: str, data: bytes, second: bytes) -> Seed:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return Seed(name, data, {one: archive.read(one) for one in archive.namelist()}, second)


def manifest_of(seed: Seed) -> dict[str, Any]:
    """Parse the manifest."""
    return dict(json.loads(seed.members[MANIFEST] if seed.members else seed.data))


def _failure() -> Failure:
    return Failure(kind="analysis", message="It raised.", traceback="...", path="/a.root", stop=3)


def _manifest(job: int, error: Failure | None = None) -> Manifest:
    events = PLAN.jobs[job].entries
    return Manifest(
        format=FORMAT,
        status=ResultStatus.FAILED if error else ResultStatus.DONE,
        plan=FROZEN.digest,
        job=job,
        planned=events,
        analysis=PLAN.analysis,
        parameters=PLAN.parameters,
        coverage=() if error else FROZEN.coverage(job),
        counters=Counters(events=events, chunks=1, wall_seconds=0.5),
        branches=("pt", "eta"),
        hosts=("node",),
        software={"numpy": "2"},
        error=error,
    )


def _write(folder: Path, name: str, values: dict[str, Any], job: int) -> Path:
    scratch = folder / f"{name}-{job}"
    scratch.mkdir()
    accumulator = Accumulator(scratch)
    accumulator.add(values)
    keyed = {("d", *path): value for path, value in accumulator.finish().items()}
    write_result(scratch / "result.zip", _manifest(job), keyed)
    return scratch / "result.zip"


def _contents() -> Iterator[tuple[str, dict[str, Any]]]:
    random = np.random.default_rng(1)
    plain = Hist.new.Reg(8, 0, 1, name="x", label="$E$").Double().fill(random.random(50))
    rows = ak.Array([{"pt": [1.5, 2.5], "n": 1, "s": "a"}, {"pt": [], "n": 2, "s": "é"}] * 20)
    yield "mixed", {"h": plain, "a": np.arange(6.0).reshape(2, 3), "n": {"i": 10**25, "c": 1 + 2j}}
    yield "plain", {"h": plain.copy(), "f": float("inf")}
    yield "axes", {"axes": _axes(), "profile": _profile(), "none": Hist.new.StrCat([]).Int64()}
    yield "arrays", {"i": np.arange(5), "c": np.ones((1, 2, 3), "c16"), "none": np.zeros((0, 3))}
    yield "skim", {"kept": rows}
    yield "skims", {"jagged": ak.Array([[[1], []], [], [[2, 3]]]), "bare": ak.Array([1.0, None])}
    yield "no rows", {"kept": rows[:0]}


def _axes() -> Any:
    axes: list[Any] = [
        hist.axis.Regular(2, 1, 100, transform=hist.axis.transform.log, name="log"),
        hist.axis.Variable([0, 1, 4], name="edges", underflow=False),
        hist.axis.IntCategory([1, 5], name="pdg", growth=True),
        hist.axis.StrCategory(["b", "ü"], name="process", growth=True),
        hist.axis.Boolean(name="tight"),
    ]
    return Hist(*axes, storage=hist.storage.Weight()).fill(
        [2, 50], [0.5, 3], [1, 5], ["b", "ü"], [True, False], weight=2.0
    )


def _profile() -> Any:
    made = Hist(hist.axis.Integer(-1, 2), storage=hist.storage.Mean())
    return made.fill([-1, 0, 0], sample=[2.0, 3.0, 5.0])
