"""The events of one job: read chunk by chunk, handed to the analysis, added up.

With `isolate`, a chunk that fails is cut into ever smaller parts, until the smallest are known that
fail: baskets that cannot be read, or single events. All others are done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import pairwise

from eventflock.core.halving import NUMBER_BITS
from eventflock.core.model import Assignment, FileEntry, Range
from eventflock.errors import ErrorKind, EventflockError, InputError
from eventflock.events.reader import Damage, TreeReader
from eventflock.failures.codes import FailureCode
from eventflock.results.accumulate import Accumulator
from eventflock.usercode.decorator import Analysis, Context
from eventflock.worker.calling import call, failure_of
from eventflock.worker.receipt import Tally

__all__ = ["ChunkError", "JobLoop", "context_of"]

Report = Callable[[int], None]
Open = Callable[[FileEntry, Analysis], TreeReader]
PARTS_MAX = 20
FIRST_PARTS_MAX = 5
"""A job is cut no further when so many of its parts have failed: they will all fail. The second
is for a job of which nothing has been done."""
FAILURES_MAX = 200
"""A job fails as a whole when so many of its parts have failed."""


class ChunkError(Exception):
    """An error with the chunk in which it came up."""

    def __init__(self, error: EventflockError, path: str, start: int, stop: int) -> None:
        super().__init__(str(error))
        self.failure = failure_of(error, path, start, stop)


class JobLoop:
    """One job under way.

    Parameters
    ----------
    assignment
        The job, with parameters as the analysis wants them.
    analysis
        To be called.
    accumulator, tally
        Take what it returns, and what has been done.
    open_reader
        Opens a file.
    report
        Called after every chunk with its number of events.
    """

    def __init__(
        self,
        assignment: Assignment,
        analysis: Analysis,
        accumulator: Accumulator,
        tally: Tally,
        open_reader: Open,
        report: Report,
    ) -> None:
        self._assignment = assignment
        self._analysis = analysis
        self._accumulator = accumulator
        self._tally = tally
        self._open = open_reader
        self._report = report
        self._number = assignment.first
        self._isolate = assignment.limits.isolate
        self._failed = 0

    def do(self) -> None:
        """Do all ranges.

        Raises
        ------
        ChunkError
            In a chunk, or with `isolate` in too many parts.
        """
        for part in self._assignment.ranges:
            self._do_range(part)

    def _do_range(self, part: Range) -> None:
        entry = self._assignment.files[part.file]
        self._tally.where = (entry.path, part.start, part.stop)
        reader = None
        try:
            with _located(entry.path, part.start, part.stop):
                reader = self._open(entry, self._analysis)
        except ChunkError as error:
            self._miss(error, entry, part.start, part.stop)
            return
        for start, stop in part.chunks():
            self._tally.where = (entry.path, start, stop)
            try:
                with _located(entry.path, start, stop):
                    self._do_chunk(reader, start, stop)
            except ChunkError as error:
                if error.failure.code != FailureCode.BRANCH:
                    raise
                self._miss(error, entry, start, part.stop)
                return
            self._number = ((self._number >> NUMBER_BITS) + 1) << NUMBER_BITS
            self._report(stop - start)

    def _do_chunk(self, reader: TreeReader, start: int, stop: int) -> None:
        parts = [(start, stop)]
        damages: list[Damage] | None = None
        while parts:
            first, last = parts.pop()
            try:
                self._do_part(reader, first, last)
            except EventflockError as error:
                reader.done()
                if not self._isolate or not (error.code == FailureCode.READ or _can_cut(error)):
                    raise
                if error.code == FailureCode.READ and damages is None:
                    damages = reader.damages(start, stop)
                self._cut(error, reader.entry, (first, last), damages or [], parts)

    def _do_part(self, reader: TreeReader, start: int, stop: int) -> None:
        """Do a chunk, or a part of one."""
        entry = reader.entry
        events = reader.chunk(start, stop)
        if len(events) != stop - start:
            raise InputError(f"{entry.path} gave {len(events):,} entries at {start:,}.")
        context = context_of(self._assignment, entry, start, stop)
        returned = call(self._analysis, events, context, self._assignment.parameters)
        try:
            self._accumulator.add(returned, self._number)
        except EventflockError as error:
            error.code = FailureCode.RETURNED
            raise
        self._number += 1
        self._tally.chunk(reader, stop - start)
        self._tally.cover(self._assignment.dataset, entry, start, stop)

    def _cut(
        self,
        error: EventflockError,
        entry: FileEntry,
        part: tuple[int, int],
        damages: list[Damage],
        parts: list[tuple[int, int]],
    ) -> None:
        """Replace a part that failed by smaller ones, or count it as missing."""
        start, stop = part
        inside = [damage for damage in damages if damage.start < stop and damage.stop > start]
        edges = {start, stop}
        if error.code == FailureCode.READ and inside:
            both = (edge for one in inside for edge in (one.start, one.stop))
            edges |= {edge for edge in both if start < edge < stop}
        elif stop - start > 1:
            edges.add((start + stop) // 2)
        if len(edges) == 2 or self._failed >= self._parts_max():
            if error.code == FailureCode.READ and inside:
                error.message = _named(entry, inside)
            self._miss(ChunkError(error, entry.path, start, stop), entry, start, stop)
            return
        cuts = sorted(edges)
        parts += reversed(list(pairwise(cuts)))

    def _parts_max(self) -> int:
        return PARTS_MAX if self._tally.coverage else FIRST_PARTS_MAX

    def _miss(self, error: ChunkError, entry: FileEntry, start: int, stop: int) -> None:
        if not self._isolate or len(self._tally.failures) >= FAILURES_MAX:
            raise error
        self._failed += 1
        self._tally.miss(self._assignment.dataset, entry, start, stop, error.failure)


def _can_cut(error: EventflockError) -> bool:
    """Check whether fewer events may do better."""
    return (
        error.kind in {ErrorKind.ANALYSIS, ErrorKind.MEMORY} and error.code != FailureCode.RETURNED
    )


def _named(entry: FileEntry, damages: list[Damage]) -> str:
    what = " and ".join(damage.what for damage in damages[:3])
    return f"{entry.path}: the tree {entry.tree!r} is damaged, cannot read {what}."


@contextlib.contextmanager
def _located(path: str, start: int, stop: int) -> Iterator[None]:
    try:
        yield
    except EventflockError as error:
        raise ChunkError(error, path, start, stop) from error


def context_of(assignment: Assignment, entry: FileEntry, start: int, stop: int) -> Context:
    """Return what the analysis may know beside the events."""
    return Context(
        dataset=assignment.dataset,
        metadata=assignment.metadata,
        file=entry.path,
        tree=entry.tree,
        start=start,
        stop=stop,
    )
