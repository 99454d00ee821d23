"""What is read from ELF files, and what is left of them when stripped, against pyelftools."""

from __future__ import annotations

import io
import sys
import sysconfig
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.segments import InterpSegment

from eventflock.packing.elf import MAGIC, Elf, read_elf, stripped


def _libraries() -> list[Path]:
    """Find programs and libraries of many makers: Python's, the system's, and those of wheels."""
    places = [
        Path(sys.executable).resolve(),
        *Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so"),
        *Path(np.__file__).parents[1].rglob("*.so*"),
        *(path for path in Path("/bin").iterdir() if path.is_file()),
        *(path.resolve() for path in Path("/lib").glob("*-linux-gnu/*.so*")),
    ]
    found = [path for path in dict.fromkeys(places) if _starts_as_elf(path)]
    assert len(found) > 50
    return found[:: max(1, len(found) // 300)]


def _starts_as_elf(path: Path) -> bool:
    if not path.is_file() or not 64 < path.stat().st_size < 40_000_000:
        return False
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def _by_pyelftools(data: bytes) -> Elf:
    """Read the same as `read_elf`: dynamic tags by segments, versions by sections."""
    elf = ELFFile(io.BytesIO(data))
    segments = list(elf.iter_segments())
    dynamic = next((one for one in segments if isinstance(one, DynamicSegment)), None)
    tags: dict[str, list[Any]] = {}
    for tag in dynamic.iter_tags() if dynamic is not None else ():
        name = tag.entry.d_tag
        value = {"DT_NEEDED": "needed", "DT_SONAME": "soname"}.get(name)
        value = value or {"DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}.get(name)
        if value:
            tags.setdefault(name, []).append(getattr(tag, value))
    search = tags.get("DT_RUNPATH") or tags.get("DT_RPATH") or [""]
    interpreter = [
        segment.get_interp_name() for segment in segments if isinstance(segment, InterpSegment)
    ]
    machine = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}.get(elf["e_machine"], "")
    return Elf(
        machine=machine,
        needed=tuple(tags.get("DT_NEEDED", ())),
        soname=tags.get("DT_SONAME", [""])[0],
        search=tuple(word for word in search[0].split(":") if word),
        interpreter=interpreter[0] if interpreter else "",
        versions=tuple(_versions(elf)),
    )


def _versions(elf: ELFFile) -> list[str]:
    section = elf.get_section_by_name(".gnu.version_r")
    if not isinstance(section, GNUVerNeedSection):
        return []
    return [aux.name for _, needed in section.iter_versions() for aux in needed]


def test_headers_are_read_as_pyelftools_reads_them() -> None:
    for path in _libraries():
        found = read_elf(path)
        assert found is not None, path
        theirs = _by_pyelftools(path.read_bytes())
        for name in ("machine", "needed", "soname", "interpreter"):
            assert getattr(found, name) == getattr(theirs, name), (path, name)
        assert sorted(found.versions) == sorted(theirs.versions), path
        assert set(found.search) == set(theirs.search), path


def test_what_is_stripped_loads_the_same(tmp_path: Path) -> None:
    """The segments that the loader maps are the same bytes, for us and for pyelftools."""
    smaller = 0
    for number, path in enumerate(_libraries()):
        data = path.read_bytes()
        small = stripped(data)
        smaller += len(small) < len(data)
        copy = tmp_path / f"{number}.so"
        copy.write_bytes(small)
        before, after = read_elf(path), read_elf(copy)
        assert before is not None
        assert after is not None
        relative = all(one.startswith(("$ORIGIN", "${ORIGIN}")) for one in before.search)
        search = before.search if relative else ()  # absolute folders are of another machine
        assert after == msgspec.structs.replace(before, search=search), path
        assert after.search == _by_pyelftools(small).search, path
        assert _loaded(small) == _loaded(data), path
    assert smaller > 10


def _loaded(data: bytes) -> list[tuple[int, int, bytes]]:
    """List what the loader maps: address, size in memory, and the bytes.

    Without what may change: the fields of the header about sections, and RPATH in the dynamic tags.
    """
    content = bytearray(data)
    content[40:64] = bytes(24)
    segments = list(ELFFile(io.BytesIO(data)).iter_segments())
    for segment in segments:
        if segment["p_type"] == "PT_DYNAMIC":
            start, size = segment["p_offset"], segment["p_filesz"]
            content[start : start + size] = bytes(size)
    return [
        (one["p_vaddr"], one["p_memsz"], bytes(content[one["p_offset"] :][: one["p_filesz"]]))
        for one in segments
        if one["p_type"] == "PT_LOAD"
    ]


@pytest.mark.parametrize("length", [0, 4, 63, 64, 200])
def test_the_start_of_a_library_is_no_library(tmp_path: Path, length: int) -> None:
    part = tmp_path / "part.so"
    part.write_bytes(Path(sys.executable).resolve().read_bytes()[:length])
    found = read_elf(part)
    assert found is None or not found.needed
