"""Analyses with heavy packages, on nodes with nothing installed: the numbers are those of here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from eventflock.results.merge import merge
from eventflock.results.result import load
from eventflock.results.verify import JobFiles
from tests.conftest import Command
from tests.nodes import Node
from tests.roots import bare_root

pytestmark = pytest.mark.packing

ANALYSES = Path(__file__).parents[1] / "benchmarks/heavy_analyses"
"""Others of them take minutes and gigabytes: `benchmarks/heavy.py` does them all."""


@pytest.mark.parametrize(
    ("name", "suites"),
    [("root_", ["trixie", "bullseye"]), ("scikit_learn", ["bullseye"]), ("omp", ["bullseye"])],
)
def test_the_numbers_on_bare_nodes(
    eventflock: Command, cache: Path, data_dir: Path, tmp_path: Path, name: str, suites: list[str]
) -> None:
    analysis, data = ANALYSES / f"{name}.py", data_dir / "tutorial-10k.root"
    told = eventflock("run", analysis, data, "--jobs", "1", "--no-plot", "--out", "here")
    assert told.returncode == 0, told.stderr
    here = load(tmp_path / "here")
    for suite in suites:
        folder = tmp_path / f"{name}-{suite}"
        folder.mkdir()
        node = Node(bare_root(cache.parent, suite), analysis, data, folder)
        try:
            told = node.launch()
            assert told.returncode == 0, told.stdout + told.stderr
            shutil.copy(node.folder / "result.zip", node.run.result(0))
        finally:
            node.clean()
        merge(node.frozen, [JobFiles(node.run.result(0))], node.run.merged)
        assert plain(load(node.run.merged)) == plain(here)


def plain(result: Any) -> dict[str, Any]:
    return {dataset: dict(result[dataset]) for dataset in result}
