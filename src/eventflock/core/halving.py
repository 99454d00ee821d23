"""Halving jobs: which part of a job a piece is, by its name alone.

The name of a piece says how to come to it: `0` for the first half, `1` for the second, so `01` is
the second half of the first half. While there are several chunks, they are halved where the tree
is along which results are added (`results.accumulate.Fold`), so that halves give the same bits as
the whole. A single chunk is halved by its entries, down to a single event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, NewType

import msgspec

from eventflock.core.model import Assignment, Job, Range

__all__ = [
    "NUMBER_BITS",
    "JobNumber",
    "JobPart",
    "UnitName",
    "can_halve",
    "is_chunk",
    "part_of",
    "piece_of",
    "unit_name",
    "unit_of",
    "within_chunk",
]

NUMBER_BITS = 40
"""Numbers of chunks leave so many bits for the halves of one."""

JobNumber = int
"""The number of a job in its plan, from 0."""
UnitName = NewType("UnitName", str)
"""The name of a unit, which is a job or a piece of it; from `unit_name`."""


class JobPart(NamedTuple):
    """A part of a job.

    Attributes
    ----------
    ranges
        What it has of the job's.
    first
        Number of its first chunk.
    """

    ranges: tuple[Range, ...]
    first: int

    @property
    def entries(self) -> int:
        """Number of events."""
        return sum(part.events for part in self.ranges)


class _Chunk(NamedTuple):
    file: int
    second: int
    start: int
    stop: int


def part_of(job: Job, piece: str) -> JobPart:
    """Return the part of a job that a piece is.

    Parameters
    ----------
    job
        Of a plan.
    piece
        Digits `0` and `1`.

    Raises
    ------
    ValueError
        There is no such piece.
    """
    if not piece:
        return JobPart(job.ranges, 0)
    chunks = [
        _Chunk(part.file, part.second, *edges) for part in job.ranges for edges in part.chunks()
    ]
    low, high = 0, len(chunks)
    number = cuts = 0
    for digit in piece:
        if digit not in "01":
            raise ValueError(f"{piece!r} does not name a piece")
        if high - low > 1:
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            low, high = (low, middle) if digit == "0" else (middle, high)
            continue
        file, second, start, stop = chunks[low]
        if stop - start < 2:
            raise ValueError(f"{piece!r} would halve a single event")
        half = (start + stop) // 2
        start, stop = (start, half) if digit == "0" else (half, stop)
        chunks[low] = _Chunk(file, second, start, stop)
        cuts += 1
        number |= int(digit) << (NUMBER_BITS - cuts)
    return JobPart(_joined(chunks[low:high]), low << NUMBER_BITS | number)


def _joined(chunks: Iterable[_Chunk]) -> tuple[Range, ...]:
    """Make ranges of chunks again, one for each stretch of a file."""
    found: list[Range] = []
    for chunk in chunks:
        last = found[-1] if found else None
        here = (chunk.file, chunk.second, chunk.start)
        if last is not None and (last.file, last.second, last.stop) == here:
            edges = (*last.edges, last.stop)
            found[-1] = Range(chunk.file, last.start, chunk.stop, edges, chunk.second)
        else:
            found.append(Range(chunk.file, chunk.start, chunk.stop, (), chunk.second))
    return tuple(found)


def unit_name(job: int, piece: str = "") -> UnitName:
    """Return the name of a job or of a piece of it, as in file names: `000042` or `000042-01`."""
    return UnitName(f"{job:06d}-{piece}" if piece else f"{job:06d}")


def unit_of(name: str) -> tuple[JobNumber, str] | None:
    """Return the job and the piece that a name stands for; None if it is no such name."""
    number, dash, piece = name.partition("-")
    fits = number.isascii() and number.isdigit() and len(number) >= 6
    if not fits or (dash and not piece) or piece.strip("01"):
        return None
    return int(number), piece


def within_chunk(job: Job, piece: str) -> str:
    """Return the piece, or the whole chunk that it is a part of."""
    if len(piece) < 1:
        return piece
    chunks = sum(len(part.edges) + 1 for part in job.ranges)
    for depth, digit in enumerate(piece):
        if chunks == 1:
            return piece[:depth]
        first = 1 << (chunks - 1).bit_length() - 1
        chunks = first if digit == "0" else chunks - first
    return piece


def can_halve(job: Job, piece: str, *, chunks: bool = True) -> bool:
    """Check whether a piece has halves.

    Parameters
    ----------
    chunks
        Whether a single chunk may be halved, too.
    """
    ranges = part_of(job, piece).ranges
    several = len(ranges) > 1 or bool(ranges[0].edges)
    return several or (chunks and ranges[0].stop - ranges[0].start > 1)


def is_chunk(job: Job, piece: str) -> bool:
    """Check whether a piece is one chunk, and not a part of one."""
    return within_chunk(job, piece) == piece and not can_halve(job, piece, chunks=False)


def piece_of(assignment: Assignment, job: Job, piece: str) -> Assignment:
    """Return the assignment of a piece, from that of its whole job."""
    part = part_of(job, piece)
    place = {whole.file: n for n, whole in enumerate(job.ranges)}
    return msgspec.structs.replace(
        assignment,
        piece=piece,
        first=part.first,
        files=tuple(assignment.files[place[one.file]] for one in part.ranges),
        ranges=tuple(
            msgspec.structs.replace(one, file=index) for index, one in enumerate(part.ranges)
        ),
    )
