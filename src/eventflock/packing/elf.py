"""Reading and stripping ELF files, as far as packing needs it.

The layout is that of the System V ABI (https://refspecs.linuxfoundation.org/elf/gabi4+/) and of
the x86-64 psABI (https://gitlab.com/x86-psABIs/x86-64-ABI) for the property notes. Only program
headers are used: they are what the loader goes by.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Elf", "is_elf", "read_elf", "stripped"]

MAGIC = b"\x7fELF"
MACHINES = {62: "x86_64", 183: "aarch64"}
_LOAD, _DYNAMIC, _INTERP, _NOTE = 1, 2, 3, 4
_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = 1, 5, 14, 15, 29
_VERNEED, _VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_IGNORED = 0x6FFFF000
"""A tag in the range for operating systems that no loader knows."""
_ISA_NEEDED = 0xC0008002
_GNU_PROPERTY = 5
_HEADER, _PROGRAM = 64, 56


class Elf(msgspec.Struct, frozen=True, kw_only=True):
    """What an ELF file says of itself.

    Attributes
    ----------
    machine
        `x86_64`, `aarch64`, or empty for any other.
    needed, soname
        Libraries that it needs, and its own name.
    search
        Folders of RPATH or RUNPATH, `$ORIGIN` not replaced.
    interpreter
        The loader that a program asks for.
    versions
        Symbol versions that it needs, such as `GLIBC_2.34`.
    level
        The x86-64 level that its notes demand; 1 is the baseline.
    """

    machine: str
    needed: tuple[str, ...] = ()
    soname: str = ""
    search: tuple[str, ...] = ()
    interpreter: str = ""
    versions: tuple[str, ...] = ()
    level: int = 1

    @property
    def glibc(self) -> tuple[int, int]:
        """The oldest glibc that has all symbol versions it needs; (0, 0) if it needs none."""
        found = [(0, 0)]
        for version in self.versions:
            numbers = version.removeprefix("GLIBC_").split(".")
            if version == "GLIBC_ABI_DT_RELR":
                found.append((2, 36))
            elif version.startswith("GLIBC_") and all(part.isdigit() for part in numbers):
                found.append((int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0))
        return max(found)


def is_elf(path: Path) -> bool:
    """Check whether a file begins as an ELF file does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def read_elf(path: Path) -> Elf | None:
    """Read the program headers of a file.

    Returns
    -------
    Elf or None
        None for what is not an ELF file, or not a little-endian one of 64 bits.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < _HEADER or file.read(4) != MAGIC:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _read(data)
            except (struct.error, IndexError, ValueError):
                return None


class _Segments:
    """The program headers of a file."""

    def __init__(self, data: Any) -> None:
        if data[4] != 2 or data[5] != 1:
            raise ValueError("not a little-endian file of 64 bits")
        self.data = data
        start, size, count = _program_headers(data)
        self.all = [
            (start + n * size, *struct.unpack_from("<IIQQQQQQ", data, start + n * size))
            for n in range(count)
        ]

    def of(self, kind: int) -> list[tuple[int, int]]:
        """Return offset and size in the file of all segments of one kind."""
        return [(one[3], one[6]) for one in self.all if one[1] == kind]

    def offset(self, address: int) -> int:
        """Turn an address in memory into an offset in the file."""
        for _, kind, _, offset, start, _, size, *_ in self.all:
            if kind == _LOAD and start <= address < start + size:
                return int(offset + address - start)
        raise ValueError("an address outside of the file")

    def dynamic(self) -> list[tuple[int, int, int]]:
        """Return the entries of the dynamic section: offset in the file, tag, value."""
        found = []
        for offset, size in self.of(_DYNAMIC):
            for place in range(offset, offset + size, 16):
                tag, value = struct.unpack_from("<QQ", self.data, place)
                if tag == 0:
                    break
                found.append((place, tag, value))
        return found

    def text(self, offset: int) -> str:
        """Read a string that ends with a zero byte."""
        end = self.data.find(b"\0", offset)
        return bytes(self.data[offset:end]).decode(errors="replace")


def _program_headers(data: Any) -> tuple[int, int, int]:
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return start, size, count


def _read(data: Any) -> Elf:
    segments = _Segments(data)
    (machine,) = struct.unpack_from("<H", data, 18)
    entries = segments.dynamic()
    values = {tag: value for _, tag, value in entries}
    strings = segments.offset(values[_STRTAB]) if _STRTAB in values else 0

    def names(*tags: int) -> list[str]:
        return [segments.text(strings + value) for _, tag, value in entries if tag in tags]

    return Elf(
        machine=MACHINES.get(machine, ""),
        needed=tuple(names(_NEEDED)),
        soname="".join(names(_SONAME)),
        search=tuple(part for name in names(_RPATH, _RUNPATH) for part in name.split(":") if part),
        interpreter="".join(segments.text(offset) for offset, _ in segments.of(_INTERP)),
        versions=tuple(_versions(segments, values, strings)),
        level=_level(segments),
    )


def _versions(segments: _Segments, values: dict[int, int], strings: int) -> list[str]:
    """Walk the table of needed versions: one record a library, with a list of its own."""
    found = []
    place = segments.offset(values[_VERNEED]) if _VERNEED in values else 0
    for _ in range(values.get(_VERNEEDNUM, 0)):
        _, count, _, first, step = struct.unpack_from("<HHIII", segments.data, place)
        inner = place + first
        for _ in range(count):
            _, _, _, name, following = struct.unpack_from("<IHHII", segments.data, inner)
            found.append(segments.text(strings + name))
            inner += following
        place += step
    return found


def _level(segments: _Segments) -> int:
    """Read the x86-64 level out of the property notes; most files have none."""
    for offset, size in segments.of(_NOTE):
        place, end = offset, offset + size
        while place + 16 <= end:
            names, length, kind = struct.unpack_from("<III", segments.data, place)
            if names == 4 and kind == _GNU_PROPERTY:
                return _isa(bytes(segments.data[place + 16 : place + 16 + length]))
            place += 12 + (names + 3) // 4 * 4 + (length + 3) // 4 * 4
    return 1


def _isa(properties: bytes) -> int:
    place = 0
    while place + 8 <= len(properties):
        kind, size = struct.unpack_from("<II", properties, place)
        if kind == _ISA_NEEDED and size == 4:
            (bits,) = struct.unpack_from("<I", properties, place + 8)
            return max(1, int(bits & 15).bit_length())
        place += 8 + (size + 7) // 8 * 8
    return 1


def stripped(data: bytes, *, sections: bool = False) -> bytes:
    """Return a program or library without section headers, symbol table and debug information.

    Absolute folders of RPATH and RUNPATH are those of the machine it was built on; an entry with
    one is switched off. One that is relative becomes RPATH, which outranks `--library-path`: what a
    package brings along for itself comes first. Files with something appended are left whole.

    Parameters
    ----------
    sections
        Whether all that is kept, for compilers that look for symbols in libraries.
    """
    if data[:4] != MAGIC or len(data) < _HEADER:
        return data
    try:
        segments = _Segments(data)
        kind = struct.unpack_from("<H", data, 16)[0]
        if kind not in {2, 3} or not segments.of(_LOAD):
            return data
        end = max(one[3] + one[6] for one in segments.all)
        start, size, count = _program_headers(data)
        whole = sections or _has_payload(data)
        made = bytearray(data if whole else data[: max(end, start + size * count, _HEADER)])
        for place, tag, value in segments.dynamic():
            if tag in {_RPATH, _RUNPATH}:
                kept = _IGNORED if _is_absolute(segments, value) else _RPATH
                struct.pack_into("<Q", made, place, kept)
    except (struct.error, IndexError, ValueError):
        return data
    if not whole:
        struct.pack_into("<Q", made, 40, 0)  # where the section headers were, and how many
        struct.pack_into("<HH", made, 60, 0, 0)
    return bytes(made)


def _is_absolute(segments: _Segments, value: int) -> bool:
    strings = next(one for _, tag, one in segments.dynamic() if tag == _STRTAB)
    folders = segments.text(segments.offset(strings) + value).split(":")
    return not all(folder.startswith(("$ORIGIN", "${ORIGIN}")) for folder in folders if folder)


def _has_payload(data: bytes) -> bool:
    """Check whether something is appended, as self-extracting programs do."""
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    if start == 0 or count == 0:
        return False
    end = start + size * count
    for n in range(count):
        kind, _, _, offset, length = struct.unpack_from("<IQQQQ", data, start + n * size + 4)
        if kind != 8:  # SHT_NOBITS takes no room in the file
            end = max(end, offset + length)
    return bool(len(data) > end + 4096)
