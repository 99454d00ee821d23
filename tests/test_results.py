"""Result files round-trip, any split gives the same sum, and what is bad is refused."""

from __future__ import annotations

import io
import json
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import boost_histogram as bh
import hist
import msgspec
import numpy as np
import pytest
from hist import Hist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflock.core.edges import edges_of
from eventflock.core.manifest import Coverage, Manifest
from eventflock.core.model import FORMAT, AnalysisRef
from eventflock.errors import AnalysisError, ResultError
from eventflock.results.accumulate import Accumulator, Earlier
from eventflock.results.cover import coalesce, compare, count
from eventflock.results.format import write_result
from eventflock.results.reader import read_manifest
from eventflock.results.result import load

LABEL = r"offline $E^{\mathrm{jet}}$ [GeV]"


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "format": FORMAT,
        "status": "done",
        "plan": "0" * 64,
        "job": 0,
        "planned": 10,
        "analysis": AnalysisRef(name="jets"),
        "parameters": {},
        "coverage": (cover(0, 10),),
    }
    return Manifest(**{**fields, **changes})


def cover(start: int, stop: int, file: str = "a", dataset: str = "d") -> Coverage:
    return Coverage(
        dataset=dataset, uuid=file, tree="t", path=f"/data/{file}.root", start=start, stop=stop
    )


def write(path: Path, values: dict[str, Any]) -> Path:
    write_result(path, manifest(), {("d", name): value for name, value in values.items()})
    return path


# --- round trips ---------------------------------------------------------------------------------


AXES: list[Any] = [
    hist.axis.Regular(5, 0, 1, name="x", label=LABEL),
    hist.axis.Regular(4, 1, 100, transform=hist.axis.transform.log, name="log"),
    hist.axis.Regular(4, 0, 6, circular=True, name="phi", overflow=True),
    hist.axis.Regular(3, 0, 1, growth=True, name="grows"),
    hist.axis.Variable([0, 1, 4, 9], name="edges", underflow=False),
    hist.axis.Integer(-2, 3, name="charge"),
    hist.axis.IntCategory([1, 5, -11], name="pdg", growth=True),
    hist.axis.StrCategory(["ttbar", "ünïcode"], name="process"),
    hist.axis.Boolean(name="tight"),
]
STORAGES = ["Int64", "AtomicInt64", "Double", "Unlimited", "Weight", "Mean", "WeightedMean"]


def filled(axes: list[Any], storage: str, seed: int) -> Any:
    made = Hist(*axes, storage=getattr(hist.storage, storage)())
    made.label = "a title"
    view: Any = made.view(flow=True)
    random = np.random.default_rng(seed)
    if view.dtype.names:
        for name in view.dtype.names:
            view[name] = random.uniform(0, 10, view.shape)
    else:
        made[...] = random.integers(0, 100, view.shape)
    return made


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.lists(st.sampled_from(range(len(AXES))), max_size=3, unique=True),
    storage=st.sampled_from(STORAGES),
    seed=st.integers(0, 1000),
)
def test_histograms_round_trip(tmp_path: Path, axes: list[int], storage: str, seed: int) -> None:
    made = filled([AXES[n] for n in axes], storage, seed)
    back = load(write(tmp_path / "r.zip", {"h": made}))["h"]
    assert back == made
    assert np.array_equal(back.view(flow=True), made.view(flow=True))
    assert [axis.label for axis in back.axes] == [axis.label for axis in made.axes]
    assert back.label == "a title"


numbers = (
    st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.integers(-(2**63), 2**63 - 1).map(np.int64)
)
arrays = st.sampled_from(["i1", "u4", "i8", "f2", "f4", ">f8", "c8"]).flatmap(
    lambda kind: st.lists(st.integers(0, 100), max_size=5).map(lambda one: np.array(one, kind))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text(min_size=1), numbers | arrays, min_size=1, max_size=4))
def test_numbers_and_arrays_round_trip_under_any_name(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    accumulator = Accumulator(tmp_path)
    accumulator.add({"nested": values})
    keyed = {("d", *path): value for path, value in accumulator.finish().items()}
    write_result(tmp_path / "r.zip", manifest(), keyed)
    back = load(tmp_path / "r.zip")
    for name, value in values.items():
        assert np.array_equal(back["nested", name], value)


def test_skims_round_trip(tmp_path: Path) -> None:
    rows = ak.Array([{"pt": [1.5, 2.5], "run": 1, "tag": "a"}, {"pt": [], "run": 2, "tag": "é"}])
    accumulator = Accumulator(tmp_path)
    accumulator.add({"kept": rows[:0], "plain": ak.Array([[1], [2, 3]])})
    accumulator.add({"kept": rows, "plain": ak.Array([[]])[:0]})
    values = {("d", *path): value for path, value in accumulator.finish().items()}
    write_result(tmp_path / "r.zip", manifest(), values)
    back = load(tmp_path / "r.zip")
    assert back["kept"].tolist() == rows.tolist()
    assert back["plain"].tolist() == [[1], [2, 3]]


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    made = {"h": filled(AXES[:2], "Weight", 1), "n": 3, "a": np.arange(4)}
    first = write(tmp_path / "a.zip", made).read_bytes()
    assert write(tmp_path / "b.zip", made).read_bytes() == first


def test_other_tools_can_read_the_histograms(tmp_path: Path) -> None:
    import uhi.io.zip

    made = filled([AXES[0]], "Weight", 1)
    path = write(tmp_path / "r.zip", {"E": made})
    (item,) = read_manifest(path).items
    with zipfile.ZipFile(path) as archive:
        back = uhi.io.zip.read(archive, item.name)
    assert bh.Histogram(Hist(bh.serialization.from_uhi(back))) == bh.Histogram(made)


def test_files_of_format_1_stay_readable() -> None:
    folder = Path(__file__).parent / "formats"
    result = load(folder / "result-1.zip")
    assert result["E"].values().tolist() == [1.0, 2.0, 0.0]
    assert result["E"].variances().tolist() == [1.0, 4.0, 0.0]
    assert result["nested", "n"] == 12345678901234567890
    assert result["array"].tolist() == [1.5, 2.5]
    assert result["kept"].tolist() == [{"pt": 1.5}]
    assert result.label == "JOB 0 ONLY: 10 events"
    assert result.coverage[0].stop == 10


def test_files_of_format_4_stay_readable() -> None:
    result = load(Path(__file__).parent / "formats/result-4.zip")
    assert result["lumis"] == {(1, 2), (3, 4), "all", 2.5, None}
    assert result["list"] == [1, "a", {"b": [1.5, None]}, {3: (4, 5)}]
    assert (result["any"], result["all"], result["text"]) == (True, False, "2018A")
    assert result["column"].tolist() == [1, 2, 3]
    assert result["flags"].tolist() == [True, False]
    assert result["by_run"] == {3: 1, 12: {}}


# --- adding up -----------------------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.integers(-5, 15), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_any_split_gives_the_unsplit_sum(
    tmp_path: Path, values: list[int], cuts: list[int]
) -> None:
    whole, split = Accumulator(tmp_path), Accumulator(tmp_path)
    whole.add(results_of(np.array(values)))
    edges = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    for start, stop in pairwise(edges):
        split.add(results_of(np.array(values[start:stop])))
    parts = split.finish()
    for path, value in whole.finish().items():
        if isinstance(value, bh.Histogram):
            assert by_category(parts[path]) == by_category(value)
        else:
            assert np.array_equal(parts[path], value)


def results_of(values: Any) -> dict[str, Any]:
    names = [f"c{value}" for value in values]
    grown = Hist.new.StrCat([], growth=True, name="c").Weight()
    return {
        "count": Hist.new.Reg(10, 0, 10, name="x").Int64().fill(values),
        "weighted": Hist.new.Reg(10, 0, 10, name="x").Weight().fill(values, weight=2.0),
        "grown": grown.fill(names, weight=3.0) if names else grown,
        "deep": {
            "n": len(values),
            "sum": values.sum(),
            "array": np.bincount(values + 5, minlength=30),
        },
    }


def by_category(made: Any) -> Any:
    if isinstance(made.axes[0], hist.axis.StrCategory):
        values, variances = made.values(), made.variances()
        return {name: (values[n], variances[n]) for n, name in enumerate(made.axes[0])}
    return [made.view(flow=True).tolist(), repr(made.axes)]


def test_small_types_do_not_overflow(tmp_path: Path) -> None:
    accumulator = Accumulator(tmp_path)
    for _ in range(10):
        accumulator.add({"a": np.array([100], "i1"), "b": np.array([1.0], "f4")})
    total = accumulator.finish()
    assert total["a",].tolist() == [1000]
    assert total["b",].dtype == np.float64


KEPT = Hist.new.Reg(2, 0, 1).Int64()


@pytest.mark.parametrize("first", [np.int64(2**62), np.int64(-(2**63)), np.uint64(2**63)])
def test_integers_do_not_wrap_around(tmp_path: Path, first: Any) -> None:
    made = Accumulator(tmp_path)
    chunk = {"s": np.array([first, 1], type(first)), "t": np.array([1.0])}
    made.add(chunk, 0)
    with pytest.raises(AnalysisError, match="'s' needs more than 64 bits"):
        made.add({name: array.copy() for name, array in chunk.items()}, 1)


@given(st.lists(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=2), max_size=6))
def test_integer_arrays_are_the_exact_sum_or_refused(rows: list[list[int]]) -> None:
    exact = [sum(column) for column in zip(*rows, strict=True)]
    made = Accumulator(Path("/nowhere"))
    try:
        for number, row in enumerate(rows):
            made.add({"s": np.array(row, np.int64)}, number)
        found = made.finish()
    except AnalysisError:
        assert any(abs(sum(row[n] for row in rows[:k])) >= 2**62 for k in range(9) for n in (0, 1))
    else:
        assert not rows or found["s",].tolist() == exact


def test_names_may_be_texts_of_numpy(tmp_path: Path) -> None:
    made = Accumulator(tmp_path)
    made.add(dict.fromkeys(np.array(["a", "b"]), 1))
    path = tmp_path / "r.zip"
    write_result(path, manifest(), {("d", *key): value for key, value in made.finish().items()})
    assert load(path)["a"] == load(path)["b"] == 1


@pytest.mark.parametrize("edges", [[-3.1, -1, 0.5, 3.1], [-1, 0, 0.3, 1], [0, 1, 2, 5, 6, 9]])
def test_circular_axes_keep_their_edges(tmp_path: Path, edges: list[float]) -> None:
    """The property `edges` of boost-histogram is wrong for them: the bins tell."""
    values = np.random.default_rng(1).uniform(edges[0], edges[-1], 1000)
    axis = hist.axis.Variable(edges, circular=True, name="phi")
    filled = Hist(axis, storage=hist.storage.Int64()).fill(values)
    path = tmp_path / "r.zip"
    write_result(path, manifest(), {("d", "h"): filled + filled})
    found = load(path)["h"]
    assert edges_of(found.axes[0]).tolist() == edges
    assert found.axes[0] == axis
    assert np.array_equal(found.view(flow=True), 2 * filled.view(flow=True))
    assert np.array_equal(found.view(), 2 * np.histogram(values, edges)[0])
    assert np.array_equal(found.axes[0].index(values), axis.index(values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        ([[1, 2]], "returned a list"),
        ([{"x": "text"}, {"x": "other"}], "'other' in one chunk and 'text' in another"),
        ([{"x": object()}], "cannot be merged"),
        ([{"x": True}], "bool"),
        ([{"x": [1.0]}, {"x": {1.0}}], "list in one chunk and a set in another"),
        ([{3.5: 1.0}], "under 3.5"),
        ([{True: 1.0}], "under True"),
        ([{"x": {}}, {"x": 1}], "a mapping in another"),
        ([{"x": np.array([object()])}], "object"),
        ([{"x": np.array(["a"])}], "cannot be added"),
        (
            [{"x": Hist.new.Reg(2, 0, 1).Int64()}, {"x": Hist.new.Reg(3, 0, 1).Int64()}],
            "Regular(3, 0, 1",
        ),
        ([{"x": Hist.new.Reg(2, 0, 1).Int64()}, {"x": Hist.new.Reg(2, 0, 1).Double()}], "Double()"),
        ([{"x": np.zeros(2)}, {"x": np.zeros(3)}], "(3,)"),
        ([{"x": 1}, {"x": np.zeros(3)}], "ndarray"),
        ([{"x": np.zeros(3)}, {"x": 1}], "a ndarray in one chunk"),
        ([{"x": 1}, {"x": {"y": 1}}], "a mapping in another"),
        ([{"x": KEPT}, {"x": KEPT}], "the same object"),
        ([{"x": ak.Array([1])}, {"x": 1}], "skim in one chunk"),
        ([{"x": ak.Array([{"a": 1}])}, {"x": ak.Array([{"b": 1}])}], "different columns"),
    ],
)
def test_what_cannot_be_added_is_refused_in_words(
    tmp_path: Path, chunks: list[Any], words: str
) -> None:
    accumulator = Accumulator(tmp_path)
    for chunk in chunks[:-1]:
        accumulator.add(chunk)
    with pytest.raises(AnalysisError) as caught:
        accumulator.add(chunks[-1])
    assert words in str(caught.value)
    assert caught.value.remedy


def test_an_object_kept_from_an_earlier_job_is_refused(tmp_path: Path) -> None:
    earlier = Earlier()
    kept = Hist.new.Reg(2, 0, 1).Int64()
    Accumulator(tmp_path, earlier).add({"x": kept})
    with pytest.raises(AnalysisError, match="same object"):
        Accumulator(tmp_path, earlier).add({"x": kept})


def test_metadata_that_is_not_json_is_refused(tmp_path: Path) -> None:
    made = Hist.new.Reg(2, 0, 1, metadata=object()).Int64()
    with pytest.raises(AnalysisError, match="metadata"):
        write(tmp_path / "r.zip", {"h": made})
    assert list(tmp_path.iterdir()) == []


# --- coverage ------------------------------------------------------------------------------------


def entries(parts: Any) -> list[tuple[str, int]]:
    return sorted((part.uuid, event) for part in parts for event in range(part.start, part.stop))


parts = st.lists(
    st.builds(
        lambda file, start, size: cover(start, start + size, file),
        st.sampled_from("ab"),
        st.integers(0, 30),
        st.integers(0, 10),
    ),
    max_size=12,
)


@given(st.sets(st.integers(0, 40)), parts)
def test_comparison_names_every_entry(planned_events: set[int], covered: list[Coverage]) -> None:
    planned = list(coalesce(cover(event, event + 1) for event in sorted(planned_events)))
    found = compare(planned, covered)
    have = entries(covered)
    want = entries(planned)
    assert entries(found.missing) == [one for one in want if one not in have]
    assert entries(found.doubled) == sorted({one for one in have if have.count(one) > 1})
    assert entries(found.foreign) == sorted({one for one in have if one not in want})
    assert found.exact == (have == want)


def test_neighbours_are_joined() -> None:
    joined = list(coalesce([cover(0, 3), cover(3, 5), cover(6, 7), cover(7, 9, "b")]))
    assert joined == [cover(0, 5), cover(6, 7), cover(7, 9, "b")]
    assert count(joined) == 8
    other = msgspec.structs.replace(cover(3, 5), path="/elsewhere.root")
    assert list(coalesce([cover(0, 3), other])) == [cover(0, 3), other]


# --- files that are not what they should be -------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path) -> Path:
    made = filled([AXES[0]], "Double", 1)
    return write(tmp_path / "good.zip", {"h": made, "a": np.arange(100.0), "n": 1})


def rewrite(path: Path, change: dict[str, bytes], **options: Any) -> Path:
    """Write the file again, with other contents of some members."""
    out = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", **options) as target:
        for info in source.infolist():
            target.writestr(info.filename, change.get(info.filename, source.read(info)))
        for name in change.keys() - set(source.namelist()):
            target.writestr(name, change[name])
    return out


def refused(path: Path) -> str:
    with pytest.raises(ResultError) as caught:
        load(path)
    return str(caught.value)


def changed_manifest(path: Path, **fields: Any) -> bytes:
    with zipfile.ZipFile(path) as archive:
        read = json.loads(archive.read("manifest.json"))
    return json.dumps({**read, **fields}).encode()


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_truncated_files_are_refused(good: Path, size: int) -> None:
    data = good.read_bytes()
    good.write_bytes(data[:size])
    assert "damaged or foreign" in refused(good)


def test_foreign_files_are_refused(tmp_path: Path, good: Path) -> None:
    page = tmp_path / "page.zip"
    page.write_text("<html>404</html>")
    assert "not a readable ZIP" in refused(page)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "hello")
    assert "no manifest.json" in refused(other)
    assert "no result file" in refused(tmp_path / "nothing.zip")
    assert "members" in refused(rewrite(good, {"items/extra.npy": b""}))


def test_payloads_that_were_changed_are_refused(good: Path) -> None:
    with zipfile.ZipFile(good) as archive:
        name = next(one for one in archive.namelist() if one.endswith("-a.npy"))
        data = bytearray(archive.read(name))
    data[-1] ^= 1
    assert "checksum differs" in refused(rewrite(good, {name: bytes(data)}))


def test_another_format_is_refused_with_its_number(good: Path) -> None:
    said = refused(rewrite(good, {"manifest.json": changed_manifest(good, format=99)}))
    assert "format 99" in said
    assert "reads formats 1 and 2" in said


@pytest.mark.parametrize(
    "fields",
    [
        {"unknown": 1},
        {"job": "one"},
        {"coverage": [["d", "u"]]},
        {"items": [{"path": []}]},
        {"payloads": {}},
    ],
)
def test_manifests_that_make_no_sense_are_refused(good: Path, fields: dict[str, Any]) -> None:
    assert refused(rewrite(good, {"manifest.json": changed_manifest(good, **fields)}))


def test_a_file_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(600 * 2**20))
    assert path.stat().st_size < 2**20
    assert "claims" in refused(path)


def npy_claiming(shape: str, kind: str = "<f8") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


@pytest.mark.parametrize(
    "data",
    [
        npy_claiming("(1000000000000,)"),
        npy_claiming("(-1,)"),
        npy_claiming("(1,)", "|O"),
        b"",
        b"PK\x03\x04",
    ],
)
def test_arrays_that_claim_more_than_there_is_are_refused(good: Path, data: bytes) -> None:
    from eventflock.results.payloads import check_npy

    with pytest.raises((ResultError, ValueError)):
        check_npy(data)


def test_a_histogram_whose_axes_claim_more_than_its_arrays_is_refused() -> None:
    from eventflock.results.payloads import to_histogram

    data = Hist.new.Reg(3, 0, 1).Int64()._to_uhi_()
    data["axes"][0]["bins"] = 10**12
    with pytest.raises(ResultError, match="axes say"):
        to_histogram(data)


def test_only_arrays_without_objects_are_ever_loaded(tmp_path: Path) -> None:
    """A pickle in the place of an array is refused, and not run."""
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()], dtype=object), allow_pickle=True)
    from eventflock.results.payloads import check_npy

    with pytest.raises(ResultError):
        check_npy(buffer.getvalue())
    assert not marker.exists()


def test_profiles_are_added_as_if_they_had_never_been_written(tmp_path: Path) -> None:
    """UHI keeps variances, which one entry does not have: adding what was read would give NaN."""
    for storage in ("Mean", "WeightedMean"):
        made = Hist(hist.axis.Regular(3, 0, 3), storage=getattr(hist.storage, storage)())
        made.fill([0.5, 1.5, 1.5], sample=[2.0, 3.0, 5.0])
        back = load(write(tmp_path / "r.zip", {"h": made}))["h"]
        assert (back + back).view(flow=True).tolist() == (made + made).view(flow=True).tolist()
        assert not np.isnan((back + back).view(flow=True)["value"]).any()


def test_two_kept_histograms_in_turn_are_refused_as_well(tmp_path: Path) -> None:
    accumulator = Accumulator(tmp_path)
    kept = [Hist.new.Reg(2, 0, 1).Int64(), Hist.new.Reg(2, 0, 1).Int64()]
    accumulator.add({"x": kept[0]})
    accumulator.add({"x": kept[1]})
    with pytest.raises(AnalysisError, match="same object"):
        accumulator.add({"x": kept[0]})


def test_metadata_does_not_replace_methods() -> None:
    from eventflock.results.payloads import to_histogram

    data = Hist.new.Reg(3, 0, 1).Int64()._to_uhi_()
    data["metadata"] = {"view": 4}
    with pytest.raises(ResultError, match="methods"):
        to_histogram(data)
