"""Coverage: which entries results contain, compared with which were planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from eventflock.core.manifest import Counters, Coverage

__all__ = ["Comparison", "add_counters", "coalesce", "compare", "count", "describe"]

Key = tuple[str, str, str]


class Comparison(msgspec.Struct, frozen=True):
    """How two coverages differ; all empty means that one is exactly the other."""

    missing: tuple[Coverage, ...] = ()
    doubled: tuple[Coverage, ...] = ()
    foreign: tuple[Coverage, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether every planned entry is there once, and nothing else."""
        return not (self.missing or self.doubled or self.foreign)


def coalesce(parts: Iterable[Coverage]) -> Iterator[Coverage]:
    """Join neighbours that continue each other. Keeps the order; needs no memory."""
    last: Coverage | None = None
    for part in parts:
        joined = None if last is None else last.followed_by(part)
        if joined is None and last is not None:
            yield last
        last = joined or part
    if last is not None:
        yield last


def count(parts: Iterable[Coverage]) -> int:
    """Add up the events; entries of second trees are none."""
    return sum(part.stop - part.start for part in parts if not part.second)


def compare(planned: Iterable[Coverage], covered: Iterable[Coverage]) -> Comparison:
    """Compare what results contain with what was planned, entry by entry.

    Parameters
    ----------
    planned
        Without overlaps.
    covered
        In any order, cut in any way.

    Returns
    -------
    Comparison
        Entries planned and not covered, covered more than once, covered and not planned; each
        as few ranges as possible, in the order of the plan.
    """
    plans = _grouped(planned)
    covers = _grouped(covered)
    missing: list[Coverage] = []
    doubled: list[Coverage] = []
    foreign: list[Coverage] = []
    for key in [*plans, *(key for key in covers if key not in plans)]:
        here, there = plans.get(key, []), covers.get(key, [])
        sample = (here or there)[0]
        for start, stop, want, have in _sweep(here, there):
            one = msgspec.structs.replace(sample, start=start, stop=stop)
            if want and not have:
                missing.append(one)
            if have > 1:
                doubled.append(one)
            if have and not want:
                foreign.append(one)
    return Comparison(
        missing=tuple(coalesce(missing)),
        doubled=tuple(coalesce(doubled)),
        foreign=tuple(coalesce(foreign)),
    )


def _grouped(parts: Iterable[Coverage]) -> dict[Key, list[Coverage]]:
    groups: dict[Key, list[Coverage]] = {}
    for one in coalesce(parts):
        if one.stop > one.start:
            groups.setdefault(one.key, []).append(one)
    return groups


def _sweep(planned: list[Coverage], covered: list[Coverage]) -> Iterator[tuple[int, int, int, int]]:
    """Walk over all edges: `(start, stop, times planned, times covered)` between two of them."""
    steps: dict[int, list[int]] = {}
    for index, parts in enumerate((planned, covered)):
        for part in parts:
            steps.setdefault(part.start, [0, 0])[index] += 1
            steps.setdefault(part.stop, [0, 0])[index] -= 1
    want = have = position = 0
    for edge in sorted(steps):
        if want or have:
            yield position, edge, want, have
        want, have = want + steps[edge][0], have + steps[edge][1]
        position = edge


def add_counters(a: Counters, b: Counters) -> Counters:
    """Add what two jobs did; of memory, take the larger."""
    return Counters(
        events=a.events + b.events,
        chunks=a.chunks + b.chunks,
        bytes_read=a.bytes_read + b.bytes_read,
        wall_seconds=a.wall_seconds + b.wall_seconds,
        cpu_seconds=a.cpu_seconds + b.cpu_seconds,
        peak_memory=max(a.peak_memory, b.peak_memory),
        waiting_seconds=a.waiting_seconds + b.waiting_seconds,
    )


def describe_rows(parts: Iterable[Coverage], limit: int = 10) -> str:
    """Name rows for people: `row 3, 7 to 9`."""
    total = list(coalesce(parts))
    words = [
        f"{one.start}" if one.stop == one.start + 1 else f"{one.start} to {one.stop - 1}"
        for one in total[:limit]
    ]
    more = f" and {count(total[limit:]):,} more" if len(total) > limit else ""
    return f"  row {', '.join(words)}{more}"


def describe(parts: Iterable[Coverage], limit: int = 5) -> str:
    """Name ranges for people: `file 3,000 to 4,000 (1,000 entries)`, one per line."""
    total = list(parts)
    lines = [
        f"  {one.path} ({one.dataset}): entries {one.start:,} to {one.stop:,} "
        f"({one.stop - one.start:,})" + (f" of the tree {one.tree!r}" if one.second else "")
        for one in total[:limit]
    ]
    if len(total) > limit:
        lines.append(f"  and {len(total) - limit:,} more ranges ({count(total[limit:]):,} entries)")
    return "\n".join(lines)
