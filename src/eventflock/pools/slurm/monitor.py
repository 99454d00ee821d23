"""Following the tasks of one array: by what arrives in its folder, and by what Slurm says."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from eventflock.core.halving import UnitName
from eventflock.core.states import QueueStatus
from eventflock.errors import PoolError
from eventflock.pools.batch.monitor import WaveMonitor, is_unreachable
from eventflock.pools.batch.states import LastSeen
from eventflock.pools.batch.wave import Wave, WaveRecord
from eventflock.pools.slurm.commands import Slurm
from eventflock.pools.slurm.description import COMMENT
from eventflock.pools.slurm.states import SlurmJobStates, Task, why_pending

__all__ = ["SlurmMonitor"]

LOOK_EVERY = 1.0
"""Seconds between two looks at what has arrived in the folder of a wave."""
ASK_EVERY = 15.0
ASK_SOON = 2.0
"""Seconds between two questions to Slurm, and when a result has arrived: many users ask it."""
TAIL = 4096
"""Bytes at the end of the output of a task, in which Slurm says why it ended it."""


class SlurmMonitor(WaveMonitor):
    """What is known of the tasks of one array, and the means to know more and to change it.

    Parameters
    ----------
    wave
        It was submitted, or its client died while it was being submitted.
    slurm
        Where it was submitted.
    """

    def __init__(self, wave: Wave, slurm: Slurm) -> None:
        record = wave.record(WaveRecord)
        self.states: SlurmJobStates = SlurmJobStates(len(record.jobs))
        super().__init__(wave, record.jobs, self.states)
        self._slurm = slurm
        self._comment = f"{COMMENT}{record.identity}"
        self._looked = self._asked = -ASK_EVERY
        self._reasons: set[str] = set()
        self._told: list[int] = []

    def look(self) -> Iterator[tuple[UnitName, LastSeen]]:
        """Ask Slurm when results have arrived, or else from time to time."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        if now - self._asked > (ASK_SOON if self._has_arrived() else ASK_EVERY):
            self.ask()
        while self._told:
            number = self._told.pop(0)
            yield self.jobs[number], self.states.seen[number]

    def _has_arrived(self) -> bool:
        """Check whether results are there that nobody has fetched: their tasks end just now."""
        with contextlib.suppress(OSError):
            return any(path.suffix == ".zip" for path in self.wave.path.iterdir())
        return False

    def ask(self) -> None:
        """Compare with the queue."""
        self._asked = time.monotonic()
        try:
            array = self.find_cluster()
            tasks = {} if array is None else self._tasks(array)
        except PoolError as error:
            if is_unreachable(error):
                self.away = self.away or time.monotonic()
            raise
        self.away = 0.0
        self._told += self.states.take(tasks, self._logs(tasks))

    def _tasks(self, array: int) -> dict[int, Task]:
        """Return what Slurm knows: of tasks that have left the queue, only accounting may know."""
        tasks = self._slurm.tasks(array, self._comment)
        self._reasons = {task.reason for task in tasks.values() if task.state == "PENDING"}
        if any(number not in tasks for number in self._open()):
            tasks = self._slurm.ended(array, self._comment) | tasks
        return tasks

    def _open(self, status: QueueStatus | None = None) -> list[int]:
        """Return the numbers of tasks that are not over, or of those with a status."""
        jobs = self.open_jobs().items()
        return [self.number_of(job) for job, one in jobs if status in {None, one}]

    def _logs(self, tasks: dict[int, Task]) -> dict[int, str]:
        """Read what Slurm has written about tasks of which it does not say why they ended."""
        found = {}
        for number in self._open():
            if number not in tasks or tasks[number].state == "FAILED":
                with (
                    contextlib.suppress(OSError),
                    (self.wave.path / f"slurm-{number}.log").open("rb") as file,
                ):
                    file.seek(max(os.fstat(file.fileno()).st_size - TAIL, 0))
                    found[number] = file.read().decode(errors="replace")
        return found

    def is_submitted(self) -> bool:
        """Check whether Slurm has taken the wave."""
        return self.find_cluster() is not None

    def find_cluster(self) -> int | None:
        """Return the number of the array; a client that was killed may not have written it down."""
        array = self.wave.cluster()
        if array is None:
            array = self._slurm.find(self._comment)
            if array is not None:
                self.wave.set_cluster(array)
        return array

    def remove(self, reason: str) -> int:  # noqa: ARG002 -- Slurm keeps no reasons
        """Cancel all tasks, and return the number of those that were not over."""
        self.ask()
        left = self._open()
        array = self.find_cluster()
        if left and array is not None:
            self._slurm.cancel(array)
        return len(left)

    def remove_held(self) -> None:
        """Cancel the tasks that are on hold."""
        self._cancel(self._open(QueueStatus.HELD))

    def remove_one(self, job: UnitName) -> None:
        """Cancel one task, which is tried in another way."""
        self._cancel([self.number_of(job)])

    def _cancel(self, tasks: list[int]) -> None:
        array = self.find_cluster()
        if array is not None:
            self._slurm.cancel(array, tasks)

    def avoid(self, host: str) -> None:
        """Keep the tasks that wait from a node."""
        array = self.find_cluster()
        if array is not None:
            self._slurm.exclude(array, self._open(QueueStatus.IDLE), [host])

    def why_idle(self) -> str:
        """Return why no node can run the tasks that wait; empty if some can, or none waits."""
        whys = sorted(filter(None, map(why_pending, self._reasons)))
        return f"Slurm runs none of the jobs yet: {'; '.join(whys)}." if whys else ""

    @property
    def paused(self) -> str:
        """Nothing: Slurm makes all tasks at once."""
        return ""

    def close(self) -> None:
        """Do nothing: no file stays open."""
