"""What a run of the tutorial's analysis gave, and what ROOT gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eventflock.results.result import load

__all__ = ["energies", "truth_of"]


def energies(folder: Path) -> list[int]:
    """Return the bins of the histogram of a run, with under- and overflow."""
    return [int(one) for one in np.asarray(load(folder)["E"].view(flow=True))]


def truth_of(expected: list[dict[str, Any]]) -> list[int]:
    """Return the bins that ROOT has computed for the tutorial's file."""
    one = expected[0]
    assert (one["file"], one["range"]) == ("tutorial-10k.root", None)
    return [one["under"], *one["values"], one["over"]]
