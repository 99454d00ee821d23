"""The names by which the branches of a TTree can be asked for.

A branch within another one has a short name, `x`, and a full one, `first/x`. Where two branches
share a short name, only the full ones are unique. A branch that stands twice in the same place is
the first of the two, as in ROOT.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eventflock.errors import InputError
from eventflock.failures.codes import FailureCode

__all__ = ["BranchNames"]


class BranchNames:
    """The branches of a tree that hold data themselves, by name.

    Parameters
    ----------
    tree
        From uproot.
    """

    def __init__(self, tree: Any) -> None:
        self._full: dict[str, Any] = {}
        self._short: dict[str, list[str]] = {}
        self.collide = False
        """Whether two branches share a name: uproot cannot make one record of such a tree."""
        for full, branch in _leaves(tree.branches, ""):
            if full in self._full:
                self.collide = True
                continue
            self._full[full] = branch
            self._short.setdefault(full.rpartition("/")[2], []).append(full)
        self.collide |= any(len(fulls) > 1 for fulls in self._short.values())

    def find(self, name: str) -> Any:
        """Return the branch with a short or full name; None if there is none.

        Raises
        ------
        InputError
            The name stands for more than one branch.
        """
        fulls = self._short.get(name, [])
        if name in self._full or not fulls:
            return self._full.get(name)
        if len(fulls) > 1:
            raise InputError(
                f"The name {name!r} stands for {len(fulls)} branches: {', '.join(fulls)}.",
                remedy=f"Use the full name, as in events[{fulls[0]!r}].",
                code=FailureCode.BRANCH,
            )
        return self._full[fulls[0]]

    def shortest(self) -> Iterator[tuple[str, Any]]:
        """Yield each branch with its short name, or with its full one if others share that."""
        for full, branch in self._full.items():
            short = full.rpartition("/")[2]
            yield (short if len(self._short[short]) == 1 else full), branch


def _leaves(branches: Any, path: str) -> Iterator[tuple[str, Any]]:
    for branch in branches:
        full = f"{path}{branch.name}"
        if branch.branches:
            yield from _leaves(branch.branches, f"{full}/")
        else:
            yield full, branch
