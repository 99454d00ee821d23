"""Random numbers: the same bits wherever, whenever and beside whatever a chunk is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventflock as ef
from eventflock.core.model import NO_UUID, FileEntry
from eventflock.errors import UsageError
from eventflock.usercode.context import Context
from eventflock.usercode.seeding import seed_for
from tests.test_runs import tree_file

ANALYSIS = """
import os, random
from pathlib import Path
import numpy as np
import eventflock as ef

def numbers(events, context):
    size = len(events)
    return {
        "rng": context.rng.normal(size=size).tolist(),
        "more": context.rng.integers(1000, size=2).tolist() if size else [],
        "python": [random.random() for _ in range(size)],
        "numpy": np.random.poisson(3, size).tolist(),
    }

@ef.analysis
def first(events, context):
    trap = Path(__file__).with_name("trap")
    if context.start == 30 and trap.exists():
        trap.unlink()
        np.random.normal(), random.random()
        os.kill(os.getpid(), 9)
    return numbers(events, context)

@ef.analysis
def second(events, context):
    return numbers(events, context)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "two.py").write_text(ANALYSIS)
    return tree_file(tmp_path / "a.root", 60)


def do(data: Path, out: str, *names: str, **options: Any) -> dict[str, Any]:
    targets = [f"{data.with_name('two.py')}:{name}" for name in names or ["first"]]
    found: Any = ef.run(targets, data, jobs=3, chunk=10, out=data.with_name(out), **options)
    only: dict[str, Any] = found[found.datasets[0]]
    return only


def test_every_way_gives_the_same_numbers(data: Path) -> None:
    here = do(data, "here", pool="inline")
    assert len(set(here["rng"])) == 60
    assert len(set(here["python"])) == 60
    assert do(data, "local", workers=2) == here
    both = do(data, "both", "first", "second", pool="inline")
    assert both == {"first": here, "second": here}


def test_after_a_death_they_are_the_same(data: Path) -> None:
    here = do(data, "here", pool="inline")
    data.with_name("trap").touch()
    assert do(data, "again", workers=1) == here
    assert not data.with_name("trap").exists()


def test_another_seed_gives_others_and_is_said(data: Path) -> None:
    here, other = do(data, "0", pool="inline"), do(data, "7", pool="inline", seed=7)
    for name in ("rng", "python", "numpy"):
        assert here[name] != other[name]
    assert json.loads((data.with_name("7") / "plan.json").read_text())["seed"] == 7
    assert ef.load(data.with_name("7")).provenance["seed"] == 7
    with pytest.raises(UsageError, match="The seed is -1"):
        do(data, "bad", seed=-1)


def test_each_file_tree_and_chunk_has_its_own() -> None:
    one = FileEntry(path="/a.root", tree="t", uuid="1-2", size=1, entries=9)
    seeds = {
        seed_for(0, one, 0),
        seed_for(1, one, 0),
        seed_for(0, one, 1),
        *(
            seed_for(0, FileEntry(path=path, tree=tree, uuid=uuid, size=1, entries=9), 0)
            for path, tree, uuid in [
                ("/a.root", "u", "1-2"),
                ("/a.root", "t", "3-4"),
                ("/a.root", "t", NO_UUID),
                ("/b.root", "t", NO_UUID),
            ]
        ),
    }
    assert len(seeds) == 7
    moved = FileEntry(path="root://elsewhere//a.root", tree="t", uuid="1-2", size=1, entries=9)
    assert seed_for(0, moved, 0) == seed_for(0, one, 0)
    # Of these bytes, for ever: results of old runs can be made again.
    assert seed_for(0, one, 0)[:2] == (2056508487, 941303255)


def test_a_context_of_ones_own_has_numbers_too() -> None:
    context = Context(dataset="d", metadata={}, file="f", tree="t", start=0, stop=1)
    assert isinstance(context.rng, np.random.Generator)
    assert context.rng is context.rng
