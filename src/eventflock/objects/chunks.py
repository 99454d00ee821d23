"""The events of one chunk as coffea's NanoEvents, a collection made when it is asked for.

The schema is worked out once per file. A chunk then costs nothing for the hundreds of branches that
it does not touch, where `NanoEventsFactory` makes virtual arrays for all of them. Branches are read
by `TreeReader`: so they are counted, and what cannot be read is named, as for flat branches.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from coffea.nanoevents.factory import _key_formatter as key_formatter
from coffea.nanoevents.mapping import UprootSourceMapping
from coffea.nanoevents.schemas.edm4hep import EDM4HEPSchema, podio_collection_types
from coffea.nanoevents.util import tuple_to_key

from eventflock.errors import InputError
from eventflock.events.lazy import LazyEvents
from eventflock.failures.codes import FailureCode

if TYPE_CHECKING:
    from eventflock.events.reader import TreeReader

__all__ = ["ObjectTree"]


class ObjectTree:
    """A tree that is open, seen through a schema.

    Parameters
    ----------
    reader
        Reads its branches.
    schema
        A class that derives from `coffea.nanoevents.BaseSchema`.
    """

    def __init__(self, reader: TreeReader, schema: type[Any]) -> None:
        self.reader = reader
        made = _see(reader, schema)
        self.form: dict[str, Any] = made.form
        self.behavior: Mapping[Any, Any] = made.behavior()
        self.fields: list[str] = list(self.form["fields"])
        self._parts: dict[str, Any] = {}
        self._kind = type("NanoEvents", (_ObjectEvents, self.behavior["*", "NanoEvents"]), {})

    def part(self, name: str) -> Any:
        """Return the form of a collection."""
        if name not in self._parts:
            content = self.form["contents"][self.fields.index(name)]
            self._parts[name] = ak.forms.from_dict(content)
        return self._parts[name]

    def whole(self, metadata: Mapping[str, Any]) -> Any:
        """Return the form of an event with all its collections."""
        parameters = {**self.form["parameters"], "metadata": dict(metadata)}
        return ak.forms.from_dict({**self.form, "parameters": parameters})

    def chunk(self, start: int, stop: int, metadata: Mapping[str, Any]) -> Any:
        """Return the events of entries `[start, stop)`.

        Parameters
        ----------
        metadata
            What `events.metadata` gives.

        Returns
        -------
        ak.Array
            NanoEvents of length `stop - start`.
        """
        self.reader.begin()
        return _Chunk(self, (start, stop), metadata).events()

    def events_of(self, chunk: _Chunk) -> Any:
        """Make the array of the events of a chunk."""
        made = self._kind(chunk, len(chunk))
        made._behavior, made._attrs = self.behavior, {"@events_factory": chunk}
        return made


def _see(reader: TreeReader, schema: type[Any]) -> Any:
    """Work out what a schema makes of the branches of a tree, as `NanoEventsFactory.from_root`."""
    tree = reader.tree
    select = {} if reader.filter is None else {"filter_name": reader.filter}
    with warnings.catch_warnings():
        # Of branches that some versions of a format do not have: who asks for one is told.
        warnings.simplefilter("ignore")
        base = UprootSourceMapping._extract_base_form(tree, iteritems_options=select)
        base["typenames"] = tree.typenames()
        if issubclass(schema, EDM4HEPSchema):
            base["podio_collection_types"] = podio_collection_types(tree)
        try:
            return schema(base)
        except Exception as error:
            raise InputError(
                f"{reader.entry.path}: the schema {schema.__name__} makes nothing of the tree "
                f"{reader.entry.tree!r}: {str(error).strip().splitlines()[0]}",
                remedy="Name the schema that the file was written for, or 'base'.",
                code=FailureCode.BRANCH,
            ) from error


class _Chunk:
    """A chunk as `LazyEvents` asks for it, and as methods of coffea ask for all its events."""

    def __init__(
        self, tree: ObjectTree, part: tuple[int, int], metadata: Mapping[str, Any]
    ) -> None:
        entry = tree.reader.entry
        self._tree = tree
        self._part = part
        self.metadata = dict(metadata)
        self._key = tuple_to_key((entry.uuid, entry.tree, f"{part[0]}-{part[1]}"))
        self._buffers = _Buffers(tree.reader, *part)
        self._events: Any = lambda: None

    def __len__(self) -> int:
        return self._part[1] - self._part[0]

    def events(self) -> Any:
        """Return all events; of a selection, cross-references still go to them."""
        found = self._events()
        if found is None:
            found = self._tree.events_of(self)
            self._events = weakref.ref(found)  # which refers to this chunk itself
        return found

    def fields(self) -> list[str]:
        return self._tree.fields

    def branch(self, name: str) -> Any:
        return self._make(self._tree.part(name)) if name in self._tree.fields else None

    def whole(self) -> Any:
        return self._make(self._tree.whole(self.metadata))

    def _make(self, form: Any) -> Any:
        return ak.from_buffers(
            form,
            len(self),
            self._buffers,
            buffer_key=functools.partial(key_formatter, self._key),
            behavior=self._tree.behavior,
            attrs={"@events_factory": self},
        )


class _Buffers(UprootSourceMapping):  # type: ignore[misc]
    """The buffers of a chunk, from branches that are read when a buffer is asked for."""

    def __init__(self, reader: TreeReader, start: int, stop: int) -> None:
        super().__init__(None, start, stop, virtual=True)
        self._reader = reader

    def _column_source(self, uuid: str, path_in_source: str) -> Any:  # noqa: ARG002
        return self._reader.tree

    def get_column_handle(self, columnsource: Any, name: str, allow_missing: bool) -> str | None:
        return None if allow_missing and name not in columnsource else name

    def extract_column(
        self,
        columnhandle: str | None,
        start: int,
        stop: int,
        allow_missing: bool,
        use_ak_forth: bool = True,  # noqa: ARG002
    ) -> Any:
        if columnhandle is None:
            nothing = ak.contents.NumpyArray(np.array([], dtype=bool))
            return _optional(np.full(stop - start, -1, np.int64), nothing)
        found = self._reader.column(columnhandle, start, stop).layout
        if isinstance(found, ak.contents.ListOffsetArray):
            found = found.to_ListOffsetArray64(True)
        if not allow_missing:
            return ak.Array(found)
        return ak.Array(_optional(np.arange(stop - start, dtype=np.int64), found))


def _optional(index: Any, content: Any) -> Any:
    return ak.contents.IndexedOptionArray(ak.index.Index64(index), content)


class _ObjectEvents(LazyEvents):
    """Lazy events that are NanoEvents, too."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the chunk: dataset, file, tree, entries, and what its fileset says."""
        attrs: Any = self._attrs
        found: dict[str, Any] = attrs["@events_factory"].metadata
        return found
