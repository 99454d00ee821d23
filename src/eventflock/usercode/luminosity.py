"""Certified luminosity sections: a golden JSON as a mask of events.

The format is that of CMS: `{"273158": [[1, 12], [15, 80]]}`, from runs to ranges of sections, both
ends included (https://cms-opendata-guide.web.cern.ch/analysis/lumi/).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventflock.errors import AnalysisError

__all__ = ["golden", "mask"]


def mask(path: str | Path, runs: Any, sections: Any) -> Any:
    """Find the events whose section is in a golden JSON: see `Context.lumi_mask`."""
    import numpy as np

    runs, sections = np.asarray(runs), np.asarray(sections)
    # Opened each time: so it is seen that the analysis needs it, and goes along with the jobs.
    with Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        known = _read(str(path), status.st_mtime_ns, status.st_size)
    found = np.zeros(len(runs), bool)
    for run in np.unique(runs).tolist():
        if run in known:
            here = runs == run
            # Inside a range there is an odd number of edges at or before a section.
            found[here] = np.searchsorted(known[run], sections[here], side="right") % 2 == 1
    return found


@functools.lru_cache(maxsize=8)
def _read(path: str, modified: int, size: int) -> dict[int, Any]:  # noqa: ARG001
    """Return the edges of the ranges of each run: the first section, the one after the last."""
    import numpy as np

    try:
        data = json.loads(Path(path).read_bytes())
        pairs = {int(run): [(int(a), int(b)) for a, b in ranges] for run, ranges in data.items()}
    except (ValueError, TypeError, AttributeError):
        raise AnalysisError(
            f'{path} is no golden JSON, which is like {{"273158": [[1, 12], [15, 80]]}}.',
            remedy="Give the file of certified runs and luminosity sections.",
        ) from None
    return {
        run: np.array([edge for a, b in _joined(ranges) for edge in (a, b + 1)])
        for run, ranges in pairs.items()
    }


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort ranges, and join those that meet."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(one for one in ranges if one[0] <= one[1]):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def golden(pairs: Iterable[tuple[int, int]]) -> dict[str, list[list[int]]]:
    """Return pairs of run and section in the form of a golden JSON, sorted by run."""
    runs: dict[int, list[tuple[int, int]]] = {}
    for run, section in pairs:
        runs.setdefault(int(run), []).append((int(section), int(section)))
    return {str(run): [list(one) for one in _joined(runs[run])] for run in sorted(runs)}
