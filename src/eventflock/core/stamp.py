"""Knowing whether a file is still the same one, without reading it."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["stamp_of"]


def stamp_of(path: str) -> tuple[int, ...]:
    """Return device, inode, size and time of a file; empty if there is none."""
    with contextlib.suppress(OSError):
        stat = Path(path).stat()
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
    return ()
