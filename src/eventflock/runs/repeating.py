"""Doing one row of a run again, here: to see with one's own eyes what happens in it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from eventflock.core.task import Table, Task
from eventflock.errors import UsageError
from eventflock.results import plain
from eventflock.rows.folder import RowFolder as FolderOfRow
from eventflock.rows.folder import outputs_in
from eventflock.rows.process import environment_of
from eventflock.runs.folder import RunFolder
from eventflock.usercode.programs import Program, load_rows

__all__ = ["Repeated", "repeat_row"]


class Repeated(NamedTuple):
    """How a row ended that was done again."""

    code: int
    seconds: float
    folder: Path
    ok: bool
    value: Any = None
    """What a function returned."""


def repeat_row(path: Path, number: int, folder: Path) -> Repeated:
    """Do one row again, in this terminal, as it is done in a job.

    Parameters
    ----------
    path
        The run folder; nothing in it changes.
    number
        Of the row.
    folder
        Where it is done, which must not be there.

    Raises
    ------
    UsageError
        There is no such row, or the folder is there already.
    AnalysisError
        The program ended well, but what it left cannot be taken.
    """
    run = RunFolder(path)
    plan = run.load_plan().plan
    table, task = plan.table or Table(), plan.analysis.task
    if task is None or number not in table.numbers:
        rows = f"rows 0 to {len(table.rows) - 1}" if table.rows else "no rows, but events"
        raise UsageError(f"{path} has no row {number}: it has {rows}.", remedy="See its plan.json.")
    work = load_rows(plan.analysis, run.analysis.resolve())
    if not isinstance(work, Program):
        began = time.monotonic()
        value = work(plain.decode(table.row(number)[0]))
        return Repeated(0, time.monotonic() - began, folder, ok=True, value=value)
    if folder.exists():
        raise UsageError(f"{folder} is there already.", remedy="Remove it, or name another: --out.")
    part = table.part(range(number, number + 1), task, plan.analysis.working)
    made = FolderOfRow.make(folder.resolve(), number, part, task, plan.analysis.working, {})
    return _run(work, task, made, number)


def _run(program: Program, task: Task, made: FolderOfRow, number: int) -> Repeated:
    began = time.monotonic()
    words = program.command(task, made.values)
    ended = subprocess.run(words, cwd=made.path, env=environment_of(number), check=False)
    seconds = time.monotonic() - began
    ok = ended.returncode in task.ok_codes
    if ok:
        outputs_in(made, task)
    return Repeated(ended.returncode, seconds, made.path, ok)
