"""Running a program to its end, and not longer: what it leaves behind is ended with it.

Libraries start helpers that live on for minutes (joblib's for five). They would hold a pipe open as
long, so output goes to files here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["run_alone"]


def run_alone(
    command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in a session of its own, and end what is left of the session after it.

    Parameters
    ----------
    command, env, cwd
        As for `subprocess.run`.

    Returns
    -------
    subprocess.CompletedProcess
        With all that was printed, as text.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess(command, status, *texts)
