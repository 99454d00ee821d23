"""From a script and a table to a plan: what is asked before a run of rows exists."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from eventflock._version import __version__
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import (
    PLAN_FORMAT,
    AnalysisRef,
    Assignment,
    Dataset,
    FileEntry,
    Job,
    Plan,
    Range,
)
from eventflock.core.observer import Observer
from eventflock.core.options import JobLimits
from eventflock.core.structs import digest, to_json
from eventflock.core.task import INDEX, Stamp, Table, Task, TaskKind, fill, place_of, places_in
from eventflock.core.units import say_duration
from eventflock.errors import UsageError, plural
from eventflock.planning.scanning import expect
from eventflock.planning.tables import check_columns
from eventflock.pools.roles import Workers
from eventflock.worker.messages import Describe, Described, Failed, Run

__all__ = ["DATASET", "RowSizing", "check_task", "plan_rows"]

DATASET = "rows"
"""The name of the dataset that the rows of a run are."""
TRIAL_SECONDS = 60.0


class RowSizing(msgspec.Struct, frozen=True, kw_only=True):
    """How rows are cut into jobs.

    Attributes
    ----------
    group
        Rows for each job; None for one.
    target_seconds
        Wall time that a job should take, by a trial of the first row.
    rows
        `START:STOP`: only these.
    """

    group: int | None = None
    target_seconds: float | None = None
    rows: str = ""


def plan_rows(
    workers: Workers,
    ref: AnalysisRef,
    source: bytes,
    table: Table,
    origin: str,
    sizing: RowSizing,
    observer: Observer,
    *,
    elsewhere: bool = False,
) -> Plan:
    """Plan the rows of a table.

    Parameters
    ----------
    workers
        They load a function, and try the first row if jobs are cut by time.
    ref, source
        What is done for each, with its task.
    table, origin
        The rows, and where they come from.
    sizing
        How they are cut.
    elsewhere
        Whether jobs may run where files of this machine are not.

    Raises
    ------
    EventflockError
        Something about the call is wrong.
    """
    task = ref.task or Task(kind=TaskKind.SCRIPT)
    ref = msgspec.structs.replace(ref, working=str(Path.cwd()))
    with tempfile.TemporaryDirectory(prefix="eventflock-") as folder:
        frozen = Path(folder) / ref.file if ref.file else None
        if frozen is not None:
            frozen.write_bytes(source)
        if task.kind == TaskKind.FUNCTION:
            ((_, reply),) = workers.ask([Describe(analysis=ref, folder=folder)])
            ref = msgspec.structs.replace(ref, helpers=expect(reply, Described).helpers)
        table = msgspec.structs.replace(table, inputs=_inputs(task, table, ref.working))
        for name in _files_here(task, table, ref.working) if elsewhere else ():
            observer.note(
                f"The argument {name!r} is a file here, which a node may not have: --input {name}"
            )
        for place, rows in _shared_places(task, table):
            observer.note(
                f"Rows {rows[0]} and {rows[1]} are both given {place}, which is not there: if they "
                "write it, they overwrite each other. A plain name is in a folder of the row's own."
            )
        start, stop = _range(sizing.rows, len(table.rows))
        plan = _plan(ref, table, origin, start, stop, max(sizing.group or 1, 1))
        if sizing.target_seconds is None:
            return plan
        group = _group_by_time(workers, plan, folder, sizing.target_seconds, observer)
    return _plan(ref, table, origin, start, stop, group)


def _plan(ref: AnalysisRef, table: Table, origin: str, start: int, stop: int, group: int) -> Plan:
    entry = FileEntry(
        path=origin,
        tree="",
        uuid=digest(to_json(table))[:32],
        size=0,
        entries=len(table.rows),
    )
    jobs = []
    for first in range(start, stop, group):
        last = min(first + group, stop)
        jobs.append(Job(0, (Range(0, first, last, tuple(range(first + 1, last))),)))
    return Plan(
        format=PLAN_FORMAT,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        analysis=ref,
        parameters={},
        datasets=(Dataset(name=DATASET, files=(entry,)),),
        jobs=tuple(jobs),
        table=table,
    )


def _range(text: str, count: int) -> tuple[int, int]:
    """Read `START:STOP`, or a single number."""
    if not text:
        return 0, count
    first, colon, last = text.partition(":")
    try:
        start = int(first) if first else 0
        stop = (int(last) if last else count) if colon else start + 1
    except ValueError:
        start = stop = -1
    if not 0 <= start < stop <= count:
        raise UsageError(
            f"--rows {text!r} is no part of rows 0 to {count - 1}, which are all.",
            remedy="As in --rows 17, or --rows 0:100.",
        )
    return start, stop


def _group_by_time(
    workers: Workers, plan: Plan, folder: str, target: float, observer: Observer
) -> int:
    """Try the first row, and return how many take the time that is asked for."""
    first = FrozenPlan(plan).assignment(0)
    first = msgspec.structs.replace(
        first,
        ranges=tuple(Range(0, one.start, one.start + 1) for one in first.ranges[:1]),
        limits=JobLimits(limit_seconds=max(TRIAL_SECONDS, target)),
    )
    seconds = _time_row(workers, first, folder)
    if seconds is None:
        observer.note("The first row failed when it was tried: each job has one row.")
        return 1
    group = max(1, int(target / max(seconds, 1e-3)))
    observer.note(f"A row takes {say_duration(seconds)}: {plural(group, 'row')} for each job.")
    return group


def _time_row(workers: Workers, first: Assignment, folder: str) -> float | None:
    from eventflock.errors import ResultError
    from eventflock.results.reader import read_manifest

    target = Path(folder) / "trial.zip"
    request = Run(assignment=first, folder=folder, result=str(target))
    ((_, reply),) = workers.ask([request])
    if isinstance(reply, Failed):
        return None
    try:
        return sum(row.seconds for row in read_manifest(target).rows)
    except ResultError:
        return None


def _inputs(task: Task, table: Table, working: str) -> dict[str, Stamp]:
    """Find the input files of all rows, and check that they can be told apart."""
    found: dict[str, Stamp] = {}
    templates = (*task.inputs, *task.reads)
    if not templates:
        return found
    for number in table.numbers:
        values = table.values(number)
        names: dict[str, str] = {}
        for template in templates:
            place = place_of(template, values, working)
            if "://" in place:
                if template in task.inputs:
                    raise UsageError(
                        f"--input {place} is a URL, expected a file of this machine.",
                        remedy="Give it to the script as an argument, which opens it itself.",
                    )
                continue
            if place not in found:
                found[place] = _stamp(place, number, fill(template, values) != template)
            other = names.setdefault(Path(place).name, place)
            if other != place and template in task.inputs:
                raise UsageError(
                    f"Row {number} has two inputs of one name: {other} and {place}.",
                    remedy="Both would be put into the folder of the row: rename one.",
                )
    return found


def _stamp(place: str, number: int, of_row: bool) -> Stamp:
    where = f" (row {number})" if of_row else ""
    try:
        with open(place, "rb") as file:  # noqa: PTH123 -- a folder fails here, as it should
            stat = os.fstat(file.fileno())
    except IsADirectoryError:
        raise UsageError(
            f"The input {place}{where} is a folder.",
            remedy="Name its files one by one, or pack them into one file (tar).",
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The input {place}{where} cannot be read: {getattr(error, 'strerror', error)}.",
            remedy="A name that is not absolute is looked for in this folder.",
        ) from None
    return stat.st_size, stat.st_mtime_ns


def check_task(task: Task, table: Table, *, alike: bool) -> None:
    """Check what a call says about the rows.

    Parameters
    ----------
    alike
        Whether rows may be done with the same arguments.

    Raises
    ------
    UsageError
        A column is not there, or all rows would be done with the same arguments.
    """
    for word in task.arguments:
        check_columns(places_in(word), table, f"The argument {word!r}")
    for name in task.inputs:
        check_columns(places_in(name), table, f"--input {name!r}")
    known = {*table.columns, INDEX}
    templates = (*task.arguments, *task.inputs)
    told = any(place in known for template in templates for place in places_in(template))
    if not told and not alike and len(table.rows) > 1:
        columns = ", ".join(f"{{{name}}}" for name in [*table.columns, INDEX])
        raise UsageError(
            f"No argument names a column: {len(table.rows):,} rows would all be done alike.",
            remedy=f"Write after --, where values are to stand: {columns}.",
        )
    for number in table.numbers:
        values = table.values(number)
        for word in task.arguments:
            if "\0" in fill(word, values):
                raise UsageError(
                    f"The argument {word!r} has a zero byte in row {number}; none may have one.",
                    remedy="Write it into an input file.",
                )


def _files_here(task: Task, table: Table, working: str) -> list[str]:
    """Return arguments of the first row that are files here, and that no job brings along."""
    values = table.values(table.first)
    known = {place_of(name, values, working) for name in (*task.inputs, *task.reads)}
    names = {Path(one).name for one in known}
    found = []
    for word in task.arguments:
        place = place_of(word, values, working)
        is_name = "/" in place and "://" not in place and fill(word, values) not in {"", *names}
        if is_name and os.path.isfile(place) and place not in known:  # noqa: PTH113 -- any text
            found.append(fill(word, values))
    return found


def _shared_places(task: Task, table: Table) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield paths that are not there and that two rows are given, one for each argument."""
    for word in task.arguments:
        seen: dict[str, int] = {}
        for number in table.numbers:
            place = fill(word, table.values(number)).rpartition("=")[2]
            if not place.startswith("/") or "\0" in place:
                break
            first = seen.setdefault(place, number)
            if first != number and Path(place).parent.is_dir() and not Path(place).exists():
                yield place, (first, number)
                break
