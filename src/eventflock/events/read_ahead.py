"""Reading ahead: the branches of the next chunk are fetched while this one is processed.

Each read from a far server waits for it once. So the branches that the analysis is known to ask
for are fetched together, in one vector read for each chunk, and in another thread.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["ReadAhead"]

MOST = 256 * 2**20
"""Bytes, uncompressed, that are fetched ahead: they are in memory beside the chunk at work."""


class _Fetch:
    """Branches of one range of entries, on their way."""

    def __init__(self, tree: Any, branches: Mapping[str, Any], start: int, stop: int) -> None:
        self.arrays: dict[str, Any] = {}
        self._tree = tree
        self._branches = branches
        self._range = start, stop
        # A daemon: a server that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        start, stop = self._range
        wanted = {branch.cache_key for branch in self._branches.values()}
        try:
            self.arrays = self._tree.arrays(
                filter_branch=lambda branch: branch.cache_key in wanted,
                entry_start=start,
                entry_stop=stop,
                library="ak",
                how=dict,
                array_cache=None,
            )
        except Exception:  # noqa: BLE001 -- whoever asks for a branch reads it again, and hears why
            self.arrays = {}

    def wait(self) -> dict[str, Any]:
        """Return the arrays once they are there; empty if they could not be read."""
        self._thread.join()
        return self.arrays


class ReadAhead:
    """Fetches ranges of entries that will be asked for.

    Parameters
    ----------
    tree
        A TTree of uproot.
    branches
        Those to fetch, by name.
    """

    def __init__(self, tree: Any, branches: Mapping[str, Any]) -> None:
        self._tree = tree
        self._branches = branches
        self._fetches: dict[tuple[int, int], _Fetch] = {}
        total = sum(float(branch.uncompressed_bytes) for branch in branches.values())
        self._entry_bytes = total / max(int(tree.num_entries), 1)

    def expect(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch these ranges, and forget all others."""
        self._fetches = {one: self._fetches[one] for one in ranges if one in self._fetches}
        for start, stop in ranges:
            room = (stop - start) * self._entry_bytes <= MOST
            if self._branches and room and (start, stop) not in self._fetches:
                self._fetches[start, stop] = _Fetch(self._tree, self._branches, start, stop)

    def get(self, name: str, start: int, stop: int) -> Any:
        """Return a branch that was fetched; None if it was not."""
        fetch = self._fetches.get((start, stop))
        return None if fetch is None or name not in self._branches else fetch.wait().get(name)
