"""What was unpickled, as values of a result: numbers, arrays and histograms by key path."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import boost_histogram as bh
import numpy as np
from hist import Hist

from eventflock.errors import ResultError
from eventflock.pickles.unpickler import Column, Core, Wrapped

__all__ = ["values_of"]

DEPTH_MAX = 30
VALUES_MAX = 100_000
BINS_MAX = 2**28


def values_of(loaded: Any, name: str) -> tuple[dict[tuple[str, ...], Any], list[str]]:
    """Find what can be added up in an unpickled object.

    Parameters
    ----------
    loaded
        From `unpickle`.
    name
        For what has no name of its own.

    Returns
    -------
    dict
        From key paths to `hist.Hist`, arrays of numbers, and numbers.
    list of str
        What was left out, as it cannot be added: texts, and what is empty.

    Raises
    ------
    ResultError
        Something is neither, or there is nothing.
    """
    found: dict[tuple[str, ...], Any] = {}
    left_out: list[str] = []
    for path, value in _walk(loaded, (name,), 0):
        if len(found) + len(left_out) >= VALUES_MAX:
            raise ResultError(f"it has more than {VALUES_MAX:,} values")
        made = _value(path, value)
        if made is None:
            left_out.append("/".join(path))
        else:
            found[path] = made
    if not found:
        raise ResultError("it has nothing that can be added up")
    return found, left_out


def _walk(value: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Go through mappings, down to values."""
    if not isinstance(value, dict) or _is_tutorial(value):
        yield path, value
        return
    if depth >= DEPTH_MAX:
        raise ResultError(f"its mappings are more than {DEPTH_MAX} levels deep")
    for key, inner in value.items():
        if not isinstance(key, str | int | float | tuple) or not str(key):
            raise ResultError(f"it has a mapping with the key {key!r}")
        yield from _walk(inner, (*path, str(key)) if depth else (str(key),), depth + 1)


def _is_tutorial(value: dict[Any, Any]) -> bool:
    """Check whether a mapping is a histogram, as numpy.histogram gives it."""
    return set(value) == {"hist", "bins"} and not isinstance(value["hist"], dict | Wrapped)


def _value(path: tuple[str, ...], value: Any) -> Any:
    """Return a value that can be added; None for one that is left out."""
    if isinstance(value, Column):
        state = value.state if isinstance(value.state, dict) else {}
        return _value(path, state.get("_value", state.get("value")))
    if isinstance(value, dict):
        return _numpy_histogram(path, value)
    if isinstance(value, Wrapped):
        return _histogram(path, value.state)
    if isinstance(value, Core):
        return _histogram(path, {"_hist": value})
    if value is None or isinstance(value, bool | str | bytes | list | tuple | set):
        return None
    if isinstance(value, np.number):
        return value.item()
    if isinstance(value, int | float | complex):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufc":
        return np.asarray(value)
    if isinstance(value, np.ndarray | np.generic):
        return None
    raise ResultError(f"{'/'.join(path)} is a {type(value).__name__}, which cannot be added up")


def _numpy_histogram(path: tuple[str, ...], value: dict[Any, Any]) -> Hist[Any]:
    """Make a histogram of counts and edges."""
    where = "/".join(path)
    try:
        counts, edges = (np.asarray(value[key], np.float64) for key in ("hist", "bins"))
    except (TypeError, ValueError):
        raise ResultError(f"{where} has counts or edges that are not numbers") from None
    if counts.ndim != 1 or edges.shape != (len(counts) + 1,):
        raise ResultError(f"{where} has {counts.shape} counts and {edges.shape} edges")
    if not np.all(np.isfinite(edges)) or not np.all(np.diff(edges) > 0):
        raise ResultError(f"{where} has edges that do not increase")
    even = np.allclose(edges, np.linspace(edges[0], edges[-1], len(edges)), rtol=1e-12, atol=0)
    if even:
        made = Hist.new.Reg(len(counts), edges[0], edges[-1]).Double()
    else:
        made = Hist.new.Var(edges).Double()
    made.view(flow=False)[...] = counts
    return made


def _histogram(path: tuple[str, ...], state: Any) -> Hist[Any]:
    """Make a histogram of what the core has, after checking that its bins are there."""
    where = "/".join(path)
    held = state.get("_hist") if isinstance(state, dict) else None
    inner = held.real if isinstance(held, Core) else None
    if inner is None:
        raise ResultError(f"{where} is a histogram without content")
    # Its `size` is that of the storage, and the extents are those of the axes: they may disagree.
    sizes = [inner.axis(number).extent for number in range(inner.rank())]
    if not all(0 <= size < BINS_MAX for size in sizes) or math.prod(sizes) != inner.size():
        raise ResultError(f"{where} has axes of {sizes} and {inner.size()} bins")
    made = Hist(bh.Histogram(inner))
    for key in ("name", "label"):
        if isinstance(state.get(key), str):
            setattr(made, key, state[key])
    return made
