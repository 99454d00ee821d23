"""Where jobs run: the protocol that all pools follow, and the table of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from eventflock.errors import UsageError, nearest
from eventflock.worker.messages import Reply, Request

__all__ = ["NAMES", "OnProgress", "Pool", "open_pool"]

OnProgress = Callable[[int, int], None]
"""Called with the number of a request and the events of it that are done so far."""

_MODULES = {"local": "eventflock.pools.local", "inline": "eventflock.pools.inline"}
NAMES = tuple(_MODULES)


class Pool(Protocol):
    """Answers requests somewhere."""

    workers: int

    def ask(
        self, requests: Iterable[Request], on_progress: OnProgress | None = None
    ) -> Iterator[tuple[int, Reply]]:
        """Answer requests, in any order; each answer comes with the number of its request.

        Closing the iterator early gives up what is under way.
        """
        ...

    def close(self) -> None:
        """End all processes; what they have not finished is lost."""
        ...


def open_pool(name: str, workers: int | None = None) -> Pool:
    """Open a pool by its name.

    Parameters
    ----------
    name
        One of `NAMES`.
    workers
        Number of worker processes; None for as many as there are cores for this process.

    Raises
    ------
    UsageError
        No pool of that name, or not a number of workers.
    """
    if name not in _MODULES:
        raise UsageError(
            f"There is no pool {name!r}; {nearest(name, NAMES)}".rstrip("; "),
            remedy=f"Choose one of {', '.join(NAMES)} with --pool.",
        )
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}, expected 1 or more.", remedy="Leave it out.")
    opened: Pool = importlib.import_module(_MODULES[name]).open_pool(workers)
    return opened
