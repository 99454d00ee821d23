"""What stands at the beginning of a TTree: entries, bytes and clusters, without its branches.

To read the descriptions of a thousand branches takes half a second, to read what comes before them
a millisecond. The fields are those of TTree.h; uproot's `num_entries` reads them in the same way.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import uproot
from uproot.models.TTree import _ttree20_format1

__all__ = ["TreeHead", "head_of", "read_head"]

VERSION = 20
"""Of the class TTree, since ROOT 6.14."""
_INT64 = np.dtype(">i8")
CLUSTERS_MAX = 1_000_000
_FIELDS = (
    "entries", "bytes", "zip_bytes", "saved_bytes", "flushed_bytes", "weight", "timer_interval",
    "scan_field", "update", "offset_length", "cluster_ranges", "max_entries", "max_entry_loop",
    "max_virtual_size", "auto_save", "auto_flush", "estimate",
)  # fmt: skip


class TreeHead(NamedTuple):
    """The head of a tree.

    Attributes
    ----------
    entries
        Number of entries.
    bytes
        Of all branches, uncompressed.
    clusters
        Entry offsets at which clusters begin, with 0 and `entries`; empty if they are not said,
        as in files that uproot wrote.
    size
        Bytes of the description of the tree with all of its branches, unpacked.
    """

    entries: int
    bytes: int
    clusters: tuple[int, ...]
    size: int = 0


class Model_TTreeHead(uproot.model.Model):  # type: ignore[misc] # noqa: N801 -- uproot's rule
    """A TTree of which the branches are left unread."""

    def read_members(self, chunk: Any, cursor: Any, context: Any, _file: Any) -> None:
        """Read what comes before the branches."""
        for _ in ("TNamed", "TAttLine", "TAttFill", "TAttMarker"):
            cursor.skip_over(chunk, context)
        fields = cursor.fields(chunk, _ttree20_format1, context)
        self._members.update(zip(_FIELDS, fields, strict=True))
        count = self._members["cluster_ranges"]
        for name in ("range_ends", "range_sizes"):
            cursor.skip(1)  # says whether an array follows
            self._members[name] = cursor.array(chunk, count, _INT64, context).tolist()

    def check_numbytes(self, chunk: Any, cursor: Any, context: Any) -> None:
        """Do not expect to have read all of it."""


def read_head(root: Any, name: str) -> TreeHead | None:
    """Read the head of a tree.

    Parameters
    ----------
    root
        An open file.
    name
        Of the tree, directories included.

    Returns
    -------
    TreeHead or None
        None for an RNTuple, or a TTree of another version, which have to be read whole.
    """
    key = root.key(name)
    return head_of(key, root) if key.fClassName == "TTree" else None


def head_of(key: Any, root: Any) -> TreeHead | None:
    """Read the head of the TTree that a key of an open file is of; see `read_head`."""
    chunk, cursor = key.get_uncompressed_chunk_cursor()
    start = cursor.copy()
    # Whoever reads all of it from this key finds it here: a far server sends it once.
    key.get_uncompressed_chunk_cursor = lambda: (chunk, start.copy())
    _, version = uproot.deserialization.numbytes_version(chunk, cursor.copy(), {})[:2]
    if version != VERSION:
        return None
    context = {"breadcrumbs": (), "TKey": key}
    read = Model_TTreeHead.read(chunk, cursor, context, root.file, root.file.detached, root)
    found = {name: read.member(name) for name in (*_FIELDS, "range_ends", "range_sizes")}
    size = int(key.fObjlen)
    return TreeHead(int(found["entries"]), int(found["bytes"]), _clusters(found), size)


def _clusters(found: dict[str, Any]) -> tuple[int, ...]:
    """Return where clusters begin, as TTree::GetClusterIterator walks over them."""
    entries, start = int(found["entries"]), 0
    sizes = [*found["range_sizes"], found["auto_flush"]]
    edges = {0, entries}
    for end, size in zip([*(end + 1 for end in found["range_ends"]), entries], sizes, strict=True):
        stop = min(end, entries)
        if stop <= start:
            continue
        if size <= 0 or (stop - start) / size > CLUSTERS_MAX:
            return ()
        edges.update(range(start, stop, size))
        start = stop
    return tuple(sorted(edges)) if start == entries else ()
