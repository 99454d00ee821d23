"""Parameters for one dataset: `--param ttbar:scale=1.1`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import eventflock as ef
from eventflock.core.model import Dataset
from eventflock.errors import UsageError
from eventflock.events.sample import write_sample
from eventflock.planning.parameters import everywhere, merged, with_own
from tests.conftest import Command

ANALYSIS = """
import eventflock as ef

@ef.analysis
def scaled(events, *, scale: float, name: str = "none"):
    return {"scale": scale * len(events), name: len(events)}
"""


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    (tmp_path / "scaled.py").write_text(ANALYSIS)
    for name in ("one", "two", "three"):
        write_sample(tmp_path / f"{name}.root")
    return tmp_path / "scaled.py"


def test_each_dataset_has_its_own(eventflock: Command, tmp_path: Path, analysis: Path) -> None:
    words = ["run", analysis, "one=one.root", "two=two.root", "three=three.root", "--no-plot"]
    params = ["--param", "scale=1", "--param", "two:scale=2.5", "--param", "three:name=x"]
    told = eventflock(*words, *params, "--jobs", "2", "--out", "run")
    assert told.returncode == 0, told.stderr
    found = ef.load(tmp_path / "run")
    count = found["one"]["none"]
    assert found["one"]["scale"] == count
    assert found["two"]["scale"] == 2.5 * count
    assert (found["three"]["scale"], found["three"]["x"]) == (count, count)
    plan = json.loads((tmp_path / "run/plan.json").read_bytes())
    assert plan["parameters"] == {"scale": 1.0}
    own = [one.get("parameters") for one in plan["datasets"]]
    assert own == [None, {"scale": 2.5}, {"name": "x"}]
    told = eventflock("resume", "run")
    assert told.returncode == 0, told.stderr


def test_what_is_wrong_is_said(eventflock: Command, analysis: Path) -> None:
    words = ["run", analysis, "one=one.root", "two=two.root", "--no-plot", "--out", "no"]
    for params, said in (
        (["scale=1", "tow:scale=2"], "the dataset 'tow', and no such dataset; did you mean 'two'"),
        (["two:scale=2"], "The analysis 'scaled' needs the parameter 'scale'"),
        (["scale=1", "two:scale=many"], "'many'"),
        (["scale=1", "two:size=2"], "has no parameter 'size'"),
    ):
        told = eventflock(*words, *(word for one in params for word in ("--param", one)))
        assert told.returncode == 2, told.stderr
        assert said in told.stderr


def test_from_python(tmp_path: Path, analysis: Path) -> None:
    files = {name: [str(tmp_path / f"{name}.root")] for name in ("one", "two")}
    given = {"scale": 1, "two:scale": 3}
    found = ef.run(str(analysis), files, parameters=given, out=tmp_path / "run", pool="inline")
    assert found["two"]["scale"] == 3 * found["one"]["scale"]


def test_splitting() -> None:
    given = {"x": 1, "a:x": 2, "a:b:y": 3}
    assert merged(given) == {"x": 1, "y": 3}
    assert everywhere(given, {"x": 1.0, "y": 3.0}) == {"x": 1.0}
    datasets = (Dataset(name="a", files=()), Dataset(name="a:b", files=()))
    found = with_own(datasets, given, dict)
    assert [one.parameters for one in found] == [{"x": 2}, {"y": 3}]
    assert with_own(datasets, {"x": 1}, dict) == datasets
    with pytest.raises(UsageError, match="no such dataset"):
        with_own(datasets, {"c:x": 1}, dict)
