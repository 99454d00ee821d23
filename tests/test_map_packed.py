"""Rows whose jobs bring their environment along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventflock as ef
from eventflock.core.options import PackOptions
from tests import nasty
from tests.conftest import Command

pytestmark = pytest.mark.packing

USES = """
import json, pathlib, sys
import neighbour
def main():
    from scipy.optimize import brentq
    root = brentq(lambda x: x - float(sys.argv[1]), 0, 10)
    beside = json.loads((pathlib.Path(__file__).parent / "weights.json").read_text())
    card = pathlib.Path("card.txt").read_text()
    pathlib.Path("out.txt").write_text(f"{root:g} {beside} {card} {neighbour.NAME}")
    print(sys.executable)
if __name__ == "__main__":
    main()
"""


def test_each_script_sees_exactly_its_arguments(eventflock: Command, tmp_path: Path) -> None:
    script, table = nasty.write(tmp_path)
    words = ["map", script, "--over", table, "--group", "40", "--packed", "--out", "run", "--"]
    told = eventflock(*words, *nasty.ARGUMENTS)
    assert told.returncode == 0, told.stderr
    nasty.check(tmp_path / "run/outputs")


def test_what_a_script_loads_is_packed(eventflock: Command, tmp_path: Path) -> None:
    """Packages that it imports late, modules and data beside it, and its input."""
    (tmp_path / "uses.py").write_text(USES)
    (tmp_path / "neighbour.py").write_text("NAME = 'next door'\n")
    (tmp_path / "weights.json").write_text("[1, 2]")
    (tmp_path / "card.txt").write_text("a card")
    words = ["--count", "2", "--packed", "--input", "card.txt", "--out", "run", "--"]
    told = eventflock("map", "uses.py", *words, "{index}", "weights.json", "card.txt")
    assert told.returncode == 0, told.stderr
    assert "'weights.json' is a file here, which a node may not have" in told.stderr
    assert "'card.txt' is a file here" not in told.stderr
    for number in range(2):
        said = (tmp_path / f"run/outputs/{number}/out.txt").read_text()
        assert said == f"{number} [1, 2] a card next door"
        python = (tmp_path / f"run/logs/{number}.stdout").read_text()
        assert "/eventflock-job-" in python


def test_a_program_finds_the_packed_python(eventflock: Command, tmp_path: Path) -> None:
    program = tmp_path / "fit.sh"
    program.write_text("#!/bin/sh\npython3 -c 'import numpy, sys; print(sys.prefix)' > where.txt\n")
    program.chmod(0o755)
    words = ["--executable", "./fit.sh", "--count", "1", "--packed", "--out", "run"]
    told = eventflock("map", *words)
    assert told.returncode == 0, told.stderr
    assert "/eventflock-job-" in (tmp_path / "run/outputs/0/where.txt").read_text()


def test_a_function_that_was_typed_in(tmp_path: Path) -> None:
    import hist

    def counts(values: Any) -> Any:
        return hist.Hist.new.Reg(4, 0, 4).Int64().fill(values)

    items = [np.arange(n) for n in range(4)]
    found = ef.map(counts, items, packing=PackOptions(), group=2, out=tmp_path / "run")
    assert [one.sum() for one in found] == [0, 1, 2, 3]
