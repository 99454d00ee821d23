"""Adding results up: what may be a result, and what addition means for each type."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boost_histogram as bh
import numpy as np

from eventflock.errors import AnalysisError
from eventflock.results.skims import SkimWriter, is_skim

__all__ = ["Accumulator", "Earlier", "Fold", "KeyPath", "add", "show"]

KeyPath = tuple[str, ...]

_EXPECTED = (
    "Expected histograms (hist, boost_histogram), numbers, NumPy arrays of numbers, awkward "
    "arrays (rows to keep), and mappings of these."
)
DEPTH_MAX = 50
_WIDE = {"i": np.int64, "u": np.uint64, "f": np.float64, "c": np.complex128}
_STORAGES = (
    bh.storage.Int64,
    bh.storage.AtomicInt64,
    bh.storage.Double,
    bh.storage.Unlimited,
    bh.storage.Weight,
    bh.storage.Mean,
    bh.storage.WeightedMean,
)


_storages: dict[type, type] = {}


def storage_of(histogram: Any) -> type:
    """Return the class of the storage; boost-histogram finds it by a search of all classes."""
    kind = type(histogram._hist)
    if kind not in _storages:
        _storages[kind] = histogram.storage_type
    return _storages[kind]


def show(path: KeyPath) -> str:
    """Return a key path as the user would write it."""
    return repr(path[0]) if len(path) == 1 else repr(path)


class Earlier:
    """The objects that an analysis has returned and still keeps."""

    def __init__(self) -> None:
        self._known: dict[tuple[KeyPath, int], weakref.ref[Any]] = {}
        self._last: Any = None

    def is_last(self, mapping: Any) -> bool:
        """Check whether this very mapping was returned last, and remember it."""
        same, self._last = mapping is self._last, mapping
        return same

    def has(self, path: KeyPath, value: Any) -> bool:
        """Check whether this object (of a view: its memory) came under this name before."""
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
            self._stack.append((number, _first(self._path, value)))
            return
        last = self._stack[-1][1]
        if _is_exact(last) and _is_exact(value):
            self._stack[-1] = (number, add(self._path, last, value))
            return
        value = _first(self._path, value)
        _check_fit(self._path, last, value)
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


def _is_exact(value: Any) -> bool:
    """Check whether sums of such values do not depend on their order."""
    if isinstance(value, bh.Histogram):
        return storage_of(value) in {bh.storage.Int64, bh.storage.AtomicInt64}
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iu"
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_fit(path: KeyPath, total: Any, value: Any) -> None:
    """Raise in the chunk that does not fit, not in the one after which they are added."""
    if isinstance(total, bh.Histogram) and isinstance(value, bh.Histogram):
        if total.axes != value.axes or storage_of(total) is not storage_of(value):
            add(path, total.copy(), value)  # growing axes may differ and fit
    elif isinstance(total, np.ndarray) and isinstance(value, np.ndarray):
        if total.shape != value.shape:
            add(path, total, value)
    elif type(total) is not type(value) and not (_is_number(total) and _is_number(value)):
        add(path, total, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | complex)


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
        if not isinstance(returned, Mapping):
            got = "nothing (None)" if returned is None else f"a {type(returned).__name__}"
            raise AnalysisError(
                f"The analysis returned {got}, expected a mapping of results.",
                remedy='End it with: return {"name": histogram}.',
            )
        if self._earlier.is_last(returned):
            raise _same_object((), "mapping that the analysis returned")
        leaves = list(_leaves(returned, ()))
        if not leaves:
            raise AnalysisError(
                "The analysis returned an empty mapping.",
                remedy='Return at least one result: {"name": histogram}.',
            )
        for path, value in leaves:
            kept = isinstance(value, bh.Histogram | np.ndarray)
            if kept and self._earlier.has(path, value):
                raise _same_object(path, "histogram or array")
            self.add_one(path, value, number)

    def add_one(self, path: KeyPath, value: Any, number: int = 0) -> None:
        """Add one value at its key path. Equal numbers are added in their order."""
        if is_skim(value):
            self.skim(path).append(value)
            return
        there = self.values.get(path)
        if there is None:
            self._check_new(path)
            there = Fold(path)
        elif isinstance(there, SkimWriter):
            raise _different(path, there, f"a {type(value).__name__}")
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
        """Close the skims, and return the values as they are written."""
        return {
            path: value.close() if isinstance(value, SkimWriter) else value.total()
            for path, value in self.values.items()
        }

    def skim(self, path: KeyPath) -> SkimWriter:
        """Return the writer of a skim, a new one at first."""
        there = self.values.get(path)
        if there is None:
            self._check_new(path)
            file = self._scratch / f"skim-{len(self.values)}.parquet"
            there = self.values[path] = SkimWriter(file, show(path))
        if not isinstance(there, SkimWriter):
            raise _different(path, there.total(), "a skim")
        return there


def _leaves(mapping: Mapping[Any, Any], path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in mapping.items():
        if not isinstance(key, str) or not key:
            raise AnalysisError(
                f"The analysis returned a result under {key!r}, a {type(key).__name__}; "
                "names are non-empty text.",
                remedy=f"Use {str(key) or 'a name'!r} as its name.",
            )
        if len(path) > DEPTH_MAX:
            raise AnalysisError(
                f"The analysis returned mappings nested more than {DEPTH_MAX} deep.",
                remedy="Check that no mapping contains itself.",
            )
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))  # NumPy has texts of its own
        else:
            yield (*path, str(key)), value


def _first(path: KeyPath, value: Any) -> Any:
    """Check that a value can be added and stored, and return it in the form that is kept."""
    if isinstance(value, bh.Histogram):
        if storage_of(value) not in _STORAGES:
            raise AnalysisError(
                f"The histogram {show(path)} has the storage {value.storage!r}, which has no "
                "exchange format.",
                remedy="Use Int64, Double, Weight, Mean or WeightedMean.",
            )
        # The sum is ours: the user's object may stand under two names.
        return value.copy(deep=False)
    if isinstance(value, np.ndarray):
        if type(value) is np.ma.MaskedArray or value.dtype.kind not in "iufc":
            raise AnalysisError(
                f"The array {show(path)} has the type {value.dtype}, which cannot be added.",
                remedy="Return an array of numbers; rows to keep go into an awkward array.",
            )
        # Wide enough that a sum over all events does not overflow or lose digits.
        return np.array(value, dtype=np.promote_types(value.dtype, _WIDE[value.dtype.kind]))
    return _number(path, value)


def _number(path: KeyPath, value: Any) -> int | float | complex:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | complex):
        text = repr(value)
        raise AnalysisError(
            f"The result {show(path)} is a {type(value).__name__} "
            f"({text[:60]}{'...' if len(text) > 60 else ''}), which cannot be merged.",
            remedy=_EXPECTED,
        )
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else complex(value)


Histogram = bh.Histogram[Any]


def add(path: KeyPath, total: Any, value: Any) -> Any:
    """Add `value` to `total`, which may be changed.

    Raises
    ------
    AnalysisError
        They are of different types, histograms with different axes or storages, or arrays of
        different shapes.
    """
    if isinstance(total, bh.Histogram) and isinstance(value, bh.Histogram):
        return _add_histograms(path, total, value)
    if isinstance(total, np.ndarray) and isinstance(value, np.ndarray):
        if total.shape != value.shape or value.dtype.kind not in "iufc":
            raise AnalysisError(
                f"The array {show(path)} has the shape {value.shape} ({value.dtype}) in one chunk "
                f"and {total.shape} ({total.dtype}) in another.",
                remedy="Arrays are added, so they need one shape. Rows to keep go into an "
                "awkward array: ak.Array(...).",
            )
        return _add_arrays(path, total, value)
    if isinstance(total, int | float | complex):
        return total + _number(path, value)
    raise _different(path, total, f"a {type(value).__name__}")


def _add_arrays(path: KeyPath, total: Any, value: Any) -> Any:
    """Add arrays; integers that need more than 64 bits are refused, as NumPy would wrap around."""
    found = total + value
    if found.dtype.kind == "u":
        wrapped = found < total
    elif found.dtype.kind == "i":
        wrapped = ((total ^ found) & (value ^ found)) < 0
    else:
        return found
    if wrapped.any():
        raise AnalysisError(
            f"The sum of the arrays {show(path)} needs more than 64 bits.",
            remedy="Return it as floats, or as single numbers: a Python int has no limit.",
        )
    return found


def _add_histograms(path: KeyPath, total: Histogram, value: Histogram) -> Histogram:
    if storage_of(total) is not storage_of(value):
        raise AnalysisError(
            f"The histogram {show(path)} has the storage {value.storage!r} in one chunk and "
            f"{total.storage!r} in another.",
            remedy="Use one storage everywhere.",
        )
    try:
        total += value
    except ValueError:
        raise AnalysisError(
            f"The histogram {show(path)} has different axes in different chunks:\n"
            f"  {_axes(total)}\n  {_axes(value)}",
            remedy="Make its axes the same for every chunk, whatever is in the events.",
        ) from None
    return total


def _axes(histogram: Histogram) -> str:
    return ", ".join(repr(axis) for axis in histogram.axes) or "no axes"


def _same_object(path: KeyPath, what: str) -> AnalysisError:
    name = f" {show(path)}" if path else ""
    return AnalysisError(
        f"The {what}{name} is the same object in two chunks, so events would be counted twice.",
        remedy="Make it inside the analysis function, new for every chunk.",
    )


def _different(path: KeyPath, total: Any, other: str) -> AnalysisError:
    kind = "skim" if isinstance(total, SkimWriter) else type(total).__name__
    return AnalysisError(
        f"The result {show(path)} is a {kind} in one chunk and {other} in another.",
        remedy="Return the same type for every chunk.",
    )
