"""Keeps one job of the packed pool: `python -S supervisor.py [--environ] FOLDER COMMAND...`.

The command runs in FOLDER, in a session of its own, with the environment that HTCondor gives a job,
which is nearly none, or with --environ in the one of the client. When the client is gone, however
it ended, standard input ends: then so does the job, with all that it started, and the folder is
removed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading

PATIENCE = 5.0
"""Seconds for the launcher to clean up."""


def main(*words: str) -> int:
    """Run the command to its end."""
    inherits = words[0] == "--environ"
    folder, *command = words[1:] if inherits else words
    usual = os.environ if inherits else {}
    child = subprocess.Popen(
        command,
        cwd=folder,
        env={**usual, "_CONDOR_SCRATCH_DIR": folder},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    alone = threading.Event()
    watcher = threading.Thread(target=_watch, args=(child, folder, alone), daemon=True)
    watcher.start()
    status = child.wait()
    if alone.is_set():
        watcher.join()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # helpers that libraries have started live on
    return status if status >= 0 else 128 - status


def _watch(child: "subprocess.Popen[bytes]", folder: str, alone: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    alone.set()
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(143)


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
