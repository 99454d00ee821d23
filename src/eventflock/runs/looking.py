"""What a run has so far, into another folder: while it goes on, or where it cannot be written."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from eventflock.core.manifest import Manifest
from eventflock.core.model import Plan
from eventflock.core.options import Acceptance
from eventflock.errors import ResultError, UsageError
from eventflock.pools.cores import usable_cores
from eventflock.runs.folder import RunFolder
from eventflock.runs.merging import bring_beside

__all__ = ["SoFar", "merge_so_far"]

TRIES = 5
"""A process that works on the run may move a file between two looks at it."""
AGAIN = 0.2


class SoFar(NamedTuple):
    """What was merged of a run."""

    result: Path
    manifest: Manifest
    plan: Plan


def merge_so_far(path: Path, out: Path) -> SoFar:
    """Merge the results that are there, without writing into the run folder.

    Parameters
    ----------
    path
        The run folder. Another process may work on it, and it may belong to somebody else.
    out
        A folder for `result.zip` and what belongs beside it.

    Raises
    ------
    UsageError
        There is no such run, it has no result yet, or the folder cannot be written.
    ResultError
        Results are damaged.
    """
    run = RunFolder(path)
    if out.resolve() == path.resolve():
        raise UsageError(f"--out {out} is the run itself.", remedy="Name another folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--out {out} cannot be made: {error.strerror}.", remedy="Name another folder."
        ) from None
    for left in reversed(range(TRIES)):
        try:
            return _merge(run, RunFolder(out))
        except (ResultError, FileNotFoundError):
            if not left:
                raise
            time.sleep(AGAIN)
    raise AssertionError


def _merge(run: RunFolder, target: RunFolder) -> SoFar:
    from eventflock.results.merge import merge

    frozen = run.load_plan()
    files = run.result_files(frozen.plan)
    manifest, _ = merge(frozen, files, target.merged, Acceptance(), usable_cores())
    if manifest is None:
        raise UsageError(
            f"No job of {run.path} has a result yet.",
            remedy=f"See where it stands: eventflock status {run.path}",
        )
    bring_beside(target, frozen, files, manifest, [])
    return SoFar(target.merged, manifest, frozen.plan)
