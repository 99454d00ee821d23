"""C++ at run time: the headers that ROOT's cling reads when it compiles on a node.

Cling is a compiler without a standard library. It asks the `c++` of the machine for its folders of
headers, and takes those with `++` in their names. A node may have no compiler, so the headers of
this machine are packed, with a `c++` that names them (`cling_cxx.sh`).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from eventflock.packing.interpreter import is_junk, walk
from eventflock.packing.native import Demands
from eventflock.worker.node_layout import HEADERS

__all__ = ["compiles", "headers", "is_useless", "with_headers"]

_COMPILER = Path(__file__).with_name("cling_cxx.sh")
_UNUSED = {"tutorials", "man", "README"}
_SUFFIXES = (".h", ".hpp", ".hh", ".hxx", ".icc", ".tcc", ".inc", ".cuh")
_C = ("bits", "gnu", "sys", "asm", "asm-generic", "linux", "arpa", "net", "netinet", "rpc", "misc")
"""Folders of headers that the C library and the kernel have; others belong to other software."""


def compiles(names: Iterable[str]) -> bool:
    """Check whether one of these files is cling."""
    return any(name.rpartition("/")[2].startswith("libCling.so") for name in names)


def is_useless(name: str) -> bool:
    """Check whether a file of a package with cling is of no use on a node: headers are."""
    folders = set(name.split("/")[:-1])
    return bool(folders & _UNUSED) or (is_junk(name) and not name.endswith(_SUFFIXES))


def headers() -> dict[str, Path]:
    """Collect the headers of the standard libraries of this machine, and the `c++` that names them.

    Returns
    -------
    dict
        From names in the archive to files; empty without a compiler, as cling does not work then.
    """
    tree: dict[str, Path] = {}
    for number, folder in enumerate(_search_path()):
        found = walk(folder, whole=True) if "++" in str(folder) else _of_c(folder)
        # They sort in the order of the search.
        tree.update((f"{HEADERS}/{number:02}c++/{name}", path) for name, path in found)
    if tree:
        tree[f"{HEADERS}/bin/c++"] = _COMPILER
    return tree


def with_headers(demands: Demands) -> Demands:
    """Add to the demands of an archive those of headers: they speak of the C library of here."""
    words = (os.confstr("CS_GNU_LIBC_VERSION") or "glibc 0.0").split()[1].split(".")
    here = (int(words[0]), int(words[1]))
    if here <= demands.glibc:
        return demands
    return msgspec.structs.replace(demands, glibc=here, glibc_file=f"{HEADERS}/bin/c++")


def _search_path() -> list[Path]:
    """List the folders in which the compiler looks, in that order, without its own."""
    try:
        process = subprocess.run(
            ["c++", "-xc++", "-E", "-v", os.devnull],
            capture_output=True,
            text=True,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
        )
    except OSError:
        return []
    listed = re.search(r"^#include <\.\.\.>.*\n((?: /.*\n)*)", process.stderr, re.MULTILINE)
    found: list[Path] = []
    for line in listed[1].splitlines() if listed else ():
        folder = Path(line.strip()).resolve()
        own = "/gcc/" in str(folder) and "++" not in str(folder)
        if not own and not any(folder.is_relative_to(one) for one in found):
            found.append(folder)
    return found


def _of_c(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the headers of the C library and the kernel."""
    if not any((folder / name).is_dir() for name in ("bits", "sys", "linux")):
        return
    for path in sorted(folder.glob("*.h")):
        yield path.name, path
    for name in _C:
        for inner, path in walk(folder / name, whole=True):
            yield f"{name}/{inner}", path
