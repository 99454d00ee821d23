"""The events of one job: read chunk by chunk, handed to the analysis, added up.

With `isolate`, a chunk that fails is cut into ever smaller parts, until the smallest are known that
fail: baskets that cannot be read, or single events. All others are done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from eventflock.core.halving import NUMBER_BITS
from eventflock.core.manifest import Coverage, Failure
from eventflock.core.model import Assignment, FileEntry, Range
from eventflock.errors import ErrorKind, EventflockError, InputError
from eventflock.events.reader import Damage, TreeReader
from eventflock.failures.codes import FailureCode
from eventflock.results.accumulate import Accumulator
from eventflock.results.keeper import Keeper
from eventflock.usercode.context import Context
from eventflock.usercode.decorator import Analysis
from eventflock.usercode.processors import inside
from eventflock.usercode.seeding import seed_for
from eventflock.worker.calling import call
from eventflock.worker.events import events_of
from eventflock.worker.lumis import NAME, lumis_of
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

    def __init__(self, error: EventflockError, path: str, part: Range) -> None:
        super().__init__(str(error))
        # Entries of a second tree are not events, by which a failure is found and repeated.
        start, stop = (0, 0) if part.second else (part.start, part.stop)
        self.failure = Failure.of(error, path, start, stop)


class _Source(NamedTuple):
    """Where chunks come from: a planned file, what is called with them, and what reads them."""

    entry: FileEntry
    analysis: Analysis
    reader: TreeReader


class JobLoop:
    """One job under way.

    Parameters
    ----------
    assignment
        The job, with parameters as the analysis wants them.
    analysis
        To be called.
    accumulator, keeper, tally
        Take what it returns, the files that it keeps, and what has been done.
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
        keeper: Keeper,
        tally: Tally,
        open_reader: Open,
        report: Report,
    ) -> None:
        self._assignment = assignment
        self._analysis = analysis
        self._accumulator = accumulator
        self._keeper = keeper
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
        analysis = self._analysis.of_tree(entry.second[part.second - 1].name if part.second else "")
        reader = None
        try:
            with _located(entry.path, part):
                reader = self._open(entry.of_tree(part.second), analysis)
        except ChunkError as error:
            self._miss(error, entry, part)
            return
        chunks = part.chunks()
        for number, (start, stop) in enumerate(chunks):
            if not part.second:
                reader.expect(self._assignment.branches, chunks[number : number + 2])
            self._tally.where = (entry.path, start, stop)
            chunk = _within(part, start, stop)
            try:
                with _located(entry.path, chunk):
                    self._do_chunk(_Source(entry, analysis, reader), chunk)
            except ChunkError as error:
                if error.failure.code != FailureCode.BRANCH:
                    raise
                self._miss(error, entry, _within(part, start, part.stop))
                return
            self._number = ((self._number >> NUMBER_BITS) + 1) << NUMBER_BITS
            self._report(chunk.events)

    def _do_chunk(self, source: _Source, chunk: Range) -> None:
        parts = [chunk]
        damages: list[Damage] | None = None
        while parts:
            part = parts.pop()
            try:
                self._do_part(source, part)
            except EventflockError as error:
                source.reader.done()
                if not self._isolate or not (error.code == FailureCode.READ or _can_cut(error)):
                    raise
                if error.code == FailureCode.READ and damages is None:
                    damages = source.reader.damages(chunk.start, chunk.stop)
                self._cut(error, source.entry, part, damages or [], parts)

    def _do_part(self, source: _Source, part: Range) -> None:
        """Do a chunk, or a part of one."""
        entry, analysis, reader = source
        self._keeper.begin()
        context = context_of(self._assignment, reader.entry, part.start, part.stop, self._keeper)
        events = events_of(reader, analysis, context)
        if len(events) != part.stop - part.start:
            raise InputError(f"{entry.path} gave {len(events):,} entries at {part.start:,}.")
        given = call(analysis, events, context, self._assignment.parameters)
        returned = inside(given, context.dataset)
        self._tally.keyed |= returned is not given
        lumis = self._lumis(reader, part)
        coverage = Coverage.of(self._assignment.dataset, entry, part)
        self._keeper.check(coverage)
        try:
            self._accumulator.add(self._analysis.named(analysis, returned), self._number)
            if lumis is not None:
                self._accumulator.add_one((NAME,), lumis, self._number)
        except EventflockError as error:
            error.code = FailureCode.RETURNED
            raise
        self._keeper.commit(coverage)
        self._number += 1
        self._tally.chunk(reader, part.events)
        self._tally.cover(coverage)

    def _lumis(self, reader: TreeReader, part: Range) -> set[tuple[int, int]] | None:
        """Return the luminosity sections of the events, if they are to be collected."""
        branches = self._assignment.lumis
        if not branches or part.second:
            return None
        return lumis_of(reader, branches, part.start, part.stop)

    def _cut(
        self,
        error: EventflockError,
        entry: FileEntry,
        part: Range,
        damages: list[Damage],
        parts: list[Range],
    ) -> None:
        """Replace a part that failed by smaller ones, or count it as missing."""
        start, stop = part.start, part.stop
        inside = [damage for damage in damages if damage.start < stop and damage.stop > start]
        edges = {start, stop}
        if error.code == FailureCode.READ and inside:
            both = (edge for one in inside for edge in (one.start, one.stop))
            edges |= {edge for edge in both if start < edge < stop}
        elif stop - start > 1:
            edges.add((start + stop) // 2)
        if len(edges) == 2 or self._failed >= self._parts_max():
            if error.code == FailureCode.READ and inside:
                error.message = _named(entry.path, entry.tree_of(part), inside)
            self._miss(ChunkError(error, entry.path, part), entry, part)
            return
        cuts = sorted(edges)
        parts += reversed([_within(part, *cut) for cut in pairwise(cuts)])

    def _parts_max(self) -> int:
        return PARTS_MAX if self._tally.coverage else FIRST_PARTS_MAX

    def _miss(self, error: ChunkError, entry: FileEntry, part: Range) -> None:
        if not self._isolate or len(self._tally.failures) >= FAILURES_MAX:
            raise error
        self._failed += 1
        self._tally.miss(self._assignment.dataset, entry, part, error.failure)


def _can_cut(error: EventflockError) -> bool:
    """Check whether fewer events may do better."""
    return (
        error.kind in {ErrorKind.ANALYSIS, ErrorKind.MEMORY} and error.code != FailureCode.RETURNED
    )


def _within(part: Range, start: int, stop: int) -> Range:
    return Range(part.file, start, stop, (), part.second)


def _named(path: str, tree: str, damages: list[Damage]) -> str:
    what = " and ".join(damage.what for damage in damages[:3])
    return f"{path}: the tree {tree!r} is damaged, cannot read {what}."


@contextlib.contextmanager
def _located(path: str, part: Range) -> Iterator[None]:
    try:
        yield
    except EventflockError as error:
        raise ChunkError(error, path, part) from error


def context_of(
    assignment: Assignment, entry: FileEntry, start: int, stop: int, keeper: Keeper
) -> Context:
    """Return what the analysis may know beside the events."""
    return Context(
        dataset=assignment.dataset,
        metadata=assignment.metadata,
        file=entry.path,
        tree=entry.tree,
        start=start,
        stop=stop,
        keeper=keeper.path_for,
        seed=seed_for(assignment.seed, entry, start),
    )
