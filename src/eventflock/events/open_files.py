"""The ROOT files that a worker keeps open: one opening serves the scan, the trial and the jobs.

To open a file with a thousand branches takes a tenth of a second, as long as reading many of them.
"""

from __future__ import annotations

from typing import Any

from eventflock.core.stamp import stamp_of
from eventflock.events.files import is_url, open_file

__all__ = ["OpenFile", "OpenFiles"]

MOST = 4
"""With a thousand branches, each open file costs some megabytes."""


class OpenFile:
    """A ROOT file, and the trees that were read from it.

    Parameters
    ----------
    place
        A path or a URL.

    Raises
    ------
    InputError
        See `open_file`.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._stamp = () if is_url(place) else stamp_of(place)
        # uproot reads a jagged branch once for its offsets and once for its content: the cache
        # makes that one read. A reader empties it with every chunk, so memory does not grow.
        self.cache: dict[str, Any] = {}
        self.root = open_file(place, array_cache=self.cache)
        self.readers: dict[Any, Any] = {}
        """Readers of its trees, for those who use the file again."""
        self._trees: dict[str, Any] = {}

    def tree(self, name: str) -> Any:
        """Return a tree; its description is read once."""
        if name not in self._trees:
            self._trees[name] = self.root[name]
        return self._trees[name]

    def is_current(self) -> bool:
        """Check whether this is still the file at its path. Of a URL, nothing is asked."""
        return is_url(self.place) or self._stamp == stamp_of(self.place)

    def close(self) -> None:
        """Close the file."""
        self.cache.clear()
        self.readers.clear()
        self._trees.clear()
        self.root.close()


class OpenFiles:
    """The files that were used last."""

    def __init__(self) -> None:
        self._files: dict[str, OpenFile] = {}

    def open(self, place: str) -> OpenFile:
        """Return an open file; it stays open until others are used, or all are closed.

        Raises
        ------
        InputError
            See `open_file`.
        """
        found = self._files.pop(place, None)
        if found is not None and not found.is_current():
            found.close()
            found = None
        if found is None:
            while len(self._files) >= MOST:
                self._files.pop(next(iter(self._files))).close()
            found = OpenFile(place)
        self._files[place] = found  # the last one used comes last
        return found

    def drop(self, place: str) -> None:
        """Close a file with which something is wrong."""
        found = self._files.pop(place, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Close all files."""
        while self._files:
            self._files.popitem()[1].close()
