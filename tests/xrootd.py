"""A real XRootD server on the loopback, run by an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.condor import NEEDED
from tests.user import USER, why_no_user

CONFIG = """\
all.export /
oss.localroot {folder}
xrd.port {port}
xrd.network nodnr norpipa
all.adminpath {work}
all.pidpath {work}
"""


class Server:
    """One process of xrootd.

    Attributes
    ----------
    url
        Its address, with a slash at the end.
    folder
        What it serves.
    """

    def __init__(self, program: str, folder: Path, work: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        for one in (folder, work):
            one.mkdir(exist_ok=True)
            shutil.chown(one, USER)
        self.url, self.folder = f"root://localhost:{self._port}/", folder
        self._work = work
        config = work / "xrootd.cfg"
        config.write_text(CONFIG.format(folder=folder, port=self._port, work=work))
        self._command = [program, "-c", str(config), "-l", str(work / "log"), "-I", "v4"]
        self._process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, again at the same port."""
        user = pwd.getpwnam(USER)
        self._process = subprocess.Popen(
            self._command,
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            env={"PATH": os.environ["PATH"], "HOME": str(self._work), "XRDHOST": "localhost"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._work,
        )
        _wait_for(self._process, self._port, self._work)

    def kill(self) -> None:
        """Kill it, as a machine dies."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it end."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running_server(folder: Path, work: Path) -> Iterator[Server]:
    """Serve a folder until the block ends."""
    program = shutil.which("xrootd")
    why = why_no_user()
    if program is None:
        why = "xrootd-server is not installed: it serves files at root:// addresses"
    if why:
        (pytest.fail if os.environ.get(NEEDED) else pytest.skip)(why)
    for parent in (*folder.parents, *work.parents):  # those of pytest are for nobody else
        if parent.is_relative_to(tempfile.gettempdir()) and parent.owner() != USER:
            parent.chmod(stat.S_IMODE(parent.stat().st_mode) | 0o011)
    server = Server(str(program), folder, work)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _wait_for(process: subprocess.Popen[bytes], port: int, work: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    logs = "\n".join(path.read_text()[-2000:] for path in work.glob("log*"))
    pytest.fail(f"xrootd did not start: {logs}")
