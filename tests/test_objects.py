"""Events as objects: what coffea's own NanoEvents give, read as flat branches are."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.errors import IncompleteError, InputError, UsageError
from tests.damage import make_tree, spoil_basket
from tests.test_runs import caught, write

EXAMPLES = Path(__file__).parent.parent / "examples"
OBJECTS = """
@ef.analysis(tree="Events", schema="nanoaod")
def objects(events, context):
    sel = events[events.MET.pt > 20]
    pair = events.Jet[ak.num(events.Jet) >= 2]
    late = events[len(events) // 2:][["Jet", "MET"]]
    events["Good"] = events.Jet[events.Jet.pt > 30]
    return {
        "mass": (pair[:, 0] + pair[:, 1]).mass.to_list(),
        "matched": events.Jet.matched_gen.pt.to_list(),
        "selected": ak.firsts(sel.Jet).matched_gen.eta.to_list(),
        "mother": events.GenPart.parent.pdgId.to_list(),
        "delta_phi": ak.firsts(events.Jet).delta_phi(events.MET).to_list(),
        "late": late.Jet.pt.to_list(),
        "good": ak.num(events.Good).to_list(),
        "kind": {type(events.Jet).__name__, type(sel[0].Jet).__name__, type(events).__name__},
        "metadata": [dict(sel.metadata)],
    }
"""


@pytest.fixture(scope="module")
def nano(data_dir: Path) -> Path:
    return data_dir / "nanoAOD_2015_CMS_Open_Data_ttbar.root"


def of_coffea(path: Path, tree: str = "Events") -> Any:
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    return NanoEventsFactory.from_root({str(path): tree}, schemaclass=NanoAODSchema).events()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_objects_are_those_of_coffea(nano: Path, tmp_path: Path) -> None:
    analysis = write(tmp_path / "objects.py", OBJECTS)
    fileset = {"tt": {"files": {str(nano): "Events"}, "metadata": {"xsec": 1.5}}}
    result = ef.run(analysis, fileset, jobs=3, chunk=40, out=tmp_path / "run")
    events = of_coffea(nano)
    pair = events.Jet[ak.num(events.Jet) >= 2]
    selected = events[events.MET.pt > 20]
    expected = {
        "mass": (pair[:, 0] + pair[:, 1]).mass,
        "matched": events.Jet.matched_gen.pt,
        "selected": ak.firsts(selected.Jet).matched_gen.eta,
        "mother": events.GenPart.parent.pdgId,
        "delta_phi": ak.firsts(events.Jet).delta_phi(events.MET),
        "good": ak.num(events.Jet[events.Jet.pt > 30]),
    }
    for name, values in expected.items():
        assert result[name] == values.to_list(), name
    assert len(result["late"]) < 200
    assert {"JetArray", "NanoEventsArray"} <= result["kind"]
    assert [one["entrystart"] for one in result["metadata"]] == [0, 40, 66, 106, 133, 173]
    assert result["metadata"][0] == {
        "dataset": "tt", "filename": str(nano), "treename": "Events", "entrystart": 0, "entrystop": 40,
        "fileuuid": str(uproot.open(nano).file.uuid), "xsec": 1.5,
    }  # fmt: skip


def test_only_what_is_touched_is_read_and_the_schema_is_said(nano: Path, tmp_path: Path) -> None:
    analysis = write(
        tmp_path / "few.py",
        '@ef.analysis(schema="nanoaod")\ndef few(events):\n'
        "    return {'n': int(ak.sum(events.Jet.pt > 30)), 'met': float(ak.sum(events.MET.pt))}\n",
    )
    result = ef.run(analysis, f"{nano}:Events", jobs=2, pool="inline", out=tmp_path / "run")
    assert result.manifest.branches == ("Jet_pt", "MET_pt", "nJet")
    assert result.provenance["analysis"]["schema"] == "nanoaod"
    assert '"schema":"nanoaod"' in (tmp_path / "run/plan.json").read_text()
    tree = uproot.open(nano)["Events"]
    assert result["n"] == ak.sum(tree["Jet_pt"].array() > 30)
    # Only these count for the sizes of chunks and jobs, too.
    assert '"branches":["Jet_pt","MET_pt","nJet"]' in (tmp_path / "run/plan.json").read_text()


@pytest.mark.filterwarnings("ignore")
def test_the_eight_queries_are_those_of_coffeas_runner(nano: Path, tmp_path: Path) -> None:
    from coffea import processor
    from coffea.nanoevents import NanoAODSchema

    queries = runpy.run_path(str(EXAMPLES / "adl.py"))["adl"]

    class Queries(processor.ProcessorABC):  # type: ignore[misc]
        def process(self, events: Any) -> Any:
            return queries(events)

        def postprocess(self, accumulator: Any) -> Any:
            return accumulator

    runner = processor.Runner(
        processor.IterativeExecutor(status=False),
        schema=NanoAODSchema,
        chunksize=70,
        metadata_cache={},
    )
    theirs = runner({"tt": {"files": {str(nano): "Events"}}}, processor_instance=Queries())
    ours = ef.run(EXAMPLES / "adl.py", nano, jobs=3, workers=2, out=tmp_path / "run")
    (ours,) = ours.values()
    assert ours.keys() == theirs.keys()
    assert len(ours) == 9
    for name, made in theirs.items():
        assert np.array_equal(ours[name].view(flow=True), made.view(flow=True)), name
        assert made.sum(flow=True) > 0 or name == "two_muons"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_rntuple_of_nanoaod(nano: Path, tmp_path: Path) -> None:
    tree = uproot.open(nano)["Events"]
    names = [
        "run",
        "luminosityBlock",
        "event",
        "MET_pt",
        "MET_phi",
        "Jet_pt",
        "Jet_eta",
        "Jet_phi",
        "Jet_mass",
    ]
    columns = {name: tree[name].array() for name in names}
    columns["nJet"] = ak.values_astype(tree["nJet"].array(), np.int32)
    with uproot.recreate(tmp_path / "r.root") as file:
        ntuple = file.mkrntuple("Events", {name: one[:0] for name, one in columns.items()})
        for start in (0, 90):
            ntuple.extend(
                {name: one[start : start + 90 or None][:110] for name, one in columns.items()}
            )
    analysis = write(
        tmp_path / "pair.py",
        '@ef.analysis(tree="Events", schema="nanoaod")\ndef pair(events):\n'
        "    two = events[ak.num(events.Jet) >= 2]\n"
        "    return {'mass': (two.Jet[:, 0] + two.Jet[:, 1]).mass.to_list(), 'met': two.MET.pt.to_list()}\n",
    )
    result = ef.run(analysis, tmp_path / "r.root", jobs=3, pool="inline", out=tmp_path / "run")
    events = of_coffea(tmp_path / "r.root")
    two = events[ak.num(events.Jet) >= 2]
    assert result["met"] == two.MET.pt.to_list()
    assert result["mass"] == (two.Jet[:, 0] + two.Jet[:, 1]).mass.to_list()
    assert len(result["met"]) > 50


def test_a_damaged_basket_costs_only_itself(tmp_path: Path) -> None:
    data = make_tree(tmp_path / "data.root", clusters=10, size=20)
    spoil_basket(data, "y", 4)
    analysis = write(
        tmp_path / "y.py",
        '@ef.analysis(tree="t", schema="base")\ndef y(events):\n'
        "    return {'x': sorted(set(events.x.to_list())), 'y': float(ak.sum(events.y))}\n",
    )
    with pytest.raises(IncompleteError):
        ef.run(analysis, data, jobs=2, out=tmp_path / "run")
    result = ef.load(tmp_path / "run")
    assert [(one.start, one.stop) for one in result.missing] == [(80, 100)]
    assert len(result["x"]) == 180


def test_what_cannot_be_is_said(nano: Path, tmp_path: Path) -> None:
    def with_schema(name: str, body: str = "return {'n': len(events)}") -> Path:
        text = f"@ef.analysis(tree='Events', schema={name!r})\ndef a(events):\n    {body}\n"
        return write(tmp_path / "a.py", text)

    assert "did you mean 'nanoaod' or" in caught(UsageError, with_schema("nanoaood"), nano)
    assert "not a class that derives" in caught(UsageError, with_schema("os.path:join"), nano)
    assert "cannot be imported" in caught(UsageError, with_schema("not_there:X"), nano)
    said = caught(InputError, with_schema("nanoaod", "return {'x': events.Jett.pt}"), nano)
    assert "no collection 'Jett'" in said
    assert "did you mean 'Jet'" in said
    flat = make_tree(tmp_path / "t.root", clusters=2)
    analysis = write(
        tmp_path / "b.py", "@ef.analysis(schema='nanoaod')\ndef b(events):\n    return {}\n"
    )
    said = caught(InputError, analysis, flat)
    assert "NanoAODSchema makes nothing of the tree 't'" in said
    assert "missing event ID fields" in said


def test_without_coffea_it_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['coffea'] = None\n"
        "from eventflock.objects.schemas import find_schema\nfind_schema('nanoaod')\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "needs coffea, which is not installed" in told.stderr
    assert "pip install 'eventflock[coffea]'" in told.stderr
