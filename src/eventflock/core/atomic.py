"""Writing files so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MERGING", "atomic_path", "atomic_write", "remove_leftovers"]

_MARK = ".tmp-"
MERGING = ".merging-"
"""How the folder begins in which results are merged."""


@contextlib.contextmanager
def atomic_path(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is there at the end replaces `path`.

    The file is flushed to the disk first, unless a power cut may cost it. On an exception it is
    removed and `path` is as before.
    """
    temporary = path.with_name(f".{path.name}{_MARK}{os.getpid()}")
    try:
        yield temporary
        if flush:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` as the whole content of `path`, at once."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while writing have left in a folder."""
    for path in folder.glob(f".*{_MARK}*"):
        path.unlink(missing_ok=True)
