"""Where jobs run: the protocol that all pools follow, and the table of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

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
    ) -> Generator[tuple[int, Reply], None, None]:
        """Answer requests, in any order; each answer comes with the number of its request.

        Closing the iterator early gives up what is under way.
        """
        ...

    def close(self) -> None:
        """End all processes; what they have not finished is lost."""
        ...


def open_pool(name: str, workers: int | None = None, python: str = "") -> Pool:
    """Open a pool by its name.

    Parameters
    ----------
    name
        One of `NAMES`.
    workers
        Number of worker processes; None for as many as there are cores for this process.
    python
        The interpreter that workers run, for the pools that start any; by default this one.

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
    asked: Any = workers
    if asked is not None and (not isinstance(asked, int) or asked < 1):
        raise UsageError(
            f"--workers is {workers!r}, expected a whole number from 1.", remedy="Leave it out."
        )
    opened: Pool = importlib.import_module(_MODULES[name]).open_pool(workers, python)
    return opened
