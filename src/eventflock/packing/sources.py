"""Which sources a package looks for as files, so that they cannot be in a bundle.

A module in a bundle has no file. Hardly any package minds, as `importlib`, `inspect` and `pkgutil`
find it nevertheless. Those that do mind show it in their text: they list their own folder, name or
read a file of theirs, or ask numba to keep what it has compiled beside the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

__all__ = ["Looked", "looked_for"]

_OWN = re.compile(rb"__file__|__path__|\.origin\b|getsourcefile|getfile\(")
_LISTS = re.compile(rb"\b(?:listdir|scandir|iterdir|r?glob|walk)\b")
_BEYOND = re.compile(
    rb"[\"']\.\.|\.parent\.parent|\bparents\[|dirname\([^)]*dirname|\w\.__(?:file|path)__|\.origin\b"
)
"""How the folder of another module is reached."""
_NAMES = re.compile(rb"[\"'/]([\w.-]+\.py)[\"']")
_KEPT = re.compile(rb"\bcache\s*=\s*True")
_NUMBA = re.compile(rb"numba|jit|vectorize")
_READS = re.compile(rb"open\(__file__|Path\(__file__\)\.(?:read|open)")


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be there.

    Attributes
    ----------
    files
        Sources, by their names in the archive.
    folders
        Folders from which paths start, though nothing in them need be a file.
    """

    files: frozenset[str]
    folders: frozenset[str]


def looked_for(files: Mapping[str, Path]) -> Looked:
    """Find the sources of a distribution that have to be files.

    Parameters
    ----------
    files
        From names in the archive, as `packages/PACKAGE/module.py`, to files.
    """
    sources = {name: path for name, path in files.items() if name.endswith(".py")}
    single: set[str] = set()
    listed: set[str] = set()
    named: set[tuple[str, str]] = set()
    start: set[str] = set()
    for name, path in sources.items():
        text = path.read_bytes()
        top, folder = _top(name), name.rpartition("/")[0]
        if _OWN.search(text):
            start.add(folder)
            if _LISTS.search(text):
                listed.add(top if _BEYOND.search(text) else folder)
        if _READS.search(text) or (_NUMBA.search(text) and _KEPT.search(text)):
            single.add(name)
        named |= {(top, found.decode()) for found in _NAMES.findall(text)}
    named -= {(top, "__init__.py") for top, _ in named}  # hardly ever of the package itself
    stay = {
        name
        for name in sources
        if name in single
        or (_top(name), name.rpartition("/")[2]) in named
        or any(name.startswith(f"{folder}/") for folder in listed)
    }
    return Looked(files=frozenset(stay), folders=frozenset(start))


def _top(name: str) -> str:
    """Return the top-level package, with the folder that it lies in."""
    return "/".join(name.split("/")[:2])
