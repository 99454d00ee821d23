"""The examples run, and give what they should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

import eventflock as ef

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def events(sample: Path) -> ak.Array:
    return uproot.open(sample)["TTbar_14TeV_MU80/mytree"].arrays()


def test_regions(sample: Path, events: ak.Array, tmp_path: Path) -> None:
    result = ef.run(EXAMPLES / "regions.py", sample, jobs=3, out=tmp_path / "run")
    central = abs(ak.flatten(events["jet_AntiKt10LCTopo_eta"])) < 1.2
    assert result["central", "jets"] == ak.sum(central)
    assert result["pt_by_region"].sum(flow=True).value == 0.5 * len(central)
    assert result["plane"].sum(flow=True) == len(central)


def test_cutflow(sample: Path, events: ak.Array, tmp_path: Path) -> None:
    result = ef.run(f"{EXAMPLES / 'cutflow.py'}:cutflow", sample, jobs=3, out=tmp_path / "a")
    passed = list(result["passed"].values())
    assert passed[0] == 10_000
    assert passed == sorted(passed, reverse=True)
    assert passed[-1] > 100
    assert result["expected"].tolist() == passed
    counts = ef.run(f"{EXAMPLES / 'cutflow.py'}:multiplicity", sample, out=tmp_path / "b")["jets"]
    expected = np.bincount(ak.to_numpy(ak.num(events["jet_AntiKt10LCTopo_pt"])), minlength=30)
    assert counts.tolist() == expected.tolist()


def test_skim(sample: Path, events: ak.Array, tmp_path: Path) -> None:
    result = ef.run(EXAMPLES / "skim.py", sample, jobs=7, out=tmp_path / "run")
    leading = ak.fill_none(ak.firsts(events["jet_AntiKt10LCTopo_pt"]), 0.0)
    assert result["rows"]["entry"].tolist() == np.flatnonzero(leading / 1000 > 400).tolist()
    assert result["kept"] == len(result["rows"]) > 10


def test_in_a_script(sample: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "in_a_script.py", sample],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "complete: True" in done.stdout
    assert (tmp_path / "runs/masses-001/result.zip").exists()


@pytest.mark.slow
def test_the_tutorial_as_it_was(sample: Path, tmp_path: Path) -> None:
    """Ten processes by hand leave what one analysis gives."""
    scripts = EXAMPLES / "tutorial"
    for number in range(10):
        words = ["-f", str(sample), "-s", str(1000 * number), "-n", "1000", "-p", str(number)]
        done = subprocess.run(
            [sys.executable, scripts / "main.py", *words, "-t", "250"],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    subprocess.run([sys.executable, scripts / "make_plot.py"], cwd=tmp_path, check=True)
    assert (tmp_path / "hist_jet_AntiKt10LCTopo_E.png").stat().st_size > 10_000
    by_hand = ef.import_pickles(sorted(tmp_path.glob("*.pkl")), tmp_path / "old")["hist"]
    result = ef.run(EXAMPLES / "jets.py", sample, out=tmp_path / "run")
    assert by_hand.values().tolist() == result["E"].values().tolist()
    assert by_hand.sum() > 10_000


def test_the_tutorial_as_it_was_by_one_command(sample: Path, tmp_path: Path) -> None:
    scripts = EXAMPLES / "tutorial"
    words = ["--over", f"{scripts}/ranges.csv", "--input", str(sample), "--output", "*.pkl"]
    more = ["--then", f"{scripts}/make_plot.py", "--out", "run", "--workers", "2", "--"]
    arguments = ["-p", "{index}", "-f", "sample.root", "-s", "{start}", "-n", "1000", "-t", "250"]
    done = subprocess.run(
        [sys.executable, "-m", "eventflock", "map", scripts / "main.py", *words, *more, *arguments],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pickles = sorted((tmp_path / "run/outputs").glob("*/*.pkl"))
    names = [f"{n}/hist_jet_AntiKt10LCTopo_E_{n}.pkl" for n in range(10)]
    assert [str(one.relative_to(tmp_path / "run/outputs")) for one in pickles] == names
    assert (tmp_path / "run/outputs/hist_jet_AntiKt10LCTopo_E.png").stat().st_size > 10_000
    by_hand = ef.import_pickles(pickles, tmp_path / "old")["hist"]
    result = ef.run(EXAMPLES / "jets.py", sample, out=tmp_path / "analysis")
    assert by_hand.values().tolist() == result["E"].values().tolist()
