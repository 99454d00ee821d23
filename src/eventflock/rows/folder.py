"""The folder of one row: what is put there before, and what is taken from there afterwards."""

from __future__ import annotations

import fnmatch
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from eventflock.core.task import OUTPUT_FILES, Table, Task, fill, place_of
from eventflock.core.units import say_bytes
from eventflock.errors import AnalysisError, InputError, listed, plural
from eventflock.failures.codes import FailureCode

__all__ = ["RowFolder", "outputs_in"]

SHOWN = 5


class RowFolder(NamedTuple):
    """A folder that was made for a row.

    Attributes
    ----------
    path
        Where the program runs.
    values
        What `{column}` stands for there.
    inputs
        What was put there, with size and time: a program that changes it makes it an output.
    """

    path: Path
    values: dict[str, str]
    inputs: dict[Path, tuple[int, int]]

    @classmethod
    def make(
        cls,
        path: Path,
        number: int,
        table: Table,
        task: Task,
        working: str,
        places: Mapping[str, str],
    ) -> RowFolder:
        """Make the folder of a row, with its input files.

        Parameters
        ----------
        path
            Where; the folder beside it that has `-files` in its name is for what is only read.
        number, table, task
            The row.
        working
            What names of files are relative to.
        places
            Where files are that came with the job.

        Raises
        ------
        InputError
            An input is not there, or has changed since the run was made.
        """
        path.mkdir(parents=True)
        values = table.values(number)
        inputs = {}
        for template in task.inputs:
            source, name = _source(template, table, values, working, places)
            shutil.copy(source, path / name)
            inputs[path / name] = _stamp(path / name)
            _rename(values, fill(template, values), name)
        for template in task.reads:
            source, name = _source(template, table, values, working, places)
            if places.get(place_of(template, values, working)):  # under its own name
                link = path.with_name(f"{path.name}-files") / name
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(Path(source).resolve())
                source = str(link)
            _rename(values, fill(template, values), source)
        return cls(path, values, inputs)


def _source(
    template: str, table: Table, values: dict[str, str], working: str, places: Mapping[str, str]
) -> tuple[str, str]:
    """Return where an input file is here, and its name."""
    planned = place_of(template, values, working)
    source = places.get(planned, planned)
    if planned in table.inputs:
        size, changed = table.inputs[planned]
        try:
            found = Path(source).stat()
        except OSError as error:
            raise InputError(
                f"The input {planned} cannot be read: {error.strerror}.",
                remedy="Put it back, and resume the run.",
                code=FailureCode.GONE,
            ) from None
        # The time of a copy says nothing.
        if found.st_size != size or (source == planned and found.st_mtime_ns != changed):
            raise InputError(
                f"The input {planned} changed since the run was made.",
                remedy="Put back what it was to resume, or start a new run.",
            )
    return source, Path(planned).name


def _rename(values: dict[str, str], old: str, new: str) -> None:
    for column, value in values.items():
        if value == old:
            values[column] = new


def _stamp(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_size, found.st_mtime_ns


def outputs_in(folder: RowFolder, task: Task) -> dict[str, Path]:
    """Find what a program has left in its folder, by names relative to it.

    Raises
    ------
    AnalysisError
        What was promised is not there, something is no plain file, or it is too much.
    """
    found = dict(_files_in(folder))
    wanted = {
        name: path
        for name, path in found.items()
        if not task.outputs or any(_fits(name, pattern) for pattern in task.outputs)
    }
    for name, path in wanted.items():
        _check_plain(name, path)
    for pattern in task.outputs:
        if not any(_fits(name, pattern) for name in wanted):
            left = ", ".join(map(_readable, sorted(found)[:SHOWN])) or "no file at all"
            raise AnalysisError(
                f"It left no {pattern!r}, which was promised with --output; it left {left}"
                f"{', ...' if len(found) > SHOWN else ''}.",
                remedy="Let it write the file into its working folder, or promise another.",
                code=FailureCode.PROGRAM.with_detail("outputs"),
            )
    _check_amount(wanted, task)
    return wanted


def _files_in(folder: RowFolder) -> Iterator[tuple[str, Path]]:
    """Yield all that is no folder, and no input that is as it was."""
    for place, folders, names in os.walk(folder.path):
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(place, name)
            if folder.inputs.get(path) != _stamp(path):
                yield str(path.relative_to(folder.path)), path


def _readable(name: str) -> str:
    """Return a name of a file as text that can be printed, whatever is in it."""
    return name if name.isprintable() else repr(name)


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern.removeprefix("./"))


def _check_plain(name: str, path: Path) -> None:
    kind = path.lstat().st_mode
    if stat.S_ISREG(kind) and "\n" not in name:
        try:
            name.encode()
        except UnicodeEncodeError:
            pass
        else:
            return
    what = "is a link" if stat.S_ISLNK(kind) else "is no plain file"
    if stat.S_ISREG(kind):
        what = "has a name that is no text"
    where = f" to {path.readlink()}" if stat.S_ISLNK(kind) else ""
    raise AnalysisError(
        f"It left {name!r}, which {what}{where}: only files can come back.",
        remedy="Let it write a copy, or remove it; or name what should come back: --output GLOB.",
        code=FailureCode.PROGRAM.with_detail("outputs"),
    )


def _check_amount(found: Mapping[str, Path], task: Task) -> None:
    sizes = {name: path.stat().st_size for name, path in found.items()}
    if len(sizes) <= OUTPUT_FILES and sum(sizes.values()) <= task.output_bytes:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])
    lines = listed([f"{_readable(name)}: {say_bytes(sizes[name])}" for name in largest], SHOWN)
    raise AnalysisError(
        f"It left {plural(len(sizes), 'file')} of {say_bytes(sum(sizes.values()))}, and a row may "
        f"leave {plural(OUTPUT_FILES, 'file')} of {say_bytes(task.output_bytes)}:\n"
        + "\n".join(lines),
        remedy="Raise --output-limit, or name what should come back: --output GLOB.",
        code=FailureCode.PROGRAM.with_detail("outputs"),
    )
