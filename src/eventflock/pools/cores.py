"""How many cores this process may use, which is often fewer than the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["usable_cores"]


def usable_cores(root: Path = Path("/")) -> int:
    """Count the cores for this process: its CPU affinity, limited by cgroup quotas.

    Parameters
    ----------
    root
        Where `/proc` and `/sys` are.

    Returns
    -------
    int
        At least 1. Half a core of quota counts as a whole one.
    """
    cores = len(os.sched_getaffinity(0))
    quotas = [quota for quota in _quotas(root) if quota > 0]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas)]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota, in cores, of every cgroup above this process, versions 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, read = root / "sys/fs/cgroup", _read_v2
        elif "cpu" in controllers.split(","):
            base, read = root / "sys/fs/cgroup/cpu", _read_v1
        else:
            continue
        # In a container the path may be the host's: then only the top is there to be seen.
        here = base / path.lstrip("/")
        for folder in [here, *here.parents]:
            if not folder.is_relative_to(base):
                break
            yield read(folder)


def _read_v2(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return 0.0 if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0


def _read_v1(folder: Path) -> float:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return quota / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0
