"""Analyses with heavy packages, on nodes with nothing installed: the numbers are those of here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventflock.core.observer import Observer
from eventflock.core.options import PackOptions
from eventflock.runs.environment import interpreter_for
from eventflock.usercode.loading import locate
from eventflock.worker.shadow import make_shadow
from tests.nodes import Node
from tests.roots import bare_root

pytestmark = pytest.mark.packing

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ANALYSES = BENCHMARKS / "heavy_analyses"
"""Others of them take minutes and gigabytes: `benchmarks/heavy.py` does them all."""


@pytest.mark.parametrize(
    ("name", "suites"),
    [("root_", ["trixie", "bullseye"]), ("scikit_learn", ["bullseye"]), ("omp", ["bullseye"])],
)
def test_the_numbers_on_bare_nodes(
    cache: Path, data_dir: Path, tmp_path: Path, name: str, suites: list[str]
) -> None:
    analysis, data = ANALYSES / f"{name}.py", data_dir / "tutorial-10k.root"
    ref, source = locate(str(analysis))
    python = interpreter_for(ref, source, PackOptions(), Observer())
    here = numbers(python, analysis, data, env={"PYTHONPATH": make_shadow(tmp_path)})
    for suite in suites:
        folder = tmp_path / f"{name}-{suite}"
        folder.mkdir()
        node = Node(bare_root(cache.parent, suite), analysis, data, folder)
        assert numbers(sys.executable, node.merged(), env={}) == here


def numbers(python: str, *words: Path, env: dict[str, str]) -> str:
    told = subprocess.run(
        [python, BENCHMARKS / "plain_call.py", *words],
        env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()[-1]
