"""The interpreter and its standard library, as they lie in the archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from eventflock.errors import EnvError
from eventflock.packing.elf import read_elf
from eventflock.worker.node_layout import PROGRAMS
from eventflock.worker.survey import Interpreter

__all__ = ["interpreter_files", "is_junk", "program_of", "stdlib_of", "walk"]

_NOT_STDLIB = {
    "test", "idlelib", "tkinter", "ensurepip", "turtledemo", "pydoc_data",
    "site-packages", "dist-packages", "sitecustomize.py", "turtle.py",
}  # fmt: skip
_EXTRA = ("_test", "_ctypes_test", "_xxtest", "xxlimited", "_xxsubinterpreters", "_tkinter", "nis.")
"""Extension modules for tests, Tk, and NIS, which alone brings all of Kerberos along."""
_JUNK_FOLDERS = {
    "__pycache__",
    ".git",
    ".hg",
    ".svn",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
}
_JUNK = (
    ".pyc",
    ".pyo",
    ".pyi",
    ".a",
    ".la",
    ".o",
    ".h",
    ".hpp",
    ".hh",
    ".cuh",
    ".pxd",
    ".pyx",
    ".map",
)


def is_junk(name: str) -> bool:
    """Check whether a file of a package is of no use on a node: headers, archives, type stubs."""
    return name.endswith(_JUNK) or bool(_JUNK_FOLDERS & set(name.split("/")[:-1]))


def walk(
    folder: Path, skip: frozenset[str] = frozenset(), *, whole: bool = False
) -> Iterator[tuple[str, Path]]:
    """Yield all files under a folder that are of use, by relative name, in order.

    Links to folders are followed, each folder once.

    Parameters
    ----------
    skip
        Names at the top that are left out.
    whole
        Whether headers and the like are kept, as in what is the user's own.

    Raises
    ------
    EnvError
        A file name that is not UTF-8.
    """
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        here = Path(place)
        top = here == folder
        folders[:] = sorted(
            one for one in folders if one not in _JUNK_FOLDERS and not (top and one in skip)
        )
        for name in sorted(files):
            path = here / name
            junk = is_junk(name) and not whole
            if not (top and name in skip) and not junk and path.is_file():
                yield _checked(path.relative_to(folder).as_posix(), path), path


def _checked(name: str, path: Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise EnvError(
            f"The name of the file {str(path)!r} is not UTF-8.",
            remedy="Rename it, or move it away.",
        ) from None
    return name


def stdlib_of(python: Interpreter) -> str:
    """Return the folder of the standard library in the archive, such as `lib/python3.11`."""
    return f"{python.libdir}/{Path(python.stdlib).name}"


def program_of(python: Interpreter) -> str:
    """Return the name of the interpreter itself in the archive."""
    return f"{PROGRAMS}/{Path(python.executable).name}"


def interpreter_files(python: Interpreter) -> dict[str, Path]:
    """Collect the program and the standard library without tests, Tk, IDLE and pip.

    Raises
    ------
    EnvError
        The interpreter is not one that can be packed.
    """
    program = Path(python.executable)
    elf = read_elf(program)
    if elf is None or not elf.machine or "ld-linux" not in elf.interpreter:
        what = "it is a script" if elf is None else f"its loader is {elf.interpreter or 'unknown'}"
        raise EnvError(
            f"The interpreter {program} cannot be packed: {what}, expected a program for Linux "
            "with glibc on x86_64 or aarch64.",
            remedy="Run eventflock with another Python, or pack one with --python standalone.",
        )
    inside = stdlib_of(python)
    files = {program_of(python): program}
    stdlib = Path(python.stdlib)
    for name, path in walk(stdlib, frozenset(_NOT_STDLIB)):
        first = name.split("/")[0]
        if not first.startswith("config-") and "/tests/" not in name and not _is_extra(name):
            files[f"{inside}/{name}"] = path
    dynload = Path(python.dynload)
    if not dynload.is_relative_to(stdlib) and dynload.is_dir():
        found = {f"{inside}/lib-dynload/{name}": path for name, path in walk(dynload)}
        files.update((name, path) for name, path in found.items() if not _is_extra(name))
    return files


def _is_extra(name: str) -> bool:
    return "lib-dynload/" in name and name.rsplit("/", maxsplit=1)[-1].startswith(_EXTRA)
