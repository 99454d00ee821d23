"""Many results are merged in blocks, by processes of their own: the sum is the same."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.core.options import Acceptance
from eventflock.errors import AnalysisError, PoolError
from eventflock.results import blocks
from eventflock.results.merge import merge
from eventflock.runs.folder import RunFolder

CODE = """
import awkward as ak
import numpy as np
import eventflock as ef
from hist import Hist


@ef.analysis(tree="t")
def a(events, context):
    x = events.x.to_numpy()
    names = [f"c{int(value) % 7}" for value in x[:3]]
    return {
        "int": Hist.new.Reg(10, 0, 100, name="x", metadata={"unit": "GeV"}).Int64().fill(x),
        "weight": Hist.new.Var([0, 1, 50, 100], name="x").Weight().fill(x, weight=x / 3 + 0.1),
        "mean": Hist.new.Reg(3, 0, 100).Mean().fill(x, sample=x * 0.1),
        "grow": Hist.new.StrCat([], growth=True).Double().fill(names, weight=0.1),
        "array": x[:2] * 0.1 if len(x) > 1 else np.zeros(2),
        "sums": {"float": float(x.sum()) / 3, "n": len(x)},
        "rows": ak.Array({"x": x[:2]}),
    }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks")
    with uproot.recreate(folder / "a.root") as file:
        file["t"] = {"x": np.random.default_rng(5).uniform(0, 100, 230)}
    (folder / "a.py").write_text(CODE)
    ef.run(folder / "a.py", folder / "a.root", out=folder / "run", events_per_job=10, workers=2)
    return folder / "run"


def merged(run: Path, target: Path, processes: int) -> tuple[Any, Any]:
    folder = RunFolder(run)
    frozen = folder.load_plan()
    files = folder.result_files(frozen.plan)
    return merge(frozen, files, target, Acceptance(), processes)


def payloads(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name) for name in found.namelist() if name != "manifest.json"}


@pytest.mark.slow
def test_the_sum_does_not_depend_on_the_processes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = merged(run, tmp_path / "whole.zip", 1)
    monkeypatch.setattr(blocks, "BLOCK", 4)
    contents = []
    for processes in (1, 2, 9):
        manifest, absent = merged(run, tmp_path / "blocks.zip", processes)
        assert (manifest.status, absent) == ("complete", [])
        assert manifest.counters.events == whole.counters.events == 230
        assert manifest.counters.chunks == whole.counters.chunks
        assert (manifest.coverage, manifest.hosts) == (whole.coverage, whole.hosts)
        assert (manifest.software, manifest.branches) == (whole.software, whole.branches)
        contents.append(payloads(tmp_path / "blocks.zip"))
    assert contents[0] == contents[1] == contents[2]
    one, many = ef.load(tmp_path / "whole.zip"), ef.load(tmp_path / "blocks.zip")
    assert one["int"] == many["int"]
    assert one["int"].axes == many["int"].axes
    assert one["rows"].to_list() == many["rows"].to_list()
    assert list(one["grow"].axes[0]) == list(many["grow"].axes[0])
    for name in ("weight", "grow", "mean"):
        for field in ("value", "variance", "count"):
            views = [result[name].view(flow=True) for result in (one, many)]
            if views[0].dtype.names and field in views[0].dtype.names:
                assert np.allclose(views[0][field], views[1][field], rtol=1e-14)
    assert np.allclose(one["array"], many["array"])
    assert one["sums", "n"] == many["sums", "n"] == 230


def test_what_is_missing_is_found_in_blocks_as_well(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    kept = {}
    for number in (3, 8, 9, 10, 11, 20):  # a whole block among them
        path = run / "results" / f"job-{number:06d}.zip"
        kept[path] = path.read_bytes()
        if number == 3:
            path.write_bytes(kept[path][:-30])
        else:
            path.unlink()
    try:
        manifest, absent = merged(run, tmp_path / "r.zip", 2)
        assert [state.job for state in absent] == [3, 8, 9, 10, 11, 20]
        assert "ZIP" in absent[0].reason
        assert (manifest.status, manifest.counters.events) == ("partial", 170)
        assert [(one.start, one.stop) for one in manifest.missing] == [
            (30, 40), (80, 120), (200, 210)
        ]  # fmt: skip
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def test_results_that_do_not_fit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["t"] = {"x": np.arange(100.0)}
    (tmp_path / "a.py").write_text(
        'import eventflock as ef\nimport numpy as np\n@ef.analysis(tree="t")\ndef a(events, context):\n'
        "    return {'a': np.zeros(2 if context.start < 70 else 3)}\n"
    )
    for size in (3, 5, 7):  # within a block, and between two
        monkeypatch.setattr(blocks, "BLOCK", size)
        with pytest.raises(AnalysisError, match="has the shape"):
            ef.run(
                tmp_path / "a.py", tmp_path / "a.root", out=tmp_path / f"r{size}", events_per_job=10
            )


def test_a_process_that_dies_is_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(PoolError, match="A process that merges ended with exit code 1"):
        merged(run, tmp_path / "r.zip", 2)


def test_partial_runs_are_resumed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 4)
    (run / "result.zip").unlink()
    (run / "results" / "job-000005.zip").unlink()
    result = ef.resume(run)
    assert (result.complete, result["sums", "n"]) == (True, 230)
