"""Whole runs: the numbers are ROOT's, whatever the cut, the pool and the workers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.errors import (
    AnalysisError,
    EventflockError,
    IncompleteError,
    InputError,
    PoolError,
    ResultError,
    UsageError,
)
from eventflock.results.reader import ResultFile, read_manifest
from tests.conftest import alive

HIST = """
import awkward as ak
from hist import Hist
import eventflock as ef

@ef.analysis(tree={tree!r})
def one(events):
    values = ak.flatten(events[{branch!r}], axis=None){scale}
    return {{"h": Hist.new.Reg({bins}, {low}, {high}).Int64().fill(values)}}
"""


def write(path: Path, text: str) -> Path:
    path.write_text("import awkward as ak\nimport numpy as np\nimport eventflock as ef\n" + text)
    return path


def payloads(path: Path) -> dict[str, str]:
    return {name: one.sha256 for name, one in read_manifest(path).payloads.items()}


# --- the numbers ---------------------------------------------------------------------------------


CASES = [
    ("jobs=1", {"jobs": 1, "workers": 1}),
    ("jobs=10", {"jobs": 10, "workers": 2}),
    ("jobs=37", {"jobs": 37, "workers": 2}),
    ("events_per_job=271", {"events_per_job": 271, "workers": 1}),
    ("chunk=77", {"chunk": 77, "jobs": 3, "pool": "inline"}),
    ("default", {}),
]


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("options", [one for _, one in CASES], ids=[name for name, _ in CASES])
def test_bins_are_those_of_root(
    data_dir: Path,
    expected: list[dict[str, Any]],
    tmp_path: Path,
    index: int,
    options: dict[str, Any],
) -> None:
    case = expected[index]
    if case["entries"] > 100_000:  # 1,000,000 events in two baskets: few jobs say as much
        options = {
            **options,
            **({"events_per_job": 210_000} if "events_per_job" in options else {}),
        }
        options = {**options, **({"chunk": 170_000} if "chunk" in options else {})}
    branch = "jet_AntiKt10LCTopo_E" if "RVec" in case["expr"] else case["expr"]
    bins, low, high = case["bins"]
    scale = " / 1000.0" if "1000." in case["expr"] else ""
    if scale:  # in double precision, as ROOT did
        scale = " * np.float64(1.0) / 1000.0"
    analysis = tmp_path / "one.py"
    text = HIST.format(tree=case["tree"], branch=branch, scale=scale, bins=bins, low=low, high=high)
    analysis.write_text("import numpy as np\n" + text)
    entries = "{}:{}".format(*case["range"]) if case["range"] else ""
    result = ef.run(
        analysis, data_dir / case["file"], entries=entries, out=tmp_path / "run", **options
    )
    filled = result["h"]
    assert filled.values().tolist() == case["values"]
    flow = filled.values(flow=True)
    assert (flow[0], flow[-1]) == (case["under"], case["over"])
    assert result.complete
    assert result.provenance["counters"]["events"] == (
        case["range"][1] - case["range"][0] if case["range"] else case["entries"]
    )


def test_the_demo_analysis_agrees_with_root(
    data_dir: Path, expected: list[dict[str, Any]], jets: Path, tmp_path: Path
) -> None:
    result = ef.run(jets, data_dir / "tutorial-10k.root", jobs=10, out=tmp_path / "run")
    assert result["E"].values().tolist() == expected[0]["values"]


def test_nested_vectors_can_be_histogrammed(data_dir: Path, tmp_path: Path) -> None:
    file = data_dir / "uproot-vectorVectorDouble.root"
    analysis = tmp_path / "one.py"
    analysis.write_text(HIST.format(tree="t", branch="x", scale="", bins=10, low=-250, high=250))
    result = ef.run(analysis, file, out=tmp_path / "run", jobs=3)
    values = ak.flatten(uproot.open(file)["t/x"].array(), axis=None)
    assert result["h"].values().tolist() == np.histogram(values, 10, (-250, 250))[0].tolist()


WEIGHTED = """
from hist import Hist

@ef.analysis
def weighted(events):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / 1000
    eta = ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_eta"]))
    made = Hist.new.Reg(50, 0, 500, name="E").StrCat([], growth=True, name="where").Weight()
    where = np.where(abs(eta) < 1, "central", np.where(abs(eta) < 2, "middle", "forward"))
    made.fill(energy, where, weight=np.cos(eta) * 0.1)
    return {"w": made, "sum": {"eta": float(ak.sum(eta)), "n": len(events)},
            "array": np.array([ak.sum(eta), ak.sum(energy)]),
            "hard": events[ak.max(events["jet_AntiKt10LCTopo_pt"], axis=1, mask_identity=False) > 4e5]}
"""


@pytest.mark.slow
def test_the_same_plan_gives_the_same_bits(sample: Path, tmp_path: Path) -> None:
    """Whatever the pool, the workers and the order of arrival; also sums of floats, and skims."""
    analysis = write(tmp_path / "weighted.py", WEIGHTED)
    pools: dict[str, dict[str, Any]] = {
        "a": {"pool": "inline"},
        "b": {"workers": 1},
        "c": {"workers": 2},
        "d": {"workers": 5},
    }
    found = []
    for name, options in pools.items():
        ef.run(analysis, sample, events_per_job=333, chunk=50, out=tmp_path / name, **options)
        manifest = read_manifest(tmp_path / name / "result.zip")
        found.append((payloads(tmp_path / name / "result.zip"), manifest.items))
    assert len(found[0][1]) == 5
    assert all(one == found[0] for one in found)


def test_results_are_those_of_one_pass_by_hand(sample: Path, tmp_path: Path) -> None:
    analysis = write(tmp_path / "weighted.py", WEIGHTED)
    result = ef.run(analysis, sample, jobs=7, chunk=123, out=tmp_path / "run")
    events = uproot.open(sample)["TTbar_14TeV_MU80/mytree"].arrays()
    hard = events[ak.max(events["jet_AntiKt10LCTopo_pt"], axis=1, mask_identity=False) > 4e5]
    assert result["hard"].tolist() == hard.tolist()
    assert len(hard) > 10
    assert result["sum", "n"] == 10_000
    eta = ak.flatten(events["jet_AntiKt10LCTopo_eta"])
    assert result["sum", "eta"] == pytest.approx(float(ak.sum(eta)))
    made = result["w"]
    assert set(made.axes[1]) == {"central", "middle", "forward"}
    assert made.sum(flow=True).value == pytest.approx(np.sum(np.cos(eta) * 0.1), rel=1e-5)
    assert made.sum(flow=True).variance == pytest.approx(np.sum((np.cos(eta) * 0.1) ** 2), rel=1e-5)


# --- what is read --------------------------------------------------------------------------------


TOUCH = """
@ef.analysis
def touch(events):
    return {{"n": len(events), "s": {what}}}
"""


def test_a_branch_that_is_not_touched_costs_no_bytes(sample: Path, tmp_path: Path) -> None:
    """The bytes that more branches cost are those of their baskets, and nothing for the others."""

    def bytes_read(what: str) -> int:
        analysis = write(tmp_path / "touch.py", TOUCH.format(what=what))
        result = ef.run(analysis, sample, jobs=1, out=tmp_path / "run", pool="inline")
        shutil.rmtree(tmp_path / "run")
        read: int = result.provenance["counters"]["bytes_read"]
        return read

    tree = uproot.open(sample)["TTbar_14TeV_MU80/mytree"]
    energy, eta = (tree[f"jet_AntiKt10LCTopo_{name}"] for name in ("E", "eta"))
    nothing = bytes_read("0")
    one = bytes_read("float(ak.sum(events['jet_AntiKt10LCTopo_E']))")
    two = bytes_read(
        "float(ak.sum(events['jet_AntiKt10LCTopo_E'] + events['jet_AntiKt10LCTopo_eta']))"
    )
    # A basket is read with its key, which branch.compressed_bytes leaves out.
    assert nothing < 20_000  # the file's directory and the tree's own record
    assert energy.compressed_bytes <= one - nothing < energy.compressed_bytes * 1.05
    assert eta.compressed_bytes <= two - one < eta.compressed_bytes * 1.05


def test_the_touched_branches_are_in_the_provenance(
    sample: Path, jets: Path, tmp_path: Path
) -> None:
    result = ef.run(jets, sample, jobs=2, out=tmp_path / "run")
    assert result.provenance["branches"] == ("jet_AntiKt10LCTopo_E",)


RSS = """
import resource

@ef.analysis
def rss(events):
    total = float(ak.sum(events["x"]))
    return {"n": len(events), "sum": total, "kept": events[:2]}
"""


@pytest.mark.slow
def test_memory_stays_flat_however_long_the_range_is(tmp_path: Path) -> None:
    file = tmp_path / "long.root"
    with uproot.recreate(file) as root:
        tree = root.mktree("t", {"x": "f8", "y": "f8"})
        for _ in range(40):
            tree.extend(
                {"x": np.random.default_rng(1).uniform(size=100_000), "y": np.zeros(100_000)}
            )
    analysis = write(tmp_path / "rss.py", RSS)
    peaks = []
    for name, entries in (("short", ":400000"), ("long", "")):
        result = ef.run(
            analysis, file, jobs=1, chunk=100_000, entries=entries, out=tmp_path / name, workers=1
        )
        peaks.append(result.provenance["counters"]["peak_memory"])
    assert result["n"] == 4_000_000
    assert len(result["kept"]) == 80
    assert peaks[1] - peaks[0] < 16 * 2**20  # ten times the events, 29 MB more of data


CONTEXT = """
@ef.analysis
def where(events, context, *, scale: float = 1.0, names: list[str] = ()):
    assert context.stop - context.start == len(events)
    return {context.metadata.get("kind", "none"): {context.dataset: len(events) * scale},
            "names": len(names), context.tree: 1, "file": {context.file.split("/")[-1]: len(events)}}
"""


def test_the_context_says_where_a_chunk_comes_from(sample: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.root"
    with uproot.recreate(copy) as root:
        root["TTbar_14TeV_MU80/mytree"] = {"x": np.arange(5)}
    fileset = tmp_path / "fileset.json"
    fileset.write_text(
        json.dumps(
            {
                "ttbar": {
                    "files": {str(sample): "TTbar_14TeV_MU80/mytree"},
                    "metadata": {"kind": "mc"},
                },
                "zjets": {"files": [str(copy)]},
            }
        )
    )
    analysis = write(tmp_path / "where.py", CONTEXT)
    result = ef.run(
        analysis,
        fileset,
        out=tmp_path / "run",
        parameters={"scale": 2.0, "names": ["a", "b"]},
        jobs=4,
    )
    assert result.datasets == ("ttbar", "zjets")
    assert result["ttbar", "mc", "ttbar"] == 20_000
    assert result["zjets", "none", "zjets"] == 10
    assert result["ttbar", "file", "sample.root"] == 10_000
    with pytest.raises(KeyError, match="did you mean"):
        result["ttbar", "mc", "ttba"]


def test_ntuples_are_read_like_trees(tmp_path: Path) -> None:
    file = tmp_path / "new.root"
    with uproot.recreate(file) as root:
        rows = root.mkrntuple("dir/nt", {"x": np.arange(10.0), "j": ak.Array([[1.0]] * 10)})
        for start in (10, 20):
            rows.extend({"x": np.arange(start, start + 10.0), "j": ak.Array([[1.0, 2.0]] * 10)})
    analysis = write(
        tmp_path / "nt.py",
        "@ef.analysis\ndef nt(events):\n"
        "    return {'x': float(ak.sum(events.x)), 'j': float(ak.sum(events.j))}\n",
    )
    for name, options in {"a": {"jobs": 1}, "b": {"jobs": 4}, "c": {"chunk": 3}}.items():
        result = ef.run(analysis, file, out=tmp_path / name, **options)  # type: ignore[arg-type]
        assert (result["x"], result["j"]) == (435.0, 70.0)
        assert result.provenance["branches"] == ("j", "x")


def test_analyses_can_be_typed_in(sample: Path, tmp_path: Path) -> None:
    """As in a notebook: a function without a file goes to the workers by value."""
    factor = 3

    @ef.analysis(tree="TTbar_14TeV_MU80/mytree")
    def counted(events: Any) -> dict[str, Any]:
        return {"n": factor * len(events)}

    for pool in ("local", "inline"):
        result = ef.run(counted, [sample], pool=pool, jobs=3, out=tmp_path / pool)
        assert result["n"] == 30_000
    assert ef.resume(tmp_path / "local")["n"] == 30_000


def test_modules_and_helpers_beside_the_analysis_are_found(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helper_beside.py").write_text("FACTOR = 2\n")
    package = tmp_path / "apackage"
    package.mkdir()
    (package / "__init__.py").touch()
    text = "from helper_beside import FACTOR\n@ef.analysis\ndef twice(events):\n    return {'n': FACTOR * len(events)}\n"
    write(tmp_path / "beside.py", text)
    write(package / "inside.py", text)
    assert ef.run(str(tmp_path / "beside.py"), sample, out=tmp_path / "a")["n"] == 20_000
    monkeypatch.chdir(tmp_path)
    assert ef.run("apackage.inside:twice", sample, out=tmp_path / "b")["n"] == 20_000
    assert ef.run("apackage.inside", sample, out=tmp_path / "c")["n"] == 20_000
    (tmp_path / "c/results/job-000000.zip").unlink()
    write(package / "inside.py", text + "# changed\n")
    with pytest.raises(AnalysisError, match="changed since the run was made"):
        ef.resume(tmp_path / "c")
    (tmp_path / "helper_beside.py").write_text("FACTOR = 3\n")
    (tmp_path / "a/results/job-000000.zip").unlink()
    with pytest.raises(AnalysisError, match=r"helper_beside\.py, which the analysis imports"):
        ef.resume(tmp_path / "a")


# --- what goes wrong -----------------------------------------------------------------------------


def tree_file(path: Path, entries: int = 10, tree: str = "t", **branches: Any) -> Path:
    with uproot.recreate(path) as root:
        root.mktree(tree, {"x": "f8", **dict.fromkeys(branches, "f8")})
        if entries:
            values = np.arange(float(entries))
            root[tree].extend({"x": values, **dict.fromkeys(branches, values)})
    return path


@pytest.fixture
def count_x(tmp_path: Path) -> Path:
    return write(
        tmp_path / "count.py",
        "@ef.analysis\ndef count(events, *, scale: float = 1.0):\n"
        "    return {'n': len(events), 's': scale * float(ak.sum(events.x))}\n",
    )


def caught(kind: type[EventflockError], analysis: Any, files: Any, **options: Any) -> str:
    with pytest.raises(kind) as error:
        ef.run(analysis, files, pool="inline", **options)
    assert error.value.remedy
    return str(error.value)


def test_bad_files_are_named(
    tmp_path: Path, count_x: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = tree_file(tmp_path / "good.root")
    assert "no file" in caught(InputError, count_x, "god.root")
    assert "Did you mean 'good.root'?" in caught(InputError, count_x, "god.root")
    (tmp_path / "empty").mkdir()
    assert "has no file *.root" in caught(InputError, count_x, "empty")
    assert "No file matches 'z*.root'" in caught(InputError, count_x, "z*.root")
    assert "not a ROOT file" in caught(InputError, count_x, "count.py")
    data = good.read_bytes()
    for name, size in (("cut", len(data) - 1), ("half", len(data) // 2), ("stub", 10), ("nil", 0)):
        (tmp_path / f"{name}.root").write_bytes(data[:size])
        said = caught(InputError, count_x, f"{name}.root")
        assert "truncated" in said or "empty (0 bytes)" in said
    three = ["good.root", "cut.root", "half.root"]
    said = caught(InputError, count_x, three, strict_files=True)
    assert "2 of 3 files cannot be used" in said
    assert not (tmp_path / "runs").exists()


def test_bad_trees_branches_and_ranges_are_named(
    tmp_path: Path, count_x: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree_file(tmp_path / "a.root")
    assert "no tree 'u', it has 't'" in caught(InputError, count_x, "a.root:u")
    with uproot.recreate(tmp_path / "two.root") as root:
        root["one"] = root["two"] = {"x": np.arange(3)}
    assert "2 trees: 'one', 'two'" in caught(InputError, count_x, "two.root")
    tree_file(tmp_path / "none.root", entries=0)
    assert "'t' of" in caught(InputError, count_x, "none.root")
    assert "is empty" in caught(InputError, count_x, "none.root")
    assert "beyond the 10 entries" in caught(InputError, count_x, "a.root", entries="5:11")
    assert "not START:STOP" in caught(UsageError, count_x, "a.root", entries="5-7")
    assert "is empty" in caught(UsageError, count_x, "a.root", entries="7:7")
    for text in ("events['Muon_ptt']", "events.Muon_ptt"):
        tree_file(tmp_path / "b.root", Muon_pt=1)
        wrong = write(
            tmp_path / "w.py", f"@ef.analysis\ndef w(events):\n    return {{'s': ak.sum({text})}}\n"
        )
        said = caught(InputError, wrong, "b.root")
        assert "no branch 'Muon_ptt'" in said
        assert "did you mean 'Muon_pt'?" in said
    declared = write(
        tmp_path / "d.py",
        "@ef.analysis(columns=['x', 'z'])\ndef d(events):\n    return {'n': len(events)}\n",
    )
    tree_file(tmp_path / "has.root", z=1)
    assert "no branch 'z'" in caught(InputError, declared, ["has.root", "a.root"])
    assert not (tmp_path / "runs").exists()


def test_a_file_named_twice_is_refused(tmp_path: Path, count_x: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    b = tmp_path / "b.root"
    shutil.copy(a, b)
    assert "named twice" in caught(InputError, count_x, [a, a])
    assert "are the same file" in caught(InputError, count_x, [a, b])
    result = ef.run(count_x, [f"one={a}", f"two={b}"], pool="inline", out=tmp_path / "run")
    assert (result["one", "n"], result["two", "n"]) == (10, 10)


def test_parameters_are_checked_before_anything_runs(tmp_path: Path, count_x: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    assert "'wide', expected float" in caught(UsageError, count_x, a, parameters={"scale": "wide"})
    assert "did you mean 'scale'?" in caught(UsageError, count_x, a, parameters={"scal": 1})


def test_analyses_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    assert "no analysis file" in caught(UsageError, tmp_path / "nope.py", a)
    assert "no analysis" in caught(UsageError, write(tmp_path / "n.py", "x = 1\n"), a)
    two = "@ef.analysis\ndef f(events): ...\n@ef.analysis\ndef g(events): ...\n"
    assert "2 analyses: f, g" in caught(UsageError, write(tmp_path / "two.py", two), a)
    assert "did you mean 'ff'?" in caught(
        UsageError, f"{write(tmp_path / 'ff.py', two.replace('def f', 'def ff'))}:fff", a
    )
    said = caught(AnalysisError, write(tmp_path / "s.py", "1 +\n"), a)
    assert "SyntaxError" in said
    said = caught(AnalysisError, write(tmp_path / "i.py", "import notthere\n"), a)
    assert "notthere" in said
    assert "positional arguments" in caught(
        UsageError, write(tmp_path / "p.py", "@ef.analysis\ndef p(a, b, c): ...\n"), a
    )
    assert "no module" in caught(UsageError, "not_a_module_here:f", a)
    forgot = "@ef.analysis\ndef f(events):\n    n = len(events)\n"
    assert "never returns anything" in caught(UsageError, write(tmp_path / "f.py", forgot), a)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return {'x': object()}", "cannot be merged"),
        ("return {'x': True}", "does not say how chunks add up"),
        ("return {'x': {1.5: 2}}", "names are non-empty text or integers"),
        ("return {'x': {object()}}", "The set 'x' has the element"),
        ("return {'x': ef.AnyOf(3)}", "The flag 'x' is 3"),
        ("return 1", "a int"),
    ],
)
def test_returns_that_cannot_be_merged(tmp_path: Path, body: str, words: str) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(tmp_path / "r.py", f"@ef.analysis\ndef r(events):\n    {body}\n")
    assert words in caught(AnalysisError, analysis, a, out=tmp_path / "run")


FAILING = """
@ef.analysis
def failing(events, *, limit: float = 5.0):
    first = float(events.x[0])
    if first >= limit:
        raise ValueError(f"x is {first}")
    return {"n": len(events)}
"""


def test_what_is_done_is_kept_when_some_jobs_raise(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a b.root")
    analysis = write(tmp_path / "failing.py", FAILING)
    with pytest.raises(IncompleteError) as error:
        ef.run(
            analysis, a, events_per_job=2, workers=2, out=tmp_path / "run", parameters={"limit": 6}
        )
    assert "ValueError: x is 6.0" in str(error.value)
    assert 'raise ValueError(f"x is {first}")' in error.value.traceback
    assert str(analysis) in error.value.traceback
    assert "worker" not in error.value.traceback
    assert "entries 6 to 7" in str(error.value)
    assert "4 events missing, of 2 of 5 jobs" in str(error.value)
    partial = ef.load(tmp_path / "run")
    assert not partial.complete
    assert partial["n"] == 6
    assert partial.label == "PARTIAL: 6 of 10 events (60.0 %)"
    assert [(gap.start, gap.stop) for gap in partial.missing] == [(6, 10)]
    with pytest.raises(ResultError, match="receipt of job 3"):
        ef.load(tmp_path / "run/results/job-000003.zip")


def test_a_run_gives_up_when_every_job_raises_the_same(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root", entries=100)
    analysis = write(
        tmp_path / "f.py",
        "@ef.analysis\ndef f(events):\n    if len(events):\n        1 / 0\n    return {'n': 0}\n",
    )
    with pytest.raises(AnalysisError, match="ZeroDivisionError") as error:
        ef.run(analysis, a, events_per_job=1, pool="inline", out=tmp_path / "run")
    assert "97 jobs not tried" in str(error.value)
    assert len(list((tmp_path / "run/results").iterdir())) == 3


def test_a_file_that_changed_since_it_was_planned_is_refused(tmp_path: Path, count_x: Path) -> None:
    a, b = tree_file(tmp_path / "a.root"), tree_file(tmp_path / "b.root", entries=11)
    ef.run(count_x, [a, b], out=tmp_path / "run", events_per_job=10)
    for change in (lambda: tree_file(b, entries=11), lambda: b.write_bytes(b.read_bytes() + b"\0")):
        saved = b.read_bytes()
        change()
        (tmp_path / "run/results/job-000001.zip").unlink()
        with pytest.raises(IncompleteError, match="changed since the run was planned"):
            ef.resume(tmp_path / "run")
        assert not ef.load(tmp_path / "run").complete
        b.write_bytes(saved)
    assert ef.resume(tmp_path / "run").complete


KILLER = """
import os, signal
@ef.analysis
def killer(events, *, where: float = 4.0, flag: str = ""):
    if len(events) and float(events.x[0]) == where and not os.path.exists(flag):
        if flag:
            open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"n": len(events)}
"""


def test_an_event_that_kills_its_worker_costs_only_itself(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(tmp_path / "killer.py", KILLER)
    with pytest.raises(IncompleteError, match="SIGKILL"):
        ef.run(analysis, a, events_per_job=2, workers=2, out=tmp_path / "run")
    partial = ef.load(tmp_path / "run")
    assert [(gap.start, gap.stop) for gap in partial.missing] == [(4, 5)]


def test_a_worker_that_is_killed_once_is_replaced(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(tmp_path / "killer.py", KILLER)
    flag = str(tmp_path / "flag")
    result = ef.run(
        analysis, a, events_per_job=2, workers=2, out=tmp_path / "run", parameters={"flag": flag}
    )
    assert result["n"] == 10
    assert Path(flag).exists()


def test_branches_that_cannot_be_arrays_do_not_stop_the_others(
    data_dir: Path, tmp_path: Path
) -> None:
    from eventflock.events.files import is_readable
    from eventflock.events.reader import TreeReader
    from eventflock.events.scan import scan_file

    entry = scan_file(str(data_dir / "uproot-HZZ.root"))
    reader = TreeReader(entry)
    assert len(reader.chunk(0, 3).fields) == 51
    reader.close()
    with uproot.open(entry.path) as root:
        assert is_readable(root, root["events"], "NMuon")
        assert not is_readable(root, root["events"], "no such branch")


def test_a_damaged_result_is_done_again(tmp_path: Path, count_x: Path) -> None:
    a = tree_file(tmp_path / "a.root", entries=100)
    first = ef.run(count_x, a, events_per_job=10, out=tmp_path / "run")
    before = payloads(tmp_path / "run/result.zip"), first["s"]
    results = tmp_path / "run/results"
    (results / "job-000000.zip").write_bytes(b"<html>")
    (results / "job-000001.zip").write_bytes((results / "job-000002.zip").read_bytes())
    data = bytearray((results / "job-000003.zip").read_bytes())
    data[len(data) // 2] ^= 255
    (results / "job-000003.zip").write_bytes(data)
    (results / "job-000004.zip").unlink()
    (results / "job-000099.zip").write_bytes((results / "job-000005.zip").read_bytes())
    result = ef.resume(tmp_path / "run", workers=2)
    assert (payloads(tmp_path / "run/result.zip"), result["s"]) == before
    with ResultFile(results / "job-000001.zip") as opened:
        assert opened.manifest.job == 1


def test_no_run_is_made_over_another(tmp_path: Path, count_x: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    ef.run(count_x, a, out=tmp_path / "run", pool="inline")
    assert "exists already" in caught(UsageError, count_x, a, out=tmp_path / "run")


def test_two_processes_do_not_work_on_one_run(tmp_path: Path, count_x: Path) -> None:
    from eventflock.runs.folder import RunFolder

    a = tree_file(tmp_path / "a.root")
    ef.run(count_x, a, out=tmp_path / "run", pool="inline")
    run = RunFolder(tmp_path / "run")
    with run.lock():
        assert run.is_busy()
        with pytest.raises(UsageError, match="Another process works"):
            ef.resume(tmp_path / "run")
    assert not run.is_busy()


# --- what was wrong once -------------------------------------------------------------------------


def test_one_histogram_under_two_names_is_added_once_to_each(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "two.py",
        "from hist import Hist\n@ef.analysis\ndef two(events):\n"
        "    h = Hist.new.Reg(10, 0, 10).Int64().fill(events.x)\n    return {'all': h, 'selected': h}\n",
    )
    result = ef.run(analysis, a, chunk=2, out=tmp_path / "run", pool="inline")
    assert (result["all"].sum(), result["selected"].sum()) == (10, 10)


def test_files_without_uuid_are_told_apart(tmp_path: Path, count_x: Path) -> None:
    files = []
    for name in ("a.root", "b.root"):
        file = tree_file(tmp_path / name)
        uuid = uproot.open(file).file.uuid.bytes
        data = file.read_bytes()
        assert uuid in data
        file.write_bytes(data.replace(uuid, bytes(16)))
        files.append(file)
    result = ef.run(count_x, files, out=tmp_path / "run", jobs=3)
    assert result["n"] == 20
    assert result.complete


def test_parameters_arrive_with_their_types(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "typed.py",
        "import enum\nclass Sign(enum.Enum):\n    PLUS = 'plus'\n"
        "@ef.analysis\ndef typed(events, *, cut: float, sign: Sign, edges: tuple[float, ...] = ()):\n"
        "    assert sign is Sign.PLUS and isinstance(edges, tuple)\n"
        "    return {'below': float(ak.sum(events.x < cut)), 'cut': cut}\n",
    )
    parameters = {"cut": np.float64("inf"), "sign": "plus", "edges": np.array([1.0, 2.0])}
    result = ef.run(analysis, a, parameters=parameters, out=tmp_path / "run")
    assert (result["below"], result["cut"]) == (10, float("inf"))
    with pytest.raises(UsageError, match="parameter is a object"):
        ef.run(analysis, a, parameters={"cut": object()})


def test_two_trees_with_one_function(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "two.root") as root:
        root["one"], root["two"] = {"x": np.arange(3)}, {"x": np.arange(5)}

    def counted(events: Any) -> dict[str, Any]:
        return {"n": len(events)}

    for tree, entries in (("one", 3), ("/two;1", 5)):
        analysis = ef.analysis(tree=tree)(counted)
        assert ef.run(analysis, tmp_path / "two.root", out=tmp_path / tree[-1])["n"] == entries
    lock = threading.Lock()
    with pytest.raises(UsageError, match="cannot be sent"):
        ef.run(ef.analysis(lambda events: {"n": lock}), tmp_path / "two.root")


def test_a_script_without_a_guard_does_not_run_itself(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    script = write(
        tmp_path / "script.py",
        "import sys\n@ef.analysis\ndef n(events):\n    return {'n': len(events)}\n"
        "ef.run(n, sys.argv[1], pool=sys.argv[2])\n",
    )
    for pool in ("inline", "local"):
        done = subprocess.run(
            [sys.executable, script, a, pool],
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert "if __name__ == '__main__'" in done.stderr


@pytest.mark.parametrize("body", ["sys.exit(3)", "raise KeyboardInterrupt", "os._exit(7)"])
def test_an_analysis_that_ends_the_process_is_reported(tmp_path: Path, body: str) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "ends.py",
        f"import os, sys\n@ef.analysis\ndef ends(events):\n    {body}\n    return {{}}\n",
    )
    with pytest.raises((AnalysisError, PoolError, EventflockError)) as error:
        ef.run(analysis, a, out=tmp_path / "run")
    assert re.search(r"SystemExit|KeyboardInterrupt|exit status 7", str(error.value))


def test_a_worker_whose_child_lives_on_is_seen_to_be_dead(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "forks.py",
        "import os, signal, time\n@ef.analysis\ndef forks(events, *, flag: str):\n"
        "    if len(events) and not os.path.exists(flag):\n        open(flag, 'w').close()\n"
        "        if os.fork():\n            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        time.sleep(5)\n        os._exit(0)\n    return {'n': len(events)}\n",
    )
    started = time.monotonic()
    result = ef.run(analysis, a, out=tmp_path / "run", parameters={"flag": str(tmp_path / "flag")})
    assert result["n"] == 10
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_a_histogram_of_a_gigabyte_that_is_mostly_empty_comes_back(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "big.py",
        "@ef.analysis\ndef big(events):\n    return {'a': np.zeros(70_000_000)}\n",
    )
    result = ef.run(analysis, a, out=tmp_path / "run", jobs=1)
    assert result["a"].nbytes > 2**29
    assert result.path.stat().st_size > 2**29


def test_a_result_of_another_plan_is_not_this_run_s(tmp_path: Path, count_x: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    for name, jobs in (("one", 1), ("two", 2)):
        ef.run(count_x, a, out=tmp_path / name, jobs=jobs)
    shutil.copy(tmp_path / "one/result.zip", tmp_path / "two/result.zip")
    with pytest.raises(ResultError, match="another plan"):
        ef.load(tmp_path / "two")


def test_what_was_done_before_keeps_a_run_from_being_given_up(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(tmp_path / "failing.py", FAILING)
    ef.run(analysis, a, events_per_job=1, out=tmp_path / "run", parameters={"limit": 99})
    plan = tmp_path / "run/plan.json"
    assert plan.exists()
    for job in range(1, 10):
        (tmp_path / f"run/results/job-{job:06d}.zip").unlink()
    assert ef.resume(tmp_path / "run", workers=1).complete


def test_skims_do_not_change_their_types(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "s.py",
        "@ef.analysis\ndef s(events, context):\n"
        "    kind = 'float32' if context.start else 'float64'\n"
        "    return {'rows': ak.zip({'x': ak.values_astype(events.x, kind)})}\n",
    )
    with pytest.raises(AnalysisError, match="different columns in different chunks"):
        ef.run(analysis, a, chunk=5, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise GeneratorExit", "GeneratorExit"),
        (
            "class Odd(Exception):\n        def __str__(self):\n            1 / 0\n    raise Odd",
            "Odd",
        ),
        ("d = {}\n    d['d'] = d\n    return d", "nested more than"),
        ("return {'sk': ak.Array([1, 'x', [2]])}", "cannot be written"),
    ],
)
def test_odd_analyses_are_not_bugs_of_ours(tmp_path: Path, body: str, words: str) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(tmp_path / "odd.py", f"@ef.analysis\ndef odd(events):\n    {body}\n")
    with pytest.raises(AnalysisError, match=words):
        ef.run(analysis, a, out=tmp_path / "run")


def test_a_skim_may_be_empty_in_some_chunks_or_all(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "some.py",
        "@ef.analysis\ndef some(events, context, *, at: int = 3):\n"
        "    return {'sk': events.x if context.start == at else ak.Array([])}\n",
    )
    assert ef.run(analysis, a, jobs=3, chunk=2, out=tmp_path / "a")["sk"].tolist() == [3.0, 4.0]
    none = ef.run(analysis, a, jobs=3, out=tmp_path / "b", parameters={"at": 99})
    assert len(none["sk"]) == 0


def test_a_mapping_that_is_kept_is_refused(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    analysis = write(
        tmp_path / "kept.py",
        "kept = {'n': 0}\n@ef.analysis\ndef f(events):\n    kept['n'] += len(events)\n    return kept\n",
    )
    with pytest.raises(AnalysisError, match="same object"):
        ef.run(analysis, a, chunk=2, out=tmp_path / "run")


def test_what_an_analysis_forks_does_not_outlive_the_run(tmp_path: Path) -> None:
    a = tree_file(tmp_path / "a.root")
    pid = tmp_path / "pid"
    analysis = write(
        tmp_path / "forks.py",
        "import subprocess\n@ef.analysis\ndef f(events, *, pid: str):\n    if len(events):\n"
        "        child = subprocess.Popen(['sleep', '60'])\n        open(pid, 'w').write(str(child.pid))\n"
        "    return {'n': len(events)}\n",
    )
    ef.run(analysis, a, out=tmp_path / "run", parameters={"pid": str(pid)})
    deadline = time.monotonic() + 10
    while alive(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)
