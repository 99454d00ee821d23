"""What only a GPU uses of the packages that are built for one.

Wheels for CUDA bring gigabytes: xgboost 400 MB for several GPUs, torch 2 GB of engines and a
compiler. A job on a CPU needs those that its packages are linked with, and those that it loads; the
others are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from eventflock.packing.distributions import Component, normal
from eventflock.packing.elf import Elf
from eventflock.packing.native import elfs_of
from eventflock.worker.survey import Survey

__all__ = ["without_gpu"]

_FOR_GPUS = re.compile(r"nvidia-.+|triton")
"""Distributions that have nothing else: libraries of CUDA, and the compiler of torch."""


def without_gpu(
    packages: Sequence[Component], survey: Survey, named: Iterable[str]
) -> list[Component]:
    """Leave out what neither was loaded nor is needed by a file that goes in.

    Parameters
    ----------
    packages
        What would go in.
    survey
        What was loaded.
    named
        Distributions that the user wants whole.

    Returns
    -------
    list of Component
        What goes in, some of it without libraries.
    """
    kept_whole = {normal(name) for name in named}
    parts = [
        part
        for part in packages
        if _FOR_GPUS.fullmatch(normal(part.name)) and normal(part.name) not in kept_whole
    ]
    if not parts:
        return list(packages)
    loaded = {Path(file).resolve() for file in (*survey.libraries, *survey.modules.values())}
    libraries = {name: elf for part in parts for name, elf in elfs_of(part.files).items()}
    places = {name: path for part in parts for name, path in part.files.items()}
    used = {name for name in libraries if places[name].resolve() in loaded}
    others = [part.files for part in packages if part not in parts]
    needed = {one for files in others for elf in elfs_of(files).values() for one in elf.needed}
    used |= _reached(libraries, used, needed)
    found = (
        _used_part(part, libraries, used, loaded) if part in parts else part for part in packages
    )
    return [part for part in found if part is not None]


def _reached(libraries: dict[str, Elf], used: set[str], needed: set[str]) -> set[str]:
    """Follow what libraries need, by the names that they have for the loader."""
    names: dict[str, set[str]] = {}
    for file, elf in libraries.items():
        for name in {elf.soname, file.rpartition("/")[2]}:
            names.setdefault(name, set()).add(file)
    todo = {*needed, *(one for file in used for one in libraries[file].needed)}
    found: set[str] = set()
    while todo:
        named = names.get(todo.pop(), set())
        new = set() if named & used else named - found  # it is the one that was loaded here
        found |= new
        todo |= {one for file in new for one in libraries[file].needed}
    return found


def _used_part(
    part: Component, libraries: dict[str, Elf], used: set[str], loaded: set[Path]
) -> Component | None:
    """Return a distribution without the libraries that are of no use; None if all of it is."""
    files = {
        name: path for name, path in part.files.items() if name not in libraries or name in used
    }
    imported = any(_modules_of(files, loaded))
    if not used & set(files) and not imported:
        return None
    modules = part.modules if imported else ()
    return msgspec.structs.replace(part, files=files, modules=modules)


def _modules_of(files: dict[str, Path], loaded: set[Path]) -> Iterator[bool]:
    """Yield, for each file that says something when it is imported, whether it was."""
    for name, path in files.items():
        if name.endswith(".py") and path.stat().st_size:
            yield path.resolve() in loaded
