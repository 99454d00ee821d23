"""What a processor of coffea does at the end, on the merged result."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from eventflock.core.atomic import MERGING
from eventflock.core.model import Plan
from eventflock.core.observer import Observer
from eventflock.core.options import PackOptions
from eventflock.core.structs import from_json, to_json
from eventflock.errors import error_from
from eventflock.runs.environment import interpreter_for
from eventflock.runs.folder import RunFolder
from eventflock.runs.then import ended_badly, show_output
from eventflock.worker.postprocess import PostReply, PostRequest
from eventflock.worker.shadow import make_shadow

__all__ = ["postprocess"]

PROGRAM = "eventflock.worker.postprocess"


def postprocess(run: RunFolder, plan: Plan, observer: Observer) -> None:
    """Call `postprocess` of the processor, in a process of its own.

    Raises
    ------
    AnalysisError
        It failed; the merged result is there.
    """
    ended, told = _ask(run, plan, observer)
    show_output(ended, observer)
    if told is None:
        what = f"postprocess of {plan.analysis.name!r}"
        raise ended_badly(what, ended, f"The merged result is in {run.merged}.")
    if told.error is not None:
        error = error_from(told.error)
        error.remedy = f"The merged result is in {run.merged}. {error.remedy}".strip()
        raise error


def _ask(
    run: RunFolder, plan: Plan, observer: Observer
) -> tuple[subprocess.CompletedProcess[str], PostReply | None]:
    """Have it called by the Python of the analysis; there is no answer if that process died."""
    ref = plan.analysis
    source = (run.analysis / ref.file).read_bytes() if ref.file else b""
    python = interpreter_for(ref, source, PackOptions(), observer)
    request = PostRequest(
        analysis=ref,
        parameters=plan.parameters,
        folder=str(run.analysis.resolve()),
        result=str(run.merged.resolve()),
        target=str(run.processed.resolve()),
    )
    with tempfile.TemporaryDirectory(prefix=MERGING, dir=run.path) as name:
        scratch = Path(name)
        files = scratch / "request.json", scratch / "reply.json"
        files[0].write_bytes(to_json(request))
        path = make_shadow(scratch) if python else os.pathsep.join(filter(None, sys.path))
        ended = subprocess.run(
            [python or sys.executable, "-P", "-m", PROGRAM, *map(str, files)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        told = from_json(files[1].read_bytes(), PostReply) if files[1].exists() else None
    return ended, told
