"""The fields of an RNTuple, with the values and the types that ROOT gives them.

uproot reads the columns of a field for all clusters that a range touches, as virtual arrays. For
three kinds of fields that is not what ROOT reads, or fails, and they are read in another way:

- a `std::variant` anywhere in the field: its indices count from the start of their cluster, so it
  is read cluster by cluster;
- a field that was added while the file was written: a range that ends before its first element
  has to be read together with that element;
- a field whose column has another precision than its C++ type (`Real16`, `Real32Trunc`, ...) gets
  the precision of its type, in which sums are made.

The format: https://github.com/root-project/root/blob/master/tree/ntuple/doc/BinaryFormatSpecification.md
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
from uproot.const import RNTupleFieldRole, rntuple_col_num_to_dtype_dict

from eventflock.events.files import clusters_of

__all__ = ["NTupleFields"]

_TYPES: dict[str, np.dtype[Any]] = {"float": np.dtype("float32"), "double": np.dtype("float64")}
_COLUMN_TYPES: dict[int, np.dtype[Any]] = {
    kind: np.dtype(name if name.startswith("float") else "float32")
    for kind, name in rntuple_col_num_to_dtype_dict.items()
    if name.startswith(("float", "real"))
}
"""What uproot makes of columns with real numbers."""


class _Kind(NamedTuple):
    """What is unusual about a field.

    Attributes
    ----------
    variant
        It is a variant, or has one in it.
    starts
        An entry of the first cluster that has data of it; 0 if all have.
    repeats
        It has a fixed number of elements per entry, which uproot does not count when it fills up
        the entries before the first.
    type
        What its numbers are converted to, None to leave them.
    """

    variant: bool
    starts: int
    repeats: bool
    type: np.dtype[Any] | None

    @property
    def plain(self) -> bool:
        return not (self.variant or self.starts or self.type is not None)


class NTupleFields:
    """The top-level fields of an RNTuple.

    Parameters
    ----------
    tree
        uproot's RNTuple.
    """

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._fields = {str(field.name): field for field in tree.fields}
        self._kinds: dict[str, _Kind] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    @property
    def names(self) -> list[str]:
        """Names of the fields, in their order."""
        return list(self._fields)

    def is_plain(self, name: str) -> bool:
        """Check whether uproot's virtual arrays are right for a field."""
        return self._kind(name).plain

    def read(self, name: str, start: int, stop: int, log: list[Any]) -> ak.Array:
        """Read entries `[start, stop)` of a field; virtual arrays where they are right.

        Parameters
        ----------
        name
            Of a top-level field.
        start, stop
            The range of entries.
        log
            Takes what is read later.
        """
        field, kind = self._fields[name], self._kind(name)
        if kind.plain:
            return field.array(start, stop, virtual=True, access_log=log)
        edges = [start, stop]
        if kind.variant:
            edges[1:1] = [edge for edge in clusters_of(self._tree) if start < edge < stop]
        parts = [_part(field, kind, *edge) for edge in pairwise(edges)]
        # Also of one part, as it joins the numbers of a variant: a type that no chunk changes.
        found = ak.concatenate([*parts, parts[0][:0]]) if kind.variant else parts[0]
        return found if kind.type is None else _with_type(found, kind.type)

    def _kind(self, name: str) -> _Kind:
        if name not in self._kinds:
            self._kinds[name] = self._look_at(name)
        return self._kinds[name]

    def _look_at(self, name: str) -> _Kind:
        below = list(_all_below(self._fields[name]))
        columns = [column for field in below for column in self._columns_of(field)]
        late = [column.idx for column in columns if column.first_element_index]
        return _Kind(
            variant=any(field.record.struct_role == RNTupleFieldRole.VARIANT for field in below),
            starts=self._first_entry(late) if late else 0,
            repeats=any(field.record.repetition for field in below),
            type=self._wider_type(below),
        )

    def _columns_of(self, field: Any) -> list[Any]:
        source = field.record.source_field_id  # another field, of which this is a projection
        return self._columns.get(field.field_id if source is None else source, [])

    @functools.cached_property
    def _columns(self) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for column in self._tree.ntuple.column_records:
            found.setdefault(int(column.field_id), []).append(column)
        return found

    def _first_entry(self, columns: list[int]) -> int:
        """Return the first entry of the first cluster with data of columns."""
        ntuple = self._tree.ntuple
        for cluster, pages in zip(ntuple.cluster_summaries, ntuple.page_link_list, strict=True):
            if any(column < len(pages) and pages[column].pages for column in columns):
                return int(cluster.num_first_entry)
        return int(self._tree.num_entries)

    def _wider_type(self, below: list[Any]) -> np.dtype[Any] | None:
        """Return a type for numbers that uproot gives with less precision than the C++ type."""
        reals = [field for field in below if field.typename in _TYPES]
        if not reals:
            return None
        wanted = min((_TYPES[field.typename] for field in reals), key=lambda one: one.itemsize)
        stored = [column.type for field in reals for column in self._columns_of(field)]
        narrow = any(_COLUMN_TYPES.get(kind, wanted).itemsize < wanted.itemsize for kind in stored)
        return wanted if narrow else None


def _part(field: Any, kind: _Kind, start: int, stop: int) -> ak.Array:
    if not kind.starts or start == stop:
        return field.array(start, stop)
    first = 0 if kind.repeats else start
    # Clusters without data of this field cost nothing.
    last = min(max(stop, kind.starts + 1), field.ntuple.num_entries)
    return field.array(first, last)[start - first : stop - first]


def _with_type(array: ak.Array, wanted: np.dtype[Any]) -> ak.Array:
    def widen(layout: Any, **_: Any) -> Any:
        if layout.is_numpy and layout.dtype.kind == "f" and layout.dtype.itemsize < wanted.itemsize:
            return layout.copy(data=layout.data.astype(wanted))
        return None

    return ak.transform(widen, array)


def _all_below(field: Any) -> Iterator[Any]:
    yield field
    for child in field.ntuple._related_ids.get(field.field_id, ()):
        yield from _all_below(field.ntuple.all_fields[child])
