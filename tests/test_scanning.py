"""Looking at files before a run: many far ones at a time, and none twice without need."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.core.model import FileEntry
from eventflock.errors import InputError
from eventflock.events.scan import scan_file
from eventflock.planning.scan_cache import ScanCache
from eventflock.worker import scanning
from eventflock.worker.messages import Scan, Scanned
from eventflock.worker.service import Service
from tests.test_remote import Ranges, serving

pytest.importorskip("aiohttp")

FILES = 24
CODE = 'import eventflock as ef\n@ef.analysis(tree="t")\ndef a(events):\n    return {"n": len(events)}\n'


class Counting(Ranges):
    """Counts what is asked for, and how many files at a time; the first requests of all wait."""

    lock = threading.Lock()
    gate = threading.Barrier(1)
    heads = 0
    gets = 0

    def do_HEAD(self) -> None:  # noqa: N802
        with self.lock:
            type(self).heads += 1
        if self.gate.parties > 1:
            self.gate.wait(20)  # breaks, unless as many come at the same time
        super().do_HEAD()

    def do_GET(self) -> None:  # noqa: N802
        with self.lock:
            type(self).gets += 1
        super().do_GET()


def write(path: Path, events: int) -> Path:
    with uproot.recreate(path) as file:
        file["t"] = {"x": np.arange(float(events))}
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVENTFLOCK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "a.py").write_text(CODE)
    for n in range(FILES):
        write(tmp_path / "data" / f"{n:02d}.root", 10 + n)
    return tmp_path / "data"


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    with serving(folder, Counting) as port:
        yield f"http://127.0.0.1:{port}"


def test_many_far_files_are_looked_at_at_the_same_time(
    folder: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counting, "gate", threading.Barrier(FILES))
    scans = tuple(Scan(path=f"{server}/{n:02d}.root") for n in range(FILES))
    with_gate = scanning.scan_many(scans, Service()._files)
    assert [one.entry.entries for one in with_gate if isinstance(one, Scanned)] == [
        10 + n for n in range(FILES)
    ]


def test_far_files_that_are_known_are_not_read_again(
    folder: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{server}/{n:02d}.root" for n in range(FILES)]
    code, total = folder.parent / "a.py", sum(range(10, 10 + FILES))
    first = ef.run(code, names, out=folder.parent / "first", workers=2)
    assert first["n"] == total
    plain, Counting.heads, Counting.gets = Counting.gets, 0, 0
    write(folder / "05.root", 500)
    os.utime(folder / "05.root", (1e9, 1e9))  # servers say the time in seconds
    again = ef.run(code, names, out=folder.parent / "again", workers=2)
    assert again["n"] == total - 15 + 500
    assert Counting.heads >= FILES
    assert Counting.gets < 0.7 * plain  # what is left is the jobs' own reading
    assert again.coverage[0] == first.coverage[0]


def test_near_files_that_are_known_are_not_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, names = folder.parent / "a.py", [folder / f"{n:02d}.root" for n in range(4)]
    run = {"pool": "inline", "jobs": 1}
    ef.run(code, names, out=folder.parent / "r1", **run)  # type: ignore[arg-type]
    scanned: list[str] = []

    def counting(path: str, *args: Any) -> FileEntry:
        scanned.append(Path(path).name)
        return scan_file(path, *args)

    monkeypatch.setattr("eventflock.events.scan.scan_file", counting)
    write(folder / "02.root", 12)  # as many entries, another file
    result = ef.run(code, names, out=folder.parent / "r2", **run)  # type: ignore[arg-type]
    assert (result["n"], scanned) == (10 + 11 + 12 + 13, ["02.root"])
    ef.run(code, [f"{names[0]}:t"], out=folder.parent / "r3", **run)  # type: ignore[arg-type]
    assert scanned == ["02.root"]
    (folder / "03.root").write_bytes(bytes(1000))
    with pytest.raises(InputError):
        ef.run(code, names[3], out=folder.parent / "r4", **run)  # type: ignore[arg-type]


def test_a_cache_that_cannot_be_used_is_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = folder.parent / "a.py"
    (folder.parent / "cache").mkdir(exist_ok=True)
    table = folder.parent / "cache" / "scans.sqlite"
    table.write_bytes(b"not a table" * 100)
    assert ef.run(code, folder, out=folder.parent / "r1")["n"]
    table.unlink()
    table.mkdir()
    assert ef.run(code, folder, out=folder.parent / "r2")["n"]


def test_what_was_not_asked_for_in_a_long_time_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(path="root://host//a.root")
    entry = FileEntry(path=scan.path, tree="t", uuid="u", size=1, entries=1)
    table = ScanCache(tmp_path / "t.sqlite")
    table.remember(scan, Scanned(entry=entry, stamp="1/2"))
    table.close()
    table = ScanCache(tmp_path / "t.sqlite")
    assert table.prepared(scan).known == entry
    assert table.prepared(Scan(path=scan.path, tree="other")).known is None
    monkeypatch.setattr("eventflock.planning.scan_cache.KEEP_DAYS", -1)
    table.close()
    assert ScanCache(tmp_path / "t.sqlite").prepared(scan).known is None


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(10)
        port = silent.getsockname()[1]
        scans = [Scan(path=f"http://127.0.0.1:{port}/{n}.root") for n in range(3)]
        replies = scanning.scan_many(scans, Service()._files)
    messages = [reply.failure.message for reply in replies if not isinstance(reply, Scanned)]
    assert len(messages) == 3
    assert all("its server has not answered in 0.5 s" in message for message in messages)
