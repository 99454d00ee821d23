"""Random numbers that depend on the run's seed and the chunk alone, not on where it is done."""

from __future__ import annotations

import hashlib
import random

from eventflock.core.model import NO_UUID, FileEntry

__all__ = ["seed_for", "seed_globals"]


def seed_for(run_seed: int, entry: FileEntry, start: int) -> tuple[int, ...]:
    """Return the seed of a chunk.

    Parameters
    ----------
    run_seed
        Of the run.
    entry
        The file, known by its UUID, and the tree in it. A file without one is known by its path.
    start
        First entry of the chunk.

    Returns
    -------
    tuple of int
        Eight words of 32 bits, as `numpy.random.SeedSequence` takes them.
    """
    file = entry.identity if entry.uuid != NO_UUID else entry.path
    digest = hashlib.sha256("\n".join((str(run_seed), file, entry.tree, str(start))).encode())
    data = digest.digest()
    return tuple(int.from_bytes(data[at : at + 4], "little") for at in range(0, 32, 4))


def seed_globals(seed: tuple[int, ...]) -> None:
    """Seed the generators of functions of `random` and `numpy.random` that are called by name."""
    import numpy as np

    random.seed(sum(word << 32 * place for place, word in enumerate(seed)))
    np.random.seed(list(seed))
