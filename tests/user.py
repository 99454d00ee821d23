"""An ordinary user of this machine, who may read what root may: the one who starts eventflock."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["USER", "User", "ok", "wait_for", "why_no_user"]

USER = os.environ.get("EVENTFLOCK_POOL_USER", "flock")


def why_no_user() -> str:
    """Explain why jobs cannot belong to a user here; empty if they can."""
    if os.geteuid() != 0:
        return "to start a batch system on this machine needs root"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"there is no user {USER!r} for jobs to belong to: useradd --system {USER}"
    return ""


class User:
    """Runs commands as an ordinary user.

    Parameters
    ----------
    home
        The user's home.
    env
        More variables.
    """

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        self.started: list[subprocess.Popen[str]] = []
        for one in (home, home / "tmp", home / "cache"):
            one.mkdir(exist_ok=True)
            self.own(one)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "EVENTFLOCK_CACHE": str(home / "cache"),
            "TMPDIR": str(home / "tmp"),
            "LANG": "C.UTF-8",
            **env,
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

    def start(
        self, *words: object, log: Path | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start eventflock as the user, and let it run."""
        with (log or self.home / "client.log").open("w") as out:
            process = subprocess.Popen(
                self._command((sys.executable, "-P", "-m", "eventflock", *words)),
                stdout=out,
                stderr=out,
                text=True,
                env=self.env,
                cwd=cwd or self.home,
            )
        self.started.append(process)
        return process

    def end_started(self) -> None:
        """End what a test that failed has left running."""
        for process in self.started:
            process.kill()
            process.wait()
        self.started.clear()

    def own(self, path: Path) -> Path:
        """Return a file or folder to the user."""
        shutil.chown(path, USER)
        return path


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
