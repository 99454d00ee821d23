"""HTCondor as a batch system: the entry in the table of pools."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from eventflock.core.options import SubmitOptions
from eventflock.core.structs import Frozen
from eventflock.errors import PoolError
from eventflock.events.credentials import find_credentials
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import JobNeeds
from eventflock.pools.batch.system import BatchSystem, read_record, write_record
from eventflock.pools.batch.wave import waves_in
from eventflock.pools.htcondor.description import check_folder, describe, may_send_once
from eventflock.pools.htcondor.likely import likely_job
from eventflock.pools.htcondor.match import explain, in_words
from eventflock.pools.htcondor.monitor import CondorMonitor, CondorWaveRecord, Schedds
from eventflock.pools.htcondor.paths import own_bytes
from eventflock.pools.htcondor.queue import CondorQueue
from eventflock.pools.htcondor.schedd import Schedd
from eventflock.pools.htcondor.settings import Settings, amend, read_settings, with_credentials
from eventflock.pools.roles import RunPlace, Submission

__all__ = ["POOL", "CondorSubmission", "HTCondor"]

MIB = 2**20
DEMANDS = ("requirements", "request_")
"""How submit commands begin that demand something of slots."""
RUNTIMES = ("HasContainer", "HasSingularity", "HasDocker")
"""Attributes of slots that run containers."""
ONCE = """\
# Where the pool can do so, the archives are sent once per node, not with each job: they are in
# +CommonInputFiles then instead of transfer_input_files, and there is no max_idle.
"""


class CondorSubmission(Frozen, frozen=True):
    """How the jobs of a run are submitted; frozen in the run folder as `htcondor.json`."""

    settings: Settings
    needs: JobNeeds

    def freeze(self, place: RunPlace) -> None:
        """Write it into the run folder."""
        write_record(place, HTCondor.name, self)

    def show(self, environment: PackedEnvironment, name: str, jobs: int) -> str:
        """Return the submit description of so many jobs, without submitting anything."""
        identity = "chosen-when-submitted"
        text = describe(name, identity, environment, self.needs, self.settings)
        return f"{ONCE}{text}" if may_send_once(self.settings, self.needs, jobs) else text


class HTCondor(BatchSystem):
    """HTCondor, through its Python bindings."""

    name = "htcondor"
    title = "an HTCondor pool"

    def check(self, options: SubmitOptions, out: Path, *, reach: bool) -> None:
        """Check the settings, the run folder and, with `reach`, the schedd."""
        settings = read_settings(options, Path.cwd())
        check_folder(out)
        if reach:
            Schedd(settings.schedd, settings.collector).check_allowed()

    def plan_submission(self, needs: JobNeeds, options: SubmitOptions) -> CondorSubmission:
        """Decide how jobs are submitted; files of the user need room on the disk, too."""
        settings = read_settings(options, Path.cwd())
        if needs.credentials:
            settings = with_credentials(settings, find_credentials())
        disk_mb = needs.disk_mb + _own_mb(settings)
        return CondorSubmission(
            settings=settings, needs=msgspec.structs.replace(needs, disk_mb=disk_mb)
        )

    def doubts(self, submission: Submission) -> Iterator[str]:
        """Yield why no slot can run the jobs, if their own demands exclude all."""
        if not isinstance(submission, CondorSubmission):
            return
        settings = submission.settings
        if not any(name.lower().startswith(DEMANDS) for name in settings.commands):
            return
        with contextlib.suppress(PoolError):  # it will be said when they are submitted
            slots = Schedd(settings.schedd, settings.collector).slots()
            job = likely_job(settings.commands, submission.needs)
            verdict = explain(job, slots, of_slots=False)
            if slots and not verdict.matching:
                yield in_words(verdict)

    def check_container(self, image: str, options: SubmitOptions) -> None:
        """Check that some slot has a runtime for containers."""
        settings = read_settings(options, Path.cwd())
        slots = Schedd(settings.schedd, settings.collector).slots()
        if slots and not any(slot.get(name) is True for slot in slots for name in RUNTIMES):
            raise PoolError(
                f"No slot of the pool can run the container {image}: none of {len(slots):,} has "
                f"{' or '.join(RUNTIMES)}.",
                remedy="Leave out --container, or ask for machines with Apptainer or Docker.",
            )

    def recall(self, place: RunPlace) -> CondorSubmission:
        """Read how the jobs of a run are submitted."""
        return read_record(place, self.name, CondorSubmission)

    def amend(self, place: RunPlace, options: SubmitOptions) -> None:
        """Change how jobs are submitted that are still to be submitted."""
        with place.lock():
            earlier = self.recall(place)
            settings = amend(earlier.settings, options, Path.cwd())
            disk_mb = earlier.needs.disk_mb + _own_mb(settings) - _own_mb(earlier.settings)
            needs = msgspec.structs.replace(
                earlier.needs, disk_mb=max(disk_mb, earlier.needs.disk_mb)
            )
            CondorSubmission(settings=settings, needs=needs).freeze(place)

    def open_queue(self, place: RunPlace) -> CondorQueue:
        """Open the queue for the jobs of a run."""
        check_folder(place.pool.resolve())
        submission = self.recall(place)
        return CondorQueue(place.path.resolve().name, submission.needs, submission.settings)

    def monitors(self, place: RunPlace, *, patient: bool) -> Iterator[CondorMonitor]:
        """Yield a monitor for each wave of a run, the oldest first."""
        settings = self.recall(place).settings
        schedds = Schedds(settings.schedd, settings.collector)
        for wave in waves_in(place.pool):
            try:
                monitor = CondorMonitor(wave, schedds.of(wave.record(CondorWaveRecord)))
            except PoolError as error:
                if not patient:
                    raise
                monitor = CondorMonitor(wave, None)
                monitor.note = error.message
            yield monitor

    def memory_requested(self, place: RunPlace) -> str:
        """Return the memory that jobs ask for, in the words of HTCondor."""
        submission = self.recall(place)
        own = {name.lower(): value for name, value in submission.settings.commands.items()}
        return own.get("request_memory", f"{submission.needs.memory_mb} MB")


def _own_mb(settings: Settings) -> int:
    """Return the room that files of the user need which go to every job, in 2**20 bytes."""
    return math.ceil(own_bytes(settings.inputs, settings.commands) / MIB)


POOL = HTCondor()
