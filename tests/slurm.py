"""A real Slurm cluster on this machine, and a user of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.user import User, wait_for, why_no_user

__all__ = ["NEEDED", "SlurmUser", "running_cluster"]

NEEDED = "EVENTFLOCK_NEED_SLURM"
"""Set where these tests must not be skipped."""
TOOL = Path(__file__).parents[1] / "tools/minislurm.py"


def _why_not() -> str:
    """Explain why there can be no cluster here; empty if there can."""
    if not all(map(shutil.which, ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd"))):
        return "Slurm is not installed: apt-get install slurm-wlm munge slurmdbd mariadb-server"
    return why_no_user()


class SlurmUser(User):
    """A user on a machine from which jobs are submitted.

    Parameters
    ----------
    folder
        The cluster.
    home
        The user's.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        super().__init__(home, SLURM_CONF=str(folder / "slurm.conf"))
        self.folder = folder

    def slurm(self, *words: str) -> str:
        """Run a command of Slurm as its administrator, and give what it prints."""
        told = subprocess.run(words, capture_output=True, text=True, env=self.env, check=False)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def by_hand(self, *words: str) -> str:
        """Run a command of Slurm as the user, and give what it prints."""
        told = subprocess.run(
            self._command(words), capture_output=True, text=True, env=self.env, check=False
        )
        assert told.returncode == 0, told.stderr
        return told.stdout

    def states(self) -> list[str]:
        """Return the states of the jobs that are not over."""
        return self.slurm("squeue", "-h", "-r", "-o", "%T").split()

    def running(self) -> list[str]:
        """Return the running jobs, as ARRAY_TASK."""
        return self.slurm("squeue", "-h", "-r", "-t", "running", "-o", "%i").split()

    def delayed(self) -> list[str]:
        """Return the jobs that Slurm has put back into the queue, to begin later."""
        lines = self.slurm("squeue", "-h", "-r", "-t", "pending", "-o", "%i %r").splitlines()
        return [line.split()[0] for line in lines if line.endswith("BeginTime")]

    def hurry(self, process: subprocess.Popen[str], seconds: float = 200) -> int:
        """Wait for a client. Jobs begin at once that Slurm lets wait for two minutes: requeued ones."""
        deadline = time.monotonic() + seconds
        while process.poll() is None:
            assert time.monotonic() < deadline, "it did not end"
            for job in self.delayed():
                self.slurm("scontrol", "update", f"jobid={job}", "starttime=now")
            time.sleep(0.5)
        return process.returncode

    def tidy(self) -> None:
        """End what a test that failed has left."""
        self.end_started()
        for job in {name.partition("_")[0] for name in self._all()}:
            self.slurm("scancel", job)
        wait_for(lambda: not self._all())

    def _all(self) -> list[str]:
        return self.slurm("squeue", "-h", "-o", "%i").split()


@contextmanager
def running_cluster(base: Path, *options: str) -> Iterator[SlurmUser]:
    """Run a cluster that ends with this process at the latest.

    Parameters
    ----------
    base
        A folder that the user may enter.
    options
        More of `tools/minislurm.py`.
    """
    why = _why_not()
    if why and os.environ.get(NEEDED):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    folder = base / "slurm"
    process = subprocess.Popen(
        [sys.executable, str(TOOL), str(folder), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("export SLURM_CONF="), "it did not start"
        yield SlurmUser(folder, base / "home")
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
