"""Write the files of `tests/test_odd_root_files.py` with ROOT, and what ROOT reads in them.

    python tests/odd/make.py        in an environment with ROOT 6.40 (pip install root) and a compiler

It writes `*.root` and `expected.json` beside this file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import ROOT

HERE = Path(__file__).resolve().parent
ENTRIES = 300


def main() -> None:
    """Write all files."""
    os.chdir(HERE)
    ROOT.gSystem.CompileMacro("make.C", "k-", "", "/tmp")
    for old in HERE.glob("*.root"):
        old.unlink()
    ROOT.gROOT.ProcessLine(f"write_all({ENTRIES});")
    values = {f"ntuple/{name}": value for name, value in ntuple().items()}
    for name, tree, columns in (
        ("cycles", "t", {"x": "x"}),
        ("friends", "t", {"x": "x"}),
        ("full", "t", {"x": "x", "v": "Sum(v)", "a": "Sum(a)"}),
        ("leaves", "t", {"s.p": "s.p", "s.q": "s.q", "h": "h", "d": "d", "b": "(int)b", "m": "Sum(m)"}),
        ("objects", "split", {"run": "run", "lead.in.b": "lead.in.b", "tracks.pt": "Sum(tracks.pt)"}),
        ("objects", "whole", {"lv": "lv.Z()", "tracks": "tracks.size()"}),
    ):  # fmt: skip
        frame = ROOT.RDataFrame(tree, f"{name}.root")
        values[f"{name}/{tree}"] = frame.Count().GetValue()
        for label, expression in columns.items():
            sum_ = frame.Define("value_", f"double({expression})").Sum("value_").GetValue()
            values[f"{name}/{tree}/{label}"] = sum_
    Path("expected.json").write_text(json.dumps(values, indent=1) + "\n")


def ntuple() -> dict[str, float]:
    """Sum the fields of the RNTuple as ROOT reads them."""
    ROOT.gROOT.ProcessLine("auto sums_ = sum_ntuple();")
    return {str(pair.first): float(pair.second) for pair in ROOT.sums_}


if __name__ == "__main__":
    main()
