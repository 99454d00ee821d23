"""Files that their writer did not close: ROOT recovers what it finds in them, uproot does not.

When ROOT closes a file, it writes where the free space is. Where that is missing, ROOT looks at
each record from the beginning of the file, and takes the last that holds a tree (TFile::Recover).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import uproot

from eventflock.events.tree_head import head_of

__all__ = ["is_unclosed", "recoverable_trees"]

_BEGIN = struct.Struct(">ihiIhh")
"""Of a key: bytes of the record, version, bytes of the object, date, bytes of the key, cycle."""
_LONG, _SHORT = struct.Struct(">qq"), struct.Struct(">ii")
"""Where the record is, and its folder; versions above 1000 are for large files."""


def is_unclosed(root: Any) -> bool:
    """Check whether ROOT would say of an open file that it was probably not closed."""
    return bool(root.file.fSeekFree <= root.file.fBEGIN)


def recoverable_trees(path: Path, root: Any) -> dict[str, int]:
    """Find the trees that ROOT would find.

    Parameters
    ----------
    path, root
        A file on this machine, and the same as uproot has opened it.

    Returns
    -------
    dict
        From their names, without folders, to their numbers of entries.
    """
    found: dict[str, tuple[int, int]] = {}
    size = path.stat().st_size
    position = int(root.file.fBEGIN)
    with path.open("rb") as file:
        while position + _BEGIN.size < size:
            file.seek(position)
            begin = file.read(_BEGIN.size)
            total, version, _, _, length, cycle = _BEGIN.unpack(begin)
            if total < 0:  # a gap
                position -= total
                continue
            if total < length or length < _BEGIN.size or position + total > size:
                break
            seeks = _LONG if version > 1000 else _SHORT
            words = file.read(length - _BEGIN.size)[seeks.size :]
            kind, name = _two_texts(words)
            if kind == b"TTree" and cycle >= found.get(name.decode(), (0, 0))[0]:
                found[name.decode()] = (cycle, position)
            position += total
    return {name: _entries(root, position) for name, (_, position) in found.items()}


def _two_texts(words: bytes) -> tuple[bytes, bytes]:
    """Return the name of the class, and that of the object; longer names are of no tree."""
    first = words[0] if words else 0
    kind, rest = words[1 : 1 + first], words[1 + first :]
    return kind, rest[1 : 1 + rest[0]] if rest and rest[0] < 255 else b""


def _entries(root: Any, position: int) -> int:
    file = root.file
    chunk = file.source.chunk(position, min(position + 2000, file.source.num_bytes))
    cursor = uproot.source.cursor.Cursor(position)
    key = uproot.reading.ReadOnlyKey(chunk, cursor, {}, file, root, read_strings=True)
    head = head_of(key, root)
    return head.entries if head is not None else int(key.get().num_entries)
