"""A real HTCondor pool on this machine, and a client of it: an ordinary user at an access point."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventflock.results.result import load

NEEDED = "EVENTFLOCK_NEED_POOL"
"""Set where these tests must not be skipped."""
USER = os.environ.get("EVENTFLOCK_POOL_USER", "flock")
TOOL = Path(__file__).parents[1] / "tools/minipool"


def why_not() -> str:
    """Explain why there can be no pool here; empty if there can."""
    if os.geteuid() != 0:
        return "a whole HTCondor pool on this machine needs root"
    if shutil.which("mmdebstrap") is None:
        return "mmdebstrap is not installed: it makes the root file system of the pool"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"there is no user {USER!r} for jobs to belong to: useradd --system {USER}"
    return ""


def check_possible() -> None:
    """Skip by name where there can be no pool, or fail where there must be one."""
    why = why_not()
    if why and os.environ.get(NEEDED):
        pytest.fail(why)
    if why:
        pytest.skip(why)


class Client:
    """The access point: commands run as an ordinary user, who may read what root may.

    Parameters
    ----------
    folder
        The pool.
    home
        What the pool sees of this machine; the user's.
    small
        A small disk, which it sees, too.
    """

    def __init__(self, folder: Path, home: Path, small: Path) -> None:
        self.folder = folder
        self.home = home
        self.small = small
        self.started: list[subprocess.Popen[str]] = []
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "EVENTFLOCK_CACHE": str(home / "cache"),
            "CONDOR_CONFIG": str(folder / "client.conf"),
            "TMPDIR": str(home / "tmp"),
            "LANG": "C.UTF-8",
        }
        if "PYTHONPATH" in os.environ:  # another source tree than the one that is installed
            self.env["PYTHONPATH"] = os.environ["PYTHONPATH"]

    def _command(self, words: tuple[object, ...]) -> list[str]:
        # Root's own interpreter may be where others cannot look.
        caps = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        user = [f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups"]
        return ["setpriv", *user, *caps, *map(str, words)]

    def python(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run Python as the user."""
        return subprocess.run(
            self._command((sys.executable, "-P", *words)),
            capture_output=True,
            text=True,
            timeout=options.pop("timeout", 280),
            env={**self.env, **options.pop("env", {})},
            cwd=options.pop("cwd", self.home),
            check=False,
            **options,
        )

    def run(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run eventflock as the user."""
        return self.python("-m", "eventflock", *words, **options)

    def start(self, *words: object, log: Path | None = None) -> subprocess.Popen[str]:
        """Start eventflock as the user, and let it run."""
        with (log or self.home / "client.log").open("w") as out:
            process = subprocess.Popen(
                self._command((sys.executable, "-P", "-m", "eventflock", *words)),
                stdout=out,
                stderr=out,
                text=True,
                env=self.env,
                cwd=self.home,
            )
        self.started.append(process)
        return process

    def tidy(self) -> None:
        """End what a test that failed has left."""
        for process in self.started:
            process.kill()
            process.wait()
        self.started.clear()
        if self.queue():
            self.inside("condor_rm", "-all")

    def processes(self, name: str) -> list[int]:
        """Find the processes of the pool that have a name, or a module of Python with that name."""
        told = json.loads((self.folder / "pool.json").read_text())
        space = Path(f"/proc/{told['master']}/ns/pid").readlink()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if (path / "ns/pid").readlink() != space:
                    continue
                words = (path / "cmdline").read_bytes().split(b"\0")
                if b"-classad" in words:  # a starter that only says what it can
                    continue
                if (path / "comm").read_text()[:-1] == name or name.encode() in words:
                    found.append(int(path.name))
        return found

    def kill(self, name: str) -> int:
        """Kill the daemons of a name, and give their number."""
        killed = 0
        for pid in self.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Let the pool have a node on which every job fails at once."""
        words = [sys.executable, str(TOOL), "black-hole", str(self.folder)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: "black-hole" in self.inside("condor_status", "-af", "Machine"))
            yield
        finally:
            process.terminate()
            process.wait(30)

    def inside(self, *words: str) -> str:
        """Run a command in the pool, as root, and give what it prints."""
        told = subprocess.run(
            [sys.executable, TOOL, "exec", str(self.folder), "--", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout

    def queue(self) -> list[dict[str, Any]]:
        """Return the jobs in the queue."""
        text = self.inside("condor_q", "-allusers", "-json")
        found: list[dict[str, Any]] = json.loads(text) if text.strip() else []
        return found

    def own(self, path: Path) -> Path:
        """Return a file or folder to the user."""
        shutil.chown(path, USER)
        return path


def _folder(base: Path, suite: str) -> Path:
    kept = os.environ.get("EVENTFLOCK_POOLS")  # where root file systems stay for the next time
    return Path(kept or base) / f"pool-{suite}"


@contextmanager
def building(base: Path, suite: str) -> Iterator[subprocess.Popen[bytes]]:
    """Make the root file system of a pool while something else is done."""
    command = [sys.executable, str(TOOL), "build", str(_folder(base, suite)), "--suite", suite]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@contextmanager
def running_pool(
    base: Path, suite: str, *options: str, root: Path | None = None
) -> Iterator[Client]:
    """Start a pool that ends with this process at the latest.

    Parameters
    ----------
    base
        Folder for the user's home, and for the pool unless `root` says where that is.
    suite
        `trixie` or `sid`.
    options
        More of `tools/minipool start`.
    """
    check_possible()
    folder = root or _folder(base, suite)
    home, small = base / "home", base / "small"
    for one in (home, home / "tmp", home / "cache"):
        one.mkdir(exist_ok=True)
        shutil.chown(one, USER)
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(small)], check=True)
    shutil.chown(small, USER)
    command = [sys.executable, str(TOOL), "start", str(folder), "--suite", suite]
    command += ["--user", USER, "--share", str(home), "--share", str(small)]
    command += ["--until", str(os.getpid()), *options]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout + told.stderr
        yield Client(folder, home, small)
    finally:
        subprocess.run([sys.executable, str(TOOL), "stop", str(folder)], check=True)
        subprocess.run(["umount", str(small)], check=True)


def energies(folder: Path) -> list[int]:
    return [int(one) for one in np.asarray(load(folder)["E"].view(flow=True))]


def truth_of(expected: list[dict[str, Any]]) -> list[int]:
    one = expected[0]
    assert (one["file"], one["range"]) == ("tutorial-10k.root", None)
    return [one["under"], *one["values"], one["over"]]


def ok(told: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert told.returncode == 0, f"exit {told.returncode}\n{told.stdout}\n{told.stderr}"
    return told


def wait_for(what: Callable[[], Any], seconds: float = 90) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)
    return found
