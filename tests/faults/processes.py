"""Processes of a run on this machine: finding them, and what can happen to them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.conftest import alive
from tests.faults.ground import wait_until

__all__ = ["children", "freeze_one", "kill_one", "still_there"]


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill_one(pids: list[int], chance: random.Random) -> bool:
    """Kill one of some processes, and tell whether it was there."""
    with contextlib.suppress(ProcessLookupError):
        if pids:
            os.kill(chance.choice(pids), signal.SIGKILL)
            return True
    return False


def freeze_one(client: subprocess.Popen[Any], chance: random.Random) -> bool:
    """Stop a worker for a while, as a machine does that swaps; tell whether it was there."""
    pids = children(client.pid)
    if not pids:
        return False
    pid = chance.choice(pids)
    try:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 1.0))
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return False
    return True


def still_there(pids: set[int], seconds: float) -> list[int]:
    """Return those that are still there after some time at most."""
    wait_until(lambda: not any(alive(pid) for pid in pids), seconds)
    return [pid for pid in pids if alive(pid)]
