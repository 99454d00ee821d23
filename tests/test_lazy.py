"""Events that are read when they are asked for are what the whole record would be."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from eventflock.events.lazy import LazyEvents
from eventflock.events.reader import TreeReader
from eventflock.events.scan import scan_file

N = 40


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lazy") / "a.root"
    counts = np.arange(N) % 4
    jets = ak.unflatten(np.arange(counts.sum(), dtype=np.float32), counts)
    columns = {
        "x": np.arange(N, dtype=np.float64),
        "flag": np.arange(N) % 3 == 0,
        "vector": np.arange(3 * N, dtype=np.int32).reshape(N, 3),
        "Jet": ak.zip({"pt": jets, "eta": jets / 10}),
    }
    with uproot.recreate(path) as file:
        file.mktree("t", columns)
        file.mkrntuple("n", columns)
    return path


@pytest.fixture
def reader(path: Path) -> Iterator[TreeReader]:
    found = TreeReader(scan_file(str(path), "t"))
    yield found
    found.close()


def pair(reader: TreeReader, start: int = 3, stop: int = 37) -> tuple[Any, Any]:
    """Return the lazy events, and the same as a plain awkward array."""
    return reader.chunk(start, stop), ak.materialize(reader.whole(start, stop))


def same(one: Any, other: Any) -> bool:
    return bool(one.type == other.type) and repr(ak.to_list(one)) == repr(ak.to_list(other))


def test_branches_are_those_of_the_whole_record(reader: TreeReader) -> None:
    events, whole = pair(reader)
    assert isinstance(events, ak.Array)
    assert len(events) == len(whole) == 34
    assert events.fields == ak.fields(events) == ak.fields(whole)
    for name in whole.fields:
        fresh = reader.chunk(3, 37)
        assert same(fresh[name], whole[name]), name
        assert same(getattr(fresh, name), whole[name]), name


def test_only_what_is_asked_for_is_read(reader: TreeReader) -> None:
    events = reader.chunk(0, N)
    assert len(events[events.flag].Jet_pt) == 14
    assert len(events[["x", "flag"]][2:5]) == 3
    assert "_layout" not in vars(events)
    read, touched = reader.done()
    assert touched == {"flag", "Jet_pt", "x"}
    assert 0 < read < reader.entry.size


def test_the_whole_record_is_there_for_what_needs_it(reader: TreeReader) -> None:
    events, whole = pair(reader)
    assert events.type == whole.type
    assert repr(reader.chunk(3, 37)).startswith("<LazyEvents [")
    assert ak.to_list(events) == ak.to_list(whole)
    assert ak.to_list(events[3]) == ak.to_list(whole[3])
    assert same(ak.concatenate([events, events]), ak.concatenate([whole, whole]))
    assert same(pickle.loads(pickle.dumps(events)), whole)
    assert same(copy.copy(events), whole)
    assert same(events[["x", "Jet_pt"]], whole[["x", "Jet_pt"]])
    assert same(events[events.x > 10], whole[whole.x > 10])


def test_a_branch_can_be_set(reader: TreeReader) -> None:
    events, whole = pair(reader)
    assert len(events.x) == 34  # it was read before
    for array in (events, whole):
        array["y"] = array.x * 2
        array["x"] = array.x + 1
    assert same(events.y, whole.y)
    assert same(events.x, whole.x)
    assert same(events, whole)
    assert events.fields == whole.fields


@pytest.mark.parametrize("name", ["z", "Jet", "Jet_pt/x"])
def test_a_branch_that_is_not_there_is_refused_as_awkward_does(
    reader: TreeReader, name: str
) -> None:
    events, whole = pair(reader)
    with pytest.raises(ak.errors.FieldNotFoundError) as theirs:
        whole[name]
    with pytest.raises(ak.errors.FieldNotFoundError) as ours:
        events[name]
    assert str(ours.value).splitlines()[0] == str(theirs.value).splitlines()[0]
    with pytest.raises(AttributeError, match="no field named"):
        getattr(reader.chunk(0, 3), name)


SELECTIONS = st.one_of(
    st.slices(34),
    st.lists(st.integers(-34, 33), max_size=20).map(lambda found: np.array(found, dtype=np.int64)),
    st.lists(st.booleans(), min_size=34, max_size=34).map(np.array),
    st.lists(st.booleans(), min_size=34, max_size=34).map(ak.Array),
    st.lists(st.booleans() | st.none(), min_size=34, max_size=34).map(ak.Array),
)


def test_an_rntuple_is_read_as_a_whole(path: Path) -> None:
    reader = TreeReader(scan_file(str(path), "n"))
    events, whole = pair(reader)
    assert events.fields == whole.fields == ["Jet", "flag", "vector", "x"]
    assert same(events.x, whole.x)
    assert same(events[events.flag].Jet.pt, whole[whole.flag].Jet.pt)
    reader.close()


@given(st.lists(SELECTIONS, min_size=1, max_size=1), st.slices(10))
def test_selections_select_the_same(path: Path, first: list[Any], second: slice) -> None:
    reader = TreeReader(scan_file(str(path), "t"))
    try:
        events, whole = pair(reader)
        for where in (*first, second):
            try:
                whole = whole[where]
            except Exception as error:  # noqa: BLE001 -- the same, whatever it is
                with pytest.raises(type(error)):
                    _ = events[where]
                return
            events = events[where]
            assert len(events) == len(whole)
            assert events.fields == whole.fields
            assert same(events.Jet_pt, whole.Jet_pt)
            assert same(events["x"], whole["x"])
        assert ak.to_list(events) == ak.to_list(whole)
    finally:
        reader.close()


def test_a_mask_that_changes_later_does_not_change_what_was_selected(reader: TreeReader) -> None:
    events = reader.chunk(0, N)
    mask = np.arange(N) < 5
    few = events[mask]
    mask[:] = True
    assert len(few.x) == len(few) == 5


@pytest.mark.parametrize(
    "where",
    [np.zeros(33, bool), np.array([34]), np.array([1.5]), (slice(None), "x"), 34, ..., None],
)
def test_odd_selections_are_left_to_awkward(reader: TreeReader, where: Any) -> None:
    events, whole = pair(reader)
    try:
        expected = whole[where]
    except Exception as error:  # noqa: BLE001 -- the same, whatever it is
        with pytest.raises(type(error)):
            _ = events[where]
    else:
        assert ak.to_list(events[where]) == ak.to_list(expected)


def test_real_files_give_the_same_branches(data_dir: Path) -> None:
    checked = 0
    for file in sorted(data_dir.glob("*.root")):
        with uproot.open(file) as root:
            trees = [key for key, kind in root.classnames().items() if kind == "TTree"]
        for tree in trees:
            reader = TreeReader(scan_file(str(file), tree.partition(";")[0]))
            events, whole = pair(reader, 0, min(20, reader.entry.entries))
            assert events.fields == whole.fields
            for name in whole.fields:
                assert same(reader.chunk(0, len(whole))[name], whole[name]), (file, name)
                checked += 1
            reader.close()
    assert checked > 100


def test_lazy_events_need_nothing_to_be_made() -> None:
    class Nothing:
        def fields(self) -> list[str]:
            raise AssertionError

        branch = whole = fields

    assert len(LazyEvents(Nothing(), 7)) == 7  # type: ignore[arg-type]
