"""Bare root file systems of other distributions, to stand for nodes."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

NEEDED = "EVENTFLOCK_NEED_ROOTS"
"""Set where these tests must not be skipped."""


def bare_root(base: Path, suite: str, *packages: str) -> Path:
    """Make the root file system of a Debian suite, once for all test processes."""
    why = ""
    if os.geteuid() != 0:
        why = "a bare root file system is entered with chroot, which needs root"
    elif shutil.which("mmdebstrap") is None:
        why = "mmdebstrap is not installed: it makes the bare root file systems"
    if why and os.environ.get(NEEDED):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    root = base / f"root-{suite}"
    with (base / f"{suite}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "etc/hosts").exists():
            shutil.rmtree(root, ignore_errors=True)
            command = ["mmdebstrap", "--quiet", "--variant=essential"]
            command += [f"--include={','.join(packages)}"] if packages else []
            if suite == "sid":  # its index expires within a week, and mirrors can be older
                command.append('--aptopt=Acquire::Check-Valid-Until "false"')
            command += [suite, str(root)]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.fail(f"mmdebstrap failed: {made.stderr[-2000:]}")
            assert not list(root.glob("usr/bin/python3*"))
            assert packages or not list(root.glob("usr/lib/*/libstdc++*"))
            (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return root
