"""In a notebook: a real kernel runs cells, and shows progress, results and status."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.damage import make_tree

SHARED = """
import awkward as ak
import numpy as np
from hist import Hist
import eventflock as ef

LIMIT = 40.0
def selected(x, limit=LIMIT):
    return x[x > limit]
"""
ANALYSIS = """
@ef.analysis(tree="t")
def cells(events, context, *, scale: float = 1.0):
    x = selected(events.x) * scale
    made = Hist.new.Reg(10, 0, 200, name="<b>x</b>").Double().fill(x)
    return {"h": made, "n": len(x), "seen": {np.__name__}, "text": "a & b"}
"""


def executed(folder: Path, *cells: str) -> list[Any]:
    """Run cells in a kernel of their own; give the outputs of each."""
    v4: Any = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(one) for one in cells])
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute(env={**os.environ, "PYTHONWARNINGS": "ignore"})
    return [cell.outputs for cell in notebook.cells]


def html_of(outputs: list[Any]) -> str:
    found = [one.data["text/html"] for one in outputs if "text/html" in one.get("data", {})]
    return "\n".join(found)


@pytest.mark.filterwarnings("ignore")
def test_an_analysis_of_cells_runs_and_is_shown(tmp_path: Path) -> None:
    make_tree(tmp_path / "t.root", clusters=10, size=10)
    run = (
        'result = ef.run(cells, "t.root", jobs=4, workers=2, out="run", parameters={"scale": 2.0})'
    )
    outputs = executed(
        tmp_path,
        SHARED,
        ANALYSIS,
        run,
        "result",
        'ef.status("run")',
        'print(result["n"], result["seen"])',
    )
    progress = html_of(outputs[2])
    assert "100 of 100 events, 4 of 4 jobs" in progress
    assert "<progress value='100' max='100'" in progress
    assert "4 jobs, 100 events in 1 file" in progress
    shown = html_of(outputs[3])
    assert "Result of &#x27;cells&#x27;: complete" in shown
    assert " / h</th>" in shown
    assert "&lt;b&gt;x&lt;/b&gt; (10)" in shown
    assert "a &amp; b" in shown
    assert not re.search(r"<(?!/?(div|b|table|tbody|tr|th|td|progress)\b)", shown)
    status = html_of(outputs[4])
    assert "cells: complete" in status
    assert "4 done" in status
    assert outputs[5][0].text == "59 {'numpy'}\n"


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_go_along_is_named(tmp_path: Path) -> None:
    make_tree(tmp_path / "t.root", clusters=2)
    cells = (
        "import threading, eventflock as ef\nLOCK = threading.Lock()\ndef helper(n):\n    with LOCK:\n        return n",
        "@ef.analysis(tree='t')\ndef locked(events):\n    return {'n': helper(len(events))}",
        'ef.run(locked, "t.root", out="run")',
    )
    with pytest.raises(CellExecutionError) as error:
        executed(tmp_path, *cells)
    assert "'locked' uses 'helper', which uses 'LOCK', and cannot be sent to a worker" in str(
        error.value
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.packing
@pytest.mark.filterwarnings("ignore")
def test_cells_go_along_packed(tmp_path: Path, cache: Path) -> None:
    make_tree(tmp_path / "t.root", clusters=10, size=10)
    run = 'result = ef.run(cells, "t.root", jobs=2, out="run", packing=ef.PackOptions())'
    outputs = executed(tmp_path, SHARED, ANALYSIS, run, 'print(result["n"])')
    assert outputs[3][0].text == "59\n"
