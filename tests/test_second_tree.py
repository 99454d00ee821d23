"""A second tree of the same files: read once for each file, whole, however the events are cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

import eventflock as ef
from eventflock.core.halving import can_halve, part_of
from eventflock.core.model import Dataset, FileEntry, Range, SecondTree
from eventflock.errors import AnalysisError, IncompleteError, InputError, UsageError
from eventflock.planning.partition import CHUNK_MIN, Sizing, cut, span_of
from tests.conftest import Command
from tests.damage import spoil_basket

CODE = """
import awkward as ak
import eventflock as ef


@ef.analysis(tree="Events")
def events(events, context, *, scale: float = 1.0, fail: bool = False):
    if fail and context.start >= 50:
        raise ValueError("not now")
    return {"n": len(events), "sumw": float(ak.sum(events["genWeight"]))}


@events.also(tree="meta/Runs")
def runs(runs, context, *, scale: float = 1.0):
    return {"n": len(runs), "sumw": scale * float(ak.sum(runs["sumw"])), context.tree: 1}
"""


def write(path: Path, events: int = 100, runs: int = 3) -> Path:
    with uproot.recreate(path) as file:
        file.mktree("Events", {"genWeight": "f8", "x": "f8"})
        for start in range(0, events, 20):
            size = min(20, events - start)
            file["Events"].extend({"genWeight": np.full(size, 0.5), "x": np.ones(size)})
        file.mktree("meta/Runs", {"sumw": "f8"})
        if runs:
            file["meta/Runs"].extend({"sumw": np.full(runs, 40.0)})
    return path


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_text(CODE)
    return path


@dataclasses.dataclass
class Case:
    options: dict[str, Any]
    events: int
    runs: int


@pytest.mark.parametrize(
    "case",
    [
        Case({"jobs": 7}, 170, 8),
        Case({"jobs": 1, "chunk": 3}, 170, 8),
        Case({"entries": "13:57", "jobs": 5}, 44, 3),
        Case({"entries": "90:110"}, 20, 8),
        Case({"entries": "100:170", "pool": "inline"}, 70, 5),
        Case({"events_per_job": 1}, 170, 8),
    ],
)
def test_each_second_tree_is_counted_once(tmp_path: Path, code: Path, case: Case) -> None:
    files = [write(tmp_path / "a.root"), write(tmp_path / "b.root", events=70, runs=5)]
    result = ef.run(code, files, out=tmp_path / "run", workers=2, **case.options)
    assert result.complete
    assert result["n"] == case.events == result.manifest.counters.events
    assert result["runs", "n"] == case.runs
    assert result["runs", "sumw"] == 40.0 * case.runs
    done = [part for part in result.coverage if part.second]
    assert {part.tree for part in done} == {"meta/Runs"}
    assert sum(part.stop - part.start for part in done) == case.runs


def test_it_is_counted_once_after_a_failure_and_a_resume(tmp_path: Path, code: Path) -> None:
    file = write(tmp_path / "a.root")
    parameters = {"fail": True, "scale": 2}
    with pytest.raises(IncompleteError):
        ef.run(code, file, out=tmp_path / "run", events_per_job=25, parameters=parameters)
    partial = ef.load(tmp_path / "run")
    assert (partial["n"], partial["runs", "sumw"]) == (50, 240.0)
    (tmp_path / "run" / "results" / "job-000000.zip").unlink()
    with pytest.raises(IncompleteError):
        ef.resume(tmp_path / "run")
    again = ef.load(tmp_path / "run")
    assert (again["n"], again["runs", "sumw"]) == (50, 240.0)


def test_files_without_events_have_a_second_tree_too(tmp_path: Path, code: Path) -> None:
    files = [write(tmp_path / f"{n}.root", events, runs) for n, (events, runs) in SPREAD.items()]
    result = ef.run(code, files, out=tmp_path / "run", jobs=3)
    assert (result["n"], result["runs", "n"]) == (140, 15)
    only = ef.run(code, [files[0], files[1]], out=tmp_path / "only", jobs=3)
    assert (only.complete, only["runs", "n"]) == (True, 3)


SPREAD = {0: (0, 1), 1: (0, 2), 2: (100, 3), 3: (0, 4), 4: (40, 0), 5: (0, 5)}


def test_a_damaged_second_tree_is_named(tmp_path: Path, code: Path, eventflock: Command) -> None:
    file = write(tmp_path / "a.root", runs=300)
    spoil_basket(file, "sumw", 0, "meta/Runs")
    told = eventflock("run", code, file, "--out", tmp_path / "run", "--jobs", "3")
    assert told.returncode == 7
    assert "entries 0 to 300 (300) of the tree 'meta/Runs'" in told.stderr
    result = ef.load(tmp_path / "run")
    assert (result["n"], result.complete, "runs" in result["events"]) == (100, False, False)
    assert [(part.tree, part.stop) for part in result.missing] == [("meta/Runs", 300)]
    why = ef.why(tmp_path / "run")
    assert (why.events, why.groups[0].events, why.groups[0].jobs) == (100, 0, 1)
    assert "--range" not in why.groups[0].repeat
    told = eventflock("merge", tmp_path / "run", "--accept", "0.9")
    assert told.returncode == 0, told.stderr


def test_the_command_line_says_what_is_in_it(
    tmp_path: Path, code: Path, eventflock: Command
) -> None:
    told = eventflock(
        "run", code, write(tmp_path / "a.root"), "--out", tmp_path / "run", "--jobs", "2"
    )
    assert "100 events and 3 entries of 'meta/Runs', each exactly once, in 2 jobs" in told.stdout


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (("meta/Runs", "Runs"), InputError, "has no tree 'Runs', it has 'Events', 'meta/Runs'"),
        (("meta/Runs", "Events"), UsageError, "'runs' reads the tree 'Events', which is read by"),
        (('@ef.analysis(tree="Events")', "@ef.analysis"), InputError, "has 2 trees"),
        (('runs["sumw"]', 'runs["sum"]'), InputError, "no branch 'sum' in the tree 'meta/Runs'"),
        (('tree="meta/Runs"', 'tree="meta/Runs", columns=["y"]'), InputError, "no branch 'y'"),
        (("runs(runs, context, *, scale", "runs(runs, context, *, size"), UsageError, "'size'"),
        (('{"n": len(events),', '{"runs": 1,'), AnalysisError, "also the name of the function"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_job(
    tmp_path: Path, code: Path, change: tuple[str, str], kind: type[Exception], words: str
) -> None:
    assert change[0] in CODE
    code.write_text(CODE.replace(*change))
    with pytest.raises(kind) as caught:
        ef.run(code, write(tmp_path / "a.root"), out=tmp_path / "run")
    assert words in str(caught.value)


def test_an_unnamed_tree_is_not_read_twice(tmp_path: Path, code: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["meta/Runs"] = {"sumw": np.ones(3), "genWeight": np.ones(3)}
    code.write_text(CODE.replace('@ef.analysis(tree="Events")', "@ef.analysis"))
    with pytest.raises(InputError, match="read as the events, and again by 'runs'"):
        ef.run(code, tmp_path / "a.root", out=tmp_path / "run")


# --- planning ----------------------------------------------------------------------------------


@st.composite
def lines(draw: st.DrawFn) -> Dataset:
    found = []
    for index in range(draw(st.integers(1, 6))):
        sizes = draw(st.lists(st.integers(0, 2 * CHUNK_MIN + 5), min_size=2, max_size=2))
        second = tuple(
            SecondTree(name=f"s{n}", tree=f"T{n}", entries=size) for n, size in enumerate(sizes)
        )
        entries = draw(st.integers(0, 60))
        made = FileEntry(
            path=f"/{index}", tree="t", uuid=f"u{index}", size=9, entries=entries, second=second
        )
        edges = sorted(draw(st.sets(st.integers(0, entries), max_size=4)))
        steps = tuple(zip(edges[::2], edges[1::2], strict=False))
        found.append(msgspec.structs.replace(made, steps=steps if draw(st.booleans()) else ()))
    return Dataset(name="d", files=tuple(found))


def second_ranges(ranges: tuple[Range, ...]) -> list[tuple[int, int, int, int]]:
    return [(part.file, part.second, part.start, part.stop) for part in ranges if part.second]


@given(lines(), st.integers(1, 12), st.data())
def test_second_trees_are_planned_once_and_whole(
    dataset: Dataset, jobs: int, data: st.DataObject
) -> None:
    _, total = span_of(dataset, Sizing())
    start = data.draw(st.integers(0, max(total - 1, 0)))
    stop = data.draw(st.integers(start + 1, max(total, start + 1)))
    limited = data.draw(st.booleans()) and total
    made = cut([dataset], Sizing(jobs=jobs, entries=(start, stop) if limited else None))
    done = [one for job in made for one in second_ranges(job.ranges)]
    assert len(done) == len(set(done))
    files = {file for file, *_ in done}
    with_events = {part.file for job in made for part in job.ranges if part.events}
    without = {n for n, file in enumerate(dataset.files) if file.entries == 0}
    for n in with_events | (without if not limited else files):
        wanted = [tree.entries for tree in dataset.files[n].second]
        assert sorted(one[1:] for one in done if one[0] == n) == [
            (number, 0, size) for number, size in enumerate(wanted, 1) if size
        ]
    assert files <= with_events | without
    for job in made:  # the halves of a job are the job
        left = [""]
        while left:
            piece = left.pop()
            if can_halve(job, piece, chunks=False):
                left += [f"{piece}1", f"{piece}0"]
                halves = [part_of(job, f"{piece}{digit}").ranges for digit in "01"]
                both = [chunk for half in halves for part in half for chunk in chunks_of(part)]
                assert both == [c for part in part_of(job, piece).ranges for c in chunks_of(part)]


def chunks_of(part: Range) -> list[tuple[int, int, int, int]]:
    return [(part.file, part.second, *edges) for edges in part.chunks()]
