"""A real XRootD server on the loopback, run by an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.condor import NEEDED, USER

CONFIG = """\
all.export /
oss.localroot {folder}
xrd.port {port}
xrd.network nodnr norpipa
all.adminpath {work}
all.pidpath {work}
"""


class Server(NamedTuple):
    """Where the server is, and the folder that it serves."""

    url: str
    folder: Path


@contextmanager
def running_server(folder: Path, work: Path) -> Iterator[Server]:
    """Serve a folder until the block ends."""
    program = shutil.which("xrootd")
    if program is None:
        why = "xrootd-server is not installed: it serves files at root:// addresses"
        (pytest.fail if os.environ.get(NEEDED) else pytest.skip)(why)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for one in (folder, work):
        one.mkdir(exist_ok=True)
        shutil.chown(one, USER)
    config = work / "xrootd.cfg"
    config.write_text(CONFIG.format(folder=folder, port=port, work=work))
    user = pwd.getpwnam(USER)
    process = subprocess.Popen(
        [str(program), "-c", str(config), "-l", str(work / "log"), "-I", "v4"],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"], "HOME": str(work), "XRDHOST": "localhost"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=work,
    )
    try:
        _wait_for(process, port, work)
        yield Server(f"root://localhost:{port}/", folder)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, work: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-2000:] for path in work.glob("log*"))
    pytest.fail(f"xrootd did not start: {logs}")
