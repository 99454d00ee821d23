"""The events of one chunk: an array of records whose branches are read when they are asked for.

A NanoAOD tree has a thousand branches, of which an analysis touches a few. To make arrays for all
of them, even virtual ones, takes longer than to read those few. So `LazyEvents` reads a branch when
it is asked for by name, and makes the whole record only where something needs it: printing, an
awkward function on the record itself, or a branch of an unusual kind.
"""

from __future__ import annotations

from typing import Any, Protocol

import awkward as ak
import numpy as np

__all__ = ["EventSource", "LazyEvents"]


class EventSource(Protocol):
    """Where the branches of a chunk come from."""

    def fields(self) -> list[str]:
        """Return the names of all branches that can be read."""

    def branch(self, name: str) -> ak.Array | None:
        """Read a branch; None if only the whole record can say what this name means."""

    def whole(self) -> ak.Array:
        """Make the whole record, as virtual arrays."""


class _Selection:
    """Some of the events of another source.

    Parameters
    ----------
    source
        The other one.
    where
        A slice, a mask, or indices: what selects events.
    """

    def __init__(self, source: EventSource, where: Any) -> None:
        self._source = source
        self._where = where

    def fields(self) -> list[str]:
        return self._source.fields()

    def branch(self, name: str) -> ak.Array | None:
        found = self._source.branch(name)
        return None if found is None else found[self._where]

    def whole(self) -> ak.Array:
        return self._source.whole()[self._where]


class LazyEvents(ak.Array):  # type: ignore[misc]
    """Events as an awkward array of records.

    Parameters
    ----------
    source
        Where branches come from.
    length
        Number of events.
    """

    def __init__(self, source: EventSource, length: int) -> None:
        # Not what awkward's own __init__ does: it needs the layout.
        self._behavior = self._attrs = None
        self._cpp_type = self._generator = self._lookup = self._numbaview = None
        self._source = source
        self._length = length
        self._read: dict[str, ak.Array] = {}

    @property
    def _layout(self) -> ak.contents.Content:
        """The whole record. Awkward looks for it under this name wherever it needs it."""
        made = self.__dict__.get("_layout")
        if made is None:
            made = self.__dict__["_layout"] = self._source.whole().layout
        return made

    @_layout.setter
    def _layout(self, layout: ak.contents.Content) -> None:
        # A branch was set or deleted; awkward makes a plain array of this one after that.
        self.__dict__["_layout"] = layout

    def __len__(self) -> int:
        return self._length

    @property
    def fields(self) -> list[str]:
        """Names of the branches."""
        return list(self._source.fields())

    def __getattr__(self, name: str) -> Any:
        found = None if name.startswith("_") else self._branch(name)
        return super().__getattr__(name) if found is None else found

    def __getitem__(self, where: Any) -> Any:
        if isinstance(where, str):
            found = self._branch(where)
        elif isinstance(where, list) and where and all(isinstance(name, str) for name in where):
            found = self._columns(where)
        else:
            found = self._selected(where)
        return super().__getitem__(where) if found is None else found

    def _branch(self, name: str) -> ak.Array | None:
        if "_layout" in self.__dict__ and name not in self._read:
            return None  # the record is there, and its virtual arrays are kept in it
        if name not in self._read:
            found = self._source.branch(name)
            if found is None:
                return None
            self._read[name] = found
        return self._read[name]

    def _columns(self, names: list[str]) -> ak.Array | None:
        branches = {name: self._branch(name) for name in names}
        if any(branch is None for branch in branches.values()):
            return None
        return ak.zip(branches, depth_limit=1)

    def _selected(self, where: Any) -> LazyEvents | None:
        """Select events without reading anything, if it is sure that this can be done."""
        if "_layout" in self.__dict__:
            return None
        length = _length_of(where, self._length)
        if length is None:
            return None
        plain = where if isinstance(where, slice) else np.array(where)  # which may change later
        made = type(self)(_Selection(self._source, plain), length)
        made._behavior, made._attrs = self._behavior, self._attrs
        return made


def _length_of(where: Any, length: int) -> int | None:
    """Return how many of `length` events are selected; None where awkward has to decide."""
    if isinstance(where, slice):
        edges = all(isinstance(edge, int | None) for edge in (where.start, where.stop))
        if not edges or where.step not in {None, 1}:
            return None
        start, stop, _ = where.indices(length)
        return stop - start if start <= stop else None  # some of the others awkward refuses
    if isinstance(where, ak.Array):
        if where.ndim != 1 or not isinstance(where.layout, ak.contents.NumpyArray):
            return None
        where = ak.to_numpy(where)
    if not isinstance(where, np.ndarray) or type(where) is not np.ndarray or where.ndim != 1:
        return None
    if where.dtype == np.bool_:
        return int(np.count_nonzero(where)) if len(where) == length else None
    if not np.issubdtype(where.dtype, np.integer):
        return None
    inside = not len(where) or (where.min() >= -length and where.max() < length)
    return len(where) if inside else None
