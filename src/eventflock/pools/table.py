"""Finding a pool in the table: by its name, or by what a run folder has."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from eventflock.errors import UsageError, nearest
from eventflock.pools.names import BATCH_SYSTEMS, DEFAULT, NAMES, ON_THIS_MACHINE
from eventflock.pools.roles import Pool, Workers

__all__ = ["find_pool", "open_workers", "pool_of_run"]


def find_pool(name: str) -> Pool:
    """Return the pool with this name.

    Raises
    ------
    UsageError
        There is none.
    """
    module = {**ON_THIS_MACHINE, **BATCH_SYSTEMS}.get(name)
    if module is None:
        raise UsageError(
            f"There is no pool {name!r}; {nearest(name, NAMES)}".rstrip("; "),
            remedy=f"Choose one of {', '.join(NAMES)} with --pool.",
        )
    pool: Pool = importlib.import_module(module).POOL
    return pool


def pool_of_run(path: Path) -> Pool:
    """Return the pool that a run was made for, from the files in its folder."""
    for name in BATCH_SYSTEMS:
        if (path / f"{name}.json").exists():
            return find_pool(name)
    return find_pool(DEFAULT)


def open_workers(
    pool: Pool, count: int | None = None, python: str = "", *, events: bool = True
) -> Workers:
    """Open the workers of a pool on this machine.

    Parameters
    ----------
    pool
        From `find_pool`.
    count, python, events
        See `Pool.open_workers`.

    Raises
    ------
    UsageError
        `count` is not a whole number from 1.
    """
    asked: Any = count
    if asked is not None and (not isinstance(asked, int) or asked < 1):
        raise UsageError(
            f"--workers is {count!r}, expected a whole number from 1.", remedy="Leave it out."
        )
    return pool.open_workers(count, python, events=events)
