"""Adding results up, chunk after chunk and job after job, with the same bits in any order."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boost_histogram as bh
import numpy as np

from eventflock.core.manifest import KeyPath
from eventflock.errors import AnalysisError
from eventflock.results.addition import add, check_fit, different, is_exact, normal, show
from eventflock.results.kinds import unwrapped
from eventflock.results.skims import SkimWriter, is_skim

__all__ = ["Accumulator", "Earlier", "Fold"]

DEPTH_MAX = 50


class Earlier:
    """The objects that an analysis has returned and still keeps."""

    def __init__(self) -> None:
        self._known: dict[tuple[KeyPath, int], weakref.ref[Any]] = {}
        self._lists: dict[KeyPath, list[Any]] = {}
        self._last: Any = None

    def is_last(self, mapping: Any) -> bool:
        """Check whether this very mapping was returned last, and remember it."""
        same, self._last = mapping is self._last, mapping
        return same

    def has(self, path: KeyPath, value: Any) -> bool:
        """Check whether this object (of a view: its memory) came under this name before."""
        if isinstance(value, list):  # which cannot be referred to weakly: the last is kept
            before, self._lists[path] = self._lists.get(path), value
            return before is value
        while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
            value = value.base
        # A boost-histogram cannot be referred to weakly, but what it wraps can.
        value = getattr(value, "_hist", value)
        key = (path, id(value))
        known = self._known.get(key)
        if known is not None and known() is value:
            return True
        self._known[key] = weakref.ref(value, lambda _: self._known.pop(key, None))
        return False


class Fold:
    """Adds numbered values up along a binary tree over their numbers.

    Sums of floating-point numbers depend on their order. Here two sums meet where the binary forms
    of their numbers first differ, wherever they were made: so a job and its halves, done apart and
    added here, give the same bits. Where order does not matter, values are added at once.

    Parameters
    ----------
    path
        Of the values, for errors.
    """

    def __init__(self, path: KeyPath) -> None:
        self._path = path
        self._stack: list[tuple[int, Any]] = []

    def push(self, number: int, value: Any) -> None:
        """Add the value of a number that is not smaller than those before.

        Raises
        ------
        AnalysisError
            It cannot be added to those before.
        """
        if not self._stack:
            self._stack.append((number, normal(self._path, value)))
            return
        last = self._stack[-1][1]
        if is_exact(last) and is_exact(value):
            self._stack[-1] = (number, add(self._path, last, value))
            return
        value = normal(self._path, value)
        check_fit(self._path, last, value)
        while len(self._stack) > 1 and self._height(-2) <= _height(self._stack[-1][0], number):
            self._join()
        self._stack.append((number, value))

    def _height(self, at: int) -> int:
        return _height(self._stack[at][0], self._stack[at + 1][0])

    def _join(self) -> None:
        number, right = self._stack.pop()
        self._stack[-1] = (number, add(self._path, self._stack[-1][1], right))

    def total(self) -> Any:
        """Return the sum of all."""
        while len(self._stack) > 1:
            self._join()
        return self._stack[0][1]


def _height(one: int, other: int) -> int:
    """Where in the tree two numbers meet: higher for numbers farther apart."""
    return (one ^ other).bit_length()


class Accumulator:
    """Adds up what an analysis returns for one chunk after the other, and results of jobs.

    Parameters
    ----------
    scratch
        Folder for the rows of skims.
    earlier
        Kept over several jobs by the process that calls the analysis: an object that comes back
        has been filled with events that are counted already.

    Attributes
    ----------
    values
        By key path, a `Fold` or, of a skim, a `SkimWriter`.
    """

    def __init__(self, scratch: Path, earlier: Earlier | None = None) -> None:
        self.values: dict[KeyPath, Any] = {}
        self._mappings: set[KeyPath] = set()
        self._scratch = scratch
        self._earlier = Earlier() if earlier is None else earlier

    def add(self, returned: Any, number: int = 0) -> None:
        """Add what the analysis returned for the chunk with this number.

        Raises
        ------
        AnalysisError
            It is not a mapping of what can be added, or does not fit to the chunks before.
        """
        if returned is None:  # nothing from this chunk
            return
        if not isinstance(returned, Mapping):
            raise AnalysisError(
                f"The analysis returned a {type(returned).__name__}, expected a mapping of "
                "results.",
                remedy='End it with: return {"name": histogram}.',
            )
        if returned and self._earlier.is_last(returned):
            raise _same_object((), "mapping that the analysis returned")
        for path, value, inner in list(_leaves(returned, ())):
            kept = inner is not value or isinstance(value, bh.Histogram | np.ndarray | list)
            if kept and self._earlier.has(path, value):
                raise _same_object(path, "histogram, array or list")
            self.add_one(path, inner, number)

    def add_one(self, path: KeyPath, value: Any, number: int = 0) -> None:
        """Add one value at its key path. Equal numbers are added in their order."""
        if isinstance(value, Mapping):  # an empty one, as others have their own results
            if path not in self._mappings:
                self._check_new((*path, ""))
            return
        if is_skim(value):
            self.skim(path).append(value)
            return
        there = self.values.get(path)
        if there is None:
            self._check_new(path)
            there = Fold(path)
        elif isinstance(there, SkimWriter):
            raise different(path, there, f"a {type(value).__name__}")
        there.push(number, value)
        self.values[path] = there  # only now: what cannot be a result has no name here

    def _check_new(self, path: KeyPath) -> None:
        """Refuse a name that is a result here and a mapping there."""
        above = [path[:depth] for depth in range(1, len(path))]
        clash = (
            path if path in self._mappings else next((p for p in above if p in self.values), None)
        )
        if clash is not None:
            raise AnalysisError(
                f"{show(clash)} is a result in one chunk and a mapping in another.",
                remedy="Return the same names for every chunk.",
            )
        self._mappings.update(above)

    def finish(self) -> dict[KeyPath, Any]:
        """Close the skims, and return the values as they are written, empty mappings too."""
        found = {
            path: value.close() if isinstance(value, SkimWriter) else value.total()
            for path, value in self.values.items()
        }
        above = {path[:depth] for path in (*found, *self._mappings) for depth in range(len(path))}
        return found | {path: {} for path in self._mappings if path not in above}

    def skim(self, path: KeyPath) -> SkimWriter:
        """Return the writer of a skim, a new one at first."""
        there = self.values.get(path)
        if there is None:
            self._check_new(path)
            file = self._scratch / f"skim-{len(self.values)}.parquet"
            there = self.values[path] = SkimWriter(file, show(path))
        if not isinstance(there, SkimWriter):
            raise different(path, there.total(), "a skim")
        return there


def _leaves(mapping: Mapping[Any, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Yield paths and values, these as they were returned and as they are added."""
    for key, value in mapping.items():
        is_number = isinstance(key, int | np.integer) and not isinstance(key, bool)
        if not is_number and (not isinstance(key, str) or not key):
            raise AnalysisError(
                f"The analysis returned a result under {key!r}, a {type(key).__name__}; "
                "names are non-empty text or integers.",
                remedy=f"Use {str(key) or 'a name'!r} as its name.",
            )
        if len(path) > DEPTH_MAX:
            raise AnalysisError(
                f"The analysis returned mappings nested more than {DEPTH_MAX} deep.",
                remedy="Check that no mapping contains itself.",
            )
        name = str(key) if isinstance(key, str) else int(key)  # NumPy has its own of both
        inner = unwrapped(value)
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, (*path, name))
        elif inner is not None:
            yield (*path, name), value, inner


def _same_object(path: KeyPath, what: str) -> AnalysisError:
    name = f" {show(path)}" if path else ""
    return AnalysisError(
        f"The {what}{name} is the same object in two chunks, so events would be counted twice.",
        remedy="Make it inside the analysis function, new for every chunk.",
    )
