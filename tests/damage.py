"""Damaging input files as disks and transfers do: at a known place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import uproot

__all__ = ["make_tree", "spoil_basket"]


def make_tree(path: Path, clusters: int = 20, size: int = 10) -> Path:
    """Write a tree `t` with the branches `x` (0, 1, 2, ...) and `y`, which compresses well."""
    with uproot.recreate(path) as root:
        tree = root.mktree("t", {"x": "f8", "y": "f8"})
        for start in range(0, clusters * size, size):
            x = np.arange(float(start), start + size)
            tree.extend({"x": x, "y": np.zeros(size) + start})
    return path


def spoil_basket(path: Path, branch: str, number: int, tree: str = "t") -> tuple[int, int]:
    """Overwrite the content of a basket; give the entries that it holds."""
    with uproot.open(path) as root:
        found = root[tree][branch]
        key = found.basket_key(number)
        begin = int(found.member("fBasketSeek")[number])
        first, last = found.entry_offsets[number : number + 2]
    with path.open("r+b") as file:
        file.seek(begin + key.fKeylen)
        file.write(b"\xff" * (key.fNbytes - key.fKeylen))
    return int(first), int(last)
