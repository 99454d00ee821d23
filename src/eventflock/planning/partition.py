"""From datasets to jobs: pure functions, so that the same input always gives the same plan.

The files of a dataset are laid end to end, and jobs are cut from that one line of entries: a
job may hold many small files, or a part of a large one. Neither the pool nor the number of
workers enters, so a plan, and with it every bit of the result, is the same everywhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from eventflock.core.model import Dataset, Job, Range
from eventflock.errors import UsageError

__all__ = ["Sizing", "check_sizing", "cut", "default_chunk", "span_of"]

CHUNK_BYTES = 128 * 2**20
"""Uncompressed bytes of the branches that are read which a chunk should hold."""
CHUNK_MIN, CHUNK_MAX = 50_000, 1_000_000
JOBS_MIN, JOBS_MAX = 8, 1_000
JOB_MIN_ENTRIES = 20_000


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for; None where eventflock chooses.

    Attributes
    ----------
    jobs
        Number of jobs; edges go to cluster boundaries.
    jobs_each
        The same for each dataset; at least one where there are entries, and at most as many.
    events_per_job
        Exact number of entries in every job but the last of each dataset.
    entries
        `(start, stop)` in each dataset's files laid end to end.
    chunk
        Exact number of entries per chunk.
    """

    jobs: int | None = None
    jobs_each: tuple[int, ...] | None = None
    events_per_job: int | None = None
    entries: tuple[int, int] | None = None
    chunk: int | None = None


class _Line:
    """The files of one dataset, or what is asked for of each, laid end to end in pieces."""

    def __init__(self, dataset: Dataset) -> None:
        self.files = dataset.files
        self.pieces = [
            (index, start, stop)
            for index, file in enumerate(dataset.files)
            for start, stop in file.asked
        ]
        self.offsets = [0, *accumulate(stop - start for _, start, stop in self.pieces)]
        self.entries = self.offsets[-1]
        total = sum(
            (stop - start) * dataset.files[index].entry_bytes for index, start, stop in self.pieces
        )
        self.entry_bytes = max(dataset.share * total / max(self.entries, 1), 1e-3)

    def chunk_size(self) -> int:
        return min(max(int(CHUNK_BYTES / self.entry_bytes), CHUNK_MIN), CHUNK_MAX)

    def piece_at(self, position: int) -> int:
        """Index of the piece that holds the entry at `position` (empty files hold none)."""
        return bisect_right(self.offsets, position) - 1

    def nearest_cluster(self, position: int) -> int:
        """Return the cluster boundary nearest to `position`, ends of pieces included."""
        piece = min(self.piece_at(position), len(self.pieces) - 1)
        file, start, stop = self.pieces[piece]
        clusters = self.files[file].clusters or (0, self.files[file].entries)
        entry = start + position - self.offsets[piece]
        after = bisect_left(clusters, entry)
        around = [min(max(edge, start), stop) for edge in clusters[max(after - 1, 0) : after + 1]]
        return self.offsets[piece] + min(around, key=lambda edge: abs(edge - entry)) - start


def cut(datasets: Sequence[Dataset], sizing: Sizing) -> tuple[Job, ...]:
    """Cut datasets into jobs, and their ranges into chunks.

    Parameters
    ----------
    datasets
        Scanned, with the cluster boundaries of their files.
    sizing
        What the user asked for.

    Returns
    -------
    tuple of Job
        In the order of datasets and entries. Their ranges cover what was asked for exactly once.

    Raises
    ------
    UsageError
        A number below one, or more than one of `jobs`, `jobs_each` and `events_per_job`.
    """
    check_sizing(sizing, len(datasets))
    lines = [_Line(dataset) for dataset in datasets]
    spans = [_span(line.entries, sizing) for line in lines]
    counts = _jobs_per_dataset(lines, spans, sizing)
    jobs: list[Job] = []
    for index, (line, span, count) in enumerate(zip(lines, spans, counts, strict=True)):
        edges = _job_edges(line, span, count, sizing.events_per_job)
        found = [_ranges(line, start, stop, sizing.chunk) for start, stop in pairwise(edges)]
        jobs += [Job(index, ranges) for ranges in _with_second_trees(line, span, found)]
    return tuple(jobs)


def check_sizing(sizing: Sizing, datasets: int) -> None:
    """Check the numbers, for so many datasets.

    Raises
    ------
    UsageError
        See `cut`.
    """
    numbers: dict[str, Any] = {
        "--jobs": sizing.jobs,
        "--events-per-job": sizing.events_per_job,
        "--chunk": sizing.chunk,
    }
    for option, value in numbers.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UsageError(
                f"{option} is {value!r}, expected a whole number from 1.", remedy="Leave it out."
            )
    if sizing.jobs and sizing.events_per_job:
        raise UsageError(
            f"--jobs {sizing.jobs} and --events-per-job {sizing.events_per_job} exclude "
            "each other.",
            remedy="Give one of them.",
        )
    if sizing.jobs_each is None:
        return
    if sizing.jobs or sizing.events_per_job:
        raise UsageError(
            f"The jobs of each dataset are {sizing.jobs_each}, so --jobs and --events-per-job "
            "cannot say them.",
            remedy="Give one of them.",
        )
    if len(sizing.jobs_each) != datasets or any(one < 0 for one in sizing.jobs_each):
        raise UsageError(
            f"The jobs of each dataset are {sizing.jobs_each}, expected {datasets} numbers from 0.",
            remedy="Give a number of jobs for each dataset.",
        )


def span_of(dataset: Dataset, sizing: Sizing) -> tuple[int, int]:
    """Return the entries of a dataset that are asked for, in its files laid end to end."""
    return _span(_Line(dataset).entries, sizing)


def default_chunk(dataset: Dataset) -> int:
    """Return how many entries a chunk of a dataset has, unless the user says otherwise."""
    return _Line(dataset).chunk_size()


def _span(entries: int, sizing: Sizing) -> tuple[int, int]:
    start, stop = sizing.entries or (0, entries)
    return min(start, entries), min(stop, entries)


def _jobs_per_dataset(
    lines: Sequence[_Line], spans: Sequence[tuple[int, int]], sizing: Sizing
) -> list[int]:
    """Share the jobs among the datasets by their entries, at least one for each that has any."""
    entries = [stop - start for start, stop in spans]
    if sizing.jobs_each is not None:
        return [
            min(max(one, 1), count) for one, count in zip(sizing.jobs_each, entries, strict=True)
        ]
    if sizing.jobs is None:
        return [_default_jobs(line, count) for line, count in zip(lines, entries, strict=True)]
    counts = [1 if count else 0 for count in entries]
    left = max(sizing.jobs - sum(counts), 0)
    # The rest by largest remainders, so that the counts add up to what was asked for.
    exact = [left * count / max(sum(entries), 1) for count in entries]
    counts = [one + int(share) for one, share in zip(counts, exact, strict=True)]
    left -= sum(int(share) for share in exact)
    for n in sorted(range(len(exact)), key=lambda n: int(exact[n]) - exact[n])[:left]:
        counts[n] += 1
    return [min(one, count) for one, count in zip(counts, entries, strict=True)]


def _default_jobs(line: _Line, entries: int) -> int:
    """Enough jobs to keep cores busy and to lose little with one; few enough to cost nothing."""
    if not entries:
        return 0
    by_chunks = -(-entries // line.chunk_size())
    at_least = min(JOBS_MIN, max(entries // JOB_MIN_ENTRIES, 1))
    return min(max(by_chunks, at_least), JOBS_MAX)


def _job_edges(line: _Line, span: tuple[int, int], count: int, exact: int | None) -> list[int]:
    start, stop = span
    if stop <= start:
        return [start]
    if exact is not None:
        return [*range(start, stop, exact), stop]
    size = (stop - start) / count
    edges = [start]
    for n in range(1, count):
        ideal = start + (stop - start) * n // count
        aligned = line.nearest_cluster(ideal)
        # Within half a job, edges cannot meet or change their order.
        edge = aligned if abs(aligned - ideal) < size / 2 - 1 else ideal
        edges.append(edge if start < edge < stop else ideal)
    return [*edges, stop]


def _ranges(line: _Line, start: int, stop: int, chunk: int | None) -> tuple[Range, ...]:
    """Split entries of the line at the ends of pieces, and each part into chunks."""
    found = []
    piece = line.piece_at(start)
    while start < stop:
        file, begin, _ = line.pieces[piece]
        offset = line.offsets[piece] - begin
        end = min(stop, line.offsets[piece + 1])
        if end > start:
            first, last = start - offset, end - offset
            found.append(Range(file, first, last, _chunk_edges(line, file, first, last, chunk)))
            start = end
        piece += 1
    return tuple(found)


def _with_second_trees(
    line: _Line, span: tuple[int, int], jobs: Sequence[tuple[Range, ...]]
) -> list[tuple[Range, ...]]:
    """Put all of the second trees of a file before its first events, and so into one job.

    A file that has no events goes with the one before it.
    """
    if not any(file.second for file in line.files):
        return list(jobs)
    first: dict[int, int] = {}
    for number, ranges in enumerate(jobs):
        for part in ranges:
            first.setdefault(part.file, number)
    found = [list(ranges) for ranges in jobs] or [[]]
    number = 0
    for index in _files_within(line, span):
        number = first.get(index, number)
        for n, tree in enumerate(line.files[index].second, 1):
            edges = tuple(range(CHUNK_MIN, tree.entries, CHUNK_MIN))
            if tree.entries:
                found[number].append(Range(index, 0, tree.entries, edges, n))
    ordered = [sorted(parts, key=lambda one: (one.file, not one.second)) for parts in found]
    return [tuple(parts) for parts in ordered if parts]


def _files_within(line: _Line, span: tuple[int, int]) -> list[int]:
    """Find the files that have events in a part of the line, or have none and lie in it."""
    start, stop = span
    found: dict[int, None] = {}
    for (index, first, last), offset in zip(line.pieces, line.offsets, strict=False):
        if line.files[index].entries == 0:
            inside = start <= offset < stop or offset == stop == line.entries
        else:
            inside = max(start, offset) < min(stop, offset + last - first)
        if inside:
            found[index] = None
    return list(found)


def _chunk_edges(
    line: _Line, index: int, start: int, stop: int, exact: int | None
) -> tuple[int, ...]:
    """Cut one range of a file; at its clusters, unless the user asked for an exact number."""
    size = exact or line.chunk_size()
    if stop - start <= size:
        return ()
    if exact:
        return tuple(range(start + size, stop, size))
    clusters = line.files[index].clusters
    edges = []
    position = start
    while stop - position > size:
        at = bisect_right(clusters, position + size) - 1
        # A cluster larger than a chunk has to be cut inside.
        position = clusters[at] if at >= 0 and clusters[at] > position else position + size
        edges.append(position)
    return tuple(edges)
