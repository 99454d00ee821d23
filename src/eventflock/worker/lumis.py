"""The luminosity sections that events are of, collected beside the results of the analysis."""

from __future__ import annotations

from collections.abc import Sequence

from eventflock.errors import InputError
from eventflock.events.reader import TreeReader
from eventflock.failures.codes import FailureCode

__all__ = ["NAME", "lumis_of"]

NAME = "lumis"
"""Of the result that has them."""


def lumis_of(
    reader: TreeReader, branches: Sequence[str], start: int, stop: int
) -> set[tuple[int, int]]:
    """Return run and section of entries `[start, stop)`, each pair once.

    Parameters
    ----------
    branches
        With the number of the run, and that of the section.

    Raises
    ------
    InputError
        There is no such branch, or it cannot be read.
    """
    import numpy as np

    columns = []
    for name in branches:
        found = reader.branch(name, start, stop)
        if found is None:
            raise InputError(
                f"There is no branch {name!r} in the tree {reader.entry.tree!r} of "
                f"{reader.entry.path}, from which --lumis is to be read.",
                remedy="Name those with run and section: --lumis run,luminosityBlock.",
                code=FailureCode.BRANCH,
            )
        columns.append(np.asarray(found, np.int64))
    pairs = np.unique(np.stack(columns, axis=1), axis=0)
    return {(int(run), int(section)) for run, section in pairs}
