"""Luminosity sections: masks of certified ones, and those that are in a result."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

import eventflock as ef
from eventflock.errors import AnalysisError, IncompleteError, InputError, UsageError
from eventflock.usercode.context import Context
from eventflock.usercode.luminosity import golden
from tests.damage import spoil_basket
from tests.test_runs import caught, write

RANGES = st.dictionaries(
    st.integers(1, 4).map(str),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(list), max_size=4),
    max_size=3,
)
PAIRS = st.sets(st.tuples(st.integers(1, 4), st.integers(0, 31)), max_size=30)
CONTEXT = Context(dataset="d", metadata={}, file="f", tree="t", start=0, stop=1)


@settings(max_examples=80, deadline=None)
@given(ranges=RANGES, pairs=PAIRS)
def test_a_mask_is_what_the_ranges_say(
    ranges: dict[str, list[list[int]]],
    pairs: set[tuple[int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("golden") / "golden.json"
    path.write_text(json.dumps(ranges))
    events = sorted(pairs)
    runs, sections = (
        np.array([one[0] for one in events], int),
        np.array([one[1] for one in events], int),
    )
    expected = [
        any(a <= section <= b for a, b in ranges.get(str(run), [])) for run, section in events
    ]
    assert CONTEXT.lumi_mask(path, runs, sections).tolist() == expected


@given(pairs=PAIRS)
def test_a_golden_json_has_just_the_pairs(pairs: set[tuple[int, int]]) -> None:
    made = golden(pairs)
    assert {
        (int(run), section)
        for run, ranges in made.items()
        for a, b in ranges
        for section in range(a, b + 1)
    } == pairs
    for ranges in made.values():
        assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))


def test_it_is_what_coffea_takes(tmp_path: Path) -> None:
    from coffea.lumi_tools import LumiMask

    path = tmp_path / "golden.json"
    path.write_text(json.dumps(golden({(1, 2), (1, 3), (1, 9), (7, 1)})))
    runs, sections = (
        np.repeat([1, 7, 8], 12).astype(np.uint32),
        np.tile(np.arange(12), 3).astype(np.uint32),
    )
    assert (
        CONTEXT.lumi_mask(path, runs, sections).tolist()
        == LumiMask(str(path))(runs, sections).tolist()
    )


def test_what_is_no_golden_json_is_refused(tmp_path: Path) -> None:
    for text in ("[]", "{", '{"a": [[1, 2]]}', '{"1": [3]}', '{"1": 3}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(AnalysisError, match=r"bad\.json is no golden JSON"):
            CONTEXT.lumi_mask(tmp_path / "bad.json", [1], [1])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten sections of run 5 with 20 events each, and then five of run 6."""
    path = tmp_path / "data.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("t", {"run": "u4", "luminosityBlock": "u4", "x": "f8"})
        for section in range(15):
            run = np.full(20, 5 + (section >= 10), np.uint32)
            columns = {"run": run, "luminosityBlock": np.full(20, section % 10 + 1, np.uint32)}
            tree.extend({**columns, "x": np.arange(20.0) + 20 * section})
    return path


COUNT = "@ef.analysis\ndef count(events):\n    return {'n': float(ak.sum(events.x)) * 0 + len(events)}\n"


def printed(run: Path, *words: str) -> tuple[str, str]:
    told = subprocess.run(
        [sys.executable, "-P", "-m", "eventflock", "lumis", run, *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told.stdout, told.stderr


def test_sections_are_collected_and_printed(data: Path, tmp_path: Path) -> None:
    analysis = write(tmp_path / "count.py", COUNT)
    run = tmp_path / "run"
    result = ef.run(analysis, data, lumis="run,luminosityBlock", jobs=4, chunk=17, out=run)
    assert result["n"] == 300
    assert result["lumis"] == {(5 + (n >= 10), n % 10 + 1) for n in range(15)}
    out, err = printed(run)
    assert out, err
    assert json.loads(out) == {"5": [[1, 10]], "6": [[1, 5]]}
    assert not err


def test_of_a_partial_result_it_says_so(data: Path, tmp_path: Path) -> None:
    spoil_basket(data, "x", 12)
    run = tmp_path / "run"
    with pytest.raises(IncompleteError):
        ef.run(
            write(tmp_path / "count.py", COUNT), data, lumis="run,luminosityBlock", jobs=3, out=run
        )
    out, err = printed(run)
    assert json.loads(out) == {"5": [[1, 10]], "6": [[1, 2], [4, 5]]}
    assert "PARTIAL: 280 of 300 events" in err


def test_a_set_that_the_analysis_returns(data: Path, tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text('{"5": [[2, 3], [9, 20]]}')
    analysis = write(
        tmp_path / "good.py",
        "from pathlib import Path\n@ef.analysis(data=['golden.json'])\ndef good(events, context):\n"
        "    good = events[context.lumi_mask(Path(__file__).with_name('golden.json'), events.run, events.luminosityBlock)]\n"
        "    pairs = set(zip(good.run.to_list(), good.luminosityBlock.to_list()))\n"
        "    return {'a': {'seen': pairs}, 'b': {'names': {'x'}}, 'n': len(good)}\n",
    )
    run = tmp_path / "run"
    result = ef.run(analysis, {"A": data, "B": data}, jobs=4, workers=2, out=run)
    assert result["A", "n"] == 80
    for words in ((), ("--result", "seen"), ("--dataset", "B")):
        assert json.loads(printed(run, *words)[0]) == {"5": [[2, 3], [9, 10]]}
    assert "has no dataset 'C'; there are A, B" in printed(run, "--dataset", "C")[1]
    assert "no set of run and section called 'names'" in printed(run, "--result", "names")[1]
    assert "golden.json" in (run / "plan.json").read_text()


def test_names_that_are_not_there_are_said_before_anything_runs(data: Path, tmp_path: Path) -> None:
    analysis = write(tmp_path / "count.py", COUNT)
    said = caught(InputError, analysis, data, lumis="run,lumi", out=tmp_path / "run")
    assert "There is no branch 'lumi'" in said
    assert not (tmp_path / "run").exists()
    assert "expected the names of two branches" in caught(UsageError, analysis, data, lumis="run")
