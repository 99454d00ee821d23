"""C++ that is compiled on a node: which headers go along, and how cling is told of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eventflock.packing import cling
from eventflock.packing.elf import read_elf, stripped
from eventflock.packing.native import Demands
from eventflock.worker.node_layout import HEADERS

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
ASKS = ["c++", "-O3", "-xc++", "-E", "-v", "/dev/null"]
"""As cling does; it takes the lines that begin with a blank and have ++ in them."""


def unpack(folder: Path) -> Path:
    for name, path in cling.headers().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    (folder / HEADERS / "bin/c++").chmod(0o755)
    return folder / HEADERS


@needs_compiler
def test_a_node_without_a_compiler_has_all_headers(tmp_path: Path) -> None:
    """What cling is told is enough for every header of the C++ library, here with another compiler."""
    headers = unpack(tmp_path)
    env = {"PATH": f"{headers}/bin:/usr/bin:/bin"}
    told = subprocess.run(ASKS, env=env, capture_output=True, text=True, check=True).stdout
    folders = [line.strip() for line in told.splitlines() if line.startswith(" /") and "++" in line]
    assert folders == sorted(folders)
    assert all(folder.startswith(f"{headers}/") for folder in folders)
    names = ["bits/stdc++.h", "unistd.h", "sys/stat.h", "pthread.h", "dirent.h", "netinet/in.h"]
    source = tmp_path / "all.cc"
    source.write_text("".join(f"#include <{name}>\n" for name in names))
    own = subprocess.run(
        ["/usr/bin/c++", "-print-file-name=include"], capture_output=True, text=True, check=True
    ).stdout.strip()
    words = [word for folder in folders for word in ("-isystem", folder)]
    made = subprocess.run(
        ["/usr/bin/c++", "-nostdinc++", "-nostdinc", *words, "-isystem", own, "-M", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    used = [word for word in made.stdout.split() if word.startswith("/")]
    assert len(used) > 300
    assert all(word.startswith((str(tmp_path), own)) for word in used)


@needs_compiler
def test_all_else_is_left_to_a_compiler_of_the_node(tmp_path: Path) -> None:
    headers = unpack(tmp_path)
    (tmp_path / "c++").write_text("#!/bin/sh\necho compiled $*\n")
    (tmp_path / "c++").chmod(0o755)
    env = {"PATH": f"{headers}/bin:{tmp_path}:/usr/bin"}
    told = subprocess.run(["c++", "x y.cc"], env=env, capture_output=True, text=True, check=True)
    assert told.stdout == "compiled x y.cc\n"
    (tmp_path / "again").symlink_to(headers / "bin")
    env["PATH"] = f"{headers}/bin:{tmp_path}/again:/none"
    told = subprocess.run(
        ["/bin/sh", f"{headers}/bin/c++", "a.cc"],
        env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "this node has no compiler" in told.stderr
    assert told.returncode == 127


def test_without_a_compiler_here_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cling.headers() == {}


def test_what_a_package_with_cling_keeps() -> None:
    assert cling.compiles(["a.py", "ROOT/lib/libCling.so"])
    assert cling.compiles(["ROOT/lib/libCling.so.6.36"])
    assert not cling.compiles(["numpy/core.so", "libClingy/x.py"])
    kept = ["ROOT/include/TH1.h", "ROOT/include/x.hxx", "ROOT/lib/Core.pcm", "ROOT/a.py"]
    assert not any(map(cling.is_useless, kept))
    assert all(
        map(cling.is_useless, ["ROOT/tutorials/a.C", "ROOT/man/root.1", "ROOT/x.pyc", "a.a"])
    )


def test_headers_demand_the_c_library_of_this_machine() -> None:
    words = os.confstr("CS_GNU_LIBC_VERSION")
    assert words
    here = tuple(int(word) for word in words.split()[1].split("."))[:2]
    found = cling.with_headers(Demands(machine="x86_64", glibc=(2, 17)))
    assert found.glibc == here
    newer = Demands(machine="x86_64", glibc=(9, 1), glibc_file="x")
    assert cling.with_headers(newer) is newer


def test_sections_are_kept_where_cling_looks_for_symbols() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    assert read_elf(Path(sys.executable).resolve()) is not None
    assert int.from_bytes(stripped(data)[60:62], "little") == 0
    kept = stripped(data, sections=True)
    assert kept[60:62] == data[60:62]
    assert len(kept) == len(data)
