"""Reading the rows of a run: from a table, a number, or the names of files."""

from __future__ import annotations

import csv
import glob
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eventflock.core.task import INDEX, Table
from eventflock.errors import UsageError, nearest

__all__ = ["count_table", "file_table", "read_table"]

ROWS_MAX = 1_000_000
FILE = "file"
"""The column of a table of files."""
STEM = "stem"
"""The column with their names, without folders and the last ending."""


def count_table(count: int) -> Table:
    """Return a table of so many rows without columns.

    Raises
    ------
    UsageError
        The number makes no sense.
    """
    if not 0 < count <= ROWS_MAX:
        raise UsageError(
            f"--count is {count:,}, expected a number from 1 to {ROWS_MAX:,}.",
            remedy="Each row is told its number as {index}, from 0.",
        )
    return Table(rows=((),) * count)


def file_table(patterns: Sequence[str]) -> Table:
    """Return a table with a row for each file: its path as `file`, its name as `stem`.

    Raises
    ------
    UsageError
        There is none, or one twice.
    """
    found: list[str] = []
    for pattern in patterns:
        if "://" in pattern:
            found.append(pattern)
            continue
        names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- it may be absolute
        files = [str(Path(name).absolute()) for name in names if Path(name).is_file()]
        if not files:
            raise UsageError(
                f"--files {pattern!r} matches no file.",
                remedy="Quote it, so that it is not your shell that looks: --files 'data/*.root'.",
            )
        found += files
    twice = sorted({name for name in found if found.count(name) > 1}) if len(found) < 1000 else []
    if len(set(found)) < len(found):
        name = twice[0] if twice else "a file"
        raise UsageError(f"{name} is named twice by --files.", remedy="Name each file once.")
    return Table(
        columns=(FILE, STEM),
        rows=tuple((name, Path(name).stem) for name in found),
    )


def read_table(path: Path) -> Table:
    """Read a table: CSV with a line of names, a JSON list of objects, or an object on each line.

    Raises
    ------
    UsageError
        It cannot be read, or a row is empty, doubled, or not like the others.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        near = ""
        if path.parent.is_dir() and not path.exists():
            near = nearest(path.name, (one.name for one in path.parent.iterdir()))
        raise UsageError(
            f"The table {path} cannot be read: {error.strerror}{'; ' + near if near else '.'}",
            remedy="Name a .csv, .json or .jsonl file.",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"The table {path} is no text in UTF-8 (byte {error.start:,}).",
            remedy="Save it as UTF-8.",
        ) from None
    match path.suffix.lower():
        case ".json":
            rows = _from_json(path, text)
        case ".jsonl" | ".ndjson":
            rows = _from_lines(path, text)
        case ".csv" | ".tsv" | ".txt" | "":
            rows = _from_csv(path, text)
        case other:
            raise UsageError(
                f"The table {path} ends in {other!r}, which is no table.",
                remedy="Name a .csv, .json or .jsonl file.",
            )
    return _checked(path, rows)


Placed = tuple[str, dict[str, Any]]
"""Where a row is in its file, for messages, and its values by column."""


def _from_csv(path: Path, text: str) -> list[Placed]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(
            f"Line {reader.line_num} of {path} is no CSV: {error}.",
            remedy='Text with commas, quotes or line ends stands in "quotes", quotes doubled.',
        ) from None
    while lines and not any(lines[-1][1]):
        lines.pop()
    if not lines:
        raise UsageError(f"The table {path} is empty.", remedy="Its first line names the columns.")
    names = [name.strip() for name in lines[0][1]]
    _check_names(path, names)
    rows = []
    for line, row in lines[1:]:
        if not any(row):
            raise UsageError(f"Line {line} of {path} is empty.", remedy="Remove it.")
        if len(row) != len(names):
            raise UsageError(
                f"Line {line} of {path} has {len(row)} values, its first line names "
                f"{len(names)} columns: {', '.join(names)}.",
                remedy='Text with commas stands in "quotes".',
            )
        rows.append((f"line {line}", dict(zip(names, row, strict=True))))
    return rows


def _from_json(path: Path, text: str) -> list[Placed]:
    found = _parsed(path, text, "")
    if not isinstance(found, list):
        raise UsageError(
            f"The table {path} is no list of objects.",
            remedy='As in [{"mass": 100}, {"mass": 200}].',
        )
    return [(f"element {n}", one) for n, one in enumerate(found)]


def _from_lines(path: Path, text: str) -> list[Placed]:
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return [(f"line {n}", _parsed(path, line, f"line {n} of ")) for n, line in enumerate(lines, 1)]


def _parsed(path: Path, text: str, where: str) -> Any:
    if not text.strip():
        raise UsageError(f"{where.capitalize()}{path} is empty.", remedy="Remove it, or fill it.")
    try:
        return json.loads(text, parse_float=_Number, parse_int=_Number, parse_constant=_Number)
    except ValueError as error:
        raise UsageError(
            f"{where.capitalize()}{path} is no JSON: {error}.", remedy="Mend it."
        ) from None


class _Number(str):
    """A number as it is written: 1e3 stays 1e3."""

    __slots__ = ()


def _checked(path: Path, rows: Sequence[Placed]) -> Table:
    """Check that all rows have the same columns, and that none is there twice."""
    if not rows:
        raise UsageError(f"The table {path} has no rows.", remedy="Give it at least one.")
    if len(rows) > ROWS_MAX:
        raise UsageError(f"The table {path} has more than {ROWS_MAX:,} rows.", remedy="Cut it.")
    for where, row in rows:
        if not row or not hasattr(row, "keys"):
            what = "empty" if row in ({}, None) else f"{row!r:.60}, not an object"
            raise UsageError(
                f"In {path}, {where} is {what}.", remedy='A row is as in {"mass": 100}.'
            )
    columns = list(rows[0][1])
    _check_names(path, columns)
    seen: dict[tuple[str, ...], str] = {}
    for where, row in rows:
        if set(row) != set(columns):
            odd = min(set(row) ^ set(columns))
            lacks = "lacks" if odd in columns else "has"
            raise UsageError(
                f"In {path}, {where} {lacks} the column {odd!r}; the first row has "
                f"{', '.join(columns)}.",
                remedy="Give every row the same columns.",
            )
        values = tuple(_as_text(row[column]) for column in columns)
        if values in seen:
            raise UsageError(
                f"In {path}, {where} is the same as {seen[values]}.",
                remedy="Each row is run once: remove one, add a column that tells them apart, or "
                "use --count and {index} for runs that are alike.",
            )
        seen[values] = where
    return Table(columns=tuple(columns), rows=tuple(seen))


def _check_names(path: Path, names: Sequence[str]) -> None:
    for name in names:
        problem = ""
        if not name or not name.strip():
            problem = "has no name"
        elif name == INDEX:
            problem = "is called 'index', which is the number of the row"
        elif set(name) & set("{}"):
            problem = f"has braces in its name {name!r}"
        elif list(names).count(name) > 1:
            problem = f"has the name {name!r}, as has another"
        if problem:
            raise UsageError(f"A column of {path} {problem}.", remedy="Give it another name.")


def _as_text(value: Any) -> str:
    """Return a value as an argument: text as it is, all else as JSON writes it."""
    if isinstance(value, str):
        return str(value)
    return "" if value is None else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return lists and objects with their numbers as numbers again."""
    if isinstance(value, _Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def check_columns(names: Iterable[str], table: Table, what: str) -> None:
    """Check that all names that look like columns are some.

    Raises
    ------
    UsageError
        One is not.
    """
    known = {*table.columns, INDEX}
    for name in names:
        if name not in known and name.isidentifier():
            near = nearest(name, known) or f"there are {', '.join(sorted(known))}."
            raise UsageError(
                f"{what} names {{{name}}}, and there is no such column; {near}",
                remedy=f"To pass on the text itself, write {{{{{name}}}}}.",
            )
