"""Skims: honest ones are read, whatever rows they have; bombs are refused before they go off."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflock.errors import ResultError
from eventflock.results import skims as skim
from eventflock.results.sandbox import SkimSandbox
from eventflock.results.skims import SkimWriter, read_skim, tables_of


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SkimSandbox]:
    with SkimSandbox() as one:
        yield one


def rows_of(file: Path) -> list[Any]:
    return [row for table in tables_of(file) for row in table.to_pylist()]


ROW = st.fixed_dictionaries(
    {
        "pt": st.lists(st.floats(0, 1e6), max_size=5),
        "hits": st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3),
        "run": st.integers(0, 2**40),
        "tag": st.sampled_from(["", "a", "é" * 20, "long " * 40]),
        "jet": st.fixed_dictionaries({"e": st.floats(-1, 1), "b": st.booleans()}),
    }
)
TYPE = pa.schema(
    {
        "pt": pa.large_list(pa.float64()),
        "hits": pa.large_list(pa.large_list(pa.int64())),
        "run": pa.int64(),
        "tag": pa.large_string(),
        "jet": pa.struct({"e": pa.float64(), "b": pa.bool_()}),
    }
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(ROW, max_size=30), cuts=st.lists(st.integers(0, 30), max_size=4))
def test_any_rows_are_read_after_any_merges(
    tmp_path: Path, sandbox: SkimSandbox, rows: list[Any], cuts: list[int]
) -> None:
    """Written in parts, by this version or plainly by Arrow, and merged."""
    edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
    parts = [rows[a:b] for a, b in zip(edges, [*edges[1:], len(rows)], strict=True)]
    merged = SkimWriter(tmp_path / "merged.parquet", "x")
    for index, part in enumerate(parts):
        file = tmp_path / "part.parquet"
        table = pa.Table.from_pylist(part, TYPE)
        if index % 2:
            pq.write_table(table, file, compression="zstd")
        else:
            writer = SkimWriter(file, "x")
            writer.append(ak.from_arrow(table))
            writer.close()
        sandbox.check(file, whole=False)
        for one in tables_of(file):
            merged.append_table(one.cast(TYPE))
    file = merged.close()
    sandbox.check(file, whole=True)
    assert read_skim(file).tolist() == rows_of(file) == rows


@pytest.mark.slow
@pytest.mark.parametrize(
    "column",
    [
        pytest.param(lambda: np.zeros(20_000_000), id="zeros"),
        pytest.param(lambda: [f"event {n}" for n in range(500_000)], id="many texts"),
        pytest.param(lambda: ["x" * 5_000, *["y"] * 100_000], id="one long text"),
        pytest.param(lambda: np.random.default_rng(1).random(3_000_000), id="random"),
        pytest.param(lambda: [[1.0] * 1_000] * 20_000, id="lists"),
        pytest.param(lambda: [None] * 100_000, id="nothing"),
    ],
)
def test_large_skims_are_read_however_small_they_shrink(
    tmp_path: Path, sandbox: SkimSandbox, column: Any
) -> None:
    table = pa.table({"x": column()})
    file = tmp_path / "large.parquet"
    pq.write_table(table, file, compression="zstd")  # as versions before this wrote them
    sandbox.check(file, whole=False)
    merged = SkimWriter(tmp_path / "merged.parquet", "x")
    for one in tables_of(file):
        assert one.nbytes < 2 * skim.GROUP or one.num_rows <= skim.ROWS
        merged.append_table(one)
    file = merged.close()
    sandbox.check(file, whole=True)
    assert len(read_skim(file)) == table.num_rows
    assert pq.read_table(file).equals(table)


def test_small_parts_share_a_row_group_and_large_ones_are_cut(tmp_path: Path) -> None:
    writer = SkimWriter(tmp_path / "x.parquet", "x")
    for _ in range(1_000):
        writer.append_table(pa.table({"x": [1.0, 2.0]}))
    assert pq.read_metadata(writer.close()).num_row_groups == 1
    writer = SkimWriter(tmp_path / "x.parquet", "x")
    writer.append_table(pa.table({"x": np.zeros((40, 2**19)).tolist()}))
    metadata = pq.read_metadata(writer.close())
    assert metadata.num_row_groups > 2
    assert metadata.num_rows == 40


def bomb(file: Path) -> None:
    """Ten thousand times one text of a megabyte, in a few hundred bytes."""
    texts = pa.DictionaryArray.from_arrays(np.zeros(10_000, "i4"), ["a" * 1_000_000])
    pq.write_table(pa.table({"x": texts}), file, compression="zstd", store_schema=False)


def extended(file: Path) -> None:
    kind = pa.list_(pa.opaque(pa.int64(), "kind", "vendor"))
    array = pa.array([[1]], pa.list_(pa.int64())).cast(kind)
    pq.write_table(pa.table({"x": array}), file)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bomb, "bytes of memory"),
        (extended, "not Arrow's own"),
        (lambda file: file.write_bytes(b"PAR1"), "too short|size is 4 bytes"),
    ],
)
def test_skims_that_are_none_are_refused(
    tmp_path: Path, sandbox: SkimSandbox, make: Any, words: str, whole: bool
) -> None:
    make(tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 5_000
    with pytest.raises(ResultError, match=words):
        sandbox.check(tmp_path / "x.parquet", whole=whole)


def test_what_shrinks_beyond_belief_is_refused_even_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"x": np.zeros(1_000_000)}), tmp_path / "x.parquet")
    assert len(list(tables_of(tmp_path / "x.parquet"))) == 10
    monkeypatch.setattr(skim, "STREAM_MAX", 2**20)
    with pytest.raises(ResultError, match="unpacks to more than"):
        list(tables_of(tmp_path / "x.parquet"))


def test_a_reader_that_dies_refuses_one_skim_only(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "x.parquet")
    with SkimSandbox() as sandbox:
        sandbox.check(tmp_path / "x.parquet", whole=True)
        assert sandbox._child is not None
        os.kill(sandbox._child.pid, signal.SIGSEGV)
        with pytest.raises(ResultError, match=r"crash \(exit code -11\)"):
            sandbox.check(tmp_path / "x.parquet", whole=True)
        sandbox.check(tmp_path / "x.parquet", whole=True)


def test_row_groups_do_not_depend_on_how_large_rows_came(tmp_path: Path) -> None:
    """Two megabytes each: far less than a sample of them fits into memory at once."""
    rows = pa.table({"x": np.zeros((100, 2**18)).tolist()})
    found = []
    for step in (1, 7, 100):
        writer = SkimWriter(tmp_path / f"{step}.parquet", "x")
        for start in range(0, 100, step):
            writer.append_table(rows.slice(start, step))
        found.append(writer.close().read_bytes())
    assert found[0] == found[1] == found[2]
    assert pq.read_metadata(tmp_path / "1.parquet").num_row_groups > 3
