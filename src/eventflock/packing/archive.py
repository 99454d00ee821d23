"""Writing archives: the same inputs give the same bytes.

The archive of an environment is a plain tar of four members:

    demands          what it demands of a node, in lines that a shell can read
    contents.json    what is in it
    boot.tgz         the interpreter, the C library, and what unpacks zstandard
    rest.tar.zst     everything else, but for what is in layers of its own

A node has tar and gzip, but perhaps neither zstd nor Python. So the small first part is unpacked
with what the node has, and unpacks the large second one itself. A layer is a `.tar.zst` as well: a
file of its own beside the archive, whose `demands` name it.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from eventflock.packing.elf import MAGIC, stripped
from eventflock.worker.node_layout import BOOT, CODE_DEMANDS, CONTENTS, DEMANDS, REST

__all__ = [
    "Writer",
    "join_environment",
    "layers_in",
    "packing_order",
    "unpacked_size",
    "write_boot",
    "write_code",
    "write_rest",
]

LEVEL = 10
"""Of zstandard: 12 takes half as long again for 0.5 % less, 16 four times as long for 2 %."""
_WINDOW = 25
"""Matches are looked for in the last 32 MB, which is also what unpacking needs as memory."""
_TIME = 315_532_800
"""1980, as in ZIP files: tar warns of anything near 1970."""


class _Out(Protocol):
    def write(self, data: bytes, /) -> int: ...
    def tell(self) -> int: ...


class Writer:
    """A tar whose bytes depend on names and contents only.

    Parameters
    ----------
    out
        Where it is written.
    sections
        See `stripped`.
    """

    def __init__(self, out: _Out, *, sections: bool = False) -> None:
        self._sections = sections
        self._tar = tarfile.open(  # noqa: SIM115 -- closed by `close`
            fileobj=out,  # type: ignore[call-overload]
            mode="w",
            format=tarfile.GNU_FORMAT,
        )
        self.unpacked = 0

    def add(self, name: str, data: bytes, *, executable: bool = False) -> None:
        """Add one file."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime = len(data), _TIME
        info.mode = 0o755 if executable else 0o644
        self._tar.addfile(info, io.BytesIO(data))
        self.unpacked += (len(data) + 4095) // 4096 * 4096  # as a file system counts

    def add_folder(self, name: str) -> None:
        """Add a folder, with nothing in it yet."""
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, _TIME
        self._tar.addfile(info)
        self.unpacked += 4096

    def add_tree(self, tree: Mapping[str, Path], names: Iterable[str]) -> None:
        """Add files, programs and libraries stripped."""
        for name in names:
            data = tree[name].read_bytes()
            library = data[:4] == MAGIC
            executable = library or data[:2] == b"#!" or os.access(tree[name], os.X_OK)
            self.add(name, self._stripped(data) if library else data, executable=executable)

    def _stripped(self, data: bytes) -> bytes:
        return stripped(data, sections=self._sections)

    def close(self) -> None:
        """Write the end."""
        self._tar.close()


def packing_order(name: str) -> tuple[bool, str, str]:
    """Put libraries together, and byte-code beside its source: alike next to alike packs best."""
    folder, _, file = name.rpartition("/")
    stem = file.partition(".")[0]
    return ".so" not in file, folder.removesuffix("/__pycache__"), f"{stem}\0{name}"


def join_environment(out: Path, first: Path, rest: Path, contents: bytes, demands: str) -> None:
    """Write the archive of an environment.

    Parameters
    ----------
    out
        The file to write.
    first, rest
        What `write_boot` and `write_rest` have written.
    contents
        JSON that says what is in it.
    demands
        The lines of `demands`.
    """
    with out.open("wb") as raw:
        outer = Writer(raw)
        outer.add(DEMANDS, demands.encode())
        outer.add(CONTENTS, contents)
        for name, path in ((BOOT, first), (REST, rest)):
            outer.add(name, path.read_bytes())
        outer.close()


def _demands_of(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(DEMANDS)
        return file.read().decode().splitlines() if file else []


def unpacked_size(archive: Path) -> int:
    """Read how many bytes an environment takes when it is unpacked, with its layers."""
    found = (line.split() for line in _demands_of(archive))
    return sum(int(words[1]) for words in found if words[0] == "unpacked")


def layers_in(archive: Path) -> list[str]:
    """Read the names of the layers that the archive of an environment goes with."""
    return [line.partition(" ")[2] for line in _demands_of(archive) if line.startswith("layer ")]


def write_boot(out: Path, tree: Mapping[str, Path], names: Iterable[str], *, sections: bool) -> int:
    """Write what a node unpacks first.

    Parameters
    ----------
    out
        The file to write.
    tree
        From names in the archive to files.
    names
        Those of them that go in.
    sections
        See `stripped`.

    Returns
    -------
    int
        Bytes that it takes when unpacked.
    """
    with out.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        writer = Writer(file, sections=sections)
        writer.add_tree(tree, sorted(names))
        writer.close()
    return writer.unpacked


def write_rest(
    out: Path,
    tree: Mapping[str, Path],
    names: Iterable[str],
    *,
    sections: bool,
    level: int = LEVEL,
    folders: Iterable[str] = (),
) -> int:
    """Write what the packed interpreter unpacks; parameters and result as for `write_boot`.

    Parameters
    ----------
    level
        Of zstandard.
    folders
        Those that have to be there, with or without files.
    """
    zstd = _zstd()
    parameter = zstd.CompressionParameter
    options = {
        parameter.compression_level: level,
        parameter.window_log: _WINDOW,
        parameter.job_size: 1 << _WINDOW,
        parameter.checksum_flag: 1,
        parameter.nb_workers: 2,  # the bytes are the same for any number but 0
    }
    with zstd.open(out, "wb", options=options) as file:
        writer = Writer(file, sections=sections)
        for folder in sorted(folders):
            writer.add_folder(folder)
        writer.add_tree(tree, sorted(names, key=packing_order))
        writer.close()
    return writer.unpacked


def write_code(out: Path, tree: Mapping[str, Path], demands: str) -> int:
    """Write the archive of the user's code, a plain tar.gz with `demands` as its first member.

    Returns
    -------
    int
        Bytes that it takes when unpacked.
    """
    with out.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        writer = Writer(file)
        size = sum(path.stat().st_size + 4096 for path in tree.values())
        writer.add(CODE_DEMANDS, f"{demands}unpacked {size}\n".encode())
        writer.add_tree(tree, sorted(tree))
        writer.close()
    return size


def _zstd() -> Any:
    try:
        from compression import zstd
    except ImportError:  # before Python 3.14
        from backports import zstd
    return zstd
