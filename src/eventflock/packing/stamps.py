"""Knowing whether something has changed: sizes and times of files, and times of folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from eventflock.core.structs import digest, to_json
from eventflock.packing.interpreter import walk

__all__ = ["Stamps", "digest_of", "own_digests", "take"]

_NOT_SOURCE = ("build", "dist", "node_modules")
"""Folders of a project that building it makes."""


def own_digests() -> list[str]:
    """Return the digests of the programs that pack: with others, archives would be others."""
    ours = (path for path in Path(__file__).parent.iterdir() if path.suffix in {".py", ".sh"})
    return [digest(path.read_bytes()) for path in sorted(ours)]


class Stamps(msgspec.Struct, frozen=True, kw_only=True):
    """How files and folders were when something was made from them.

    Attributes
    ----------
    files
        From paths to size and time in nanoseconds.
    folders
        From paths to time: a file that is added or removed changes that of its folder.
    """

    files: dict[str, tuple[int, int]] = {}
    folders: dict[str, int] = {}

    def hold(self) -> bool:
        """Check whether all are as they were."""
        try:
            return all(_file(Path(path)) == was for path, was in self.files.items()) and all(
                Path(path).stat().st_mtime_ns == was for path, was in self.folders.items()
            )
        except OSError:
            return False


def _file(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def take(files: Iterable[Path], folders: Iterable[Path], trees: Iterable[Path]) -> Stamps:
    """Stamp files, folders, and trees, which are folders with all that is below them."""
    found = {str(file): _file(file) for file in sorted(set(files))}
    places = {
        str(folder): folder.stat().st_mtime_ns for folder in sorted(set(folders)) if folder.is_dir()
    }
    for tree in sorted(set(trees)):
        if tree.is_file():
            found[str(tree)] = _file(tree)
        for inner, path in walk(tree, whole=True) if tree.is_dir() else ():
            if _is_source(inner):
                found[str(path)] = _file(path)
        for place, inside, _ in os.walk(tree, followlinks=False):
            inside[:] = [one for one in inside if _is_source(f"{one}/")]
            places[place] = Path(place).stat().st_mtime_ns
    return Stamps(files=found, folders=places)


def _is_source(name: str) -> bool:
    folders = name.split("/")[:-1]
    return not any(
        folder.startswith((".", "__pycache__"))
        or folder in _NOT_SOURCE
        or folder.endswith(".egg-info")
        for folder in folders
    )


def digest_of(trees: Iterable[Path]) -> str:
    """Sum up the stamps of trees in a digest; the times of folders do not count."""
    return digest(to_json(take((), (), trees).files))
