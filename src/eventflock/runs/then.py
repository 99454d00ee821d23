"""The script that is run here when all rows are done, in the folder of what they left."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.observer import Observer
from eventflock.core.structs import digest, to_json
from eventflock.core.task import Task
from eventflock.errors import AnalysisError, ResultError
from eventflock.runs.folder import RunFolder

__all__ = ["THEN", "ended_badly", "run_then", "show_output"]

THEN = "then-"
"""How its frozen copy begins, beside the script of the rows."""
LAST_LINES = 20


class _Done(msgspec.Struct, frozen=True):
    """That it was run: on which result, and what."""

    sha256: str
    result: str


def run_then(run: RunFolder, task: Task, observer: Observer) -> None:
    """Run it, if there is one, unless it was run on this result before.

    Raises
    ------
    AnalysisError
        It failed; what the rows left is kept.
    ResultError
        Its frozen copy was changed.
    """
    name, sha256 = task.then
    if not name:
        return
    copy = (run.analysis / f"{THEN}{name}").resolve()
    done = to_json(_Done(sha256, digest(run.merged.read_bytes())))
    if run.then.exists() and run.then.read_bytes() == done:
        return
    if not copy.is_file() or digest(copy.read_bytes()) != sha256:
        raise ResultError(f"{copy} was changed, or is gone.", remedy="Start a new run.")
    observer.note(f"then: {name} in {run.outputs}")
    env = {"MPLBACKEND": "Agg", **os.environ, "EVENTFLOCK_RUN": str(run.path.resolve())}
    ended = subprocess.run(
        [sys.executable, str(copy)],
        cwd=run.outputs,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    show_output(ended, observer)
    if ended.returncode:
        raise ended_badly(
            f"All rows are done, but {name}",
            ended,
            f"What the rows left is in {run.outputs}. Mend the script, and run it there: "
            f"cd {shlex.quote(str(run.outputs))} && python {name}",
        )
    atomic_write(run.then, done)


def show_output(ended: subprocess.CompletedProcess[str], observer: Observer) -> None:
    """Pass on the last lines that a program of the user has printed."""
    for line in ended.stdout.splitlines()[-LAST_LINES:]:
        observer.note(f"  {line}")


def ended_badly(what: str, ended: subprocess.CompletedProcess[str], remedy: str) -> AnalysisError:
    """Return an error with the exit code of a program, and the last lines of its errors."""
    lines = ended.stderr.strip().splitlines()
    return AnalysisError(
        f"{what} ended with exit code {ended.returncode}{': ' + lines[-1] if lines else '.'}",
        remedy=remedy,
        traceback="\n".join(lines[-LAST_LINES:]),
    )
