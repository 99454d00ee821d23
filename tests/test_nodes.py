"""A job in bare root file systems of other distributions: the node has a shell, tar and gzip."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventflock.packing.cache import Cache
from eventflock.packing.pack import PackReport
from eventflock.results.merge import merge
from eventflock.results.reader import read_manifest
from eventflock.results.result import load
from eventflock.results.verify import JobFiles
from eventflock.worker.node_layout import UNSUITABLE
from tests.nodes import Node
from tests.roots import bare_root

pytestmark = pytest.mark.packing

ANALYSIS = """
import bz2, ctypes, lzma, multiprocessing, os, pwd, socket, sqlite3, ssl, subprocess, sys
import awkward as ak
import matplotlib.figure
import numpy as np
import scipy.optimize
import eventflock as ef
from hist import Hist
import helping


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def jets(events):
    if len(events):
        print("REPORT", helping.report())
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / 1000
    return {"E": Hist.new.Reg(200, 0, 2000, name="E").Int64().fill(energy)}
"""
HELPING = """
import json, locale, multiprocessing, os, pwd, socket, sqlite3, ssl, subprocess, sys, lzma, bz2, zlib
import ctypes, datetime, zoneinfo

def square(x):
    return x * x

def run(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True)

def report():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        squares = pool.map(square, range(5))
    code = "import numpy, sys; print(numpy.__file__); print(sys.executable)"
    return json.dumps({
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "squares": squares,
        "ls": run("/bin/ls", "/").stdout.split(),
        "ls_errors": run("/bin/ls", "/").stderr,
        "child": run(sys.executable, "-c", code).stdout.split(),
        "environ": dict(os.environ),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "localhost": socket.gethostbyname("localhost"),
        "encoding": locale.getpreferredencoding(),
        "sqlite": sqlite3.connect(":memory:").execute("select 6 * 7").fetchone()[0],
        "ssl": ssl.create_default_context().cert_store_stats()["x509_ca"],
        "path": sys.path,
        "legacy": bool(ctypes.CDLL("libcrypto.so.3").OSSL_PROVIDER_load(None, b"legacy")),
        "proc": os.path.exists("/proc/self/maps"),
        "zone": str(datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich"))),
        "packed": [lzma.decompress(lzma.compress(b"x")) == b"x", bz2.compress(b"x") != b""],
    })
"""


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's analysis, with a helper beside it that looks around on the node."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "helping.py").write_text(HELPING)
    (folder / "node.py").write_text(ANALYSIS)
    return folder / "node.py"


@pytest.fixture(params=["trixie", "bullseye"])
def root(request: pytest.FixtureRequest, cache: Path) -> Path:
    """Debian 13, and Debian 11, whose glibc is older than that of any machine that packs."""
    return bare_root(cache.parent, request.param)


@pytest.fixture
def node(root: Path, analysis: Path, data_dir: Path, tmp_path: Path) -> Iterator[Node]:
    made = Node(root, analysis, data_dir / "tutorial-10k.root", tmp_path)
    yield made
    shutil.rmtree(made.folder)


def report_in(told: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [line for line in told.stdout.splitlines() if line.startswith("REPORT ")]
    assert len(lines) == 1, told.stdout + told.stderr
    found: dict[str, Any] = json.loads(lines[0].removeprefix("REPORT "))
    return found


def test_the_tutorial_runs_where_nothing_is_installed(
    node: Node, root: Path, expected: list[dict[str, Any]]
) -> None:
    told = node.launch()
    assert told.returncode == 0, told.stdout + told.stderr
    shutil.copy(node.folder / "result.zip", node.run.result(0))
    manifest, _ = merge(node.frozen, [JobFiles(node.run.result(0))], node.run.merged)
    assert manifest is not None
    assert manifest.status == "complete"
    assert read_manifest(node.run.result(0)).environment == node.environment.digest
    truth = expected[0]
    assert truth["file"] == "tutorial-10k.root"
    bins = np.asarray(load(node.run.merged)["E"].view(flow=True)).tolist()
    assert bins == [truth["under"], *truth["values"], truth["over"]]

    old = root.name.endswith("bullseye")
    assert ("with the bundled glibc, as its own is 2.31" in told.stdout) == old
    assert f"directory {node.place.inside}" in told.stdout
    found = report_in(told)
    inside = f"{node.place.inside}/eventflock-"
    assert found["executable"].startswith(inside)
    assert all(one.startswith(inside) for one in found["child"])
    assert all(one.startswith(inside) for one in found["path"])
    assert found["squares"] == [0, 1, 4, 9, 16]
    assert {"bin", "etc", "usr"} <= set(found["ls"])
    assert found["ls_errors"] == ""
    assert not {"LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"} & set(found["environ"])
    assert found["environ"]["PATH"].endswith("/bin")
    assert found["environ"]["HOME"]
    assert found["user"] == "root"
    assert found["localhost"] == "127.0.0.1"
    assert found["encoding"].upper() == "UTF-8"
    assert found["sqlite"] == 42
    assert found["legacy"]
    assert found["proc"]
    assert found["zone"] == "2026-07-01 00:00:00+02:00"
    assert found["ssl"] > 0
    assert found["packed"] == [True, True]
    left = {path.name for path in node.folder.iterdir() if path.name.startswith("eventflock-")}
    assert left == set()  # what was unpacked is gone


def test_without_the_bundled_glibc_an_old_node_refuses_in_one_sentence(
    cache: Path, analysis: Path, data_dir: Path, tmp_path: Path
) -> None:
    node = Node(
        bare_root(cache.parent, "bullseye"), analysis, data_dir / "tutorial-10k.root", tmp_path
    )
    told = node.launch("never")
    assert told.returncode == UNSUITABLE
    manifest = read_manifest(node.folder / "result.zip")
    assert manifest.status == "failed"
    assert manifest.error is not None
    assert manifest.error.kind == "node"
    demands = _packing(node).environment.demands
    needs = f"needs GLIBC_{demands.glibc[0]}.{demands.glibc[1]} ({demands.glibc_file})"
    assert f"{needs}, it has 2.31, and the bundled glibc is switched off" in manifest.error.message
    assert manifest.plan == node.frozen.digest
    assert manifest.hosts != ("@HOST@",)
    shutil.rmtree(node.folder)


def _packing(node: Node) -> PackReport:
    records = (Cache().path / "records").glob("*.json")
    for record in records:
        found = Cache().recall(record.stem, PackReport)
        if found is not None and found.environment.name == node.environment.environment.name:
            return found
    raise AssertionError("the record is gone")


def test_check_in_a_root(eventflock: Any, cache: Path, analysis: Path, data_dir: Path) -> None:
    root = bare_root(cache.parent, "trixie")
    file = data_dir / "tutorial-10k.root"
    told = eventflock("check", analysis, file, "--in", root, "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    names = {one["name"] for one in found["imported"]}
    assert {"awkward", "numpy", "scipy", "matplotlib", "hist", "uproot", "eventflock"} <= names
    assert not [one for one in found["imported"] if one["error"]]
    assert found["events"] == 1000
    assert found["libc"] == "glibc 2.41"  # its own
    assert not list((root / "tmp").glob("eventflock-*"))
