"""Files that cannot be read are no reason to stop: named, left out, and looked at again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.core.observer import Observer
from eventflock.errors import IncompleteError, InputError, ResultError, UsageError
from tests.conftest import Command
from tests.test_remote import server  # noqa: F401 -- a fixture

CODE = """
import awkward as ak
import eventflock as ef


@ef.analysis(tree="t")
def a(events):
    return {"n": len(events), "sum": int(ak.sum(events.x))}
"""
FILES, EVENTS = 5, 100


class Notes(Observer):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def write(path: Path, first: int, size: int = EVENTS) -> Path:
    with uproot.recreate(path) as file:
        file.mktree("t", {"x": "i8"})
        for start in range(first, first + size, 25):
            file["t"].extend({"x": np.arange(start, min(start + 25, first + size))})
    return path


def zero(path: Path) -> bytes:
    """Damage a file as a disk does, and give what was in it."""
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)))
    return data


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for n in range(FILES):
        write(tmp_path / "data" / f"{n}.root", n * EVENTS)
    return tmp_path / "data"


TOTAL = sum(range(FILES * EVENTS))


def results_of(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run / "results").glob("*.zip")}


def test_the_run_goes_on_and_names_it(
    tmp_path: Path, code: Path, folder: Path, eventflock: Command
) -> None:
    content, run = zero(folder / "2.root"), tmp_path / "run"
    told = eventflock("run", code, folder, "--out", run, "--jobs", "4", "--no-plot")
    assert told.returncode == 7
    reason = f"{folder}/2.root is not a ROOT file: it does not begin with 'root'."
    assert f"1 of 5 files is left out, so the result will be PARTIAL:\n  {reason}" in told.stderr
    assert "PARTIAL   400 of 400 events; 1 of 5 files not read" in told.stdout
    assert f"1 of 5 files not read:\n  {reason}" in told.stderr
    assert f"eventflock merge {run} --accept-files 0.8" in told.stderr
    result = ef.load(run)
    assert result.label == "PARTIAL: 400 of 400 events (100.0 %, 1 file not read)"
    assert not result.complete
    assert [(file.path, file.message) for file in result.unread] == [
        (f"{folder}/2.root", reason),
    ]
    status = eventflock("status", run).stdout
    assert f"files     4 of 5; not read:\n  {reason}" in status
    assert f"go on     eventflock resume {run}" in status
    why = eventflock("why", run).stdout
    assert "0 events of 400 missing, 1 of 5 files not read, 1 cause" in why
    assert f"1 file with an unknown number of events\n   {reason}" in why
    assert f"repeat it:  eventflock inspect {folder}/2.root" in why
    assert "--accept-files 0.8" in why
    assert ef.why(run).groups[0].files == [f"{folder}/2.root"]
    for words, status_code in (
        (("--accept", "0.9"), 7),
        (("--accept-files", "0.9"), 7),
        (("--accept-files", "0.8"), 0),
        ((), 0),  # what was accepted once stays accepted
    ):
        assert eventflock("merge", run, "--no-plot", *words).returncode == status_code
    before = results_of(run)
    (folder / "2.root").write_bytes(content)
    told = eventflock("resume", run, "--no-plot")
    assert told.returncode == 0, told.stderr
    assert "1 file can be read now: 1 job more." in told.stderr
    assert "complete  500 events, each exactly once, in 5 jobs" in told.stdout
    again = ef.load(run)
    assert (again.complete, again["n"], again["sum"], again.unread) == (True, 500, TOTAL, ())
    assert results_of(run).items() > before.items()
    assert "files" not in eventflock("status", run).stdout
    assert "nothing failed" in eventflock("why", run).stdout


def test_files_are_added_as_they_become_readable(tmp_path: Path, code: Path, folder: Path) -> None:
    contents = {n: zero(folder / f"{n}.root") for n in (0, 1, 4)}
    run, notes = tmp_path / "run", Notes()
    with pytest.raises(IncompleteError, match="3 of 5 files not read"):
        ef.run(code, folder, out=run, events_per_job=30, chunk=7)
    for n, left in ((4, 2), (0, 1)):
        (folder / f"{n}.root").write_bytes(contents[n])
        with pytest.raises(IncompleteError, match=f"{left} of 5 files not read"):
            ef.resume(run, observer=notes)
        assert len(ef.load(run).unread) == left
    assert sum(line.startswith("Still not read: ") for line in notes.lines) == 3
    (folder / "1.root").write_bytes(contents[1])
    result = ef.resume(run)
    assert (result.complete, result["n"], result["sum"]) == (True, 500, TOTAL)
    assert [Path(one.path).name for one in result.coverage] == [
        f"{n}.root" for n in (2, 3, 4, 0, 1)
    ]
    plan = ef.status(run)
    assert plan.jobs["done"] == 7 + 3 * 4
    more = json.loads((run / "more-001.json").read_text())
    chunks = [job[1][0] for job in more["jobs"]]
    assert all(edges[0] - start <= 7 for _, start, _, edges, _ in chunks)
    (run / "more-002.json").write_text("{}")
    with pytest.raises(ResultError, match=r"more-002\.json is damaged"):
        ef.load(run) and ef.status(run)


def test_a_dataset_may_be_unread_as_a_whole(tmp_path: Path, code: Path, folder: Path) -> None:
    content = zero(folder / "3.root")
    fileset = {
        "good": {"files": {f"{folder}/0.root": "t"}, "metadata": {"xs": 2.5}},
        "bad": {"files": {f"{folder}/3.root": "t"}, "metadata": {"xs": 1}},
    }
    with pytest.raises(IncompleteError):
        ef.run(code, fileset, out=tmp_path / "run", jobs=2)
    partial = ef.load(tmp_path / "run")
    assert partial.datasets == ("good",)
    assert partial.metadata == {"good": {"xs": 2.5}, "bad": {"xs": 1}}
    (folder / "3.root").write_bytes(content)
    result = ef.resume(tmp_path / "run")
    assert (result["good", "n"], result["bad", "n"], result.complete) == (100, 100, True)


def test_accepted_at_once(tmp_path: Path, code: Path, folder: Path) -> None:
    zero(folder / "2.root")
    result = ef.run(code, folder, out=tmp_path / "run", accept_files=0.8)
    assert (result["n"], result.complete) == (400, False)
    assert result.label.endswith("1 file not read, accepted)")
    assert result.manifest.accepted_files == 0.8


def test_what_is_still_refused(tmp_path: Path, code: Path, folder: Path) -> None:
    zero(folder / "2.root")
    names = [folder / f"{n}.root" for n in range(FILES)]
    run: dict[str, Any] = {"out": tmp_path / "run", "pool": "inline"}
    with pytest.raises(InputError, match="not a ROOT file"):
        ef.run(code, names, strict_files=True, **run)
    with pytest.raises(InputError, match=r"There is no file .*2\.rot"):
        ef.run(code, [*names[:2], folder / "2.rot"], **run)
    with pytest.raises(UsageError, match="cannot be counted through files"):
        ef.run(code, names, entries="0:150", **run)
    zero(folder / "1.root")
    with pytest.raises(InputError, match=r"2 of 2 files cannot be used"):
        ef.run(code, names[1:3], **run)
    assert not (tmp_path / "run").exists()
    (folder / "list.txt").write_text(f"{folder}/0.root\n{folder}/gone.root\n")
    with pytest.raises(IncompleteError, match=r"There is no file .*gone\.root"):
        ef.run(code, f"@{folder}/list.txt", **run)


def test_a_file_that_turns_out_to_be_another_one_is_not_added(
    tmp_path: Path, code: Path, folder: Path
) -> None:
    zero(folder / "2.root")
    zero(folder / "3.root")
    with pytest.raises(IncompleteError):
        ef.run(code, folder, out=tmp_path / "run")
    shutil.copy(folder / "1.root", folder / "2.root")
    notes = Notes()
    with pytest.raises(IncompleteError, match="2 of 5 files not read"):
        ef.resume(tmp_path / "run", observer=notes)
    assert any("are the same file" in line for line in notes.lines)
    assert ef.load(tmp_path / "run")["n"] == 300
    write(folder / "2.root", 200)
    shutil.copy(folder / "2.root", folder / "3.root")
    with pytest.raises(IncompleteError, match="1 of 5 files not read"):
        ef.resume(tmp_path / "run", observer=notes)
    assert ef.load(tmp_path / "run")["n"] == 400


def test_a_tree_that_one_file_lacks(tmp_path: Path, code: Path, folder: Path) -> None:
    with uproot.recreate(folder / "2.root") as file:
        file["other"] = {"x": np.arange(3)}
    with pytest.raises(IncompleteError, match=r"2\.root has no tree 't', it has 'other'"):
        ef.run(code, folder, out=tmp_path / "run")
    assert ef.load(tmp_path / "run")["n"] == 400


def test_replicas_are_read_where_the_file_is_broken(
    tmp_path: Path, code: Path, folder: Path
) -> None:
    shutil.copy(folder / "2.root", tmp_path / "copy.root")
    zero(folder / "2.root")
    about = {"object_path": "t", "replicas": [str(folder / "no.root"), str(tmp_path / "copy.root")]}
    files = {f"{folder}/1.root": "t", f"{folder}/2.root": about}
    result = ef.run(code, {"d": {"files": files}}, out=tmp_path / "run")
    assert (result["n"], result.complete) == (200, True)
    assert [one.path for one in result.coverage] == [f"{folder}/1.root", f"{tmp_path}/copy.root"]


def test_redirectors_are_asked_in_order(
    tmp_path: Path,
    code: Path,
    sample: Path,
    server: str,  # noqa: F811 -- the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr("eventflock.planning.scanning.PAUSES", ())
    code.write_text("import eventflock as ef\n@ef.analysis\ndef a(events):\n    return {'n': 1}\n")
    redirectors = ["http://127.0.0.1:1", f"{server}/"]
    (tmp_path / "l.txt").write_text(f"http://127.0.0.1:2/{sample.name}\n/{sample.name}\n")
    with pytest.raises(InputError, match="is named twice"):
        ef.run(code, f"@{tmp_path}/l.txt", out=tmp_path / "run", redirectors=redirectors)
    first = f"http://127.0.0.1:2/{sample.name}"
    result = ef.run(code, first, out=tmp_path / "run", redirectors=redirectors)
    assert [one.path for one in result.coverage] == [f"{server}/{sample.name}"]
    with pytest.raises(UsageError, match="'cms-xrd' is not a server"):
        ef.run(code, first, out=tmp_path / "no", redirectors=["cms-xrd"])


# --- numbers of entries that are expected ------------------------------------------------------


def forms(folder: Path) -> dict[str, Any]:
    names = [f"{folder}/{n}.root" for n in range(FILES)]
    return {
        "names": dict.fromkeys([f"{n}.root" for n in range(FILES)], EVENTS),
        "paths": {name: {"nevents": EVENTS} for name in names},
        "list": [{"name": f"/data/{n}.root", "events": EVENTS} for n in range(FILES)],
        "das": [{"file": [{"name": name, "nevents": EVENTS}]} for name in names],
        "coffea": {"d": {"files": {name: {"num_entries": EVENTS} for name in names}}},
    }


@pytest.mark.parametrize("form", ["names", "paths", "list", "das", "coffea"])
def test_entries_are_checked(tmp_path: Path, code: Path, folder: Path, form: str) -> None:
    expected = tmp_path / "expected.json"
    expected.write_text(json.dumps(forms(folder)[form]))
    result = ef.run(code, folder, out=tmp_path / "run", check=expected)
    assert (result.complete, result.manifest.checked) == (True, FILES)
    write(folder / "2.root", 200, 75)
    with pytest.raises(IncompleteError, match=r"2\.root has 75 entries, 100 are expected"):
        ef.run(code, folder, out=tmp_path / "short", check=forms(folder)[form])
    assert ef.load(tmp_path / "short")["n"] == 400
    with pytest.raises(IncompleteError):
        ef.resume(tmp_path / "short")
    write(folder / "2.root", 200)
    result = ef.resume(tmp_path / "short")
    assert (result["sum"], result.complete, result.manifest.checked) == (TOTAL, True, FILES)


def test_the_command_says_what_was_checked(
    tmp_path: Path, code: Path, folder: Path, eventflock: Command
) -> None:
    (tmp_path / "e.json").write_text(json.dumps({"0.root": 100, "1.root": 100}))
    told = eventflock("run", code, folder, "--check", tmp_path / "e.json", "--out", tmp_path / "r")
    assert told.returncode == 0, told.stderr
    assert "e.json says nothing of 3 files" in told.stderr
    assert "checked   2 files: as many entries as expected" in told.stdout


@pytest.mark.parametrize(
    ("expected", "kind", "words"),
    [
        ({"5.root": 1, "0.root": 100}, InputError, "has 1 file that the run does not name: 5.root"),
        ({"0.root": "many"}, UsageError, "says 'many' of '0.root', expected a number"),
        ([1, 2], UsageError, "has 1 in a list"),
        ({}, UsageError, "no numbers of entries"),
        ({"0.root": 100, "data/0.root": 99}, InputError, "should have 99 entries"),
        ("nothing.json", InputError, "list of --check nothing.json cannot be read"),
    ],
)
def test_wrong_expectations_are_refused(
    tmp_path: Path, code: Path, folder: Path, expected: Any, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        ef.run(code, folder, out=tmp_path / "run", check=expected)
    assert words in str(caught.value)


def test_a_name_that_stands_for_two_files_is_refused(
    tmp_path: Path, code: Path, folder: Path
) -> None:
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "0.root", 900)
    with pytest.raises(InputError, match=r"'0\.root', which 2 files of the run end with"):
        ef.run(code, [folder, tmp_path / "other"], out=tmp_path / "run", check={"0.root": 100})
