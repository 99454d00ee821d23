"""A function for each of some items: a new run, or one that goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from eventflock.core.observer import Observer
from eventflock.core.options import Options
from eventflock.planning.mapping import RowSizing
from eventflock.runs.folder import RunFolder
from eventflock.runs.lifecycle import execute, resume
from eventflock.runs.outcome import Outcome
from eventflock.runs.work import RowsWork, function_work

__all__ = ["map_items"]


def map_items(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    sizing: RowSizing,
    options: Options,
    observer: Observer,
) -> Outcome:
    """Do a function for all items, or what is left of them in the run that is there.

    Raises
    ------
    EventflockError
        See `lifecycle.execute`.
    """
    work = function_work(function, items, sizing)
    if options.out is not None and _is_same(RunFolder(options.out), work):
        return resume(options.out, options, observer)
    return execute(work, options, observer)


def _is_same(run: RunFolder, work: RowsWork) -> bool:
    """Check whether a run does the same function for the same items."""
    if not run.plan_file.exists():
        return False
    plan = run.load_plan().plan
    ref = plan.analysis
    same = (ref.name, ref.sha256, ref.task) == (work.ref.name, work.ref.sha256, work.ref.task)
    return same and plan.table is not None and plan.table.rows == work.table.rows
