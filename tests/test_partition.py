"""Planning: any cut is a partition, edges are where they should be, and large plans are quick."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.core.model import Dataset, FileEntry, Job
from eventflock.errors import UsageError
from eventflock.planning.partition import CHUNK_BYTES, CHUNK_MAX, CHUNK_MIN, Sizing, cut, span_of


def entry(index: int, entries: int, clusters: tuple[int, ...] = ()) -> FileEntry:
    return FileEntry(
        path=f"/data/{index}.root",
        tree="Events",
        uuid=f"uuid-{index}",
        size=1000,
        entries=entries,
        entry_bytes=100.0,
        clusters=clusters or tuple(sorted({0, entries})),
    )


@st.composite
def files(draw: st.DrawFn) -> tuple[FileEntry, ...]:
    found = []
    for index in range(draw(st.integers(1, 6))):
        entries = draw(st.integers(0, 300))
        inner = (
            draw(st.sets(st.integers(1, max(entries - 1, 1)), max_size=12))
            if entries > 1
            else set()
        )
        made = entry(index, entries, tuple(sorted({0, entries} | inner)))
        edges = sorted(draw(st.sets(st.integers(0, entries), max_size=6)))
        steps = tuple(zip(edges[::2], edges[1::2], strict=False))
        found.append(msgspec.structs.replace(made, steps=steps if draw(st.booleans()) else ()))
    return tuple(found)


def asked(file: FileEntry) -> list[int]:
    return [event for start, stop in file.asked for event in range(start, stop)]


def size_of(files: tuple[FileEntry, ...]) -> int:
    return sum(len(asked(file)) for file in files)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[Dataset, ...]:
    count = draw(st.integers(1, 3))
    shares = st.sampled_from([1.0, 0.5, 1e-3, 1e-12])
    return tuple(
        Dataset(name=f"d{n}", files=draw(files()), share=draw(shares)) for n in range(count)
    )


sizings = st.one_of(
    st.builds(Sizing, chunk=st.none() | st.integers(1, 400)),
    st.builds(Sizing, jobs=st.integers(1, 50), chunk=st.none() | st.integers(1, 50)),
    st.builds(Sizing, events_per_job=st.integers(1, 400), chunk=st.none() | st.integers(1, 50)),
)


def entries_done(jobs: tuple[Job, ...], dataset: int, file: int) -> list[int]:
    return [
        event
        for job in jobs
        if job.dataset == dataset
        for part in job.ranges
        if part.file == file
        for start, stop in part.chunks()
        for event in range(start, stop)
    ]


@given(datasets(), sizings)
def test_chunks_of_all_jobs_are_every_entry_once_in_order(
    given_datasets: tuple[Dataset, ...], sizing: Sizing
) -> None:
    jobs = cut(given_datasets, sizing)
    for index, dataset in enumerate(given_datasets):
        for number, file in enumerate(dataset.files):
            assert entries_done(jobs, index, number) == asked(file)
    assert all(job.entries > 0 for job in jobs)


@given(files(), st.data())
def test_a_range_is_done_exactly(given_files: tuple[FileEntry, ...], data: st.DataObject) -> None:
    total = size_of(given_files)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    jobs = cut([Dataset(name="d", files=given_files)], Sizing(entries=(start, stop), jobs=7))
    line = [(number, event) for number, file in enumerate(given_files) for event in asked(file)]
    done = range(len(given_files))
    found = [(number, event) for number in done for event in entries_done(jobs, 0, number)]
    assert found == line[start:stop]


@given(datasets(), st.integers(1, 60))
def test_jobs_are_as_many_as_asked_for(given_datasets: tuple[Dataset, ...], count: int) -> None:
    jobs = cut(given_datasets, Sizing(jobs=count))
    sizes = [size_of(dataset.files) for dataset in given_datasets]
    filled = sum(1 for size in sizes if size)
    if len(given_datasets) == 1:
        assert len(jobs) == min(count, sizes[0])
    else:
        assert len(jobs) <= max(count, filled)
        assert len(jobs) >= min(count, filled)


@given(datasets(), st.lists(st.integers(0, 400), min_size=3, max_size=3), st.data())
def test_jobs_of_each_dataset_are_as_many_as_said_and_lose_nothing(
    given_datasets: tuple[Dataset, ...], numbers: list[int], data: st.DataObject
) -> None:
    each = tuple(numbers[: len(given_datasets)])
    chunk = data.draw(st.none() | st.integers(1, 50))
    jobs = cut(given_datasets, Sizing(jobs_each=each, chunk=chunk))
    for index, dataset in enumerate(given_datasets):
        size = size_of(dataset.files)
        assert sum(job.dataset == index for job in jobs) == min(max(each[index], 1), size)
        for number, file in enumerate(dataset.files):
            assert entries_done(jobs, index, number) == asked(file)
    assert all(job.entries > 0 for job in jobs)


@given(files(), st.data())
def test_jobs_of_each_dataset_keep_to_a_range(
    given_files: tuple[FileEntry, ...], data: st.DataObject
) -> None:
    total = size_of(given_files)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    sizing = Sizing(entries=(start, stop), jobs_each=(data.draw(st.integers(0, 50)),))
    dataset = Dataset(name="d", files=given_files)
    assert span_of(dataset, sizing) == (start, stop)
    assert sum(job.entries for job in cut([dataset], sizing)) == stop - start


@given(files(), st.integers(1, 100), st.none() | st.integers(1, 40))
def test_exact_numbers_are_exact(
    given_files: tuple[FileEntry, ...], events: int, chunk: int | None
) -> None:
    jobs = cut([Dataset(name="d", files=given_files)], Sizing(events_per_job=events, chunk=chunk))
    assert all(job.entries == events for job in jobs[:-1])
    if chunk is not None:
        for job in jobs:
            for part in job.ranges:
                assert all(b - a == chunk for a, b in part.chunks()[:-1])


@given(st.integers(1, 40), st.integers(2, 30))
def test_edges_of_jobs_are_cluster_boundaries_where_there_are_enough(
    count: int, clusters_per_job: int
) -> None:
    entries = count * clusters_per_job * 7
    clusters = tuple(range(0, entries + 1, 7))
    jobs = cut([Dataset(name="d", files=(entry(0, entries, clusters),))], Sizing(jobs=count))
    assert len(jobs) == count
    assert all(part.start in clusters and part.stop in clusters for j in jobs for part in j.ranges)


def test_chunks_end_at_clusters_by_default() -> None:
    clusters = tuple(range(0, 1_000_001, 1000))
    heavy = msgspec.structs.replace(entry(0, 1_000_000, clusters), entry_bytes=2000.0)
    jobs = cut([Dataset(name="d", files=(heavy,))], Sizing(jobs=1, entries=(1_500, 999_500)))
    (part,) = jobs[0].ranges
    assert part.edges
    assert all(edge % 1000 == 0 for edge in part.edges)
    assert all(b - a <= CHUNK_BYTES / 2000 for a, b in pairwise(part.edges))


def test_chunks_follow_from_the_bytes_that_are_read() -> None:
    wide = msgspec.structs.replace(entry(0, 4_000_000), entry_bytes=CHUNK_BYTES / 60_000)
    sizes = []
    for share in (1.0, 0.5, 1e-3):
        jobs = cut([Dataset(name="d", files=(wide,), share=share)], Sizing(jobs=1))
        sizes.append(max(stop - start for start, stop in jobs[0].ranges[0].chunks()))
    assert sizes == [60_000, 120_000, CHUNK_MAX]


def test_a_cluster_larger_than_a_chunk_is_cut_inside() -> None:
    fat = FileEntry(
        path="/f",
        tree="t",
        uuid="u",
        size=1,
        entries=200_000,
        entry_bytes=1e5,
        clusters=(0, 200_000),
    )
    jobs = cut([Dataset(name="d", files=(fat,))], Sizing(jobs=1))
    assert [b - a for a, b in jobs[0].ranges[0].chunks()] == [CHUNK_MIN] * 4


def test_many_small_files_share_a_job_and_a_large_one_is_cut() -> None:
    small = tuple(entry(n, 10) for n in range(100))
    assert len(cut([Dataset(name="d", files=small)], Sizing(jobs=4))[0].ranges) == 25
    assert len(cut([Dataset(name="d", files=(entry(0, 1000),))], Sizing(jobs=4))) == 4


@pytest.mark.parametrize(
    "sizing",
    [
        Sizing(jobs=0),
        Sizing(events_per_job=-1),
        Sizing(chunk=0),
        Sizing(jobs=1, events_per_job=1),
        Sizing(jobs_each=(1, 1)),
        Sizing(jobs_each=(-1,)),
        Sizing(jobs_each=(1,), jobs=1),
        Sizing(jobs_each=(1,), events_per_job=1),
    ],
)
def test_numbers_that_make_no_sense_are_refused(sizing: Sizing) -> None:
    with pytest.raises(UsageError):
        cut([Dataset(name="d", files=(entry(0, 10),))], sizing)


LARGE = """
import resource, sys, time
from eventflock.core.model import (Dataset, FileEntry)
from eventflock.planning.partition import Sizing, cut
count = 1_000_000
def file(index, entries, clusters):
    return FileEntry(path=f"/data/{index}.root", tree="t", uuid=str(index), size=1,
                     entries=entries, entry_bytes=100.0, clusters=clusters)
if sys.argv[1] == "one":
    files = (file(0, 10 * count, tuple(range(0, 10 * count + 1, 1000))),)
    sizing = Sizing(events_per_job=10)
else:
    files = tuple(file(index, 10, (0, 10)) for index in range(count))
    sizing = Sizing(jobs=1000)
started = time.process_time()
jobs = cut([Dataset(name="d", files=files)], sizing)
seconds = time.process_time() - started
assert sum(len(job.ranges) for job in jobs) == count
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.parametrize("kind", ["one", "many"])
def test_a_million_ranges_are_planned_in_ten_seconds_and_a_gigabyte(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE, kind], capture_output=True, text=True, check=True
    )
    seconds, gigabytes = map(float, done.stdout.split())
    assert seconds < 10
    assert gigabytes < 1
