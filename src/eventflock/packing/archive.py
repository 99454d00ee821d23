"""Writing archives: the same inputs give the same bytes.

The archive of an environment is a plain tar of four members:

    demands          what it demands of a node, in lines that a shell can read
    contents.json    what is in it
    boot.tgz         the interpreter, the C library, and what unpacks zstandard
    rest.tar.zst     everything else

A node has tar and gzip, but perhaps neither zstd nor Python. So the small first part is unpacked
with what the node has, and unpacks the large second one itself.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from eventflock.packing.elf import MAGIC, stripped
from eventflock.worker.node_layout import BOOT, CODE_DEMANDS, CONTENTS, DEMANDS, REST

__all__ = ["Writer", "packing_order", "unpacked_size", "write_code", "write_environment"]

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


def write_environment(
    out: Path,
    tree: Mapping[str, Path],
    boot: set[str],
    contents: bytes,
    demands: str,
    *,
    sections: bool = False,
) -> int:
    """Write the archive of an environment.

    Parameters
    ----------
    out
        The file to write.
    tree
        From names in the archive to files.
    boot
        The names that are needed to unpack the rest.
    contents
        JSON that says what is in it.
    demands
        The lines of `demands`, to which `unpacked` is added, in bytes.
    sections
        See `stripped`.

    Returns
    -------
    int
        Bytes that it takes when unpacked.
    """
    first, rest = out.with_name(f"{out.name}.boot"), out.with_name(f"{out.name}.rest")
    try:
        with ThreadPoolExecutor(1) as thread:  # zlib and zstandard work outside the interpreter
            early = thread.submit(_write_boot, first, tree, boot, sections)
            unpacked = _write_rest(rest, tree, set(tree) - boot, sections) + early.result()
        with out.open("wb") as raw:
            outer = Writer(raw)
            outer.add(DEMANDS, f"{demands}unpacked {unpacked}\n".encode())
            outer.add(CONTENTS, contents)
            for name, path in ((BOOT, first), (REST, rest)):
                outer.add(name, path.read_bytes())
            outer.close()
    finally:
        first.unlink(missing_ok=True)
        rest.unlink(missing_ok=True)
    return unpacked


def unpacked_size(archive: Path) -> int:
    """Read how many bytes the archive of an environment takes when it is unpacked."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(DEMANDS)
        lines = file.read().decode().splitlines() if file else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("unpacked "))


def _write_boot(out: Path, tree: Mapping[str, Path], names: set[str], sections: bool) -> int:
    with out.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        writer = Writer(file, sections=sections)
        writer.add_tree(tree, sorted(names))
        writer.close()
    return writer.unpacked


def _write_rest(out: Path, tree: Mapping[str, Path], names: set[str], sections: bool) -> int:
    zstd = _zstd()
    parameter = zstd.CompressionParameter
    options = {
        parameter.compression_level: LEVEL,
        parameter.window_log: _WINDOW,
        parameter.job_size: 1 << _WINDOW,
        parameter.checksum_flag: 1,
        parameter.nb_workers: 2,  # the bytes are the same for any number but 0
    }
    with zstd.open(out, "wb", options=options) as file:
        writer = Writer(file, sections=sections)
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
