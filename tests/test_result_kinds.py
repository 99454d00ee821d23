"""What an analysis may give back: each kind, over any cut of the events, in the order of the plan."""

from __future__ import annotations

import math
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventflock as ef
from eventflock.errors import AnalysisError, ResultError
from eventflock.results import format as result_format
from eventflock.results.accumulate import Accumulator
from eventflock.results.format import write_result
from eventflock.results.kinds import AllOf, AnyOf, Column
from eventflock.results.reader import ResultFile
from eventflock.results.sandbox import SkimSandbox
from tests.test_results import manifest
from tests.test_runs import tree_file

ANALYSIS = """
import numpy as np
import eventflock as ef

@ef.analysis
def kinds(events, context):
    x = events.x.to_numpy()
    if context.start >= 80:
        return None
    return {context.dataset: {
        "lumis": {(int(one) // 7, int(one) % 3) for one in x},
        "names": {"even" if one % 2 else "odd" for one in x},
        "first": [float(x[0]), {"stop": context.stop, "file": None}],
        "any": ef.AnyOf(bool((x > 40).any())),
        "all": ef.AllOf((x < 40).all()),
        "run": "2018A",
        "by_run": {np.int64(3): len(x), 12: {"a": 1}},
        "empty": {},
        "sometimes": {"late": 1} if context.start else {},
        "nothing": None,
    }}
"""


def test_each_kind_from_two_jobs_and_chunks(tmp_path: Path) -> None:
    data = tree_file(tmp_path / "a.root", 100)
    (tmp_path / "kinds.py").write_text(ANALYSIS)
    result = ef.run(tmp_path / "kinds.py", {"d": data}, jobs=2, chunk=10, out=tmp_path / "run")
    assert result["lumis"] == {(one // 7, one % 3) for one in range(80)}
    assert result["names"] == {"even", "odd"}
    assert [one for one in result["first"] if isinstance(one, float)] == [
        *map(float, range(0, 80, 10))
    ]
    assert result["first"][1] == {"stop": 10, "file": None}
    assert (result["any"], result["all"]) == (True, False)
    assert result["run"] == "2018A"
    assert result["by_run"] == {3: 80, 12: {"a": 8}}
    assert result["by_run", 12, "a"] == result["d", "by_run", 12, "a"] == 8
    assert result["empty"] == {}
    assert result["sometimes"] == {"late": 7}
    assert "nothing" not in result["d"]
    assert "set" in repr(result)


def test_columns_of_coffea_are_put_one_after_the_other(tmp_path: Path) -> None:
    found = Accumulator(tmp_path)
    for number in range(5):
        parts = np.arange(number, dtype=np.int32)
        found.add({"c": Column([parts]), "f": Column([parts > 1])}, number)
    values = found.finish()
    write_result(
        tmp_path / "r.zip", manifest(), {("d", *path): one for path, one in values.items()}
    )
    result = ef.load(tmp_path / "r.zip")
    assert result["c"].dtype == np.int32
    assert result["c"].tolist() == [one for number in range(5) for one in range(number)]
    assert result["f"].dtype == bool
    assert result["f"].sum() == 3
    with pytest.raises(AnalysisError, match="rows of one shape and type"):
        found.add({"c": Column([np.arange(2.0)])}, 9)


ELEMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
LEAVES = ELEMENTS | st.complex_numbers()
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
CHUNKS = st.lists(
    st.tuples(st.sets(ELEMENTS, max_size=5), st.lists(PLAIN, max_size=4), st.booleans()),
    min_size=1,
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(chunks=CHUNKS, data=st.data())
def test_jobs_of_any_cut_give_what_one_loop_gives(
    chunks: list[tuple[Any, Any, bool]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("kinds")
    whole = Accumulator(folder)
    cuts = sorted({0, len(chunks), *data.draw(st.sets(st.integers(0, len(chunks)), max_size=3))})
    merged = Accumulator(folder)
    with SkimSandbox() as sandbox:
        for job, (start, stop) in enumerate(pairwise(cuts)):
            part = Accumulator(folder)
            for number in range(start, stop):
                elements, plain, flag = chunks[number]
                for one in (whole, part):
                    given = {
                        "s": set(elements),
                        "l": list(plain),
                        "any": AnyOf(flag),
                        "all": AllOf(flag),
                    }
                    one.add(given, number)
            write_result(
                folder / f"{job}.zip",
                manifest(),
                {("d", *key): one for key, one in part.finish().items()},
            )
            with ResultFile(folder / f"{job}.zip") as file:
                for item, value in file.values(sandbox):
                    merged.add_one(item.path[1:], value)
    ours, theirs = merged.finish(), whole.finish()
    assert ours.keys() == theirs.keys()
    assert repr(sorted(map(repr, ours[("s",)]))) == repr(sorted(map(repr, theirs[("s",)])))
    assert repr(ours[("l",)]) == repr(theirs[("l",)])
    assert ours[("any",)] == AnyOf(any(flag for *_, flag in chunks))
    assert ours[("all",)] == AllOf(all(flag for *_, flag in chunks))


def test_a_list_that_grows_from_chunk_to_chunk_is_counted_twice(tmp_path: Path) -> None:
    found, kept = Accumulator(tmp_path), [1]
    found.add({"l": kept}, 0)
    with pytest.raises(AnalysisError, match="same object in two chunks"):
        found.add({"l": kept}, 1)


def test_an_accumulator_that_is_kept_is_counted_twice(tmp_path: Path) -> None:
    from coffea.processor import column_accumulator

    found, kept = Accumulator(tmp_path), column_accumulator(np.arange(3))
    found.add({"c": kept}, 0)
    with pytest.raises(AnalysisError, match="same object in two chunks"):
        found.add({"c": kept}, 1)


def test_cut_flows_of_coffea_are_added_cut_by_cut(tmp_path: Path) -> None:
    from coffea.analysis_tools import PackedSelection, Weights

    whole, parts = np.arange(60), Accumulator(tmp_path)

    def flows(events: Any) -> dict[str, Any]:
        selection, weights = PackedSelection(), Weights(len(events))
        selection.add("even", events % 2 == 0)
        selection.add("late", events > 20)
        weights.add("w", 0.5 * events)
        names = ("even", "late")
        return {
            "plain": selection.cutflow(*names),
            "weighted": selection.cutflow(*names, weights=weights),
            "one": selection.nminusone(*names),
        }

    for number, events in enumerate(np.split(whole, 4)):
        parts.add(flows(events), number)
    found, once = parts.finish(), flows(whole)
    plain, weighted = once["plain"].result(), once["weighted"].result()
    for place, label in enumerate(plain.labels):
        assert found["plain", "nevcutflow", label] == plain.nevcutflow[place]
        assert found["plain", "nevonecut", label] == plain.nevonecut[place]
        assert found["weighted", "wgtevcutflow", label] == pytest.approx(
            weighted.wgtevcutflow[place]
        )
    assert found["plain", "nevcutflow", "late"] == 19
    nminusone = once["one"].result()
    assert [found["one", "nev", label] for label in nminusone.labels] == list(nminusone.nev)


def test_nothing_may_be_said_with_one_object(tmp_path: Path) -> None:
    found, nothing = Accumulator(tmp_path), dict[str, Any]()
    for number in range(3):
        found.add(nothing, number)
    assert found.finish() == {}


def test_nan_is_one_element(tmp_path: Path) -> None:
    found = Accumulator(tmp_path)
    for number in range(3):
        found.add({"s": {np.float64("nan"), (float("nan"), 1)}}, number)
    (values,) = found.finish().values()
    assert len(values) == 2
    assert any(isinstance(one, float) and math.isnan(one) for one in values)


def test_a_collection_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_format, "COLLECTION_MAX", 1000)
    with pytest.raises(AnalysisError, match="has 400 elements"):
        write_result(tmp_path / "r.zip", manifest(), {("d", "s"): set(range(400))})
    with pytest.raises(AnalysisError, match="characters"):
        write_result(tmp_path / "r.zip", manifest(), {("d", "t"): "x" * (2**20 + 1)})


def test_what_no_writer_wrote_is_refused(tmp_path: Path) -> None:
    """Flags that are neither, elements that no set can have."""
    for item, text in (("set", '[{"a":1}]'), ("set", '{"a":1}'), ("list", '"abc"')):
        written = write_result(
            tmp_path / "r.zip", manifest(), {("d", "s"): {1} if item == "set" else [1]}
        )
        (name,) = written.payloads
        tampered = tmp_path / "t.zip"
        _replace(tmp_path / "r.zip", tampered, name, text.encode())
        with pytest.raises(ResultError, match="damaged or foreign"):
            ef.load(tampered)
    flags = np.array([True, False])
    written = write_result(tmp_path / "r.zip", manifest(), {("d", "c"): Column([flags])})
    (name,) = written.payloads
    with zipfile.ZipFile(tmp_path / "r.zip") as file:
        data = file.read(name)
    _replace(tmp_path / "r.zip", tmp_path / "t.zip", name, data[:-1] + b"\x07")
    with pytest.raises(ResultError, match="others than true and false"):
        ef.load(tmp_path / "t.zip")


def _replace(source: Path, target: Path, name: str, data: bytes) -> None:
    """Write a result file with another payload, whose checksum is right."""
    import hashlib
    import json

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        told = json.loads(old.read("manifest.json"))
        told["payloads"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        new.writestr(name, data)
        new.writestr("manifest.json", json.dumps(told))
