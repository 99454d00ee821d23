"""The queue of a Slurm cluster, as the jobs of one run see it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from eventflock.core.observer import Observer
from eventflock.errors import PoolError, plural
from eventflock.events.credentials import find_credentials
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.monitor import is_unreachable
from eventflock.pools.batch.needs import JobDemands, JobNeeds
from eventflock.pools.batch.submitter import BatchQueue
from eventflock.pools.batch.wave import Wave, WaveDraft, WaveRecord
from eventflock.pools.slurm.commands import Slurm
from eventflock.pools.slurm.description import describe
from eventflock.pools.slurm.monitor import SlurmMonitor
from eventflock.pools.slurm.settings import Settings

__all__ = ["SlurmQueue"]

SHARE = 0.5
"""Part of the jobs that a cluster holds that one user takes, if nothing is said."""
_VARIABLES = {"proxy": "X509_USER_PROXY", "token": "BEARER_TOKEN_FILE"}


class SlurmQueue(BatchQueue):
    """Submits waves of one run as job arrays.

    Parameters
    ----------
    name
        Of the run, for people who look at the queue.
    needs, settings
        What jobs ask for, and what the user says.
    """

    server = "Slurm"

    def __init__(self, name: str, needs: JobNeeds, settings: Settings) -> None:
        self._name = name
        self._needs = needs
        self._settings = settings
        self._slurm = Slurm()

    @cached_property
    def _limits(self) -> tuple[int, int]:
        return self._slurm.limits()

    @property
    def most_at_once(self) -> int:
        """The most tasks of one array; the largest index is one less."""
        return max(self._limits[0] - 1, 1)

    def room(self) -> int | None:
        """Return how many more jobs may be in the queue."""
        try:
            most = self._settings.max_jobs or int(self._limits[1] * SHARE)
            return most - self._slurm.in_queue()
        except PoolError as error:
            if is_unreachable(error):
                return 0
            raise

    def monitor(self, wave: Wave) -> SlurmMonitor:
        """Return what follows a wave that was submitted."""
        return SlurmMonitor(wave, self._slurm)

    def hosts(self) -> set[str]:
        """Return the names of the nodes."""
        return self._slurm.nodes()

    def finish(
        self,
        draft: WaveDraft,
        environment: PackedEnvironment,
        demands: JobDemands,
        observer: Observer,
    ) -> Wave:
        """Make a wave of a draft, with the batch script for these demands."""
        variables = self._credentials(observer) if self._needs.credentials else {}

        def description(identity: str) -> str:
            return describe(
                self._name,
                identity,
                environment,
                self._needs,
                self._settings,
                len(draft.jobs),
                demands=demands,
                variables=variables,
            )

        return draft.finish(description, WaveRecord())

    def _credentials(self, observer: Observer) -> dict[str, str]:
        """Return the variables by which clients on the nodes find credentials on the shared disk.

        They are not copied: no credential is ever a part of a run.
        """
        found = {}
        for one in find_credentials():
            variable = _VARIABLES[one.kind]
            if not one.path or Path(one.path).is_relative_to("/tmp"):  # noqa: S108
                observer.note(
                    f"the nodes do not see the {one.name}: put it into a file on a disk that they "
                    f"see, and name that in {variable}"
                )
            elif not one.has_ended:
                found[variable] = one.path
        return found

    def submit(self, wave: Wave, observer: Observer) -> SlurmMonitor:
        """Submit a wave, and return what follows it."""
        count = len(wave.record(WaveRecord).jobs)
        array = self._slurm.submit(wave.description)
        wave.set_cluster(array)
        observer.note(f"submitted {plural(count, 'job')} as array {array} to Slurm")
        return SlurmMonitor(wave, self._slurm)
