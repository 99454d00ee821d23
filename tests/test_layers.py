"""Layers of large distributions, and the modules of packages in bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

import eventflock as ef
from eventflock.packing.archive import layers_in, unpacked_size
from eventflock.worker.node_layout import LAUNCHER
from tests.conftest import Command
from tests.test_packing import members, packed

pytestmark = pytest.mark.packing

BULK = os.urandom(12_000_000)
MODULES = {
    "bulk/__init__.py": "from bulk import space\n",
    "bulk/weights.bin": BULK,
    "bulk/plain.py": "VALUE = 1\n",
    "bulk/deep/read.py": (
        "from pathlib import Path\n"
        "size = (Path(__file__).parent / '../weights.bin').stat().st_size\n"
    ),
    "bulk/space/inner/__init__.py": "NAME = __name__\n",
    "bulk/plugins/__init__.py": (
        "import os\nfound = sorted(os.listdir(os.path.dirname(__file__)))\n"
    ),
    "bulk/plugins/one.py": "",
    "bulk-1.0.dist-info/licenses/LICENSE": "Do what you want.\n",
}
ANALYSIS = """
import bulk.plain
import bulk.plugins
import bulk.deep.read
import bulk.space.inner
import eventflock as ef

{more}

@ef.analysis
def one(events):
    return {{
        "n": bulk.plain.VALUE * len(events),
        "size": {{str(bulk.deep.read.size): 1}},
        "plugins": {{name: 1 for name in bulk.plugins.found if name.endswith(".py")}},
        "inner": {{bulk.space.inner.NAME: 1}},
    }}
"""


def distribution(site: Path, name: str, files: dict[str, str | bytes]) -> None:
    """Install something, as pip does."""
    info = f"{name}-1.0.dist-info"
    head = {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
    for inner, data in {**head, **files}.items():
        path = site / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    lines = "".join(f"{inner},,\n" for inner in {**head, **files})
    (site / info / "RECORD").write_text(lines)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    distribution(folder, "bulk", MODULES)  # type: ignore[arg-type]
    distribution(folder, "small", {"small/__init__.py": "ONE = 1\n"})
    return folder


@pytest.fixture(scope="module")
def env(site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site), "EVENTFLOCK_CACHE": str(site / "cache")}


def pack(eventflock: Command, folder: Path, env: dict[str, str], more: str = "") -> dict[str, Any]:
    (folder / "one.py").write_text(ANALYSIS.format(more=more))
    return packed(eventflock("pack", "one.py", folder / "sample.root", "--json", env=env))


def test_a_layer_is_built_once_and_goes_along(
    eventflock: Command, tmp_path: Path, sample: Path, env: dict[str, str]
) -> None:
    shutil.copy(sample, tmp_path / "sample.root")
    first = pack(eventflock, tmp_path, env)
    layer = Path(first["layers"]["bulk"])
    assert layers_in(Path(first["environment"])) == [layer.name]
    assert unpacked_size(Path(first["environment"])) == first["unpacked"]
    assert layer.stat().st_size > len(BULK)
    sizes = [Path(one).stat().st_size for one in (first["environment"], layer)]
    assert first["size"] == sum(sizes)
    written = layer.stat().st_ino
    second = pack(eventflock, tmp_path, env, "import small")  # another package
    assert second["layers"] == first["layers"]
    assert second["environment"] != first["environment"]
    assert layer.stat().st_ino == written
    words = ["--packed", "--jobs", "2", "--no-plot", "--out", "run"]
    told = eventflock("run", "one.py", "sample.root", *words, env=env)
    assert told.returncode == 0, told.stderr
    result = ef.load(tmp_path / "run")
    assert result.complete
    assert result["size"] == {str(len(BULK)): 2}
    assert result["plugins"] == {"__init__.py": 2, "one.py": 2}
    assert result["inner"] == {"bulk.space.inner": 2}


def test_a_damaged_layer_is_made_again(
    eventflock: Command, tmp_path: Path, sample: Path, env: dict[str, str]
) -> None:
    shutil.copy(sample, tmp_path / "sample.root")
    first = pack(eventflock, tmp_path, env)
    layer = Path(first["layers"]["bulk"])
    data = layer.read_bytes()
    layer.write_bytes(data[: len(data) // 2])
    assert pack(eventflock, tmp_path, env) == first
    assert layer.read_bytes() == data
    layer.unlink()
    assert pack(eventflock, tmp_path, env) == first
    assert layer.read_bytes() == data


@pytest.mark.parametrize("damage", ["gone", "cut", "flip"])
def test_a_node_without_the_whole_layer_says_so(
    eventflock: Command, tmp_path: Path, sample: Path, env: dict[str, str], damage: str
) -> None:
    shutil.copy(sample, tmp_path / "sample.root")
    found = pack(eventflock, tmp_path, env)
    node = tmp_path / "node"
    node.mkdir()
    for path in (found["environment"], found["code"], *found["layers"].values()):
        shutil.copy(path, node)
    (node / "template.json").write_text("@KIND@ @SAY@")
    layer = node / Path(found["layers"]["bulk"]).name
    data = layer.read_bytes()
    if damage == "gone":
        layer.unlink()
    else:
        half = len(data) // 2
        flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
        layer.write_bytes(data[:half] if damage == "cut" else flipped)

    def launch(path: str) -> str:
        words = [Path(found[key]).name for key in ("environment", "code")]
        told = subprocess.run(
            ["/bin/sh", LAUNCHER, *words, "template.json", "result", "-c", "print(1)"],
            cwd=node, env={"PATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert told.returncode == 85, told.stdout + told.stderr
        return (node / "result").read_text()

    said = launch(os.environ["PATH"])
    expected = "is not there" if damage == "gone" else "was damaged on its way here"
    assert layer.name in said
    assert expected in said
    if damage != "gone":  # without sha256sum, the unpacking finds it
        tools = tmp_path / "tools"
        tools.mkdir()
        for path in map(Path, ("/usr/bin", "/bin")):
            for tool in path.iterdir():
                if tool.name != "sha256sum" and not (tools / tool.name).exists():
                    (tools / tool.name).symlink_to(tool)
        assert "cannot be unpacked" in launch(str(tools))


def test_what_is_named_stays_as_it_is_installed(
    eventflock: Command, tmp_path: Path, sample: Path, env: dict[str, str]
) -> None:
    shutil.copy(sample, tmp_path / "sample.root")
    (tmp_path / "one.py").write_text(ANALYSIS.format(more=""))
    for words, there in (((), False), (("--with", "bulk"), True)):
        found = packed(eventflock("pack", "one.py", "sample.root", *words, "--json", env=env))
        layer = Path(found["layers"]["bulk"])
        (tmp_path / "layer.tar").write_bytes(zstd.decompress(layer.read_bytes()))
        inside = members(tmp_path / "layer.tar")
        assert {"packages/bulk/weights.bin", "packages/bulk/plugins/one.py"} <= set(inside)
        assert ("packages/bulk/plain.py" in inside) == there
        assert b"Do what you want." in inside["bundles/bulk"]
