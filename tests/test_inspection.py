"""What `inspect_file` finds in files made here and in real ones, and how it is shown."""

from __future__ import annotations

import io
from pathlib import Path

import awkward as ak
import msgspec
import numpy as np
import pytest
import uproot
from rich.console import Console

from eventflock.cli.inspecting import render_report
from eventflock.errors import InputError
from eventflock.events.inspection import (
    BranchReport,
    FileReport,
    TreeReport,
    inspect_file,
)


def shown(report: FileReport, branches: int | None = None) -> str:
    """Render a report as a wide terminal without colours shows it."""
    out = io.StringIO()
    console = Console(file=out, width=160, color_system=None)
    render_report(report, console, branches=branches)
    return out.getvalue()


def only_tree(path: Path) -> TreeReport:
    (tree,) = inspect_file(str(path)).trees
    return tree


def by_name(tree: TreeReport) -> dict[str, BranchReport]:
    return {branch.name: branch for branch in tree.branches}


@pytest.fixture
def tree_file(tmp_path: Path) -> Path:
    """Two baskets of three flat and jagged branches, in nested directories."""
    path = tmp_path / "tree.root"
    jets = ak.Array([[{"pt": 1.0, "eta": 2.0}], [], [{"pt": 3.0, "eta": 4.0}] * 2])
    with uproot.recreate(path, compression=None) as file:
        types = {"x": "float32", "jet": "var * {pt: float64, eta: float64}"}
        tree = file.mktree("a/b/t", types, title="a title")
        tree.extend({"x": np.zeros(3, np.float32), "jet": jets})
        tree.extend({"x": np.zeros(2, np.float32), "jet": jets[:2]})
    return path


@pytest.fixture
def ntuple_file(tmp_path: Path) -> Path:
    path = tmp_path / "ntuple.root"
    data = {
        "x": np.arange(3.0),
        "lists": ak.Array([[1, 2], [], [3]]),
        "jets": ak.Array([[{"pt": 1.0}, {"pt": 2.0}], [], []]),
    }
    with uproot.recreate(path) as file:
        ntuple = file.mkrntuple("d/n", data, description="about it")
        ntuple.extend(data)
    return path


def test_tree(tree_file: Path) -> None:
    report = inspect_file(str(tree_file))
    assert report.path == str(tree_file)
    assert report.size == tree_file.stat().st_size
    with uproot.open(tree_file) as file:
        assert report.uuid == str(file.file.uuid)
    (tree,) = report.trees
    assert (tree.name, tree.kind, tree.title) == ("a/b/t", "TTree", "a title")
    assert (tree.entries, tree.clusters) == (5, (0, 3, 5))
    assert tree.record_bytes > 0
    assert [(branch.name, branch.type) for branch in tree.branches] == [
        ("x", "float"),
        ("njet", "int32_t"),
        ("jet_pt", "double[]"),
        ("jet_eta", "double[]"),
    ]
    assert all(branch.baskets == 2 and branch.readable for branch in tree.branches)
    x = by_name(tree)["x"]
    assert x.compressed_bytes == x.uncompressed_bytes > 5 * 4


def test_sizes_are_those_of_uproot(tree_file: Path) -> None:
    with uproot.open(tree_file) as file:
        expected = {
            name: (branch.compressed_bytes, branch.uncompressed_bytes)
            for name, branch in file["a/b/t"].iteritems()
        }
    found = by_name(only_tree(tree_file))
    assert expected == {
        name: (one.compressed_bytes, one.uncompressed_bytes) for name, one in found.items()
    }


def test_ntuple(ntuple_file: Path) -> None:
    tree = only_tree(ntuple_file)
    assert (tree.name, tree.kind, tree.title) == ("d/n", "RNTuple", "about it")
    assert (tree.entries, tree.clusters) == (6, (0, 3, 6))
    fields = by_name(tree)
    assert {name: field.type for name, field in fields.items()} == {
        "x": "double",
        "lists": "std::vector<std::int64_t>",
        "jets": "collection",
        "jets.pt": "double",
    }
    # two clusters of three offsets and three integers; the offsets of `jets` are its own
    assert fields["lists"].uncompressed_bytes == 2 * (3 * 8 + 3 * 8)
    assert fields["lists"].baskets == 4
    assert fields["jets"].uncompressed_bytes == 2 * 3 * 8
    assert fields["jets.pt"].uncompressed_bytes == 2 * 2 * 8


def test_newest_cycle_of_several(tmp_path: Path) -> None:
    path = tmp_path / "cycles.root"
    with uproot.recreate(path) as file:
        for entries in (4, 7):
            file.mktree("t", {"x": "int32"}).extend({"x": np.zeros(entries, np.int32)})
        assert set(file.keys()) == {"t;1", "t;2"}
    tree = only_tree(path)
    assert (tree.name, tree.entries) == ("t", 7)


def test_several_trees_and_other_objects(tmp_path: Path) -> None:
    path = tmp_path / "many.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram([1, 2, 3])
        file.mktree("d/t", {"x": "int32"})
        file.mkrntuple("d/n", {"x": "float64"})
        file.mkdir("nothing")
    report = inspect_file(str(path))
    assert {tree.name: tree.kind for tree in report.trees} == {"d/t": "TTree", "d/n": "RNTuple"}
    assert all(tree.entries == 0 and tree.clusters == (0,) for tree in report.trees)
    assert "cluster" not in shown(report)


def test_no_trees(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "h.root") as file:
        file["h"] = np.histogram([1, 2, 3])
    report = inspect_file(str(tmp_path / "h.root"))
    assert report.trees == ()
    assert "0 trees" in shown(report)


def test_branch_of_unknown_kind(tree_file: Path) -> None:
    """As for a class that uproot does not know, the branch is listed and the others are well."""
    tree_file.write_bytes(tree_file.read_bytes().replace(b"TLeafF\0", b"TLeafQ\0"))
    tree = only_tree(tree_file)
    assert not tree.problem
    branches = by_name(tree)
    assert not branches["x"].readable
    assert branches["x"].compressed_bytes > 0
    assert branches["jet_pt"].readable
    assert "unknown (not readable)" in shown(inspect_file(str(tree_file)))


def test_tree_that_cannot_be_read(tree_file: Path) -> None:
    tree_file.write_bytes(tree_file.read_bytes().replace(b"TBranch\0", b"TQranch\0"))
    report = inspect_file(str(tree_file))
    assert report.trees[0].name == "a/b/t"
    assert report.trees[0].problem
    assert "cannot be read: " in shown(report)


@pytest.mark.parametrize("what", ["missing", "text", "truncated"])
def test_files_that_cannot_be_opened(what: str, tree_file: Path) -> None:
    content = tree_file.read_bytes()
    if what == "missing":
        tree_file.unlink()
    else:
        tree_file.write_bytes(b"not ROOT, " * 50 if what == "text" else content[:-1000])
    with pytest.raises(InputError):
        inspect_file(str(tree_file))


def test_report_is_json(tree_file: Path, ntuple_file: Path) -> None:
    for path in (tree_file, ntuple_file):
        report = inspect_file(str(path))
        assert msgspec.json.decode(msgspec.json.encode(report), type=FileReport) == report


def test_shown(tree_file: Path, ntuple_file: Path) -> None:
    text = shown(inspect_file(str(tree_file)))
    first = text.splitlines()[0]
    assert str(tree_file) in first
    assert "1 tree, UUID " in first
    assert "a/b/t  TTree, 5 entries, 2 clusters of 2 to 3 entries, 'a title'" in text
    assert "4 branches: " in text
    text = shown(inspect_file(str(ntuple_file)))
    assert "d/n  RNTuple, 6 entries, 2 clusters of 3 entries, 'about it'" in text
    assert "\n   pt " in text  # below `jets`, and without repeating it


def test_shown_in_part(tree_file: Path) -> None:
    text = shown(inspect_file(str(tree_file)), branches=1)
    assert "... and 3 more branches" in text
    assert "jet_pt" not in text
    assert "4 branches: " in text


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "[red]name[/red].root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"[bold]x": "int32"}, title="\x1b[2Jgone")
    text = shown(inspect_file(str(path)))
    assert "[red]name[/red].root" in text
    assert "[bold]x" in text
    assert "\x1b" not in text


def test_tutorial(data_dir: Path) -> None:
    tree = only_tree(data_dir / "tutorial-10k.root")
    assert (tree.name, tree.entries) == ("TTbar_14TeV_MU80/mytree", 10_000)
    assert (tree.clusters[0], tree.clusters[-1], len(tree.clusters)) == (0, 10_000, 12)
    assert {branch.type for branch in tree.branches} == {"std::vector<float>"}
    assert by_name(tree)["jet_AntiKt10LCTopo_E"].compressed_bytes == 197_391


def test_nanoaod(data_dir: Path) -> None:
    report = inspect_file(str(data_dir / "nanoAOD_2015_CMS_Open_Data_ttbar.root"))
    (tree,) = report.trees
    assert (tree.name, tree.entries, len(tree.branches)) == ("Events", 200, 947)
    assert all(branch.readable and branch.embedded for branch in tree.branches)
    assert by_name(tree)["Jet_pt"].type == "float[]"
    # 200 floats and the key of a basket
    assert 800 < by_name(tree)["CaloMET_pt"].uncompressed_bytes < 1000
    text = shown(report, branches=10)
    assert "... and 937 more branches" in text
    assert "The last baskets of 947 branches were not flushed" in text


def test_basket_in_the_record(data_dir: Path) -> None:
    """Only the first of two baskets was flushed; in memory both count."""
    (branch,) = only_tree(data_dir / "uproot-issue79.root").branches
    assert (branch.baskets, branch.embedded) == (2, 1)
    assert branch.compressed_bytes == 2_845_305
    assert 4_000_000 < branch.uncompressed_bytes < 4_001_000


def test_nested_vectors(data_dir: Path) -> None:
    (branch,) = only_tree(data_dir / "uproot-vectorVectorDouble.root").branches
    assert branch.type == "std::vector<std::vector<double>>"
