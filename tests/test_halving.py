"""Halves of jobs: they are the whole, and add up to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hist import Hist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflock.core.halving import (
    NUMBER_BITS,
    can_halve,
    part_of,
    unit_name,
    unit_of,
    within_chunk,
)
from eventflock.core.model import Job, Range
from eventflock.results.accumulate import Accumulator


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    ranges = []
    for file in range(draw(st.integers(1, 3))):
        edges = sorted(draw(st.sets(st.integers(0, 400), min_size=2, max_size=12)))
        ranges.append(Range(file, edges[0], edges[-1], tuple(edges[1:-1])))
    return Job(0, tuple(ranges))


def leaves(job: Job, draw: Any, piece: str = "") -> list[str]:
    """Halve at random."""
    if len(piece) < 12 and can_halve(job, piece) and draw(st.booleans()):
        return [*leaves(job, draw, f"{piece}0"), *leaves(job, draw, f"{piece}1")]
    return [piece]


def entries(job: Job, piece: str) -> list[tuple[int, int]]:
    ranges = part_of(job, piece).ranges
    return [(part.file, entry) for part in ranges for entry in range(part.start, part.stop)]


@given(data=st.data(), job=jobs())
def test_pieces_are_the_job_in_its_order(data: st.DataObject, job: Job) -> None:
    pieces = leaves(job, data.draw)
    assert [entry for piece in pieces for entry in entries(job, piece)] == entries(job, "")
    numbers = [part_of(job, piece).first for piece in pieces]
    assert numbers == sorted(set(numbers))


@given(data=st.data(), job=jobs())
def test_a_half_of_a_chunk_belongs_to_that_chunk(data: st.DataObject, job: Job) -> None:
    for piece in leaves(job, data.draw):
        whole = within_chunk(job, piece)
        assert piece.startswith(whole)
        assert set(entries(job, piece)) <= set(entries(job, whole))
        if whole != piece:
            assert not can_halve(job, whole, chunks=False)
            assert can_halve(job, whole)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), job=jobs())
def test_halves_at_chunks_add_up_to_the_same_bits(
    tmp_path: Path, data: st.DataObject, job: Job
) -> None:
    def done(piece: str) -> Accumulator:
        part, made = part_of(job, piece), Accumulator(tmp_path)
        chunks = [edges for one in part.ranges for edges in one.chunks()]
        for index, (start, stop) in enumerate(chunks):
            made.add(results_of(start, stop), part.first + (index << NUMBER_BITS))
        return made

    pieces = sorted({within_chunk(job, leave) for leave in leaves(job, data.draw)})
    together = Accumulator(tmp_path)
    for piece in pieces:
        for path, value in done(piece).finish().items():
            together.add_one(path, value, part_of(job, piece).first)
    assert bits(together) == bits(done(""))


def results_of(start: int, stop: int) -> dict[str, Any]:
    values = np.sin(np.arange(start, stop) * 1.7) * 10.0 ** (start % 7)
    made = Hist.new.Reg(3, -1, 1, name="x").Weight().fill(values % 1, weight=values)
    return {
        "h": made,
        "sum": float(values.sum()),
        "array": values[:1] * np.ones(4),
        "n": len(values),
    }


def bits(made: Accumulator) -> list[Any]:
    found = made.finish()
    return [
        found["sum",],
        found["n",],
        found["array",].tobytes(),
        found["h",].view(flow=True).tobytes(),
    ]


@given(job=st.integers(0, 10**8), piece=st.text("01", max_size=20))
def test_names_of_units_are_read_back(job: int, piece: str) -> None:
    assert unit_of(unit_name(job, piece)) == (job, piece)


def test_other_names_are_none() -> None:
    for name in ("", "12", "000012-", "000012-2", "x00012", "000012-01x", "-01"):
        assert unit_of(name) is None
