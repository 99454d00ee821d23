"""The data files that an analysis opens: they belong to a run as its code does.

A correction that is read from a file beside the analysis, and edited between two jobs, would leave
a result of which one half has the old weights and the other half the new ones.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from eventflock._version import PACKAGE
from eventflock.core.structs import digest_file
from eventflock.errors import UsageError

__all__ = ["Opened", "declared_files", "watch_opened"]

_CODE = (".py", ".pyc", ".pyi", ".pth", ".so")
_SYSTEM = ("/proc/", "/sys/", "/etc/", "/usr/", "/lib/", "/lib64/")
_KERNEL = ("/proc/", "/sys/")


class Opened:
    """The files that were opened while somebody watched.

    Attributes
    ----------
    read
        Data files that were only read, by absolute path, with their SHA-256. Code, what is
        installed and what the system has do not count.
    written
        Files that were written, and are still there, in order.
    created
        Those of them that were not there before.
    """

    def __init__(self) -> None:
        self.read: dict[str, str] = {}
        self.written: list[str] = []
        self.created: list[str] = []

    def remove_created(self) -> None:
        """Remove what a trial has made: with some of the events in it, it would mislead."""
        for name in self.created:
            Path(name).unlink(missing_ok=True)


_watching: list[dict[str, set[str]]] = []
"""The names of files that are opened to `read`, to `write`, and to be made `new`."""
_hooked: list[bool] = []


@contextlib.contextmanager
def watch_opened(apart: Iterable[str] = ()) -> Iterator[Opened]:
    """Watch which data files this process opens.

    Parameters
    ----------
    apart
        Files, and folders with all in them, that do not count: the events, and the frozen code.

    Yields
    ------
    Opened
        Filled at the end.
    """
    if not _hooked:  # a hook stays for good
        sys.addaudithook(_hear)
        _hooked.append(True)
    names: dict[str, set[str]] = {"read": set(), "write": set(), "new": set()}
    found = Opened()
    _watching.append(names)
    try:
        yield found
    finally:
        _watching.pop()
    others = {Path(os.path.realpath(name)) for name in apart if name}

    def own(kind: str) -> Iterator[Path]:
        for name in sorted(names[kind]):
            path = Path(os.path.realpath(name))
            if path.is_file() and not others & {path, *path.parents}:
                yield path

    for path in own("read"):
        if str(path) not in names["write"] and _is_data(path):
            with contextlib.suppress(OSError):
                found.read[str(path)] = digest_file(path)
    found.written = [str(path) for path in own("write") if _is_output(path)]
    found.created = [path for path in found.written if path in names["new"]]


def declared_files(names: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    """Find the data files that an analysis declares.

    Parameters
    ----------
    names
        Files, folders, and patterns.
    folders
        What they may be relative to; the first in which there is something counts.

    Returns
    -------
    dict
        From absolute paths to SHA-256.

    Raises
    ------
    UsageError
        A name leads nowhere.
    """
    found: dict[str, str] = {}
    for name in names:
        files = next((files for folder in folders if (files := _below(folder, name))), [])
        if not files:
            places = " nor in ".join(map(str, dict.fromkeys(folders)))
            raise UsageError(
                f"The analysis declares data={name!r}, which is not in {places}.",
                remedy="Name a file, a folder with files, or a pattern.",
            )
        found.update({os.path.realpath(file): digest_file(file) for file in files})
    return found


def _below(folder: Path, name: str) -> list[Path]:
    path = folder / Path(name).expanduser()
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if _may_be_data(file))
    if path.is_file():
        return [path]
    found = glob.glob(str(path), recursive=True)  # noqa: PTH207 -- the pattern may be absolute
    return sorted(file for one in found if (file := Path(one)).is_file())


def _may_be_data(path: Path) -> bool:
    return path.is_file() and path.suffix not in _CODE and "__pycache__" not in path.parts


def _hear(event: str, args: tuple[object, ...]) -> None:
    if event != "open" or not _watching:
        return
    path, mode, flags = args
    if not isinstance(path, str | bytes):
        return
    reads = (
        mode.startswith("r") and "+" not in mode
        if isinstance(mode, str)
        else isinstance(flags, int) and flags & os.O_ACCMODE == os.O_RDONLY
    )
    full = os.path.realpath(os.fsdecode(path))
    _watching[-1]["read" if reads else "write"].add(full)
    if not reads and not Path(full).exists():
        _watching[-1]["new"].add(full)


def _is_data(path: Path) -> bool:
    """Check whether a file may be part of an analysis, and not of Python or of the system."""
    text = str(path)
    if path.suffix in _CODE or text.startswith(_SYSTEM) or not path.is_file():
        return False
    ours = f"{tempfile.gettempdir()}/eventflock-"
    if text.startswith((*_installed(), ours)):
        return False
    return not any(part.startswith(".") for part in path.parts)


def _is_output(path: Path) -> bool:
    """Check whether a file that was written may be meant for people: no device, and no cache."""
    text = str(path)
    ours = f"{tempfile.gettempdir()}/eventflock-"
    hidden = any(part.startswith(".") for part in path.parts)
    return not (text.startswith((ours, *_KERNEL, *_installed())) or hidden)


def _installed() -> tuple[str, ...]:
    places = {sys.prefix, sys.base_prefix, str(PACKAGE), *sysconfig.get_paths().values()}
    return tuple(f"{os.path.realpath(place)}/" for place in places if len(place) > 1)
