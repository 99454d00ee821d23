"""A batch system: a pool whose jobs continue when this process ends.

To add one, derive from `BatchSystem` in a folder of its own beside `htcondor/`, implement what is
abstract here, in `submitter.BatchQueue` and in `monitor.WaveMonitor`, and add a line to
`pools.names`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar, TypeVar

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.observer import Observer
from eventflock.core.options import Options, PackOptions, SubmitOptions
from eventflock.core.structs import from_json, to_json
from eventflock.errors import EnvError, ResultError, UsageError
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.executor import BatchExecutor
from eventflock.pools.batch.monitor import WaveMonitor
from eventflock.pools.batch.needs import JobNeeds
from eventflock.pools.batch.queue_state import collect_state
from eventflock.pools.batch.states import QueueState
from eventflock.pools.batch.submitter import BatchQueue
from eventflock.pools.batch.wave import waves_in
from eventflock.pools.names import DEFAULT
from eventflock.pools.roles import Pool, RunPlace, Stopped, Submission, Workers
from eventflock.pools.table import find_pool

__all__ = ["BatchSystem", "read_record", "write_record"]

R = TypeVar("R")

TARGET_SECONDS = 1200.0
"""Wall time of a job, where the user does not say how to cut."""
STOP_SECONDS = 15.0
STOP_EVERY = 1.0
"""How long a process is waited for whose jobs were removed, and how often it is looked at."""


def write_record(place: RunPlace, name: str, record: object) -> None:
    """Write into the run folder how its jobs are submitted, for the batch system of a name."""
    atomic_write(place.pool_record(name), msgspec.json.format(to_json(record)) + b"\n")


def read_record(place: RunPlace, name: str, kind: type[R]) -> R:
    """Read what `write_record` has written.

    Raises
    ------
    ResultError
        The run folder is damaged.
    """
    path = place.pool_record(name)
    try:
        return from_json(path.read_bytes(), kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise ResultError(f"{path} is damaged: {error}", remedy="Start a new run.") from None


class BatchSystem(Pool):
    """What all batch systems do alike, and what each has to implement."""

    is_batch_system = True
    title: ClassVar[str]
    """What it is called in messages, as in "an HTCondor pool"."""

    # --- for each batch system to implement ----------------------------------------------------

    @abstractmethod
    def check(self, options: SubmitOptions, out: Path, *, reach: bool) -> None:
        """Check the settings, the run folder `out` and, with `reach`, the system itself.

        Raises
        ------
        UsageError
            A setting is wrong.
        PoolError
            The batch system cannot be reached, or takes no jobs from here.
        """

    @abstractmethod
    def plan_submission(self, needs: JobNeeds, options: SubmitOptions) -> Submission:
        """Decide how jobs are submitted."""

    @abstractmethod
    def recall(self, place: RunPlace) -> Submission:
        """Read how the jobs of a run are submitted.

        Raises
        ------
        ResultError
            The run folder is damaged.
        """

    @abstractmethod
    def open_queue(self, place: RunPlace) -> BatchQueue:
        """Open the queue for the jobs of a run."""

    @abstractmethod
    def monitors(self, place: RunPlace, *, patient: bool) -> Iterator[WaveMonitor]:
        """Yield a monitor for each wave of a run, the oldest first.

        Parameters
        ----------
        patient
            Follow a wave by its log alone if its queue cannot be reached, instead of raising.

        Raises
        ------
        PoolError
            A queue cannot be reached.
        """

    # --- the same for all ----------------------------------------------------------------------

    def complete(self, options: Options, *, reach: bool) -> Options:
        """Check the settings; pack by default, and cut jobs by time by default."""
        self.check(options.submission, (options.out or Path("runs")).resolve(), reach=reach)
        is_cut = options.jobs or options.events_per_job or options.target_seconds
        return msgspec.structs.replace(
            options,
            packing=options.packing or PackOptions(),
            target_seconds=options.target_seconds if is_cut else TARGET_SECONDS,
        )

    def open_workers(
        self, count: int | None = None, python: str = "", *, events: bool = True
    ) -> Workers:
        """Open workers on this machine: a batch system does jobs only."""
        return find_pool(DEFAULT).open_workers(count, python, events=events)

    def open_executor(
        self,
        place: RunPlace,
        workers: Workers,  # noqa: ARG002 -- they are on this machine
        environment: PackedEnvironment | None,
        observer: Observer,
    ) -> BatchExecutor:
        """Open what submits and follows jobs."""
        if environment is None:
            raise EnvError(
                f"{place.path} has no packed environment, which jobs on {self.title} need.",
                remedy="Start a new run.",
            )
        return BatchExecutor(place, self.open_queue(place), environment, observer)

    def follow(self, place: RunPlace, observer: Observer) -> BatchExecutor:
        """Open what follows the jobs that were submitted."""
        return BatchExecutor(place, self.open_queue(place), None, observer)

    def check_resumable(self, place: RunPlace) -> None:
        """Check that a run was made for this batch system."""
        if not place.pool_record(self.name).exists():
            raise UsageError(
                f"{place.path} was not made for {self.title}.",
                remedy=f"Go on without --pool, or start a new run with --pool {self.name}.",
            )

    def queue_state(self, place: RunPlace) -> tuple[QueueState | None, set[int]]:
        """Return the state of the queue, and the numbers of the jobs that are in it."""
        if not waves_in(place.pool):
            return None, set()
        return collect_state(self.monitors(place, patient=True), place.units_there())

    def stop(self, place: RunPlace) -> Stopped:
        """Remove the jobs of a run from the queue; what is done is kept.

        A process that works on the run ends when its jobs are gone. It may be submitting more of
        them, so this waits for it, for a while.
        """
        over: set[Path] = set()
        removed = self._remove_all(place, over)
        deadline = time.monotonic() + STOP_SECONDS
        while place.is_busy() and time.monotonic() < deadline:
            time.sleep(STOP_EVERY)
            removed += self._remove_all(place, over)
        return Stopped(removed=removed, worker=place.worker())

    def _remove_all(self, place: RunPlace, over: set[Path]) -> int:
        """Remove the jobs of all waves that are not in `over`, and add these waves to it."""
        removed = 0
        for monitor in self.monitors(place, patient=False):
            with closing(monitor):
                if monitor.wave.path in over or not monitor.is_submitted():
                    continue
                list(monitor.look())
                monitor.ask()
                removed += monitor.remove("eventflock stop")
            over.add(monitor.wave.path)
        return removed
