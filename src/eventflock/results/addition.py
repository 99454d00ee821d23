"""What may be a result, and what addition means for each type."""

from __future__ import annotations

from typing import Any

import boost_histogram as bh
import numpy as np

from eventflock.core.manifest import KeyPath
from eventflock.errors import AnalysisError
from eventflock.results.kinds import AllOf, AnyOf, Column, element
from eventflock.results.skims import SkimWriter

__all__ = ["add", "check_fit", "different", "is_exact", "normal", "show", "storage_of"]

_EXPECTED = (
    "Expected histograms (hist, boost_histogram), numbers, NumPy arrays of numbers, awkward "
    "arrays (rows to keep), sets, lists, equal text, ef.AnyOf and ef.AllOf, and mappings of these."
)
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


def normal(path: KeyPath, value: Any) -> Any:
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
    return _normal_plain(path, value)


def _normal_plain(path: KeyPath, value: Any) -> Any:
    """Do the same for what is no histogram and no array."""
    if isinstance(value, set | frozenset):
        return {element(show(path), one) for one in value}
    if isinstance(value, list):
        return list(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, AnyOf | AllOf):
        if not isinstance(value.value, bool | np.bool_):
            raise AnalysisError(
                f"The flag {show(path)} is {value.value!r}, a {type(value.value).__name__}.",
                remedy="Give it True or False, as bool(...) makes of anything.",
            )
        return type(value)(bool(value.value))
    if isinstance(value, Column):
        return _normal_column(path, value)
    return _number(path, value)


def _normal_column(path: KeyPath, value: Column) -> Column:
    array = value.whole()
    if array.dtype.kind not in "iufcb" or array.ndim == 0:
        raise AnalysisError(
            f"The column {show(path)} has the type {array.dtype} and the shape {array.shape}.",
            remedy="Give it an array of numbers or flags, one row for each value.",
        )
    return Column([np.array(array)])


def _number(path: KeyPath, value: Any) -> int | float | complex:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        raise AnalysisError(
            f"The result {show(path)} is {value}, a bool, which does not say how chunks add up.",
            remedy="Return ef.AnyOf(flag), ef.AllOf(flag), or int(flag) to count.",
        )
    if not isinstance(value, int | float | complex):
        text = repr(value)
        raise AnalysisError(
            f"The result {show(path)} is a {type(value).__name__} "
            f"({text[:60]}{'...' if len(text) > 60 else ''}), which cannot be merged.",
            remedy=_EXPECTED,
        )
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else complex(value)


def is_exact(value: Any) -> bool:
    """Check whether sums of such values do not depend on their order."""
    if isinstance(value, bh.Histogram):
        return storage_of(value) in {bh.storage.Int64, bh.storage.AtomicInt64}
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iu"
    if isinstance(value, set | frozenset | list | str | AnyOf | AllOf | Column):
        return True
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_fit(path: KeyPath, total: Any, value: Any) -> None:
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
    return _add_plain(path, total, normal(path, value))


def _add_plain(path: KeyPath, total: Any, value: Any) -> Any:
    """Add what has no number: sets unite, lists and columns go on, texts must be equal."""
    if type(total) is not type(value):
        raise different(path, total, f"a {_name(value)}")
    if isinstance(total, set):
        total |= value
    elif isinstance(total, list):
        total += value
    elif isinstance(total, AnyOf):
        return AnyOf(total.value or value.value)
    elif isinstance(total, AllOf):
        return AllOf(total.value and value.value)
    elif isinstance(total, Column):
        return _add_columns(path, total, value)
    elif total != value:
        raise AnalysisError(
            f"The text {show(path)} is {value[:60]!r} in one chunk and {total[:60]!r} in another.",
            remedy="Return a set of texts: {text}.",
        )
    return total


def _add_columns(path: KeyPath, total: Column, value: Column) -> Column:
    ours, theirs = total.parts[0], value.parts[0]
    if total.shape() != value.shape() or ours.dtype != theirs.dtype:
        raise AnalysisError(
            f"The column {show(path)} has rows of {value.shape()} ({theirs.dtype}) in one chunk "
            f"and of {total.shape()} ({ours.dtype}) in another.",
            remedy="Give it rows of one shape and type in every chunk.",
        )
    total.parts += value.parts
    return total


def _name(value: Any) -> str:
    return "skim" if isinstance(value, SkimWriter) else type(value).__name__


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


def different(path: KeyPath, total: Any, other: str) -> AnalysisError:
    """Return the error for results of two types under one name."""
    return AnalysisError(
        f"The result {show(path)} is a {_name(total)} in one chunk and {other} in another.",
        remedy="Return the same type for every chunk.",
    )
