"""Why no slot can run a job: each of its demands, and of the slots', against every slot.

The question is whether a slot could *ever* run it, so partitionable slots count with all they have,
not with what is free now. Each demand is evaluated by HTCondor's own ClassAd library, once for each
combination of values of the attributes it depends on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflock.core.structs import Frozen
from eventflock.errors import nearest, plural
from eventflock.pools.htcondor.classads import references, split, strings_in

__all__ = ["Clause", "Verdict", "explain", "in_words"]

Mask = NDArray[np.bool_]
LISTED = 8
"""Clauses, and values of an attribute, that are listed at most."""
_UNITS = {"memory": ("memory", " MB", 1), "disk": ("disk", " MB", 1024), "cpus": ("cores", "", 1)}
_MEANS: dict[tuple[str, ...], str] = {
    ("arch",): "the kind of processor asked for, {}",
    ("opsys",): "the operating system asked for, {}",
    ("filesystemdomain",): "the shared file system asked for, {}",
    ("hascontainer",): "the container, for which they have no runtime",
    ("hasfiletransfer",): "the transfer of files, which they do not do",
}
"""What HTCondor demands on its own on behalf of a job, by the attributes of the slot."""


class Clause(Frozen, frozen=True):
    """A demand that some slots do not meet.

    Attributes
    ----------
    text
        The expression. One request is demanded by the job and by the slots; this is the first.
    excludes
        How many slots do not meet it.
    words
        What it stands for, to come after "excluded by".
    """

    text: str
    excludes: int
    words: str


class Verdict(Frozen, frozen=True):
    """Which slots could run a job, and what excludes the others.

    Attributes
    ----------
    slots, matching
        How many slots there are, and how many of them could run it.
    clauses
        What excludes slots, the most excluding first.
    pairs
        Where no slot is left, but no clause alone excludes all: pairs of clauses that do.
    """

    slots: int
    matching: int
    clauses: tuple[Clause, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()


def _is_expression(value: Any) -> bool:  # or a list, which may hold some
    return type(value).__name__ in {"ExprTree", "list"}


class _Slots:
    """The slots as columns: the distinct values of an attribute, and which of them each has."""

    def __init__(self, job: Any, ads: Sequence[Any]) -> None:
        self.job = job
        self.ads = ads
        self.columns: dict[str, tuple[list[Any], NDArray[np.int64]]] = {}
        self.spelling: dict[str, str] = {}

    def column(self, name: str) -> tuple[list[Any], NDArray[np.int64]]:
        """Return the distinct values of an attribute (None: a slot has none), and their indices."""
        if name not in self.columns:
            index, values = dict[Any, int](), list[Any]()
            codes = np.empty(len(self.ads), np.int64)
            for row, ad in enumerate(self.ads):
                value = self._value(ad, name)
                key = value if type(value) is str else (type(value), str(value))
                codes[row] = code = index.setdefault(key, len(values))
                if code == len(values):
                    values.append(value)
            self.columns[name] = (values, codes)
        return self.columns[name]

    @staticmethod
    def _value(ad: Any, name: str) -> Any:
        """Return an attribute; of a partitionable slot, as it is when nothing of it is in use."""
        if ad.get("PartitionableSlot") is not True:
            return ad.get(name)
        if name == "availablegpus":
            return [ad[one] for one in ad if one.startswith("GPUs_") and hasattr(ad[one], "keys")]
        total = ad.get(f"TotalSlot{name}")
        return ad.get(name) if total is None else total

    def reach(self, mine: str, text: str) -> tuple[set[str], set[str]]:
        """Return the attributes of the slot and of the job that an expression depends on."""
        todo, found = [(mine, text)], {"slot": set[str](), "job": set[str]()}
        while todo:
            whose, expression = todo.pop()
            for scope, spelt in references(expression):
                name = spelt.lower()
                self.spelling.setdefault(name, spelt)
                owner = self._owner(whose, scope, name)
                if name not in found[owner]:
                    found[owner].add(name)
                    values = self.column(name)[0] if owner == "slot" else [self.job.get(name)]
                    todo += [(owner, str(value)) for value in values if _is_expression(value)]
        return found["slot"], found["job"]

    def _owner(self, whose: str, scope: str, name: str) -> str:
        """Return whose attribute is meant; a name alone is looked up in the own ad first."""
        if scope == "my" or (not scope and whose == "job" and name in self.job):
            return whose
        if scope == "target" or whose == "job":
            return {"job": "slot", "slot": "job"}[whose]
        return "job" if name in self.job and self.column(name)[0] == [None] else "slot"

    def demands(self, *, of_slots: bool) -> Iterator[tuple[str, str, Mask]]:
        """Yield every demand: of the job or the slots, its text, and the slots it is about."""
        everywhere = np.ones(len(self.ads), bool)
        todo = [("slot", "Requirements", everywhere, 0)] if of_slots else []
        todo.append(("job", "Requirements", everywhere, 0))
        while todo:
            mine, text, mask, depth = todo.pop()
            for value, rows in self._definitions(mine, text, mask) if depth < 9 else [(None, mask)]:
                if _is_expression(value):
                    todo += [(mine, one, rows, depth + 1) for one in reversed(split(str(value)))]
                elif value is not True and (depth or value is not None):
                    yield mine, text, rows

    def _definitions(self, mine: str, text: str, mask: Mask) -> list[tuple[Any, Mask]]:
        """Return what stands behind a clause that is but a name, and for which slots it does."""
        named = re.fullmatch(r"(?:MY\.)?([A-Za-z_]\w*)", text, re.IGNORECASE)
        if named is None or mine == "job":
            return [(self.job.get(named[1]) if named else None, mask)]
        values, codes = self.column(named[1].lower())
        used = np.unique(codes[mask])
        if len(used) > 200:  # every machine has its own
            return [(Ellipsis, mask)]
        return [(values[code], mask & (codes == code)) for code in used]

    def evaluate(self, mine: str, text: str, mask: Mask) -> tuple[Mask, Mask]:
        """Find the slots for which a demand is not true, and among them those where it fails."""
        from classad2 import ClassAd, ExprTree, Value

        expression, rows = ExprTree(text), np.flatnonzero(mask)
        columns = {name: self.column(name) for name in self.reach(mine, text)[0]}
        group = np.zeros(len(rows), np.int64)
        for values, codes in columns.values():  # renumbered, so that the products stay small
            group = np.unique(group * len(values) + codes[rows], return_inverse=True)[1]
        firsts = rows[np.unique(group, return_index=True)[1]]
        outcome, slot = np.ones((2, len(firsts)), bool), ClassAd()
        for index, row in enumerate(firsts):
            for name, (values, codes) in columns.items():
                slot.pop(name, None)
                if values[codes[row]] is not None:
                    slot[name] = values[codes[row]]
            value = expression.eval(*((self.job, slot) if mine == "job" else (slot, self.job)))
            plain = isinstance(value, bool | int | float) and not isinstance(value, Value)
            outcome[:, index] = not (plain and value), not (plain or value == Value.Undefined)
        found = np.zeros((2, len(mask)), bool)
        found[:, rows] = outcome[:, group]
        return found[0], found[1]


def explain(job: Any, slots: Iterable[Any], *, of_slots: bool = True) -> Verdict:
    """Find which slots of a pool could run a job, and what excludes the others.

    Parameters
    ----------
    job
        The job's ClassAd.
    slots
        The ClassAds of the slots as the collector has them. Dynamic slots are left out: each is
        a part of a partitionable one.
    of_slots
        Whether what slots demand of the job counts.
    """
    import classad2

    classad2.parseOne("A = 1")  # until it has read an ad, names mean less to it than to HTCondor
    ads = [
        slot for slot in slots if slot.get("SlotType") != "Dynamic" and not slot.get("DynamicSlot")
    ]
    table, found = _Slots(job, ads), dict[str, tuple[str, str, Mask, Mask]]()
    for mine, text, about in table.demands(of_slots=of_slots):
        excluded, failed = table.evaluate(mine, text, about)
        key = _request(table, mine, text) or f"{mine} {text}"
        first = found.setdefault(key, (mine, text, excluded, failed))
        first[2][:] |= excluded  # the same demand from the other side, or of other slots
        first[3][:] |= failed
    ranked = sorted(found.items(), key=lambda item: -int(item[1][2].sum()))
    masks = [mask for _, (_, _, mask, _) in ranked if mask.any()]
    left = ~np.logical_or.reduce([np.zeros(len(ads), bool), *masks])
    clauses = tuple(
        Clause(text=one[1], excludes=int(mask.sum()), words=_words(table, key, *one))
        for (key, one), mask in zip(ranked, masks, strict=False)
    )
    pairs: Iterable[tuple[int, int]] = ()
    if ads and not left.any() and not masks[0].all():
        several = combinations(range(min(len(masks), 50)), 2)
        pairs = ((one, two) for one, two in several if (masks[one] | masks[two]).all())
    matching, pairs = int(left.sum()), tuple(islice(pairs, 3))
    return Verdict(slots=len(ads), matching=matching, clauses=clauses, pairs=pairs)


def _named(table: _Slots, mine: str, text: str) -> tuple[list[str], list[str]]:
    """Return the attributes of the slot and of the job that stand in a clause."""
    names = {name.lower() for _, name in references(text)}
    slot, job = (sorted(names & one) for one in table.reach(mine, text))
    return slot, job


def _request(table: _Slots, mine: str, text: str) -> str:
    """Return the resource that a clause compares with what the job asks for, if it does."""
    slot, job = _named(table, mine, text)  # some versions of HTCondor look after the disk later
    named = [name for name in slot if name != "condorversion"]
    return named[0] if len(named) == 1 and job == [f"request{named[0]}"] else ""


def _words(table: _Slots, key: str, mine: str, text: str, _: Mask, failed: Mask) -> str:
    slot, job = _named(table, mine, text)
    if " " not in key:
        return _request_words(table, key)
    if mine == "slot":
        said = [f"{table.spelling[name]} {_shown(table.job.get(name))}" for name in job]
        why = f"the jobs have {', '.join(said)}" if job else "it is not true now for these jobs"
        return f"their own condition  {_short(text)}  ({why})"
    notes = [_have(table, name, alone=len(slot) == 1) for name in slot[:2]]
    notes += [f"the jobs have no {table.spelling[one]}" for one in job if one not in table.job]
    if failed.any():
        notes.append(f"it cannot be evaluated on {plural(int(failed.sum()), 'slot')}")
    note = f"({'; '.join(notes)})" if notes else ""
    if tuple(slot) in _MEANS and "!" not in text:
        asked = strings_in(text) or [_shown(table.job.get(name)) for name in job]
        return f"{_MEANS[tuple(slot)].format(', '.join(asked).replace(chr(34), ''))} {note}"
    return f"{_short(text)}  {note}".rstrip()


def _request_words(table: _Slots, name: str) -> str:
    noun, unit, scale = _UNITS.get(name, (table.spelling[name], "", 1))
    asked = [table.job.eval(f"Request{name}")] if f"Request{name}" in table.job else []
    most = max((one for one in table.column(name)[0] if isinstance(one, int | float)), default=0)
    said = [f"{one / scale:,.0f}{unit}" for one in (most, *asked) if type(one) in {int, float}]
    has = f"the largest slot has {said[0]}" if most else "no slot has any"
    return f"the {', '.join([f'{noun} asked for', *said[1:]])} ({has})"


def _have(table: _Slots, name: str, *, alone: bool) -> str:
    """Describe which values of an attribute the slots have."""
    (values, codes), spelt = table.column(name), table.spelling[name]
    if values == [None]:
        known = {key for ad in table.ads[:: len(table.ads) // 50 + 1] for key in ad}
        return f"no slot advertises {spelt}; {nearest(name, known)}".rstrip("; ")
    counts = np.bincount(codes)
    order = [one for one in np.argsort(-counts, kind="stable") if values[one] is not None]
    numbers = [value for value in values if type(value) in {int, float}]
    if len(order) > LISTED and len(numbers) == len(order):
        said = f"{min(numbers):,} to {max(numbers):,}"
    elif len(order) > LISTED and counts.max() == 1:
        said = f"{len(order):,} different ones"
    else:
        said = ", ".join(f"{_shown(values[one])} {counts[one]:,}" for one in order[:LISTED])
        said += f" and {len(order) - LISTED:,} others" if len(order) > LISTED else ""
    text = f"the slots have: {said}" if alone else f"{spelt} of the slots: {said}"
    missing = len(codes) - int(counts[order].sum())
    return f"{text}; {missing:,} do not advertise {spelt}" if missing else text


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool | None) else " ".join(str(value).split())
    return _short(text)


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def in_words(verdict: Verdict) -> str:
    """Describe a verdict in a few lines for a person."""
    count, clauses, total = verdict.slots, verdict.clauses, plural(verdict.slots, "slot")
    if not count:
        return "The pool has no slots now: no machine has joined it, or none that you may see."
    if verdict.matching == count:
        return f"Every slot of the pool can run these jobs when it is free ({total})."
    if verdict.matching:
        lines = [f"{verdict.matching:,} of {total} of the pool can run these jobs; of the others,"]
    else:
        alone = "" if clauses[0].excludes == count else ", though no demand alone excludes all"
        lines = [f"No slot of the pool can run these jobs{alone}: of {total},"]
    verb = "is excluded " if clauses[0].excludes == 1 else "are excluded "
    for clause in clauses[:LISTED]:
        space = " " if clause.words.startswith(_short(clause.text)) else ""
        lines.append(f"  {clause.excludes:,} {verb}by {space}{clause.words}")
        verb = ""
    if len(clauses) > LISTED:
        lines.append(f"  and some by {plural(len(clauses) - LISTED, 'other demand')}")
    for pair in verdict.pairs:
        both = " and ".join(clauses[index].words.split(" (")[0].strip() for index in pair)
        lines += [f"Together, {both} leave none."]
    return "\n".join(lines)
