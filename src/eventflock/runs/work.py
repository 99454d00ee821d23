"""What a run does: an analysis over the events of files, or a script for the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from eventflock.core.model import AnalysisRef
from eventflock.core.observer import Observer
from eventflock.core.options import Options
from eventflock.core.task import OUTPUT_BYTES, Table, Task, TaskKind
from eventflock.errors import UsageError
from eventflock.planning.filesets import Fileset
from eventflock.planning.mapping import RowSizing, check_task, plan_rows
from eventflock.planning.prepare import Prepared, prepare
from eventflock.planning.tables import count_table, file_table, read_table
from eventflock.pools.roles import Workers
from eventflock.results.plain import encode
from eventflock.runs.then import THEN
from eventflock.usercode.loading import freeze_object
from eventflock.usercode.programs import locate_program, locate_script
from eventflock.usercode.together import Target, find

__all__ = ["EventsWork", "MapCall", "RowsWork", "Work", "function_work", "script_work"]


class Work(Protocol):
    """What a run is made of, before there is a plan."""

    def locate(self) -> tuple[AnalysisRef, bytes]:
        """Find the code, and return how it is found again, with its source."""
        ...

    def plan(
        self,
        workers: Workers,
        ref: AnalysisRef,
        source: bytes,
        options: Options,
        observer: Observer,
    ) -> Prepared:
        """Plan it."""
        ...

    def attachments(self) -> Mapping[str, bytes]:
        """Return more files that belong beside the frozen code."""
        ...


class EventsWork(NamedTuple):
    """An analysis, or several as one, over all events of the files."""

    analysis: Target
    files: Sequence[str | Fileset]

    def locate(self) -> tuple[AnalysisRef, bytes]:
        """Find the analysis."""
        return find(self.analysis)

    def plan(
        self,
        workers: Workers,
        ref: AnalysisRef,
        source: bytes,
        options: Options,
        observer: Observer,
    ) -> Prepared:
        """Look at the files, and cut them into jobs."""
        return prepare(workers, ref, source, self.files, options, observer)

    def attachments(self) -> Mapping[str, bytes]:
        """Return nothing: an analysis is one file."""
        return {}


class RowsWork(NamedTuple):
    """A task, for each row of a table.

    Attributes
    ----------
    ref, source
        The code, with its task.
    table, origin
        The rows, and where they come from.
    sizing
        How they are cut into jobs.
    extra
        More files that belong beside the frozen code.
    """

    ref: AnalysisRef
    source: bytes
    table: Table
    origin: str
    sizing: RowSizing
    extra: Mapping[str, bytes] = {}

    def locate(self) -> tuple[AnalysisRef, bytes]:
        """Return the code, which was found already."""
        return self.ref, self.source

    def plan(
        self,
        workers: Workers,
        ref: AnalysisRef,
        source: bytes,
        options: Options,
        observer: Observer,
    ) -> Prepared:
        """Cut the rows into jobs."""
        rows, elsewhere = (self.table, self.origin, self.sizing), options.packing is not None
        return Prepared(plan_rows(workers, ref, source, *rows, observer, elsewhere=elsewhere))

    def attachments(self) -> Mapping[str, bytes]:
        """Return the script that is run in the end, if there is one."""
        return self.extra


class MapCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a call says about a script and its rows.

    Attributes
    ----------
    script, executable
        One of them.
    arguments
        Of it, with `{column}` and `{index}`.
    over, count, files
        Where the rows come from: a table, a number, or names of files. One of them.
    inputs, outputs
        Files that are copied into the folder of each row; patterns of those that come back.
    ok_codes
        Exit codes that mean success.
    output_bytes
        The most that the files of one row may have together.
    sizing
        How rows are cut into jobs.
    then
        A script that is run here in the end; may be empty.
    """

    script: str = ""
    executable: str = ""
    arguments: tuple[str, ...] = ()
    over: str = ""
    count: int | None = None
    files: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    ok_codes: tuple[int, ...] = (0,)
    output_bytes: int = OUTPUT_BYTES
    sizing: RowSizing = RowSizing()
    then: str = ""


def script_work(call: MapCall) -> RowsWork:
    """Return the work of a script or another program for each row of a table.

    Raises
    ------
    UsageError
        Something is not there, or contradicts itself.
    """
    if bool(call.script) == bool(call.executable):
        raise UsageError(
            "Name a Python script, or another program with --executable."
            if not call.script
            else f"Both the script {call.script!r} and --executable {call.executable!r} are named.",
            remedy="As in eventflock map fit.py --over points.csv -- --mass {mass}",
        )
    if call.script:
        ref, source = locate_script(call.script)
        kind = TaskKind.SCRIPT
    else:
        ref, source = locate_program(call.executable)
        kind = TaskKind.PROGRAM
    table, origin = _table(call)
    then, extra = ("", ""), {}
    if call.then:
        there, last = locate_script(call.then)
        then = (there.file, there.sha256)
        extra = {f"{THEN}{there.file}": last}
    task = Task(
        kind=kind,
        arguments=call.arguments,
        inputs=call.inputs,
        reads=("{file}",) if call.files else (),
        outputs=call.outputs,
        ok_codes=call.ok_codes,
        output_bytes=call.output_bytes,
        then=then,
    )
    check_task(task, table, alike=call.count is not None)
    ref = msgspec.structs.replace(ref, task=task)
    return RowsWork(ref, source, table, origin, call.sizing, extra)


def _table(call: MapCall) -> tuple[Table, str]:
    """Return the rows, and where they come from."""
    given = {
        "--over": call.over,
        "--count": "" if call.count is None else str(call.count),
        "--files": " ".join(call.files),
    }
    named = [f"{name} {value}" for name, value in given.items() if value]
    if len(named) != 1:
        raise UsageError(
            f"{' and '.join(named)} exclude each other." if named else "There are no rows.",
            remedy="Say for what it is run: --over TABLE, --count N or --files PATTERN.",
        )
    if call.over:
        path = Path(call.over)
        return read_table(path), str(path.absolute())
    if call.count is not None:
        return count_table(call.count), named[0]
    return file_table(call.files), named[0]


def function_work(
    function: Callable[[Any], Any], items: Sequence[Any], sizing: RowSizing
) -> RowsWork:
    """Return the work of a function for each of some items.

    Raises
    ------
    UsageError
        The function cannot be found again, or there are no items.
    AnalysisError
        An item is no plain value.
    """
    name = getattr(function, "__name__", "function").strip("<>")
    ref, source = freeze_object(function, name, getattr(function, "__module__", ""))
    if not items:
        raise UsageError("There are no items to map over.", remedy="Give at least one.")
    rows = tuple((encode(item, f"item {n}"),) for n, item in enumerate(items))
    task = Task(kind=TaskKind.FUNCTION)
    return RowsWork(
        msgspec.structs.replace(ref, task=task),
        source,
        Table(columns=("item",), rows=rows),
        "items",
        sizing,
    )
