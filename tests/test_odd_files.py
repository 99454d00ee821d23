"""Files as other writers leave them: the right value, or a refusal that names the branch."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.errors import InputError
from eventflock.events.naming import BranchNames

ENTRIES = 7919


def tree_file(path: Path, names: list[str]) -> Path:
    """Write one branch for each name; nothing is compressed, so that bytes can be changed."""
    with uproot.recreate(path, compression=None) as file:
        file.mktree("t", dict.fromkeys(names, "f8"))
        columns = {name: np.arange(ENTRIES) + 10_000 * n for n, name in enumerate(names)}
        file["t"].extend(columns)
    return path


def write(path: Path, body: str, marker: str = "@ef.analysis") -> Path:
    path.write_text(
        f"import awkward as ak\nimport eventflock as ef\n\n\n{marker}\n"
        f"def a(events):\n    return {body}\n"
    )
    return path


SUM = ENTRIES * (ENTRIES - 1) // 2


def test_of_a_branch_that_stands_twice_the_first_is_read(tmp_path: Path) -> None:
    """As TTree::Draw and RDataFrame do."""
    file = tree_file(tmp_path / "a.root", ["cc", "xa", "xb"])
    file.write_bytes(file.read_bytes().replace(b"xb", b"xa"))
    with uproot.open(file) as root:
        assert [branch.name for branch in root["t"].branches] == ["cc", "xa", "xa"]
    body = '{"c": int(ak.sum(events.cc)), "x": int(ak.sum(events["xa"])), "f": len(events.fields)}'
    result = ef.run(write(tmp_path / "a.py", body), file, out=tmp_path / "run")
    assert result["c"] == SUM
    assert result["x"] == SUM + 10_000 * ENTRIES
    assert result["f"] == 2
    body = '{"x": float(ak.sum(events[events.cc < 10].xa)), "r": len(str(events))}'
    result = ef.run(write(tmp_path / "b.py", body), file, out=tmp_path / "run2", jobs=1)
    assert result["x"] == 45 + 10 * 10_000


def leaf(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, branches=[])


def group(name: str, *leaves: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, branches=[leaf(one) for one in leaves])


def test_equal_names_below_two_branches_need_their_full_names() -> None:
    tree: Any = SimpleNamespace(
        branches=[group("first", "id", "x"), group("second", "x", "y"), leaf("n"), leaf("n")]
    )
    names = BranchNames(tree)
    assert names.collide
    assert names.find("first/x") is tree.branches[0].branches[1]
    assert names.find("second/x") is tree.branches[1].branches[0]
    assert names.find("id") is names.find("first/id") is tree.branches[0].branches[0]
    assert names.find("n") is tree.branches[2]
    assert names.find("first") is names.find("z") is None
    with pytest.raises(InputError, match="'x' stands for 2 branches: first/x, second/x"):
        names.find("x")
    assert [name for name, _ in names.shortest()] == ["id", "first/x", "second/x", "y", "n"]
    assert not BranchNames(SimpleNamespace(branches=[group("first", "x"), leaf("y")])).collide


def test_a_branch_without_its_entries_is_named_and_costs_only_itself(tmp_path: Path) -> None:
    file = tree_file(tmp_path / "a.root", ["xx", "yy"])
    data = bytearray(file.read_bytes())
    at = data.index(struct.pack(">q", ENTRIES), data.rindex(b"\x02yy\x02yy"))
    data[at : at + 8] = struct.pack(">q", ENTRIES + 1)  # what the branch says of itself
    file.write_bytes(data)
    code = write(tmp_path / "a.py", '{"x": float(ak.sum(events.xx))}')
    assert ef.run(code, file, out=tmp_path / "run")["x"] == SUM
    code = write(tmp_path / "b.py", '{"y": float(ak.sum(events.yy))}')
    with pytest.raises(ef.EventflockError, match="cannot read the branch 'yy'"):
        ef.run(code, file, out=tmp_path / "run2")


def test_a_file_without_uuid_that_was_written_anew_is_not_taken_for_the_old_one(
    tmp_path: Path,
) -> None:
    """The same size, no UUID: only the time tells them apart."""
    file = tree_file(tmp_path / "a.root", ["xx"])
    with uproot.open(file) as root:
        uuid = root.file.uuid.bytes
    old = file.read_bytes().replace(uuid, bytes(16))
    file.write_bytes(old)
    code = write(tmp_path / "a.py", '{"x": float(ak.sum(events.xx))}')
    run = tmp_path / "run"
    assert ef.run(code, file, jobs=4, out=run)["x"] == SUM
    (run / "result.zip").unlink()
    (run / "results/job-000003.zip").unlink()
    file.write_bytes(old.replace(struct.pack(">d", 7000.0), struct.pack(">d", 9000.0)))
    with pytest.raises(ef.EventflockError, match="no UUID, and was written at another time"):
        ef.resume(run)
    assert ef.run(code, file, jobs=4, out=tmp_path / "new")["x"] == SUM + 2000


def test_different_files_with_one_uuid_are_two_files(tmp_path: Path) -> None:
    """A template that was copied and then filled; copies that are the same are refused."""
    one, other = tree_file(tmp_path / "a.root", ["xx"]), tree_file(tmp_path / "b.root", ["xx", "y"])
    uuids = []
    for file in (one, other):
        with uproot.open(file) as root:
            uuids.append(root.file.uuid.bytes)
    other.write_bytes(other.read_bytes().replace(uuids[1], uuids[0]))
    code = write(tmp_path / "a.py", '{"x": float(ak.sum(events.xx)), "n": len(events)}')
    result = ef.run(code, [one, other], jobs=3, out=tmp_path / "run")
    assert (result["x"], result["n"]) == (2 * SUM, 2 * ENTRIES)
    assert result.complete
    copy = tmp_path / "c.root"
    copy.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="are the same file"):
        ef.run(code, [one, other, copy], out=tmp_path / "run2")


ODD = (
    "a#b", "a?b", "@x", "a,b", "a:b", "a:b:c", "a[1]", "a b", "a;b", "a%20b", "a*b", "a'b", "ä",
    "a=b", "-a", "q.root:t",
)  # fmt: skip


def test_names_may_have_any_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = write(tmp_path / "a.py", '{"n": len(events), "x": int(ak.sum(events.x))}')
    (tmp_path / "data").mkdir()
    for number, name in enumerate(ODD, 1):
        with uproot.recreate(tmp_path / "data" / f"{name}.root") as file:
            file["t"] = {"x": np.arange(number)}
    for number, name in enumerate(ODD, 1):
        out = tmp_path / f"run-{number}"
        result = ef.run(code, f"data/{name}.root", out=out, pool="inline")
        assert (result["n"], result["x"]) == (number, number * (number - 1) // 2)
    together = ef.run(code, "data", out=tmp_path / "run", jobs=5, workers=2)
    assert together["n"] == sum(range(1, len(ODD) + 1))
    (tmp_path / "list.txt").write_text("".join(f"data/{name}.root\n" for name in ODD))
    listed = ef.run(code, "@list.txt", out=tmp_path / "listed", workers=2)
    assert listed["n"] == together["n"]


def unclose(path: Path, *, keys: bool) -> None:
    """Leave a file as ROOT does if it is killed: without its free space, and perhaps its keys."""
    with uproot.open(path) as root:
        folder = root.file.fBEGIN + root.file.fNbytesName
        assert root.file.fVersion < 1_000_000
    data = bytearray(path.read_bytes())
    data[16:24] = bytes(8)  # fSeekFree and fNbytesFree
    if not keys:
        data[folder + 10 : folder + 14] = bytes(4)  # fNbytesKeys, after a version and two dates
        data[folder + 26 : folder + 30] = bytes(4)  # fSeekKeys
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "tree", "entries"),
    [("uproot-issue79", "taus", 1_000_000), ("uproot-HZZ", "events", 2421)],
)
def test_a_file_that_was_not_closed_is_said_with_what_root_would_find(
    tmp_path: Path, data_dir: Path, name: str, tree: str, entries: int
) -> None:
    file = tmp_path / "a.root"
    file.write_bytes((data_dir / f"{name}.root").read_bytes())
    code = write(tmp_path / "a.py", '{"n": len(events)}')
    unclose(file, keys=True)
    assert ef.run(code, file, out=tmp_path / "same")["n"] == entries  # ROOT finds the same
    unclose(file, keys=False)
    said = f"not closed by its writer. ROOT would recover {tree!r} with {entries:,} entries; "
    with pytest.raises(InputError) as caught:
        ef.run(code, file, out=tmp_path / "run")
    assert said in str(caught.value)
    assert "there is no tree" in str(caught.value)
