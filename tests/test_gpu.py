"""What only a GPU uses is left out, unless something needs or loads it, or the user names it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from eventflock.packing.distributions import Component
from eventflock.packing.gpu import without_gpu
from eventflock.packing.native import Libraries, close_over, elfs_of
from eventflock.worker.survey import Interpreter, Survey

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler is installed")


def library(folder: Path, name: str, *needs: Path) -> Path:
    """Make a library that needs others."""
    target = folder / f"{name}.so"
    source = folder / f"{name}.c"
    source.write_text(f"int {name}_x(void) {{ return 1; }}\n")
    words = ["-shared", "-fPIC", "-Wl,--no-as-needed", f"-Wl,-soname,{target.name}"]
    subprocess.run(
        [str(COMPILER), *words, str(source), *map(str, needs), "-o", str(target)], check=True
    )
    return target


def part(name: str, *files: Path) -> Component:
    inside = {f"packages/{name}/{file.name}": file for file in files}
    return Component(name=name, version="1", why="needed by net", files=inside)


def survey(python: Interpreter, *loaded: Path) -> Survey:
    files = tuple(map(str, loaded))
    return Survey(python=python, modules={}, libraries=files, levels={}, failed={})


@pytest.fixture
def python() -> Interpreter:
    fields: dict[str, object] = {}
    for name, kind in Interpreter.__annotations__.items():
        fields[name] = {} if "dict" in str(kind) else () if "tuple" in str(kind) else ""
    return Interpreter(**fields)  # type: ignore[arg-type]


def test_libraries_stay_if_something_is_linked_with_them(
    tmp_path: Path, python: Interpreter
) -> None:
    deep = library(tmp_path, "libdeep")
    blas = library(tmp_path, "libblas", deep)
    engine = library(tmp_path, "libengine", blas)
    net = library(tmp_path, "net", blas)
    nccl = library(tmp_path, "libnccl")
    note = tmp_path / "README"
    note.write_text("for people")
    packages = [
        part("net", net),
        part("nvidia-cublas-cu12", blas, deep, engine, note),
        part("nvidia-nccl-cu12", nccl, note),
        part("nvidia_tools", engine, library(tmp_path, "libloaded")),
    ]
    kept = without_gpu(packages, survey(python, tmp_path / "libloaded.so"), ())
    files = {one.name: {path.name for path in one.files.values()} for one in kept}
    assert files == {
        "net": {"net.so"},
        "nvidia-cublas-cu12": {"libblas.so", "libdeep.so", "README"},
        "nvidia_tools": {"libloaded.so"},
    }
    # Another copy of what is loaded is not needed, too.
    again = tmp_path / "again"
    again.mkdir()
    packages.append(part("triton", library(again, "libblas", deep)))
    assert without_gpu(packages, survey(python, blas, tmp_path / "libloaded.so"), ()) == kept


def test_what_is_named_or_imported_stays(tmp_path: Path, python: Interpreter) -> None:
    nccl = library(tmp_path, "libnccl")
    module = tmp_path / "__init__.py"
    module.write_text("import sys\n")
    packages = [part("nvidia-nccl-cu12", nccl), part("triton", module, nccl)]
    kept = without_gpu(packages, survey(python), ["NVIDIA.nccl_cu12"])
    assert [one.name for one in kept] == ["nvidia-nccl-cu12"]
    used = msgspec.structs.replace(survey(python), modules={"triton": str(module)})
    kept = without_gpu(packages, used, ())
    assert [one.name for one in kept] == ["triton"]
    assert list(kept[0].files.values()) == [module]  # nothing loads the library
    plain = [part("net", nccl)]
    assert without_gpu(plain, survey(python), ()) == plain


def test_the_driver_of_a_gpu_is_that_of_the_node(tmp_path: Path) -> None:
    cuda = library(tmp_path, "libcuda")
    target = tmp_path / "libcuda.so.1"
    subprocess.run(
        [str(COMPILER), "-shared", "-Wl,-soname,libcuda.so.1", "-o", str(target), str(cuda)],
        check=True,
    )
    tree = {"packages/net/net.so": library(tmp_path, "net", target)}
    assert "libcuda.so.1" in elfs_of(tree)["packages/net/net.so"].needed
    closure = close_over(tree, elfs_of(tree), Libraries([str(target)]))
    assert closure.missing == {}
    assert not any("cuda" in name for name in closure.added)
