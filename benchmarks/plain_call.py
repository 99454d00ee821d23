"""Numbers to compare, as text in which floats have all of their digits.

`plain_call.py ANALYSIS.py FILE.root` calls an analysis as its user would, without eventflock, for
all events at once; `plain_call.py RUN` prints those of a run, or of one result file.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import uproot

import eventflock as ef
from eventflock.usercode.decorator import Analysis


def call(analysis: str, file: str) -> Any:
    found = runpy.run_path(analysis)
    function = next(value for value in found.values() if isinstance(value, Analysis))
    return function(uproot.open(f"{file}:{function.tree}").arrays())


def as_text(value: Any) -> str:
    if isinstance(value, dict):
        return repr({name: as_text(value[name]) for name in sorted(value)})
    return repr(value.values().tolist() if hasattr(value, "values") else value)


if len(sys.argv) > 2:
    print(as_text(call(*sys.argv[1:])))
else:
    result = ef.load(sys.argv[1])
    print(as_text(dict(result["events"] if list(result) == ["events"] else result)))
