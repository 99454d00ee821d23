"""Servers that die, stop to answer, or have half of a file: right in the end, or named."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.core.observer import Observer
from eventflock.core.options import JobLimits
from eventflock.errors import EventflockError, IncompleteError
from eventflock.runs.diagnosis import explain
from tests.slow_proxy import running_proxy
from tests.test_remote import serving
from tests.xrootd import running_server

CLUSTERS, SIZE = 8, 2000
TOTAL = sum(range(CLUSTERS * SIZE))
CODE = """
import time
import awkward as ak
import eventflock as ef


@ef.analysis(tree="t")
def a(events):
    time.sleep(0.2 if len(events) else 0)
    return {"n": len(events), "x": int(ak.sum(events.x))}
"""


class After(Observer):
    """Does something once, when some events are done."""

    def __init__(self, events: int, act: Callable[[], object]) -> None:
        self._events = events
        self._act = act
        self.acted = threading.Event()

    def begin(self, what: str, total: int, done: int = 0) -> None:
        self._counts = what == "events"

    def update(self, done: int, jobs: str = "") -> None:
        if self._counts and done >= self._events and not self.acted.is_set():
            self.acted.set()
            self._act()


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVENTFLOCK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.py").write_text(CODE)
    return tmp_path / "a.py"


def write(path: Path) -> Path:
    """Write a file in which each chunk of a branch is a request of its own."""
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": "i8", "other": "f8"})
        for number in range(CLUSTERS):
            x = np.arange(number * SIZE, (number + 1) * SIZE)
            file["t"].extend({"x": x, "other": rng.random(SIZE)})
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data/a.root")


def in_the_end(result: ef.Result | None, run: Path) -> ef.Result:
    """Resume what is incomplete, and check that every event is in it once."""
    found = ef.resume(run) if result is None else result
    assert (found["n"], found["x"], found.complete) == (CLUSTERS * SIZE, TOTAL, True)
    return found


def attempt(run: Callable[[], ef.Result]) -> ef.Result | None:
    try:
        return run()
    except EventflockError:
        return None


@pytest.mark.pool
def test_an_xrootd_server_is_killed_and_comes_back(
    code: Path,
    data: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("fsspec_xrootd")
    base = tmp_path_factory.mktemp("served")
    with running_server(base / "files", base / "work") as server:
        shutil.copy(data, server.folder / "a.root")
        (server.folder / "a.root").chmod(0o644)
        monkeypatch.setenv("XRD_CONNECTIONWINDOW", "5")  # seconds between attempts, else 120

        def kill() -> None:
            server.kill()
            threading.Timer(1.0, server.start).start()

        after = After(2 * SIZE, kill)
        run = tmp_path / "run"
        done = attempt(
            lambda: ef.run(
                code, f"{server.url}/a.root", out=run, jobs=4, chunk=SIZE, workers=2, observer=after
            )
        )
        assert after.acted.is_set()
        in_the_end(done, run)


@pytest.mark.slow
def test_an_http_server_is_gone_and_comes_back(code: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    run = tmp_path / "run"
    with serving(data.parent) as port, running_proxy(port, 0.0) as proxy:
        after = After(2 * SIZE, proxy.refuse)
        with pytest.raises(EventflockError, match=f"127.0.0.1:{proxy.port}"):
            ef.run(
                code,
                f"http://127.0.0.1:{proxy.port}/a.root",
                out=run,
                jobs=4,
                chunk=SIZE,
                workers=1,
                observer=after,
            )
        assert 0 < ef.load(run / "result.zip")["n"] < CLUSTERS * SIZE
        proxy.accept()
        in_the_end(None, run)


@pytest.mark.pool
def test_a_server_that_accepts_and_never_answers_ends_with_the_time_out(
    code: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    run = tmp_path / "run"
    with serving(data.parent) as port, running_proxy(port, 0.0) as proxy:
        after = After(2 * SIZE, proxy.hold)
        with pytest.raises(EventflockError):
            ef.run(
                code,
                f"http://127.0.0.1:{proxy.port}/a.root",
                out=run,
                jobs=1,
                chunk=SIZE,
                workers=1,
                limits=JobLimits(stall_seconds=2),
                observer=after,
            )
        said = str(explain(run))
        assert "made no progress for 2 s" in said
        assert "Look whether the server answers" in said
        assert len(list((run / "results").glob("*.zip"))) <= 1, "a job was halved"
        proxy.go_on()
        in_the_end(None, run)


def test_a_truncated_replica_is_left_out_or_named(code: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    good = tmp_path / "good"
    good.mkdir()
    whole = data.read_bytes()
    (good / "a.root").write_bytes(whole)
    data.write_bytes(whole[: len(whole) // 2])
    with serving(data.parent) as one, serving(good) as other:
        first, second = (f"http://127.0.0.1:{port}/a.root" for port in (one, other))
        about = {"object_path": "t", "replicas": [second]}
        result = ef.run(code, {"d": {"files": {first: about}}}, out=tmp_path / "run")
        assert [part.path for part in result.coverage] == [second]
        in_the_end(result, tmp_path / "run")
        write(good / "b.root")
        files = {first: "t", second.replace("a.root", "b.root"): "t"}
        with pytest.raises(IncompleteError):
            ef.run(code, {"d": {"files": files}}, out=tmp_path / "half")
        [unread] = ef.load(tmp_path / "half/result.zip").unread
        assert unread.path == first
        assert "truncated" in str(unread)
        data.write_bytes(whole)
        done = ef.resume(tmp_path / "half")
        assert (done["n"], done["x"], done.complete) == (2 * CLUSTERS * SIZE, 2 * TOTAL, True)
