"""Where jobs run: the protocol that all pools follow, and the table of them."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterable
from typing import Any, Protocol

from eventflock.errors import UsageError, nearest
from eventflock.worker.messages import Reply, Request

__all__ = ["HTCONDOR", "NAMES", "Listener", "Pool", "open_pool"]

HTCONDOR = "htcondor"
"""The pool that runs jobs only: other questions are answered on this machine."""
_MODULES = {
    "local": "eventflock.pools.local",
    "inline": "eventflock.pools.inline",
    HTCONDOR: "eventflock.pools.local",
}
NAMES = tuple(_MODULES)


class Listener(Protocol):
    """Hears how requests go on."""

    def on_progress(self, index: int, events: int) -> None:
        """Hear how many events of a request are done so far."""
        ...

    def on_state(self, text: str) -> None:
        """Hear how the jobs stand, where a pool has more to say than what is done."""
        ...


class Pool(Protocol):
    """Answers requests somewhere."""

    workers: int
    asks: bool = False
    """Whether jobs ask for memory and disk, and are ended if they take more."""
    recovers: bool = True
    """Whether what failed can be tried again."""

    def ask(
        self, requests: Iterable[Request], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Answer requests, in any order; each answer comes with the number of its request.

        There may be more requests after each answer, also where there were no more before.

        Closing the iterator early gives up what is under way in processes of this one.
        """
        ...

    @property
    def outlives(self) -> bool:
        """Whether there are jobs that go on without this process."""
        return False

    def submit(self, requests: Iterable[Request]) -> int:  # noqa: ARG002 -- of the protocol
        """Let the pool have jobs without waiting for them, where they outlive this process.

        Returns
        -------
        int
            How many were submitted: others may be there already.
        """
        raise UsageError(
            "--detach needs a pool whose jobs go on without this process.",
            remedy="Add --pool htcondor.",
        )

    def abandon(self) -> None:
        """End what goes on without this process: nobody will ask for it."""
        return

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
