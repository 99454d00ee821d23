"""Skims: rows that an analysis keeps. They are written as they come, so memory stays flat.

A skim is one Parquet file. Chunks become row groups, and merging copies row groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from eventflock.errors import AnalysisError

__all__ = ["SkimWriter", "is_skim", "read_skim", "tables_of"]

ROWS = 100_000
"""Rows that are held in memory at once while merging."""


def is_skim(value: Any) -> bool:
    """Tell whether a result of an analysis is an awkward array, which means rows to keep."""
    kind = type(value)
    return kind.__module__.startswith("awkward.") and kind.__name__ == "Array"


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
        self._held: Any = None

    def append(self, array: Any) -> None:
        """Append an awkward array (rows along its first axis)."""
        import awkward as ak

        _pyarrow(self.name)
        try:
            table = ak.to_arrow_table(array, extensionarray=False)
            self._write(table.replace_schema_metadata(None))
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
        """Append an Arrow table. Row groups have `ROWS` rows, however the rows come in."""
        import pyarrow as pa

        if table.num_rows == 0:
            self._write(table)
            return
        held = [self._held, self._fit(table)] if self._held is not None else [table]
        self._held = pa.concat_tables(held)
        while self._held.num_rows >= ROWS:
            self._write(self._held.slice(0, ROWS))
            self._held = self._held.slice(ROWS)

    def _write(self, table: Any) -> None:
        """Write a table as one row group."""
        if table.num_rows == 0:  # an empty chunk may not know its types
            if all(str(one.type) != "null" for one in table.schema):
                self._empty = self._empty or table.schema
            return
        if self._writer is None:
            self._open(table.schema)
        else:
            table = self._fit(table)
        self._writer.write_table(table)

    def _open(self, schema: Any) -> None:
        parquet = _pyarrow(self.name)
        self._writer = parquet.ParquetWriter(self.file, schema, compression="zstd")

    def _fit(self, table: Any) -> Any:
        """Give the table the writer's schema. Only whether values may be missing may differ."""
        wanted = self._writer.schema if self._writer is not None else self._held.schema
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
        """Finish the file and give its path."""
        if self._held is not None:
            self._write(self._held)
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


def _pyarrow(name: str) -> Any:
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
    """Give the rows of a skim as Arrow tables of limited size."""
    parquet = _pyarrow(file.name)
    with parquet.ParquetFile(file) as opened:
        empty = opened.schema_arrow.empty_table()
        if opened.metadata.num_rows == 0:
            yield empty
            return
        import pyarrow as pa

        for batch in opened.iter_batches(batch_size=ROWS):
            yield pa.Table.from_batches([batch])


def read_skim(file: BinaryIO, name: str) -> Any:
    """Read a whole skim as an awkward array."""
    import awkward as ak

    array = ak.from_arrow(_pyarrow(name).read_table(file))
    return array[""] if ak.fields(array) == [""] else array
