"""Skims: rows that an analysis keeps. They are written as they come, so memory stays flat.

A skim is one Parquet file. Its row groups have a limited size and are read one after the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eventflock.errors import AnalysisError, ResultError

__all__ = ["SkimWriter", "is_skim", "need_pyarrow", "read_skim", "tables_of"]

ROWS = 100_000
"""Rows of a row group, and rows that are read at once."""
SAMPLE = 1_000
"""Rows by which it is found out how many a row group may have."""
GROUP = 2**26
"""Bytes in memory of a row group."""
STREAM_MAX = 2**33
STREAM_RATIO = 200
"""Rows read one after the other take no memory, but time: together they may have `STREAM_MAX`
bytes, or `STREAM_RATIO` times the file if that is more."""


def is_skim(value: Any) -> bool:
    """Check whether a result of an analysis is an awkward array, which means rows to keep."""
    kinds = type(value).__mro__  # awkward may not be loaded
    return any((kind.__module__, kind.__name__) == ("awkward.highlevel", "Array") for kind in kinds)


class SkimWriter:
    """Appends rows to one Parquet file.

    Parameters
    ----------
    file
        Where to write it.
    name
        How the user knows it, for messages.

    Raises
    ------
    AnalysisError
        pyarrow is not installed, or the rows of two chunks have different types.
    """

    def __init__(self, file: Path, name: str) -> None:
        self.file = file
        self.name = name
        self._writer: Any = None
        self._empty: Any = None
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0
        self._group = 0

    def append(self, array: Any) -> None:
        """Append an awkward array (rows along its first axis)."""
        import awkward as ak

        need_pyarrow(self.name)
        try:
            table = ak.to_arrow_table(array, extensionarray=False)
            # At once: waiting, it would keep the memory of the whole chunk, or see it change.
            if self._has_rows(table):
                rows = GROUP * table.num_rows // max(table.nbytes, 1)
                self._write(self._fit(table.replace_schema_metadata(None)), rows)
        except AnalysisError:
            raise
        except Exception as error:
            if len(array) == 0:  # an array that never had rows need not know its types
                return
            raise AnalysisError(
                f"The skim {self.name} of type {array.type} cannot be written: {error}",
                remedy="Keep columns of numbers, strings, lists and records of these.",
            ) from error

    def append_table(self, table: Any) -> None:
        """Append an Arrow table, to be written when there are rows for a whole row group.

        So row groups depend on the rows, and not on how they came: in many files or in few.
        """
        if not self._has_rows(table):
            return
        self._waiting.append(self._fit(table))
        self._rows, self._bytes = self._rows + table.num_rows, self._bytes + table.nbytes
        if not self._group and (self._rows >= SAMPLE or self._bytes >= 2 * GROUP):
            self._group = self._rows_per_group()
        while self._group and self._rows >= self._group:
            self._write_first(self._group)

    def _has_rows(self, table: Any) -> bool:
        """Check whether there is anything to write; an empty chunk may not know its types."""
        if table.num_rows == 0 and all(str(one.type) != "null" for one in table.schema):
            self._empty = self._empty or table.schema
        return bool(table.num_rows)

    def _rows_per_group(self) -> int:
        """Find out how many rows a row group may have, from the first ones; 0 is not known yet."""
        import pyarrow as pa

        first = pa.concat_tables(self._waiting).slice(0, SAMPLE).combine_chunks()
        size = int(first.nbytes)
        if size <= GROUP:
            if first.num_rows < SAMPLE:
                return 0
            return min(GROUP * SAMPLE // max(size, 1), ROWS)
        rows = 1  # large ones: as many as fit, whether all of the sample are there yet or not
        while first.slice(0, 2 * rows).nbytes <= GROUP:
            rows *= 2
        return rows

    def _write_first(self, rows: int) -> None:
        import pyarrow as pa

        table = pa.concat_tables(self._waiting)
        # In one piece: where pieces end, pages may end, too.
        self._write(table.slice(0, rows).combine_chunks(), rows)
        rest = table.slice(rows)
        self._waiting, self._rows = [rest] if rest.num_rows else [], rest.num_rows

    def _write(self, table: Any, rows: int) -> None:
        """Write a table, as row groups of so many rows."""
        if self._writer is None:
            self._open(table.schema)
        self._writer.write_table(table, row_group_size=min(max(rows, 1), ROWS))

    def _open(self, schema: Any) -> None:
        parquet = need_pyarrow(self.name)
        self._writer = parquet.ParquetWriter(self.file, schema, compression="zstd")

    def _fit(self, table: Any) -> Any:
        """Cast a table to the writer's schema. Only whether values may be missing may differ."""
        wanted = self._waiting[0].schema if self._waiting else table.schema
        if self._writer is not None:
            wanted = self._writer.schema
        if table.schema == wanted:
            return table
        if _kinds(table.schema) == _kinds(wanted):
            try:
                return table.cast(wanted)
            except ValueError:  # values are missing that were never missing before
                pass
        raise AnalysisError(
            f"The skim {self.name} has different columns in different chunks: "
            f"{_columns(wanted)} and {_columns(table.schema)}.",
            remedy="Return the same columns with the same types for every chunk, for example "
            "with ak.values_astype.",
        )

    def close(self) -> Path:
        """Finish the file and return its path."""
        if self._waiting:
            self._write_first(self._rows)
        if self._writer is None:
            import pyarrow as pa

            self._open(self._empty or pa.schema([]))
        self._writer.close()
        return self.file


def _kinds(schema: Any) -> list[tuple[str, str]]:
    return [(one.name, str(one.type).replace(" not null", "")) for one in schema]


def _columns(schema: Any) -> str:
    words = (f"{one.name}: {one.type}{'' if one.nullable else ' not null'}" for one in schema)
    return f"({', '.join(words)})"


def need_pyarrow(name: str) -> Any:
    """Import pyarrow.parquet, or say what a skim needs it for."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise AnalysisError(
            f"The result {name} is a skim (an awkward array), and pyarrow is not installed.",
            remedy="Install it: pip install 'eventflock[skims]'. To add numbers up instead of "
            "keeping rows, return a NumPy array. Where requirements say what jobs bring along, add "
            "pyarrow to them.",
        ) from None
    return pyarrow.parquet


def tables_of(file: Path) -> Iterator[Any]:
    """Yield the rows of a skim as Arrow tables of limited size.

    A file from another machine has to pass a `SkimSandbox` first: this takes the memory that the
    file asks for.

    Raises
    ------
    ResultError
        It has far more rows than its size can explain, or contradicts itself.
    """
    most = max(STREAM_MAX, STREAM_RATIO * file.stat().st_size)
    rows = size = 0
    with _opened(file) as opened:
        for group in range(opened.num_row_groups):
            for table in _tables(opened, group):
                rows, size = rows + table.num_rows, size + table.nbytes + table.num_rows
                if size > most:
                    raise ResultError(f"A skim unpacks to more than {most:,} bytes.")
                yield table
        if rows != opened.metadata.num_rows:
            raise ResultError(f"A skim has {rows:,} rows and says {opened.metadata.num_rows:,}.")
        if not rows:
            yield opened.schema_arrow.empty_table()


def _tables(opened: Any, group: int) -> Iterator[Any]:
    """Read a row group, checked."""
    import pyarrow as pa

    for batch in opened.iter_batches(batch_size=ROWS, row_groups=[group]):
        table = pa.Table.from_batches([batch])
        table.validate(full=True)
        yield table


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a Parquet file. Its schema must be one that `SkimWriter` could have."""
    with need_pyarrow(file.name).ParquetFile(file) as opened:
        if opened.metadata.num_rows and not opened.metadata.num_columns:
            raise ResultError("A skim has rows without columns.")
        if any(_is_extended(one.type) for one in opened.schema_arrow):
            raise ResultError("A skim has columns of types that are not Arrow's own.")
        yield opened


def _is_extended(kind: Any) -> bool:
    import pyarrow as pa

    fields = (kind.field(index).type for index in range(kind.num_fields))
    return isinstance(kind, pa.BaseExtensionType) or any(map(_is_extended, fields))


def read_skim(file: Path) -> Any:
    """Read a whole skim as an awkward array.

    Raises
    ------
    ResultError
        As for `tables_of`.
    """
    import awkward as ak

    with _opened(file) as opened:
        table = opened.read()
        if table.num_rows != opened.metadata.num_rows:
            raise ResultError(f"A skim has {table.num_rows:,} rows and says otherwise.")
    table.validate(full=True)
    array = ak.from_arrow(table)
    return array[""] if ak.fields(array) == [""] else array
