"""Files that ROOT wrote (`tests/odd/make.py`), and what ROOT itself reads in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import uproot

import eventflock as ef
from eventflock.errors import EventflockError, InputError
from eventflock.events.files import is_readable
from eventflock.events.ntuple import NTupleFields

ODD = Path(__file__).parent / "odd"
EXPECTED = json.loads((ODD / "expected.json").read_text())

HEAD = """
import awkward as ak
import eventflock as ef


def total(values):
    return float(ak.sum(ak.flatten(values, axis=None)))


@ef.analysis(tree={tree!r})
def a(events):
    return {{{body}, "n": len(events)}}
"""


def analysis(place: Path, tree: str, **values: str) -> Path:
    body = ", ".join(f"{name!r}: {value}" for name, value in values.items())
    place.write_text(HEAD.format(tree=tree, body=body))
    return place


NTUPLE = {
    "jets.at.n": "total(events.jets.at.n)",
    "jets.w": "total(events.jets.w)",
    "point.n": "total(events.point.n)",
    "point.x": "total(events.point.x)",
    "late_point.n": "total(events.late_point.n)",
    "late_point.x": "total(events.late_point.x)",
} | {
    name: f"total(events.{name})"
    for name in (
        "bits", "cut", "dcut", "deep", "dhalf", "either", "eithers", "half", "late", "late_list",
        "late_three", "maybe", "plain", "quant", "three",
    )
}  # fmt: skip


@pytest.mark.parametrize("chunk", [7, 40, 90, 300])
def test_an_rntuple_gives_what_root_reads_in_chunks_of_any_size(tmp_path: Path, chunk: int) -> None:
    """Clusters of 40 entries in four groups; some fields begin at entry 150."""
    code = analysis(tmp_path / "a.py", "t", **NTUPLE)
    out = tmp_path / "run"
    result = ef.run(code, ODD / "ntuple.root", out=out, chunk=chunk, pool="inline")
    assert result["n"] == 300
    wanted = {name: EXPECTED[f"ntuple/{name}"] for name in NTUPLE}
    assert {name: result[name] for name in NTUPLE} == pytest.approx(wanted, rel=1e-7)
    known = {key.removeprefix("ntuple/") for key in EXPECTED if key.startswith("ntuple/")}
    assert known == set(NTUPLE)


def test_each_range_of_a_field_is_that_part_of_the_whole() -> None:
    with uproot.open(ODD / "ntuple.root") as root:
        fields = NTupleFields(root["t"])
        for name in fields.names:
            whole = fields.read(name, 0, 300, [])
            every = whole.to_list()
            for start in (0, 1, 39, 40, 41, 119, 149, 150, 151, 160, 299):
                for stop in (start, start + 1, start + 40, start + 41, 149, 150, 151, 300):
                    if start <= stop <= 300:
                        part = fields.read(name, start, stop, [])
                        assert part.to_list() == every[start:stop], (name, start, stop)
                        assert part.type.content == whole.type.content


def test_numbers_of_an_rntuple_have_the_precision_of_their_type() -> None:
    """The columns have 16, 20, 24 bits: sums in float16 would be infinite."""
    with uproot.open(ODD / "ntuple.root") as root:
        fields = NTupleFields(root["t"])
        types = {
            name: str(fields.read(name, 0, 9, []).type.content)
            for name in ("half", "cut", "quant", "dcut", "dhalf")
        }
    wanted = {"half": "float32", "cut": "float32", "quant": "float32"}
    assert types == wanted | {"dcut": "float64", "dhalf": "float64"}


@pytest.mark.parametrize(
    ("file", "tree", "values"),
    [
        ("cycles", "t", {"x": "total(events.x)"}),
        ("friends", "t", {"x": "total(events.x)"}),
        ("full", "t", {"x": "total(events.x)", "v": "total(events.v)", "a": "total(events.a)"}),
        ("leaves", "t", {"s.p": "total(events.s.p)", "s.q": "total(events.s.q)"}),
        ("leaves", "t", {name: f"total(events.{name})" for name in "hdbm"}),
        ("objects", "whole", {"lv": "total(events.lv.fP.fZ)"}),
        (
            "objects",
            "split",
            {
                "run": "total(events['run'])",
                "lead.in.b": "total(events['second.lead.in.b'])",
                "tracks.pt": "total(events['tracks.pt'])",
            },
        ),
    ],
)
def test_a_tree_gives_what_root_reads(
    tmp_path: Path, file: str, tree: str, values: dict[str, str]
) -> None:
    code = analysis(tmp_path / "a.py", tree, **values)
    result = ef.run(code, ODD / f"{file}.root", out=tmp_path / "run", jobs=3, pool="inline")
    assert result["n"] == EXPECTED[f"{file}/{tree}"]
    for name in values:
        assert result[name] == pytest.approx(EXPECTED[f"{file}/{tree}/{name}"], rel=1e-12), name


def test_files_without_entries_among_others(tmp_path: Path) -> None:
    code = analysis(tmp_path / "a.py", "t", x="total(events.x)", v="total(events.v)")
    files = [tmp_path / f"{name}.root" for name in ("1", "2", "3")]
    for file, source in zip(files, ("empty", "full", "empty"), strict=True):
        # Another UUID: these would be refused as one file.
        data = (ODD / f"{source}.root").read_bytes()
        with uproot.open(ODD / f"{source}.root") as root:
            file.write_bytes(data.replace(root.file.uuid.bytes, file.name.encode().ljust(16, b".")))
    result = ef.run(code, files, out=tmp_path / "run", jobs=2, pool="inline")
    assert (result["n"], result["x"], result["v"]) == (40, 780.0, 767.0)
    assert result.complete
    with pytest.raises(InputError, match=r"the tree 't' of .*1\.root is empty"):
        ef.run(code, files[0], out=tmp_path / "alone")


@pytest.mark.parametrize(
    ("file", "tree", "value", "said"),
    [
        ("short", "t", "events.y", "branch 'y' of 't' cannot be read: it has 20 entries"),
        ("short", "t", "events[['x', 'y']].y", "branch 'y' of 't' cannot be read"),
        ("short", "t", "events[events.x > 3].y", "branch 'y' of 't' cannot be read"),
        ("short", "t", "events.z", "branch 'z'"),
        ("friends", "t", "events.y", "no branch 'y' in the tree 't'"),
        ("objects", "whole", "events.event.run", "'event' cannot be read: NotImplementedError"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_name_of_the_branch(
    tmp_path: Path, file: str, tree: str, value: str, said: str
) -> None:
    code = analysis(tmp_path / "a.py", tree, v=f"total({value})")
    with pytest.raises(EventflockError, match=said):
        ef.run(code, ODD / f"{file}.root", out=tmp_path / "run", jobs=3)
    assert not (tmp_path / "run/result.zip").exists()


def test_branches_that_cannot_be_read_are_not_offered(tmp_path: Path) -> None:
    code = analysis(tmp_path / "a.py", "t", y="1.0 * ('y' in events.fields)", x="total(events.x)")
    result = ef.run(code, ODD / "short.root", out=tmp_path / "run", jobs=2, pool="inline")
    assert (result["n"], result["x"], result["y"]) == (30, 435.0, 0.0)
    with uproot.open(ODD / "short.root") as root:
        assert not is_readable(root, root["t"], "y")


def test_friends_and_chains_are_named(tmp_path: Path) -> None:
    code = analysis(tmp_path / "a.py", "t", v="total(events.y)")
    with pytest.raises(EventflockError) as caught:
        ef.run(code, ODD / "friends.root", out=tmp_path / "run")
    assert "friend trees are not read" in caught.value.remedy
    with pytest.raises(InputError, match="'chain' is a TChain, a list of other files"):
        ef.run(code, ODD / "chain.root", out=tmp_path / "run")
