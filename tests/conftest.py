"""Files that many tests read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventflock.demo import ANALYSIS
from eventflock.sample import write_sample

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
    """Tell whether a process still runs; one that only waits to be collected does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    return False
