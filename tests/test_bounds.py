"""What a result file may ask for: honest ones are read, however little they hold; bombs are not."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
from hist import Hist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflock.core.manifest import Coverage, KeyPath
from eventflock.errors import ResultError
from eventflock.results import payloads
from eventflock.results.format import MANIFEST, write_result
from eventflock.results.reader import JSON_DEPTH, _is_deeper, read_manifest
from eventflock.results.result import load
from tests.test_results import changed_manifest, manifest, refused, rewrite, write

STORAGES = ["Int64", "Double", "Weight", "Mean", "WeightedMean"]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    bins=st.lists(st.integers(1, 60), max_size=3),
    categories=st.lists(st.booleans(), max_size=2),
    storage=st.sampled_from(STORAGES),
)
def test_histograms_without_entries_are_read(
    tmp_path: Path, bins: list[int], categories: list[bool], storage: str
) -> None:
    """Also those that have no category yet, and so not one bin."""
    axes: list[Any] = [hist.axis.Regular(one, 0, 1) for one in bins]
    axes += [
        hist.axis.StrCategory([], growth=True) if text else hist.axis.IntCategory([], growth=True)
        for text in categories
    ]
    made = Hist(*axes, storage=getattr(hist.storage, storage)())
    back = load(write(tmp_path / "r.zip", {"h": made}))["h"]
    assert back == made
    assert back.view(flow=True).shape == made.view(flow=True).shape


def test_large_results_of_zeros_are_read(tmp_path: Path) -> None:
    """They shrink a thousand times, as an attack does."""
    made: Any = Hist(hist.axis.Regular(1000, 0, 1), hist.axis.Regular(2000, 0, 1)).reset()
    path = write(tmp_path / "r.zip", {"h": made, "a": np.zeros(8_000_000)})
    assert path.stat().st_size < 2**21
    back = load(path)
    assert back["h"] == made
    assert back["a"].shape == (8_000_000,)


def test_many_results_and_ranges_are_read(tmp_path: Path) -> None:
    ranges = tuple(
        Coverage(dataset="d", uuid=f"{n}", tree="t", path=f"/{n}", start=0, stop=1)
        for n in range(50_000)
    )
    values: dict[KeyPath, Any] = {("d", f"h{n}"): Hist.new.Reg(2, 0, 1).Int64() for n in range(100)}
    written = write_result(tmp_path / "r.zip", manifest(coverage=ranges), values)
    assert read_manifest(tmp_path / "r.zip") == written
    assert len(load(tmp_path / "r.zip").manifest.items) == 100


@pytest.fixture
def good(tmp_path: Path) -> Path:
    made = Hist.new.Reg(3, 0, 1).Int64()
    return write(tmp_path / "good.zip", {"h": made, "a": np.arange(3.0), "b": np.arange(3.0)})


def items_of(path: Path) -> list[Any]:
    return list(json.loads(zipfile.Path(path, MANIFEST).read_bytes())["items"])


def test_items_that_share_a_payload_are_refused(good: Path) -> None:
    """A thousand items could make a thousand copies of it."""
    items = items_of(good)
    items.append({**items[1], "path": ["d", "again"]})
    assert "share" in refused(rewrite(good, {MANIFEST: changed_manifest(good, items=items)}))


@pytest.mark.parametrize(
    "fields",
    [
        {"items": [{"path": ["d", *"x" * 100], "kind": "int", "value": "1"}]},
        {"items": [{"path": ["d", *path], "kind": "int", "value": "1"} for path in ("ab", "a")]},
        {"coverage": [["d", "a", "t", "/a", 5, 3]]},
        {"coverage": [["d", "a", "t", "/a", 0, 5, 10]]},
        {"coverage": [["d", "a", "t", "/a", 0, 2**63]]},
        {"counters": {"events": -1}},
        {"counters": {"wall_seconds": 1e300}},
        {"planned": 2**62},
        {"status": "well done"},
        {"status": "failed"},
    ],
)
def test_numbers_and_names_that_make_no_sense_are_refused(
    good: Path, fields: dict[str, Any]
) -> None:
    assert "damaged" in refused(rewrite(good, {MANIFEST: changed_manifest(good, **fields)}))


@pytest.mark.parametrize(
    "text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "9" * 100_000, "[" * 900 + "]" * 900]
)
def test_json_that_is_nested_without_end_is_refused(good: Path, text: str) -> None:
    """In the manifest, where the parameters may hold anything."""
    data = changed_manifest(good, parameters={"x": "HERE"}).replace(b'"HERE"', text.encode())
    assert "damaged" in refused(rewrite(good, {MANIFEST: data}))


def test_a_member_that_claims_terabytes_is_refused(good: Path) -> None:
    """In the list of members, which is at the end, with the field of ZIP64 for large sizes."""
    data = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        count = len(archive.infolist())
    directory = data.index(b"PK\x01\x02")
    extra = struct.pack("<HHQ", 1, 8, 2**42)
    name = struct.unpack_from("<H", data, directory + 28)[0]
    struct.pack_into("<I", data, directory + 24, 0xFFFFFFFF)
    struct.pack_into("<H", data, directory + 30, len(extra))
    data[directory + 46 + name : directory + 46 + name] = extra
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<I", data, end + 12, struct.unpack_from("<I", data, end + 12)[0] + len(extra))
    good.write_bytes(data)
    with zipfile.ZipFile(good) as archive:
        assert len(archive.infolist()) == count
        assert max(one.file_size for one in archive.infolist()) == 2**42
    assert f"{2**42}" in refused(good)


def uhi(made: Any) -> dict[str, Any]:
    return dict(made._to_uhi_())


def test_axes_that_no_array_vouches_for_are_bounded() -> None:
    data = uhi(Hist(hist.axis.StrCategory([], growth=True), hist.axis.Regular(5, 0, 1)))
    assert payloads.to_histogram(data).axes[1].size == 5
    data["axes"][1]["bins"] = 10**12
    data["storage"]["values"] = np.zeros((0, 10**12 + 2))
    with pytest.raises(ResultError, match="without a bin"):
        payloads.to_histogram(data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": {"edges": 1}}, "methods"),
        ({"writer_info": {"boost-histogram": {"transform": "log"}}}, "edges"),
    ],
)
def test_axes_are_what_uhi_says(change: dict[str, Any], words: str) -> None:
    data = uhi(Hist.new.Reg(3, 0, 1).Int64())
    data["axes"][0].update(change)
    with pytest.raises(ResultError, match=words):
        payloads.to_histogram(data)


def test_a_histogram_of_too_many_axes_is_refused() -> None:
    data = uhi(Hist.new.Reg(1, 0, 1, underflow=False, overflow=False).Int64())
    data["axes"] *= 33
    data["storage"]["values"] = np.zeros([1] * 33, "i8")
    with pytest.raises(ResultError, match="33 axes"):
        payloads.to_histogram(data)


def test_metadata_that_is_nested_deeply_is_refused() -> None:
    """Copies of it would need a level of the stack, or three, for each of its own."""
    nested: Any = 1
    for _ in range(JSON_DEPTH - 1):
        nested = {"x": [nested]}
    assert _is_deeper(nested, JSON_DEPTH)
    assert not _is_deeper({"x": [[{"y": 1}]]}, JSON_DEPTH)
