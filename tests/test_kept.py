"""Files that an analysis keeps: they come back whole, once, and with the entries they are for."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.core.manifest import Coverage
from eventflock.core.options import PackOptions
from eventflock.errors import AnalysisError, EventflockError, IncompleteError, ResultError
from eventflock.results import blocks
from eventflock.results.keeper import Keeper
from eventflock.results.reader import read_manifest
from tests.conftest import Command

EVENTS, CHUNK = 100, 10
CODE = """
import os
import signal
from pathlib import Path
import eventflock as ef


@ef.analysis(tree="t")
def a(events, context, *, fail: str = ""):
    numbers = [int(x) for x in events.x]
    path = context.keep("odd.txt")
    path.write_text(" ".join(map(str, numbers)))
    if 42 in numbers and fail == "raise":
        raise ValueError("no 42")
    if 42 in numbers and fail == "die" and not Path(__file__).with_name("died").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if context.start == 0:
        context.keep("first.bin").write_bytes(bytes(1000))
    return {"n": len(numbers)}
"""


def write(path: Path, first: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": "i8"})
        for start in range(first, first + EVENTS, CHUNK):
            file["t"].extend({"x": np.arange(start, start + CHUNK)})
    return path


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text(CODE)
    return tmp_path / "a.py"


def check(result: ef.Result, numbers: list[int]) -> None:
    """Check that each kept file has the numbers of its entries, and all are there once."""
    found: list[int] = []
    for path, one in result.kept.items():
        data = path.read_bytes()
        assert (one.size, one.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert any(
            part.key == one.of.key and part.start <= one.of.start and one.of.stop <= part.stop
            for part in result.coverage
        )
        if one.name == "odd.txt":
            inside = [int(word) for word in data.decode().split()]
            assert len(inside) == one.of.stop - one.of.start
            found += inside
    assert sorted(found) == numbers
    folder = result.path.parent / "kept"
    assert {path for path in folder.rglob("*") if path.is_file()} == set(result.kept)


@pytest.mark.parametrize("pool", ["inline", "local"])
def test_files_come_back_under_names_of_their_own(code: Path, tmp_path: Path, pool: str) -> None:
    """Two folders have a file of the same name, two datasets look alike in names of folders."""
    one, two = write(tmp_path / "x/f.root"), write(tmp_path / "y/f.root", EVENTS)
    three = write(tmp_path / "z/f.root", 2 * EVENTS)
    files = {"a b": {"files": {str(one): "t", str(two): "t"}}, "a-b": {"files": {str(three): "t"}}}
    result = ef.run(code, files, out=tmp_path / "run", jobs=7, chunk=CHUNK, pool=pool)
    check(result, list(range(3 * EVENTS)))
    assert sum(one.name == "first.bin" for one in result.kept.values()) == 3
    assert dict(result) == {"a b": {"n": 2 * EVENTS}, "a-b": {"n": EVENTS}}
    assert sorted(ef.load(tmp_path / "run").kept) == sorted(result.kept)
    # Once more is the same; what is not of this result goes.
    next(iter(result.kept)).write_text("edited")
    (tmp_path / "run/kept/stray").mkdir()
    (tmp_path / "run/kept/stray/a.txt").write_text("?")
    (tmp_path / "run/result.zip").unlink()
    check(ef.resume(tmp_path / "run"), list(range(3 * EVENTS)))


def test_what_was_kept_for_events_that_failed_is_not_there(code: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "f.root")
    run = tmp_path / "run"
    with pytest.raises(IncompleteError):
        ef.run(code, file, out=run, jobs=2, chunk=CHUNK, parameters={"fail": "raise"})
    result = ef.load(run)
    assert result["n"] == EVENTS - 1
    check(result, [number for number in range(EVENTS) if number != 42])


@pytest.mark.slow
def test_a_process_that_died_leaves_no_half(code: Path, tmp_path: Path) -> None:
    """Its job is done in halves; the halves have their own files."""
    file = write(tmp_path / "f.root")
    run = tmp_path / "run"
    with pytest.raises(EventflockError):
        ef.run(code, file, out=run, jobs=2, chunk=CHUNK, parameters={"fail": "die"})
    result = ef.load(run)
    check(result, [number for number in range(EVENTS) if number != 42])


def test_blocks_of_jobs(code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 3)
    result = ef.run(code, write(tmp_path / "f.root"), out=tmp_path / "run", jobs=10, chunk=CHUNK)
    check(result, list(range(EVENTS)))


def test_the_command_says_where_they_are(code: Path, tmp_path: Path, eventflock: Command) -> None:
    write(tmp_path / "f.root")
    done = eventflock("run", code, tmp_path / "f.root", "--out", tmp_path / "run", "--chunk", CHUNK)
    assert done.returncode == 0, done.stderr
    assert f"kept      11 files, 1.3 kB: {tmp_path}/run/kept" in done.stdout


@pytest.mark.packing
def test_they_come_back_from_where_nothing_is_installed(code: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "f.root")
    out = tmp_path / "run"
    result = ef.run(code, file, out=out, jobs=2, chunk=CHUNK, packing=PackOptions())
    check(result, list(range(EVENTS)))


OF = Coverage("d", "u", "t", "/f.root", 0, 5)


@pytest.mark.parametrize("name", ["", "a/b", "/etc/passwd", "..", ".hidden", "x" * 101, "a\0b"])
def test_names_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(AnalysisError, match="takes the name of a file"):
        Keeper(tmp_path / "kept").path_for(name)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(tmp_path / "kept")
    keeper.begin()
    path = keeper.path_for("a.txt")
    with pytest.raises(AnalysisError, match="called twice"):
        keeper.path_for("a.txt")
    path.with_name("b.txt").write_text("")
    with pytest.raises(AnalysisError, match=r"was not written; there is b.txt \(entries 0 to 5 of"):
        keeper.check(OF)
    path.symlink_to("/etc/passwd")
    with pytest.raises(
        AnalysisError, match=r"'a.txt' that context.keep was asked for is no plain file"
    ):
        keeper.check(OF)
    path.unlink()
    path.mkdir()
    with pytest.raises(AnalysisError, match="is no plain file"):
        keeper.check(OF)
    path.rmdir()
    path.write_bytes(bytes(2000))
    monkeypatch.setattr("eventflock.results.keeper.BYTES_MAX", 1000)
    with pytest.raises(AnalysisError, match="this one has 1 file of 2 kB"):
        keeper.check(OF)
    monkeypatch.setattr("eventflock.results.keeper.BYTES_MAX", 2000)
    keeper.check(OF)
    keeper.commit(OF)
    assert [one.size for one in keeper.kept] == [2000]
    keeper.begin()
    assert path.exists(), "a kept file was removed"
    keeper.path_for("a.txt").write_text("for other entries")
    keeper.begin()
    assert len(keeper.kept) == 1


def test_a_file_that_is_not_written_costs_its_chunk_only(tmp_path: Path) -> None:
    code = tmp_path / "a.py"
    code.write_text(
        "import eventflock as ef\n@ef.analysis(tree='t')\ndef a(events, context):\n"
        "    path = context.keep('x')\n    if context.start != 30:\n        path.touch()\n"
        "    return {'n': len(events)}\n"
    )
    with pytest.raises(EventflockError) as caught:
        ef.run(code, write(tmp_path / "f.root"), out=tmp_path / "run", chunk=CHUNK, jobs=2)
    assert "'x' that context.keep was asked for was not written" in str(caught.value)
    assert ef.load(tmp_path / "run")["n"] >= EVENTS - CHUNK


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../../../../a"}, "no plain name"),
        ({"name": ".."}, "no plain name"),
        ({"size": 7}, "is not in it"),
        ({"sha256": "0" * 64}, "is not in it"),
        ({"member": "items/0"}, "is not in it"),
        ({"of": ["events", "u", "t", "/f.root", 5, -1, False]}, "numbers make no sense"),
    ],
)
def test_a_result_file_cannot_write_elsewhere(
    code: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    ef.run(code, write(tmp_path / "f.root"), out=tmp_path / "run", jobs=1, chunk=CHUNK)
    job = tmp_path / "run/results/job-000000.zip"
    forged = tmp_path / "forged.zip"
    with zipfile.ZipFile(job) as old, zipfile.ZipFile(forged, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == "manifest.json":
                manifest = json.loads(data)
                manifest["kept"][0].update(change)
                data = json.dumps(manifest).encode()
            new.writestr(info.filename, data)
    with pytest.raises(ResultError, match=said):
        read_manifest(forged)
    assert read_manifest(job).kept
