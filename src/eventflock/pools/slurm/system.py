"""Slurm as a batch system: the entry in the table of pools."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from eventflock.core.options import SubmitOptions
from eventflock.core.structs import Frozen
from eventflock.errors import PoolError, UsageError, nearest
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import JobNeeds
from eventflock.pools.batch.system import BatchSystem, read_record, write_record
from eventflock.pools.batch.wave import waves_in
from eventflock.pools.roles import RunPlace
from eventflock.pools.slurm.commands import Slurm
from eventflock.pools.slurm.description import PATIENCE, describe, option_line
from eventflock.pools.slurm.monitor import SlurmMonitor
from eventflock.pools.slurm.queue import SlurmQueue
from eventflock.pools.slurm.settings import KNOWN, Settings, amend, read_settings

__all__ = ["POOL", "SlurmPool", "SlurmSubmission"]


class SlurmSubmission(Frozen, frozen=True):
    """How the jobs of a run are submitted; frozen in the run folder as `slurm.json`."""

    settings: Settings
    needs: JobNeeds

    def freeze(self, place: RunPlace) -> None:
        """Write it into the run folder."""
        write_record(place, SlurmPool.name, self)

    def show(self, environment: PackedEnvironment, name: str, jobs: int) -> str:
        """Return the batch script for so many jobs, without submitting anything."""
        return describe(name, "chosen-when-submitted", environment, self.needs, self.settings, jobs)


class SlurmPool(BatchSystem):
    """Slurm, through its commands."""

    name = "slurm"
    title = "a Slurm cluster"

    def check(self, options: SubmitOptions, out: Path, *, reach: bool) -> None:
        """Check the settings and, with `reach`, ask Slurm whether it would take such jobs."""
        settings = read_settings(options, Path.cwd())
        if "\\" in str(out) or not str(out).isprintable():
            raise UsageError(
                f"The run folder {str(out)!r} has a character in its name that Slurm cannot have.",
                remedy="Choose another place with --out.",
            )
        if reach:
            _ask_for(settings)

    def plan_submission(self, needs: JobNeeds, options: SubmitOptions) -> SlurmSubmission:
        """Decide how jobs are submitted.

        A limit that is longer than the partition allows is left to the partition: Slurm would let
        such jobs wait for ever.
        """
        settings = read_settings(options, Path.cwd())
        with contextlib.suppress(PoolError):  # it may only be shown
            longest = Slurm().longest(settings.options.get("partition", "").partition(",")[0])
            if needs.limit_seconds + PATIENCE > longest:
                needs = msgspec.structs.replace(needs, limit_seconds=0.0)
        return SlurmSubmission(settings=settings, needs=needs)

    def recall(self, place: RunPlace) -> SlurmSubmission:
        """Read how the jobs of a run are submitted."""
        return read_record(place, self.name, SlurmSubmission)

    def amend(self, place: RunPlace, options: SubmitOptions) -> None:
        """Change how jobs are submitted that are still to be submitted."""
        with place.lock():
            earlier = self.recall(place)
            settings = amend(earlier.settings, options, Path.cwd())
            _ask_for(settings)
            msgspec.structs.replace(earlier, settings=settings).freeze(place)

    def open_queue(self, place: RunPlace) -> SlurmQueue:
        """Open the queue for the jobs of a run."""
        submission = self.recall(place)
        return SlurmQueue(place.path.resolve().name, submission.needs, submission.settings)

    def monitors(self, place: RunPlace, *, patient: bool) -> Iterator[SlurmMonitor]:  # noqa: ARG002
        """Yield a monitor for each wave of a run, the oldest first."""
        slurm = Slurm()
        for wave in waves_in(place.pool):
            yield SlurmMonitor(wave, slurm)

    def memory_requested(self, place: RunPlace) -> str:
        """Return the memory that jobs ask for, in the words of Slurm."""
        submission = self.recall(place)
        return submission.settings.options.get("mem", f"{submission.needs.memory_mb} MB")


def _ask_for(settings: Settings) -> None:
    """Ask Slurm whether it takes jobs with the options of the user, before anything is done.

    Raises
    ------
    PoolError
        Slurm cannot be reached.
    UsageError
        It takes none with these options.
    """
    lines = [option_line(name, value) for name, value in settings.options.items()]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "asked.sh"
        script.write_text("\n".join(["#!/bin/sh", *lines, "exit 0", ""]))
        try:
            Slurm().submit(script, test=True)
        except PoolError as error:
            if error.code or not settings.options or error.remedy:
                raise
            said = ", ".join(
                f"{key}={value}".rstrip("=") for key, value in settings.options.items()
            )
            near = next((one for name in settings.options if (one := _like(name))), "")
            raise UsageError(
                f"Slurm takes no job with {said}: {error.message}",
                remedy=near or "Change these options: --submit, or the table [slurm].",
            ) from None


def _like(name: str) -> str:
    """Return a suggestion for an option that is perhaps misspelt."""
    near = "" if name in KNOWN else nearest(name, KNOWN)
    return f"{near[0].upper()}{near[1:]}" if near else ""


POOL = SlurmPool()
