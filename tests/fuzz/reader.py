"""The process that reads mutations: one path per line, and one line of JSON about what came of it."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import awkward as ak
import boost_histogram as bh
import msgspec
import numpy as np

from eventflock.core.manifest import KeyPath
from eventflock.errors import AnalysisError, ResultError
from eventflock.results.merge import merge
from eventflock.results.result import Result, read_result
from eventflock.results.sandbox import SkimSandbox
from eventflock.results.verify import JobFiles, job_values
from tests.fuzz.seeds import FROZEN

LIMIT = 2**33
"""Bytes of address space that this process may have."""
SHOWN = 2**20
"""Rows and edges that are looked at one by one."""


def show(value: Any) -> str:
    """Use all of a value, and give a digest of it."""
    if isinstance(value, bh.Histogram):
        parts = [repr(value), repr(value.axes), repr(value.storage), _raw(value.view(flow=True))]
        parts += [repr((axis.size, axis.extent, axis.traits)) for axis in value.axes]
        parts += [repr(list(axis)) for axis in value.axes if axis.size < SHOWN]
        parts += [repr(getattr(axis, "label", "")) for axis in value.axes]
        text = "\n".join([*parts, _raw(value.values()), repr(value.variances() is None)])
    elif isinstance(value, np.ndarray):
        text = _raw(value)
    elif isinstance(value, ak.Array):
        text = f"{value.type} {value[:SHOWN].tolist()}"
    else:
        text = repr(value)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _raw(array: Any) -> str:
    array = np.asarray(array)
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"


def examine(path: Path, second: Path | None, folder: Path, sandbox: SkimSandbox) -> dict[str, Any]:
    """Read a file in all ways: opened by a user, taken as the result of a job, merged."""
    found: dict[str, Any] = {"outcome": "refused"}
    try:
        result = read_result(path, sandbox)
    except ResultError as error:
        found["why"] = error.message
    else:
        found = {"outcome": "read", **_content(result)}
    folder.mkdir(exist_ok=True)
    state, values = job_values(FROZEN, 0, path, folder, sandbox)
    found["job"] = state.status
    if state.manifest is not None:
        found["covers"] = msgspec.to_builtins(state.manifest.coverage)
    del values
    if state.status == "done" and second is not None:
        found["merged"] = _merged(path, second, folder)
    return found


def _content(result: Result) -> dict[str, Any]:
    manifest = msgspec.to_builtins(result.manifest)
    shown = repr(result), result.label, repr(result.provenance)
    assert all(shown[::2])
    items = [
        [item.path, item.kind, item.name, item.value, show(_at(result, item.path))]
        for item in result.manifest.items
    ]
    return {"items": items, "manifest": manifest}


def _at(result: Result, path: KeyPath) -> Any:
    value: Any = result._values  # a result may be named like its dataset
    for key in path:
        value = value[key]
    return value


def _merged(path: Path, second: Path, folder: Path) -> str:
    try:
        manifest, absent = merge(FROZEN, [JobFiles(path), JobFiles(second)], folder / "merged.zip")
    except AnalysisError as error:
        return "does not fit" if "does not fit" in error.message else error.message
    return manifest.status if manifest and not absent else "nothing"


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Answer until nothing more comes."""
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    with SkimSandbox() as sandbox:
        for line in sys.stdin:
            path, second = json.loads(line)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before = _memory("VmRSS")
            try:
                found = examine(Path(path), Path(second) if second else None, folder, sandbox)
            except BaseException:  # noqa: BLE001 -- it is what is looked for
                found = {"outcome": "odd", "why": traceback.format_exc(limit=-8)}
            found["memory"] = _memory("VmHWM") - before
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
