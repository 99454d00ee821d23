"""Files that many tests read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from eventflock.cli.demo import ANALYSIS
from eventflock.events.sample import write_sample
from tests.condor import Client, building, check_possible, running_pool

# How long an example takes says something about the machine, and little about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real ROOT files that EVENTFLOCK_DATA names."""
    name = os.environ.get("EVENTFLOCK_DATA")
    if not name:
        pytest.skip("EVENTFLOCK_DATA is not set: it names the folder of real ROOT files")
    folder = Path(name).resolve()
    if not (folder / "expected.json").exists():
        pytest.fail(f"EVENTFLOCK_DATA={name} has no expected.json")
    return folder


@pytest.fixture(scope="session")
def expected(data_dir: Path) -> list[dict[str, Any]]:
    """Histograms of the real files, computed with ROOT."""
    read = json.loads((data_dir / "expected.json").read_text())
    found: list[dict[str, Any]] = read["computed_with_ROOT_6.40"]
    return found


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the tutorial's shape: 10,000 events in clusters of 1,000."""
    return write_sample(tmp_path_factory.mktemp("sample") / "sample.root")


@pytest.fixture(scope="session")
def jets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's analysis."""
    path = tmp_path_factory.mktemp("analysis") / "jets.py"
    path.write_text(ANALYSIS)
    return path


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of packed environments for all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "cache"
    os.environ["EVENTFLOCK_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def archives(cache: Path, jets: Path, sample: Path) -> list[str]:
    """The packed environment of the tutorial's analysis: the archives of packages and of code."""
    command = [sys.executable, "-P", "-m", "eventflock", "pack", str(jets), str(sample), "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    return [found["environment"], found["code"]]


SLOW = """
import time
import awkward as ak
import eventflock as ef
from hist import Hist


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def slow(events, *, seconds: float = 1.0, note: str = ""):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / 1000
    if len(events):
        time.sleep(seconds)
    return {"E": Hist.new.Reg(200, 0, 2000, name="E").Int64().fill(energy), "sum": ak.sum(energy)}
"""


@pytest.fixture(scope="session")
def base_of_pools() -> Iterator[Path]:
    """A folder of which users can see what is in it, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="eventflock-pool-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def newer_root(base_of_pools: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What makes the root file system of the second pool, while the first one is in use."""
    check_possible()
    with building(base_of_pools, "sid") as process:
        yield process


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest, base_of_pools: Path) -> Iterator[Client]:
    """The access point of a pool of HTCondor 23.9; four slots, as most jobs there only sleep."""
    if any("newer" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("newer_root")
    with running_pool(base_of_pools, "trixie", "--slots", "4") as made:
        yield made


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let no test on the pool meet what another one has left."""
    yield
    if "client" in request.fixturenames:
        request.getfixturevalue("client").tidy()


@pytest.fixture(scope="session")
def tutorial(client: Client, data_dir: Path) -> Path:
    """The tutorial's file, where the user has it."""
    return Path(shutil.copy(data_dir / "tutorial-10k.root", client.home / "tutorial-10k.root"))


@pytest.fixture(scope="session")
def jets_here(client: Client, jets: Path) -> Path:
    """The tutorial's analysis, where the user has it."""
    return Path(shutil.copy(jets, client.home / "jets.py"))


@pytest.fixture(scope="session")
def slow(client: Client) -> Path:
    """An analysis whose jobs take their time."""
    path = client.home / "slow.py"
    path.write_text(SLOW)
    return path


def copy_cache(target: Path) -> None:
    """Copy the cache that all tests share, to be damaged."""
    ignore = shutil.ignore_patterns("work")
    shutil.copytree(os.environ["EVENTFLOCK_CACHE"], target, ignore=ignore)


@pytest.fixture
def eventflock(tmp_path: Path) -> Command:
    """Run the command in an empty folder, as a user does."""

    def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "eventflock", *map(str, words)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=240,
            cwd=tmp_path,
            check=False,
            **options,
        )

    return run


def alive(pid: int) -> bool:
    """Check whether a process still runs; one that only waits to be collected does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    return False
