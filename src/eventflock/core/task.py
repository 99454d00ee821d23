"""What is done for each row of a table, and how the row is filled into its arguments."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from eventflock.core.structs import Frozen

__all__ = [
    "INDEX",
    "OUTPUT_BYTES",
    "OUTPUT_FILES",
    "VALUE",
    "Row",
    "RowFile",
    "Stamp",
    "Table",
    "Task",
    "TaskKind",
    "fill",
    "place_of",
    "places_in",
]

INDEX = "index"
"""What stands for the number of the row, from 0."""
VALUE = "value.json"
"""The file with what a function returned for a row."""
OUTPUT_FILES = 1000
"""Files that one row may leave."""
OUTPUT_BYTES = 2 * 10**9
"""Bytes that they may have together, unless the user says otherwise."""

Stamp = tuple[int, int]
"""Size in bytes, and time of the last change in nanoseconds since 1970."""


class TaskKind(StrEnum):
    """What a task is."""

    SCRIPT = "script"
    """A Python script, in an interpreter of its own."""
    PROGRAM = "program"
    """Any other program."""
    FUNCTION = "function"
    """A Python function, called in the worker."""


class Task(Frozen, frozen=True, omit_defaults=True):
    """What is done for each row.

    Attributes
    ----------
    kind
        See `TaskKind`.
    arguments
        Of a script or program; `{column}` and `{index}` stand for the row.
    inputs
        Files that are copied into the folder of each row; may name columns, too.
    reads
        Files that are read where they are.
    outputs
        Patterns of the files that come back, each of which must match one; empty for all files.
    ok_codes
        Exit codes that mean success.
    output_bytes
        The most that the files of one row may have together.
    then
        Name and SHA-256 of the frozen script that is run when all rows are done.
    """

    kind: TaskKind
    arguments: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    ok_codes: tuple[int, ...] = (0,)
    output_bytes: int = OUTPUT_BYTES
    then: tuple[str, str] = ("", "")


class Table(Frozen, frozen=True, omit_defaults=True):
    """The rows of a run, or those of a job.

    Attributes
    ----------
    columns, rows
        The names, and the values of each row as text, in their order.
    first
        Number of the first row.
    inputs
        Files of this machine that rows need, with what tells whether they have changed.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    first: int = 0
    inputs: dict[str, Stamp] = {}

    @property
    def numbers(self) -> range:
        """The numbers of the rows."""
        return range(self.first, self.first + len(self.rows))

    def row(self, number: int) -> tuple[str, ...]:
        """Return the values of a row."""
        return self.rows[number - self.first]

    def values(self, number: int) -> dict[str, str]:
        """Return what `{column}` and `{index}` stand for in a row."""
        return {**dict(zip(self.columns, self.row(number), strict=True)), INDEX: str(number)}

    def part(self, numbers: range, task: Task, working: str) -> Table:
        """Return rows that follow each other, with the files that they need."""
        rows = tuple(self.row(number) for number in numbers)
        paths = dict.fromkeys(
            place_of(template, self.values(number), working)
            for template in (*task.inputs, *task.reads)
            for number in numbers
        )
        inputs = {path: self.inputs[path] for path in paths if path in self.inputs}
        return Table(columns=self.columns, rows=rows, first=numbers.start, inputs=inputs)


class RowFile(Frozen, frozen=True, omit_defaults=True):
    """A file that a row left: its path in the folder of the row, and where the result has it.

    Attributes
    ----------
    is_log
        It is what the program printed.
    """

    name: str
    size: int
    sha256: str
    member: str
    is_log: bool = False


class Row(Frozen, frozen=True, omit_defaults=True):
    """How one row ended.

    Attributes
    ----------
    number
        From 0, in the table.
    ok
        Whether it counts as done.
    exit_code
        Of the program; that of a program killed by a signal is the negative signal.
    seconds, cpu_seconds
        Wall and CPU time.
    memory
        Largest resident set of its process, in bytes.
    files
        What it left.
    job, piece
        The result file that has them.
    """

    number: int
    ok: bool = True
    exit_code: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    host: str = ""
    files: tuple[RowFile, ...] = ()
    job: int = 0
    piece: str = ""


_PLACE = re.compile(r"\{\{([^{}]+)\}\}|\{([^{}]+)\}")


def places_in(template: str) -> Iterator[str]:
    """Yield what stands in single braces in a template, be it the name of a column or not."""
    yield from (place[1] for place in _PLACE.findall(template) if place[1])


def fill(template: str, values: Mapping[str, str]) -> str:
    """Fill a row into a template.

    `{name}` is replaced where there is such a column; `{{name}}` gives `{name}`; other braces stay
    as they are.
    """

    def replaced(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped is not None:
            return f"{{{escaped}}}" if escaped in values else match[0]
        return values.get(name, match[0])

    return _PLACE.sub(replaced, template)


def place_of(template: str, values: Mapping[str, str], working: str) -> str:
    """Return the absolute path of a file that a row names relative to a folder, or its URL."""
    name = fill(template, values)
    if "://" in name:
        return name
    return os.path.normpath(os.path.join(working, name))  # noqa: PTH118 -- text
