"""The bundle: modules in one file behave as those that are files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventflock.packing import sitecustomize
from eventflock.packing.bundle import choose_modules, write_bundle
from eventflock.worker.node_layout import LAUNCHER


def test_what_goes_in() -> None:
    std, pyc = "lib/python3.11", "__pycache__"
    there = {
        *(f"{std}/json/__init__.py", f"{std}/json/{pyc}/__init__.cpython-311.pyc"),
        *("packages/known/a.py", f"packages/known/{pyc}/a.cpython-311.pyc"),
    }
    stay = {
        *(f"{std}/encodings/latin_1.py", f"{std}/encodings/{pyc}/latin_1.cpython-311.pyc"),
        *(f"{std}/sitecustomize.py", f"{std}/lib-dynload/_x.so", f"{std}/lib2to3/Grammar.txt"),
        *("packages/known/b.py", "packages/known/b.cpython-311.so", "packages/known/data.json"),
        *("packages/other/a.py", f"packages/other/{pyc}/a.cpython-311.pyc"),
    }
    info = "packages/known-1.0.dist-info"
    texts = {f"{info}/WHEEL", f"{info}/licenses/LICENSE"}
    stay |= {f"{info}/METADATA", f"{info}/entry_points.txt"}
    known = {name for name in there | stay if name.startswith("packages/known/")}
    assert choose_modules(there | stay | texts, std, known) == there | texts


def test_its_bytes_depend_on_names_and_contents_only(tmp_path: Path) -> None:
    tree = {name: tmp_path / name for name in ("b.py", "a.py", "data")}
    for name, path in tree.items():
        path.write_text(f"{name}\n")
    left = write_bundle(tmp_path / "one", tree, {"a.py", "b.py"})
    assert left == {"data": tmp_path / "data", "bundles/one": tmp_path / "one"}
    write_bundle(tmp_path / "two", dict(reversed(tree.items())), {"b.py", "a.py"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() == b"14\n5 a.py\n5 b.py\na.py\nb.py\n"


def test_the_index_knows_the_folders_below_its_root_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = dict.fromkeys(("packages/a/b/c.py", "packages/a/d.py", "top.py"), tmp_path / "empty")
    (tmp_path / "empty").write_text("1\n")
    write_bundle(tmp_path / "one", tree, set(tree))
    folders: dict[str, list[str]] = {}
    monkeypatch.setattr(sitecustomize, "_root", "/r")
    monkeypatch.setattr(sitecustomize, "_folders", folders)
    monkeypatch.setattr(sitecustomize, "_places", {})
    sitecustomize._read_index(str(tmp_path / "one"))
    assert {name: sorted(files) for name, files in folders.items()} == {
        "/r": ["top.py"], "/r/packages": [], "/r/packages/a": ["d.py"], "/r/packages/a/b": ["c.py"],
    }  # fmt: skip


ASKING = """
import importlib.metadata, importlib.resources, inspect, json, multiprocessing, pickle, pkgutil
import subprocess, sys, traceback, wsgiref.util
from pathlib import Path

import awkward, numpy, uproot.behaviors

def main():
    try:
        json.loads("{")
    except ValueError:
        lines = traceback.format_exc()
    child = [sys.executable, "-c", "import uproot, wave; print(wave.__file__)"]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        words = pool.map(str.upper, ["spawned"])
    kernels = importlib.resources.files("awkward") / "_connect/cuda/cuda_kernels"
    return {
        "there": [Path(one.__file__).exists() for one in (wsgiref.util, awkward, numpy, uproot)],
        "file": wsgiref.util.__file__,
        "source": inspect.getsource(awkward.flatten),
        "modules": sorted(name for _, name, _ in pkgutil.iter_modules(uproot.behaviors.__path__)),
        "packages": sorted(name for _, name, is_package in pkgutil.iter_modules(numpy.__path__) if is_package),
        "version": importlib.metadata.version("uproot"),
        "data": kernels.is_dir(),
        "traceback": lines,
        "child": subprocess.run(child, capture_output=True, text=True).stdout,
        "words": words,
        "same": pickle.loads(pickle.dumps(awkward.Array)) is awkward.Array,
    }

if __name__ == "__main__":
    told = main()
    with open("result", "w") as file:
        json.dump(told, file)
"""
HERE = """
import inspect, json, pkgutil, awkward, numpy, uproot.behaviors
print(json.dumps({
    "source": inspect.getsource(awkward.flatten),
    "modules": sorted(name for _, name, _ in pkgutil.iter_modules(uproot.behaviors.__path__)),
    "packages": sorted(name for _, name, is_package in pkgutil.iter_modules(numpy.__path__) if is_package),
}))
"""


@pytest.mark.packing
def test_modules_behave_as_if_they_were_files(archives: list[str], tmp_path: Path) -> None:
    (tmp_path / "template.json").write_text("@SAY@")
    (tmp_path / "asking.py").write_text(ASKING)
    words = [*archives, "template.json", "result", "asking.py"]
    told = subprocess.run(
        ["/bin/sh", str(LAUNCHER), *words],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    found: dict[str, Any] = json.loads((tmp_path / "result").read_text())
    assert found["there"] == [False] * 4  # else this test shows nothing
    root, _, place = found["file"].rpartition("/lib/")
    assert Path(root).name.startswith("eventflock-")
    assert place.endswith("/wsgiref/util.py")
    here = json.loads(subprocess.check_output([sys.executable, "-c", HERE]))
    # Subpackages that are all tests are not packed.
    here["packages"] = [one for one in here["packages"] if one in found["packages"]]
    assert {key: found[key] for key in here} == here
    assert {"_core", "lib", "ma"} <= set(found["packages"])
    assert found["version"] == __import__("uproot").__version__
    assert found["data"]
    assert "return _default_decoder.decode(s)" in found["traceback"]
    assert found["child"].startswith(f"{root}/lib/")
    assert found["words"] == ["SPAWNED"]
    assert found["same"]
    assert not list(tmp_path.glob("eventflock-*"))
