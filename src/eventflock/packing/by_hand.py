"""Libraries that no file asks for, as with ctypes or plugins, but that were loaded in the trial."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from eventflock.packing.elf import read_elf
from eventflock.packing.interpreter import interpreter_files
from eventflock.packing.native import is_glibc
from eventflock.packing.selection import Chosen
from eventflock.worker.node_layout import NATIVE
from eventflock.worker.survey import Survey

__all__ = ["loaded_by_hand"]


def loaded_by_hand(
    survey: Survey,
    reference: Survey,
    chosen: Chosen,
    tree: Mapping[str, Path],
    known: Iterable[str],
) -> dict[str, Path]:
    """Find them.

    Parameters
    ----------
    survey, reference
        What the analysis loads, and what every worker loads.
    chosen, tree
        What goes in already.
    known
        Names of libraries that are in already, with or without a folder.

    Returns
    -------
    dict
        From names in the archive to files.
    """
    parts = [package.files for package in chosen.packages]
    inside = {_real(path) for files in (*parts, tree) for path in files.values()}
    inside |= {_real(path) for path in interpreter_files(survey.python).values()}
    names = {name.rpartition("/")[2] for name in known}
    found = {}
    for file in sorted(set(survey.libraries) - set(reference.libraries)):
        path = Path(file)
        elf = None if _real(path) in inside else read_elf(path)
        name = elf.soname or path.name if elf is not None else ""
        if name and not is_glibc(name) and name not in names and path.name not in names:
            found[f"{NATIVE}/{name}"] = path
    return found


def _real(path: Path) -> str:
    """Resolve links; of thousands of files in few folders, fast."""
    if path.is_symlink():
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return f"{_real_folder(folder)}/{name}"


@functools.cache
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)
