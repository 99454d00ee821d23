"""What was found in files before: a file that has not changed since is not looked at again.

A file on this machine is the same if its inode, size and time are; one at a server, if the server
says the same size and the same tag or time. Jobs check UUID and size of each file anyway.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import msgspec

from eventflock._version import __version__
from eventflock.core.model import FileEntry
from eventflock.core.stamp import stamp_of
from eventflock.core.structs import digest, from_json, to_json
from eventflock.events.files import is_url
from eventflock.packing.cache import Cache
from eventflock.worker.messages import Scan, Scanned

__all__ = ["ScanCache"]

KEEP_DAYS = 120
_TABLE = (
    "CREATE TABLE IF NOT EXISTS scans"
    " (key TEXT PRIMARY KEY, stamp TEXT, entry BLOB, used INTEGER) WITHOUT ROWID"
)


class ScanCache:
    """A table of scans, in the cache of the user. What goes wrong with it is not an error.

    Parameters
    ----------
    path
        The file; by default in the folder of `packing.cache.Cache`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._new: list[tuple[str, str, bytes, int]] = []
        self._table: sqlite3.Connection | None = None
        file = path or Cache().path / "scans.sqlite"
        with contextlib.suppress(OSError, sqlite3.Error):
            file.parent.mkdir(parents=True, exist_ok=True)
            table = sqlite3.connect(file, timeout=5)
            table.execute(_TABLE)
            self._table = table

    def prepared(self, scan: Scan) -> Scan:
        """Return a request with what is known of its file, and the stamp that this holds for.

        Of a file on this machine, nothing is known if it has changed.
        """
        stamp, entry = self._look_up(_key(scan))
        if not is_url(scan.path):
            now = "/".join(map(str, stamp_of(scan.path)))
            entry = entry if now == stamp else None
            stamp = now
        return msgspec.structs.replace(scan, known=entry, stamp=stamp)

    def _look_up(self, key: str) -> tuple[str, FileEntry | None]:
        if self._table is None:
            return "", None
        with contextlib.suppress(sqlite3.Error, msgspec.MsgspecError):
            found = self._table.execute("SELECT stamp, entry FROM scans WHERE key = ?", (key,))
            row = found.fetchone()
            if row is not None:
                return str(row[0]), from_json(row[1], FileEntry)
        return "", None

    def remember(self, scan: Scan, reply: Scanned) -> None:
        """Note the answer to a request."""
        stamp = reply.stamp if is_url(scan.path) else scan.stamp
        if stamp:
            self._new.append((_key(scan), stamp, to_json(reply.entry), int(time.time())))

    def close(self) -> None:
        """Write down what was found, and forget what was not asked for in a long time."""
        if self._table is None:
            return
        with contextlib.suppress(sqlite3.Error):
            self._table.executemany("REPLACE INTO scans VALUES (?, ?, ?, ?)", self._new)
            before = int(time.time()) - KEEP_DAYS * 86400
            self._table.execute("DELETE FROM scans WHERE used < ?", (before,))
            self._table.commit()
        with contextlib.suppress(sqlite3.Error):
            self._table.close()
        self._table = None


def _key(scan: Scan) -> str:
    asked = (__version__, os.path.abspath(scan.path) if not is_url(scan.path) else scan.path)  # noqa: PTH100
    return digest(to_json([*asked, scan.tree, scan.columns, scan.second]))
