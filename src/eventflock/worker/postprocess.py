"""A program: `python -m eventflock.worker.postprocess REQUEST REPLY`, two JSON files.

It calls `postprocess` of a processor once, on what all jobs together have given, as coffea's Runner
does at its end, and writes what comes of it into a result file of its own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventflock.core.manifest import Failure, KeyPath
from eventflock.core.model import AnalysisRef
from eventflock.core.structs import Frozen, from_json, to_json
from eventflock.core.tracebacks import user_traceback
from eventflock.errors import AnalysisError, EventflockError
from eventflock.results.accumulate import Accumulator
from eventflock.results.format import write_result
from eventflock.results.kinds import AllOf, Column, insert
from eventflock.results.reader import ResultFile
from eventflock.results.sandbox import SkimSandbox
from eventflock.usercode.loading import load
from eventflock.usercode.parameters import restore_parameters

__all__ = ["DATASET", "PostReply", "PostRequest"]

DATASET = "processed"
"""What stands for a dataset in the file that is written."""


class PostRequest(Frozen, frozen=True):
    """What to call, and with what.

    Attributes
    ----------
    folder
        With the frozen analysis.
    result, target
        The merged result, and the file to write.
    """

    analysis: AnalysisRef
    parameters: dict[str, Any]
    folder: str
    result: str
    target: str


class PostReply(Frozen, frozen=True):
    """Why it failed, if it did."""

    error: Failure | None = None


def postprocess(request: PostRequest) -> None:
    """Do what the request says.

    Raises
    ------
    AnalysisError
        It raised, or gave back what cannot be stored.
    """
    analysis = load(request.analysis, Path(request.folder))
    if analysis.made is None:
        raise AnalysisError(f"{analysis.name!r} is no processor.")
    processor = analysis.made(**restore_parameters(analysis, request.parameters))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with SkimSandbox() as sandbox, ResultFile(Path(request.result)) as merged:
            manifest = merged.manifest
            values = [(item.path, value) for item, value in merged.values(sandbox)]
        accumulated = _as_coffea(values, scratch, keyed=manifest.keyed)
        try:
            returned = processor.postprocess(accumulated)
        except Exception as error:
            raise AnalysisError(
                f"postprocess of {analysis.name!r} raised {type(error).__name__}: {error}",
                traceback=user_traceback(error),
            ) from error
        # As in coffea: without another, what it was given, which it may have changed.
        found = Accumulator(scratch)
        found.add(_storable(accumulated if returned is None else returned))
        written = {(DATASET, *path): value for path, value in found.finish().items()}
        write_result(Path(request.target), manifest, written)


def _as_coffea(values: list[tuple[KeyPath, Any]], scratch: Path, *, keyed: bool) -> dict[Any, Any]:
    """Return what coffea would have accumulated over all datasets."""
    whole = Accumulator(scratch)
    for path, value in values:
        whole.add_one(path if keyed else path[1:], value)
    nested: dict[Any, Any] = {}
    for path, value in whole.finish().items():
        insert(nested, path, _of_coffea(value))
    return nested


def _of_coffea(value: Any) -> Any:
    """Return a value in the type that the processor has returned."""
    if isinstance(value, Column):
        from coffea.processor import column_accumulator

        return column_accumulator(value.whole())
    if hasattr(value, "_to_uhi_") and not hasattr(value, "plot"):
        from hist import Hist

        return Hist(value)
    return value


def _storable(value: Any) -> Any:
    """Let single flags be flags: there is nothing more to add them to."""
    if isinstance(value, Mapping):
        return {key: _storable(one) for key, one in value.items()}
    return AllOf(value) if isinstance(value, bool) else value


def main(request: str, reply: str) -> None:
    """Carry out the request of one file and write the answer to another."""
    try:
        postprocess(from_json(Path(request).read_bytes(), PostRequest))
        told = PostReply()
    except EventflockError as error:
        told = PostReply(error=Failure.of(error))
    Path(reply).write_bytes(to_json(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
