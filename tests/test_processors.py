"""coffea's processors run unchanged, and give what coffea's own Runner gives."""

from __future__ import annotations

import gzip
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventflock as ef
from eventflock.core.options import Options
from eventflock.errors import AnalysisError, ResultError, UsageError
from eventflock.results.result import Result
from tests.nodes import Node
from tests.roots import bare_root
from tests.test_runs import caught

PROCESSOR = '''
from pathlib import Path

import awkward as ak
import correctionlib
import hist
import numpy as np
from coffea import processor
from coffea.analysis_tools import PackedSelection, Weights


class Jets(processor.ProcessorABC):
    """Jets, with variations."""

    def __init__(self, pt=30.0, *, label: str = "x"):
        self.pt, self.label = pt, label
        beside = Path(__file__).with_name("scale.json")
        self.scale = correctionlib.CorrectionSet.from_file(str(beside))["scale"]

    def process(self, events):
        dataset = events.metadata["dataset"]
        selection = PackedSelection()
        selection.add("two", ak.num(events.Jet) >= 2)
        selection.add("met", events.MET.pt > 20)
        weights = Weights(len(events))
        weights.add("k", np.full(len(events), 1.5), np.full(len(events), 1.75), np.full(len(events), 1.25))
        weights.add("scale", self.scale.evaluate(events.MET.pt))
        made = hist.Hist(
            hist.axis.StrCategory([], growth=True, name="variation"),
            hist.axis.Regular(20, 0, 200, name="met"),
            storage=hist.storage.Weight(),
        )
        passed = selection.all("two", "met")
        for variation in [None, *sorted(weights.variations)]:
            made.fill(
                variation=variation or "nominal", met=events.MET.pt[passed], weight=weights.weight(variation)[passed]
            )
        jets = events.Jet[events.Jet.pt > self.pt]
        cutflow = processor.defaultdict_accumulator(int)
        cutflow["all"] += len(events)
        cutflow["two"] += int(ak.sum(selection.all("two")))
        return {
            dataset: {
                "met": made,
                "cutflow": cutflow,
                "lumis": set(zip(events.run.to_list(), events.luminosityBlock.to_list())),
                "pt": processor.column_accumulator(ak.to_numpy(ak.flatten(jets.pt))),
                "label": {self.label},
                "starts": [events.metadata["entrystart"]],
                "nested": {"a": {"n": processor.value_accumulator(float, 2.0)}, "empty": {}},
                "xsec": {str(events.metadata.get("xsec"))},
            }
        }

    def postprocess(self, accumulator):
        done = {name: dict(one) for name, one in accumulator.items()}
        for name, one in done.items():
            one["mean_pt"] = float(one.pop("pt").value.mean())
            one["share"] = one["cutflow"]["two"] / one["cutflow"]["all"]
            one["ok"] = one["share"] > 0
        done["datasets"] = sorted(accumulator)
        print("done with", *sorted(accumulator))
        return done
'''

CORRECTION = {
    "name": "scale",
    "version": 1,
    "inputs": [{"name": "pt", "type": "real"}],
    "output": {"name": "weight", "type": "real"},
    "data": {
        "nodetype": "formula",
        "expression": "1+0.001*x",
        "parser": "TFormula",
        "variables": ["pt"],
    },
}


def write_processor(folder: Path) -> Path:
    """Write the processor, and the correction that it opens."""
    path = folder / "my_processor.py"
    path.write_text(PROCESSOR)
    scale = {"schema_version": 2, "corrections": [CORRECTION]}
    (folder / "scale.json").write_text(json.dumps(scale))
    return path


@pytest.fixture
def processor_file(tmp_path: Path) -> Path:
    return write_processor(tmp_path)


@pytest.fixture
def fileset(tmp_path: Path, data_dir: Path) -> dict[str, Any]:
    file = str(data_dir / "nanoAOD_2015_CMS_Open_Data_ttbar.root")
    return {"tt": {"files": {file: "Events"}, "metadata": {"xsec": 831.8}}}


def by_coffea(path: Path, fileset: Any, **arguments: Any) -> Any:
    from coffea import processor
    from coffea.nanoevents import NanoAODSchema

    made = runpy.run_path(str(path))["Jets"](**arguments)
    runner = processor.Runner(
        processor.IterativeExecutor(status=False),
        schema=NanoAODSchema,
        chunksize=70,
        metadata_cache={},
    )
    kept: dict[str, Any] = {}
    postprocess = made.postprocess

    def keep(accumulator: Any) -> Any:
        kept.update(accumulator["tt"])
        return postprocess(accumulator)

    made.postprocess = keep
    processed = runner(fileset, processor_instance=made)
    return {**kept, "processed": processed}


def is_same(ours: Result, theirs: Any) -> None:
    (found,) = ours.values()
    processed = theirs["processed"]
    assert found.keys() == theirs.keys() - {"processed"}
    if ours.path.with_name("processed.zip").exists():
        assert ours.processed["datasets"] == processed["datasets"] == ["tt"]
        assert ours.processed["tt"].keys() == processed["tt"].keys()
        for name in ("mean_pt", "share", "ok", "lumis"):
            assert ours.processed["tt", name] == processed["tt"][name], name
        assert ours.processed["tt", "ok"] is True
    for category in ("nominal", "kUp", "kDown"):
        one, other = (
            found["met"][category, :].view(flow=True),
            theirs["met"][category, :].view(flow=True),
        )
        assert np.allclose(one.value, other.value)
        assert np.allclose(one.variance, other.variance)
    assert found["met"].sum().value > 0
    assert found["pt"].tolist() == theirs["pt"].value.tolist()
    assert found["nested"]["empty"] == theirs["nested"]["empty"] == {}
    assert dict(found["cutflow"]) == dict(theirs["cutflow"])
    for name in ("lumis", "label", "xsec"):
        assert found[name] == set(theirs[name])


@pytest.mark.filterwarnings("ignore")
def test_a_class_on_the_command_line(
    processor_file: Path, fileset: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "fileset.json.gz").write_bytes(gzip.compress(json.dumps(fileset).encode()))
    words = ["my_processor.py:Jets", "fileset.json.gz", "--param", "pt=25", "--param", "label=y"]
    told = subprocess.run(
        [sys.executable, "-P", "-m", "eventflock", "run", *words, "--jobs", "3", "--chunk", "70", "--out", "r"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    result = ef.load(tmp_path / "r")
    is_same(result, by_coffea(processor_file, fileset, pt=25, label="y"))
    assert result["label"] == {"y"}
    assert f"processed {Path('r/processed.zip')}" in told.stdout
    assert "done with tt" in told.stderr
    assert result["nested", "a", "n"] == 2.0 * len(result["starts"])
    assert result.provenance["analysis"]["schema"] == "nanoaod"
    assert "Jet_pt" in result.manifest.branches
    assert len(result.manifest.branches) < 12


@pytest.mark.filterwarnings("ignore")
def test_an_instance_and_a_class_from_python(
    processor_file: Path, fileset: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_processor  # type: ignore[import-not-found]

    theirs = by_coffea(processor_file, fileset, pt=25)
    try:
        instance = ef.run(my_processor.Jets(25), fileset, jobs=2, workers=2, out=tmp_path / "a")
        is_same(instance, theirs)
        kind = ef.run(
            my_processor.Jets,
            fileset,
            parameters={"pt": 25},
            jobs=2,
            pool="inline",
            out=tmp_path / "b",
        )
        is_same(kind, theirs)
        assert (tmp_path / "b/analysis/my_processor.py").exists()
    finally:
        del sys.modules["my_processor"]


@pytest.mark.filterwarnings("ignore")
def test_another_schema_is_chosen_for_it(
    processor_file: Path, fileset: dict[str, Any], tmp_path: Path
) -> None:
    processor_file.write_text(
        "from coffea import processor\nclass Flat(processor.ProcessorABC):\n"
        "    def process(self, events):\n        return {'sum': float(events.MET_pt.to_numpy().sum())}\n"
    )
    flat = ef.run(processor_file, fileset, schema="base", pool="inline", out=tmp_path / "r")
    assert flat["sum"] > 1000
    assert flat.provenance["analysis"]["schema"] == "base"
    said = caught(ef.EventflockError, processor_file, fileset, out=tmp_path / "no")
    assert "no collection 'MET_pt'" in said


def test_arguments_are_parameters(processor_file: Path, fileset: dict[str, Any]) -> None:
    said = caught(UsageError, f"{processor_file}:Jets", fileset, parameters={"ptt": 1})
    assert "has no parameter 'ptt'; did you mean 'pt'?" in said
    assert "expected str" in caught(
        UsageError, f"{processor_file}:Jets", fileset, parameters={"label": 3}
    )
    assert "no analysis 'Jet'" in caught(UsageError, f"{processor_file}:Jet", fileset)


@pytest.mark.packing
@pytest.mark.filterwarnings("ignore")
def test_on_a_bare_node(
    processor_file: Path, fileset: dict[str, Any], cache: Path, tmp_path: Path
) -> None:
    """With the JSON of correctionlib that lies beside it, which it opens by itself."""
    (data,) = (Path(name) for name in fileset["tt"]["files"])
    folder = tmp_path / "bullseye-processor"
    folder.mkdir()
    options = Options(tree="Events", dataset="tt", jobs=1, chunk=70)
    node = Node(bare_root(cache.parent, "bullseye"), processor_file, data, folder, options)
    merged = node.merged()
    del fileset["tt"]["metadata"]
    is_same(ef.load(merged), by_coffea(processor_file, fileset))


@pytest.mark.filterwarnings("ignore")
def test_postprocess_of_results_that_are_added_over_datasets(
    fileset: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "flat.py"
    path.write_text(
        "from coffea import processor\nclass Flat(processor.ProcessorABC):\n"
        "    def process(self, events):\n"
        "        return {'n': len(events), 'by': {events.metadata['dataset']: 1}}\n"
        "    def postprocess(self, accumulator):\n        accumulator['twice'] = 2 * accumulator['n']\n"
    )
    both = {"a": fileset["tt"], "b": fileset["tt"]}
    result = ef.run(path, both, jobs=4, pool="inline", out=tmp_path / "r")
    assert result["a", "n"] == result["b", "n"] == 200
    assert dict(result.processed["processed"]) == {"n": 400, "by": {"a": 2, "b": 2}, "twice": 800}


@pytest.mark.filterwarnings("ignore")
def test_a_postprocess_that_fails_costs_no_result(fileset: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    text = (
        "from coffea import processor\nclass Bad(processor.ProcessorABC):\n"
        "    def process(self, events):\n        return {'n': len(events)}\n"
        "    def postprocess(self, accumulator):\n        BODY\n"
    )
    for number, (body, words) in enumerate({
        "raise ValueError('no luck')": "postprocess of 'Bad' raised ValueError: no luck",
        "return {'x': object()}": "cannot be merged",
        "import os; os._exit(4)": "ended with exit code 4",
    }.items()):  # fmt: skip
        path.write_text(text.replace("BODY", body))
        with pytest.raises(AnalysisError, match=words):
            ef.run(path, fileset, pool="inline", out=tmp_path / f"r{number}")
        result = ef.load(tmp_path / f"r{number}")
        assert result.complete
        with pytest.raises(ResultError, match="no result file"):
            result.processed  # noqa: B018
