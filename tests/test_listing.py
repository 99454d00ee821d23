"""The files of distributions whose installer has left no RECORD: conda's, Debian's, and others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from eventflock._version import PACKAGE
from eventflock.packing.listing import files_of
from tests.roots import bare_root
from tests.site_python import VERSION, make_python


def distribution(site: Path, name: str, *, record: bool = False) -> metadata.Distribution:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    if record:
        (info / "RECORD").write_text(f"{name}/__init__.py,,\n{info.name}/METADATA,,\n")
    return metadata.Distribution.at(info)


def test_what_conda_has_written(tmp_path: Path) -> None:
    site = tmp_path / "lib/python3.11/site-packages"
    one = distribution(site, "proj")
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/broken-1.json").write_text("{")
    inside = "lib/python3.11/site-packages"
    files = [f"{inside}/pyproj/__init__.py", f"{inside}/{one._path.name}/METADATA", "share/proj.db"]  # type: ignore[attr-defined]
    (tmp_path / "conda-meta/proj-1.0-0.json").write_text(json.dumps({"files": files}))
    assert files_of(one) == (
        "pyproj/__init__.py", "proj-1.0.dist-info/METADATA", "../../../share/proj.db",
    )  # fmt: skip


def test_record_comes_first(tmp_path: Path) -> None:
    one = distribution(tmp_path, "tool", record=True)
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool/more.py").touch()
    assert files_of(one) == ("tool/__init__.py", "tool-1.0.dist-info/METADATA")


@pytest.mark.parametrize("file", ["nvidia/lib/libx.so.13", "nvidia/include/x.h"])
def test_libraries_and_headers_are_content(tmp_path: Path, file: str) -> None:
    """As those of CUDA, of which many distributions share one folder."""
    one = distribution(tmp_path, "nvidia", record=True)
    record = tmp_path / "nvidia-1.0.dist-info/RECORD"
    record.write_text(f"{file},,\nnvidia-1.0.dist-info/METADATA,,\n")
    for name in (file, "nvidia/other/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert files_of(one) == (file, "nvidia-1.0.dist-info/METADATA")


def test_what_the_name_says(tmp_path: Path) -> None:
    one = distribution(tmp_path, "My-Tool.x")
    for name in ("my_tool_x/__init__.py", "my_tool_x/data/t.txt", "my_tool_x.libs/liba.so", "o.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert files_of(one) == (
        "My-Tool.x-1.0.dist-info/METADATA", "my_tool_x.libs/liba.so", "my_tool_x/__init__.py",
        "my_tool_x/data/t.txt",
    )  # fmt: skip
    (tmp_path / "My-Tool.x-1.0.dist-info/top_level.txt").write_text("o\n")
    assert "o.py" in files_of(metadata.Distribution.at(tmp_path / "My-Tool.x-1.0.dist-info"))
    assert files_of(distribution(tmp_path, "gone")) == ()


ANALYSIS = """
import numpy
import eventflock as ef
from hist import Hist

@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def a(events):
    return {"n": len(events)}
"""


@pytest.mark.packing
def test_a_prefix_of_conda_on_a_bare_node(tmp_path: Path, cache: Path, data_dir: Path) -> None:
    """A Python of its own, packages without RECORD, and what conda says of them."""
    prefix = tmp_path / "env"
    make_python(prefix)
    site = prefix / f"lib/python{VERSION}/site-packages"
    left = shutil.ignore_patterns("__pycache__", "mypy*", "ruff*", "pip*", "*eventflock*", "scipy*")
    shutil.copytree(sysconfig.get_path("purelib"), site, ignore=left)
    (site / "eventflock").symlink_to(PACKAGE)
    (prefix / "conda-meta").mkdir()
    for info in site.glob("*.dist-info"):
        (info / "INSTALLER").write_text("conda\n")
        (info / "direct_url.json").write_text('{"url":"file:///home/conda/x","dir_info":{}}')
        name = info.name.partition("-")[0]
        if name in {"numpy", "hist", "uproot"}:
            (info / "RECORD").unlink()
        if name in {"numpy", "uproot"}:  # and of hist, nobody says anything
            files = [one for one in (site / name).rglob("*") if one.is_file()]
            files += [*(site / f"{name}.libs").glob("*"), *info.iterdir()]
            listed = [str(path.relative_to(prefix)) for path in files]
            (prefix / f"conda-meta/{name}.json").write_text(json.dumps({"files": listed}))
    (tmp_path / "a.py").write_text(ANALYSIS)
    root = bare_root(cache.parent, "bullseye")
    words = ["check", "a.py", data_dir / "tutorial-10k.root", "--in", root, "--json"]
    told = subprocess.run(
        [str(word) for word in (prefix / "bin/python3", "-P", "-m", "eventflock", *words)],
        cwd=tmp_path, env={**os.environ, "LD_LIBRARY_PATH": f"{prefix}/lib"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["events"] == 1000
    assert {"numpy", "hist", "uproot"} <= {one["name"] for one in found["imported"]}
