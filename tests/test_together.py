"""Several analyses over the same files, in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventflock as ef
from eventflock.errors import UsageError
from eventflock.usercode.together import find, together
from tests.conftest import Command

TWO = """
import awkward as ak
import eventflock as ef
from hist import Hist


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def first(events, *, scale: float = 1000.0):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / scale
    return {"E": Hist.new.Reg(20, 0, 2000, name="E").Int64().fill(energy)}


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def second(events, context, *, scale: float = 1000.0, cut: float = 2):
    pt = events["jet_AntiKt10LCTopo_pt"] / scale
    return {"n": len(events), "hard": int(ak.sum(ak.num(pt) >= cut))}
"""
OTHER = """
import eventflock as ef

@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def third(events):
    return {"n": len(events)}
"""


def write(folder: Path) -> None:
    (folder / "two.py").write_text(TWO)
    (folder / "other.py").write_text(OTHER)


def test_one_run_does_what_several_do(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    write(tmp_path)
    words = ["--jobs", "4", "--no-plot", "--param", "cut=3", "--out", "run"]
    told = eventflock("run", "two.py:first", "two.py:second", "other.py", sample, *words)
    assert told.returncode == 0, told.stderr
    result = ef.load(tmp_path / "run")
    for target, given in (("two.py:first", {}), ("two.py:second", {"cut": 3}), ("other.py", {})):
        alone = ef.run(
            str(tmp_path / target),
            sample,
            parameters=given,
            jobs=4,
            out=tmp_path / f"alone-{target}",
        )
        name = {"other.py": "third"}.get(target, target.rpartition(":")[2])
        assert result[name] == {key: alone[key] for key in result[name]}
        assert set(alone.provenance["branches"]) <= set(result.provenance["branches"])
    # The helpers are those of the run: an edit of one stops it.
    words = ["--jobs", "4", "--no-plot", "--out", "half"]
    told = eventflock("run", "two.py:second", "other.py", sample, *words)
    for path in (*(tmp_path / "half").glob("result.zip"), tmp_path / "half/results/job-000000.zip"):
        path.unlink()
    (tmp_path / "other.py").write_text(OTHER.replace("len(events)", "0"))
    told = eventflock("resume", "half")
    assert "other.py, which the analysis imports, changed since the run was made." in told.stderr


def test_lists_of_objects_and_of_names(tmp_path: Path, sample: Path) -> None:
    @ef.analysis
    def events_of(events):  # type: ignore[no-untyped-def]
        return {"n": len(events)}

    @ef.analysis
    def twice(events, *, by: int = 2):  # type: ignore[no-untyped-def]
        return {"n": by * len(events)}

    result = ef.run([events_of, twice], sample, parameters={"by": 3}, out=tmp_path / "objects")
    assert result["twice", "n"] == 3 * result["events_of", "n"] > 0
    write(tmp_path)
    names = [str(tmp_path / "two.py:second"), str(tmp_path / "other.py")]
    result = ef.run(names, sample, out=tmp_path / "names")
    assert result["second", "n"] == result["third", "n"] > 0
    with pytest.raises(UsageError, match="stands beside the name of a file"):
        ef.run([twice, names[0]], sample)


def test_what_does_not_go_together(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    write(tmp_path)
    for words, sentence in (
        (("two.py:first", "two.py:third"), "There is no analysis 'third' in two.py"),
        (("two.py", "other.py"), "two.py has 2 analyses: first, second."),
        (("two.py:first", "two.py:first"), "Two of the analyses are called 'first'."),
        (("two.py:first", "gone.py"), "There is no analysis file 'gone.py'"),
    ):
        told = eventflock("run", *words, sample)
        assert told.returncode == 2
        assert sentence in told.stderr
        assert "Traceback" not in told.stderr
    told = eventflock("run", "two.py:first", "other.py")
    assert "There are no files after two.py:first other.py." in told.stderr


def test_names_of_files_that_are_no_modules(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "with-dash.py").write_text(OTHER)
    (tmp_path / "inside").mkdir()
    write(tmp_path / "inside")
    one = str(tmp_path / "other.py")
    with pytest.raises(UsageError, match=r"with-dash\.py cannot be imported by its name"):
        find([one, str(tmp_path / "with-dash.py")])
    with pytest.raises(UsageError, match="lie in different folders"):
        find([one, str(tmp_path / "inside/two.py:first")])


def test_script_blocks(tmp_path: Path) -> None:
    block = '# /// script\n# dependencies = ["vector"]\n# ///\n'
    (tmp_path / "a.py").write_text(block + OTHER)
    (tmp_path / "b.py").write_text(OTHER)
    _, source = find([str(tmp_path / "a.py"), str(tmp_path / "b.py")])
    assert source.decode().startswith(block)
    (tmp_path / "b.py").write_text(block.replace("vector", "coffea") + OTHER)
    with pytest.raises(UsageError, match="have different script blocks"):
        find([str(tmp_path / "a.py"), str(tmp_path / "b.py")])


def make(name: str, **words: object) -> ef.Analysis:
    def function(events, *, cut: int = 1):  # type: ignore[no-untyped-def]
        return {"n": cut * len(events)}

    function.__name__ = name
    return ef.analysis(**words)(function)  # type: ignore[call-overload, no-any-return]


def test_what_each_says_counts() -> None:
    both = together(
        make("a", columns=["x"], data=["d"]), make("b", columns=["y", "x"], tree="Events")
    )
    assert (both.tree, both.columns, both.data) == ("Events", ("x", "y"), ("d",))
    assert both.name == "a_and_b"
    assert together(make("a", columns=["x"]), make("b")).columns == ()
    with pytest.raises(UsageError, match="read different trees: 'a' reads 'x', 'b' reads 'y'"):
        together(make("a", tree="x"), make("b", tree="y"))

    def other(events, *, cut: str = "no"):  # type: ignore[no-untyped-def]
        return {}

    with pytest.raises(UsageError, match="'cut' has another type in 'other'"):
        together(make("a"), ef.analysis(other))


def test_second_trees(tmp_path: Path) -> None:
    first, second = make("a", tree="Events"), make("b")

    @first.also(tree="Runs")
    def runs(runs):  # type: ignore[no-untyped-def]
        return {"n": len(runs)}

    assert set(together(first, second).second) == {"runs"}
    second.also(tree="Runs")(runs)
    with pytest.raises(UsageError, match="reads the tree 'Runs', which is read by 'runs'"):
        together(first, second)
