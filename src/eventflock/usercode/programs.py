"""Finding a script or another program, freezing it, and finding the frozen copy again."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from eventflock._version import PACKAGE
from eventflock.core.model import AnalysisRef
from eventflock.core.structs import digest
from eventflock.core.task import Task, TaskKind, fill
from eventflock.errors import AnalysisError, UsageError, nearest
from eventflock.usercode.decorator import Analysis
from eventflock.usercode.loading import check_helpers, load, load_function

__all__ = ["Program", "RowWork", "load_rows", "load_work", "locate_program", "locate_script"]


class Program(NamedTuple):
    """A program that is run for each row: the words before its arguments."""

    words: tuple[str, ...]

    def command(self, task: Task, values: Mapping[str, str]) -> list[str]:
        """Return the whole command for a row."""
        return [*self.words, *(fill(word, values) for word in task.arguments)]


RowWork: TypeAlias = Program | Callable[[Any], Any]
"""What is done for each row."""


def locate_script(name: str) -> tuple[AnalysisRef, bytes]:
    """Find a Python script, and return how it is found again, with its source.

    Raises
    ------
    UsageError
        There is no such file, or it is no Python.
    """
    path = Path(name)
    source = _read(path, "script", "*.py")
    try:
        compile(source, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise UsageError(
            f"{name} is no Python script: {getattr(error, 'msg', error)}{where}.",
            remedy=f"Mend it; for another kind of program: --executable {name}",
        ) from None
    return _ref_of(path, source), source


def locate_program(name: str) -> tuple[AnalysisRef, bytes]:
    """Find a program: a file, which goes with the jobs, or a command that nodes have.

    Raises
    ------
    UsageError
        There is no such file or command, or it cannot be run.
    """
    path = Path(name)
    if "/" not in name and not path.is_file():
        if shutil.which(name) is None:
            raise UsageError(
                f"There is no program {name!r}, neither here nor among the commands.",
                remedy="Name a file, as in --executable ./fit.sh.",
            )
        return AnalysisRef(name=name, origin=name), b""
    source = _read(path, "program", "*")
    if not os.access(path, os.X_OK):
        raise UsageError(
            f"{name} is not executable.",
            remedy=f"chmod +x {name}; a Python script is named without --executable.",
        )
    return _ref_of(path, source), source


def _read(path: Path, what: str, pattern: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        beside = path.parent.glob(pattern) if path.parent.is_dir() else []
        near = nearest(path.name, (one.name for one in beside if one.is_file()))
        why = f"{error.strerror}" if path.exists() else "it is not there"
        raise UsageError(
            f"The {what} {str(path)!r} cannot be read: {why}{'; ' + near if near else '.'}",
            remedy="Name the file of a script, or a program with --executable.",
        ) from None


def _ref_of(path: Path, source: bytes) -> AnalysisRef:
    full = path.resolve()
    return AnalysisRef(
        name=full.stem,
        origin=str(full),
        file=full.name,
        sha256=digest(source),
        search=(str(full.parent),),
    )


def load_work(ref: AnalysisRef, folder: Path | None = None) -> Analysis | RowWork:
    """Return what jobs do: an analysis of events, or what is done for each row."""
    return load(ref, folder) if ref.task is None else load_rows(ref, folder)


def load_rows(ref: AnalysisRef, folder: Path | None = None) -> RowWork:
    """Return what is done for each row, from the frozen copy.

    Parameters
    ----------
    ref
        With a task.
    folder
        Where the frozen copies are; without it, the origin is taken.

    Raises
    ------
    UsageError, AnalysisError
        It is not there, or not what was frozen.
    """
    if ref.task is None:
        raise AnalysisError(f"{ref.name!r} does events, not rows.")
    if ref.task.kind == TaskKind.FUNCTION:
        return load_function(ref, folder)
    if not ref.file:
        return Program((ref.origin,))
    copy = folder / ref.file if folder else Path(ref.origin)
    try:
        changed = digest(copy.read_bytes()) != ref.sha256
    except OSError as error:
        raise AnalysisError(f"{copy} cannot be read: {error.strerror}.") from None
    if changed:
        raise AnalysisError(
            f"{copy} changed since the run was made.",
            remedy="Put back what it was to resume, or start a new run.",
        )
    check_helpers(ref)
    if ref.task.kind == TaskKind.PROGRAM:
        if not os.access(copy, os.X_OK):
            copy.chmod(0o755)
        return Program((str(copy),))
    shown = ref.origin if _has(ref.origin, ref.sha256) else str(copy)
    runner = PACKAGE / "rows" / "script.py"
    # In a packed environment it is in a bundle with others, and no file.
    words = [str(runner)] if runner.is_file() else ["-m", "eventflock.rows.script"]
    return Program((sys.executable, *words, str(copy), shown))


def _has(path: str, sha256: str) -> bool:
    try:
        return digest(Path(path).read_bytes()) == sha256
    except OSError:
        return False
