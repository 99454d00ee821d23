"""Podman, to run jobs in containers, with images that are made of bare root file systems."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NEEDED = "EVENTFLOCK_NEED_CONTAINERS"
"""Set where these tests must not be skipped."""
CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
{runtime}
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
"""A machine for tests may be a container itself, which may not raise its limits."""


def podman_or_skip(folder: Path) -> dict[str, str]:
    """Return the variables with which podman works here."""
    runc = shutil.which("runc")
    conf = folder / "containers.conf"
    conf.write_text(CONF.format(runtime='runtime = "runc"' if runc else ""))
    env = {"CONTAINERS_CONF": str(conf)}
    why = "" if shutil.which("podman") else "podman is not installed"
    if not why and os.geteuid() != 0:
        why = "images are made of root file systems, which needs root"
    if why and os.environ.get(NEEDED):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    return env


def make_image(root: Path, name: str, env: dict[str, str], *changes: str) -> None:
    """Make an image of a root file system."""
    words = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(
            ["podman", "import", "--quiet", *words, "-", name],
            stdin=tar.stdout, env={**os.environ, **env}, check=True, capture_output=True,
        )  # fmt: skip


def running(env: dict[str, str], image: str) -> list[str]:
    """List the containers that run an image."""
    told = subprocess.run(
        ["podman", "ps", "--format", "{{.Image}}"], env={**os.environ, **env}, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    return [name for name in told.stdout.split() if name.endswith(image)]
