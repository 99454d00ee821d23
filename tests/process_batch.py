"""A batch system in one file, as small as one can be: its jobs are processes of this machine.

It shows what a batch system has to implement, and `tests/test_batch.py` runs it. A wave is one shell
script, which does the wave's jobs one after the other, and goes on when the client ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from eventflock.core.atomic import atomic_write
from eventflock.core.halving import UnitName
from eventflock.core.observer import Observer
from eventflock.core.options import SubmitOptions
from eventflock.core.states import QueueStatus
from eventflock.core.structs import Frozen, from_json, to_json
from eventflock.packing.environment import PackedEnvironment
from eventflock.packing.launching import launch_command
from eventflock.pools.batch.monitor import WaveMonitor
from eventflock.pools.batch.needs import JobDemands, JobNeeds
from eventflock.pools.batch.states import JobStates, LastSeen
from eventflock.pools.batch.submitter import BatchQueue
from eventflock.pools.batch.system import BatchSystem
from eventflock.pools.batch.wave import Wave, WaveDraft, WaveRecord, waves_in
from eventflock.pools.roles import RunPlace
from eventflock.worker.once import RESULT

NAME = "processes"
SCRIPT = """\
while read -r job shard line names; do
    mkdir "work-$job"
    ( cd "work-$job"
      for file in {archives} launch.sh template.json $(echo "$names" | tr , ' '); do
          ln -s "../$file" .
      done
      echo running > ../state-$job
      sh launch.sh --join --job "$job" {launch} > "../job-$job.log"
      mv {result} "../job-$job.zip" )
    rm -rf "work-$job"
    echo ended > "state-$job"
done < items.txt
"""


class Submission(Frozen, frozen=True):
    """How the jobs of a run are submitted: there is nothing to choose."""

    needs: JobNeeds

    def freeze(self, place: RunPlace) -> None:
        """Write it into the run folder."""
        atomic_write(place.pool_record(NAME), to_json(self))

    def show(self, environment: PackedEnvironment, name: str, jobs: int) -> str:
        """Return what would be submitted."""
        return f"{name}: {jobs} jobs, {script_for(environment)}"


def script_for(environment: PackedEnvironment) -> str:
    """Return the script that does all jobs of a wave."""
    names = [path.name for path in environment.archives]
    words = ["-m", "eventflock.worker.once", "jobs-$shard.jsonl", RESULT, "$line"]
    launch = launch_command(
        names[0], names[1], "template.json", RESULT, *words, flags=environment.flags
    )
    return SCRIPT.format(archives=" ".join(names), launch=" ".join(launch), result=RESULT)


class States(JobStates):
    """The states of jobs, from the files that the script writes."""

    def update(self, number: int, status: QueueStatus) -> bool:
        """Take in the state of a job, and return whether it is new."""
        seen = self.seen.setdefault(number, LastSeen(status=QueueStatus.WAITING, host="here"))
        if seen.status == status or seen.status.is_over():
            return False
        seen.status = status
        seen.how = "ended"
        if status.is_over():
            self.end(number)
        return True


class Monitor(WaveMonitor):
    """Follows one wave by its files and by the process of its script."""

    def __init__(self, wave: Wave) -> None:
        jobs = wave.record(WaveRecord).jobs
        super().__init__(wave, jobs, States(len(jobs)))

    def look(self) -> Iterator[tuple[UnitName, LastSeen]]:
        """Read the states that the script has written."""
        assert isinstance(self.states, States)
        for number, job in enumerate(self.jobs):
            with contextlib.suppress(OSError, ValueError):
                text = (self.wave.path / f"state-{job}").read_text().strip()
                if self.states.update(number, QueueStatus(text)):
                    yield job, self.seen(job)

    def ask(self) -> None:
        """Count the jobs as removed that a script did not come to."""
        assert isinstance(self.states, States)
        if not self._is_alive():
            for number in range(len(self.jobs)):
                self.states.update(number, QueueStatus.REMOVED)

    def _is_alive(self) -> bool:
        pid = self.wave.cluster()
        if pid is None:
            return False
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def is_submitted(self) -> bool:
        """Check whether a script was started."""
        return self.wave.cluster() is not None

    def remove(self, reason: str) -> int:
        """End the script, and what it has started."""
        left = len(self.open_jobs())
        pid = self.wave.cluster()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
        return left

    def remove_held(self) -> None:
        """Do nothing: no job is ever held."""

    def remove_one(self, job: UnitName) -> None:
        """Do nothing: no job is ever held."""

    def avoid(self, host: str) -> None:
        """Do nothing: there is one machine."""

    def why_idle(self) -> str:
        """Return nothing: this machine can run all jobs."""
        return ""

    @property
    def paused(self) -> str:
        """Nothing: jobs are made until the script ends."""
        return ""

    def close(self) -> None:
        """Do nothing: no file stays open."""


class Queue(BatchQueue):
    """Starts one script for each wave."""

    server: ClassVar[str] = "this machine"
    most_at_once = None

    def finish(
        self,
        draft: WaveDraft,
        environment: PackedEnvironment,
        demands: JobDemands,
        observer: Observer,
    ) -> Wave:
        """Write the script."""
        return draft.finish(lambda identity: script_for(environment), WaveRecord())

    def submit(self, wave: Wave, observer: Observer) -> Monitor:
        """Start the script; it goes on when this process ends."""
        apart = 'setsid sh "$0" < /dev/null > /dev/null 2>&1 & echo $!'
        command = ["sh", "-c", apart, wave.description.name]
        started = subprocess.run(command, cwd=wave.path, capture_output=True, text=True, check=True)
        wave.set_cluster(int(started.stdout))
        return Monitor(wave)

    def monitor(self, wave: Wave) -> Monitor:
        """Follow a wave that was submitted."""
        return Monitor(wave)

    def hosts(self) -> set[str]:
        """Return the one machine."""
        return {"here"}


class Processes(BatchSystem):
    """The entry in the table of pools."""

    name = NAME
    title = "processes"

    def check(self, options: SubmitOptions, out: Path, *, reach: bool) -> None:
        """Check nothing: this machine is there."""

    def plan_submission(self, needs: JobNeeds, options: SubmitOptions) -> Submission:
        """Decide how jobs are submitted."""
        return Submission(needs=needs)

    def recall(self, place: RunPlace) -> Submission:
        """Read how the jobs of a run are submitted."""
        return from_json(place.pool_record(NAME).read_bytes(), Submission)

    def open_queue(self, place: RunPlace) -> Queue:
        """Open the queue for the jobs of a run."""
        return Queue()

    def monitors(self, place: RunPlace, *, patient: bool) -> Iterator[Monitor]:
        """Yield a monitor for each wave."""
        return map(Monitor, waves_in(place.pool))


POOL = Processes()
