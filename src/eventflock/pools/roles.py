"""The roles of a pool: workers answer questions, and an executor does the jobs of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

from eventflock.core.halving import UnitName
from eventflock.core.observer import Observer
from eventflock.core.options import Options, SubmitOptions
from eventflock.errors import UsageError
from eventflock.pools.names import batch_hint
from eventflock.worker.messages import Reply, Request, Run

if TYPE_CHECKING:
    from eventflock.packing.environment import PackedEnvironment
    from eventflock.pools.batch.needs import JobNeeds
    from eventflock.pools.batch.states import QueueState

__all__ = [
    "Abilities",
    "Executor",
    "Listener",
    "Pool",
    "RunPlace",
    "Stopped",
    "Submission",
    "Workers",
]


class Listener(Protocol):
    """Receives the progress of requests."""

    def on_progress(self, index: int, events: int) -> None:
        """Take how many events of a request are done so far."""
        ...

    def on_state(self, text: str) -> None:
        """Take the state of the jobs, where a pool knows more than what is done."""
        ...


class Workers(Protocol):
    """Answer questions on this machine: describe, scan, try, measure."""

    count: int
    """Number of processes."""

    def ask(
        self, requests: Iterable[Request], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Answer requests, in any order; each answer comes with the number of its request.

        There may be more requests after each answer, also where there were no more before.

        Closing the iterator early gives up the requests that are being answered.
        """
        ...

    def close(self) -> None:
        """End all processes; what they have not finished is lost."""
        ...


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor can do.

    Attributes
    ----------
    outlives_client
        Jobs continue when this process ends.
    limits_resources
        Jobs ask for memory and disk, and are ended if they take more.
    retries
        What failed can be tried again.
    readers
        So many processes keep the files open that they have read, and had better read different
        ones.
    """

    outlives_client: bool = False
    limits_resources: bool = False
    retries: bool = True
    readers: int = 1


class Executor(ABC):
    """Does the jobs of one run."""

    abilities: Abilities = Abilities()

    @abstractmethod
    def do(
        self, jobs: Iterable[Run], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Do jobs, in any order; each answer comes with the number of its job in `jobs`.

        There may be more jobs after each answer, also where there were no more before.

        Closing the iterator early gives up the jobs that run in processes of this one.
        """

    @property
    def has_jobs_elsewhere(self) -> bool:
        """Whether there are jobs now that continue without this process."""
        return False

    def submit(self, jobs: Iterable[Run]) -> int:  # noqa: ARG002 -- for those that can
        """Submit jobs without waiting for them, where they outlive this process.

        Returns
        -------
        int
            How many were submitted: others may be in the queue already.

        Raises
        ------
        UsageError
            Jobs of this executor end with this process.
        """
        raise UsageError(
            "--detach needs a pool whose jobs go on without this process.",
            remedy=f"Add {batch_hint()}.",
        )

    def abandon(self) -> None:
        """End the jobs that would continue without this process."""
        return

    @abstractmethod
    def close(self) -> None:
        """End all processes of this executor; what they have not finished is lost."""


class RunPlace(Protocol):
    """What a pool may know of a run folder."""

    path: Path
    """The folder itself."""
    pool: Path
    """The folder in it that belongs to the pool."""
    results: Path
    """The folder with the result files."""

    def pool_record(self, name: str) -> Path:
        """Return the path of what a batch system has written down about the run."""
        ...

    def units_there(self) -> set[UnitName]:
        """Return the names of the jobs and pieces that have a file."""
        ...

    def is_busy(self) -> bool:
        """Check whether a process works on the run."""
        ...

    def worker(self) -> str:
        """Return the name of the process that works on the run; empty if none does."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from working on the run."""
        ...


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of stopping a run.

    Attributes
    ----------
    removed
        Number of jobs that were in the queue.
    worker
        A process that still works on the run, and may submit more; empty if there is none.
    """

    removed: int
    worker: str = ""


class Submission(Protocol):
    """How the jobs of a run are submitted to a batch system."""

    def freeze(self, place: RunPlace) -> None:
        """Write it into the run folder."""
        ...

    def show(self, environment: PackedEnvironment, name: str, jobs: int) -> str:
        """Return the submit description of so many jobs, without submitting anything."""
        ...


class Pool(ABC):
    """One entry of the table of pools. What is here suits pools that are this machine."""

    name: ClassVar[str]
    is_batch_system: ClassVar[bool] = False

    def complete(self, options: Options, *, reach: bool) -> Options:  # noqa: ARG002
        """Check what a call says about the pool, and fill in the defaults of the pool.

        Parameters
        ----------
        options
            Of the call.
        reach
            Whether to check that the pool can be reached.

        Raises
        ------
        UsageError, PoolError
            A setting is wrong, or the pool cannot be reached or takes no jobs.
        """
        return options

    def check_container(self, image: str, options: SubmitOptions) -> None:  # noqa: ARG002
        """Check that jobs can run in a container here.

        Raises
        ------
        PoolError
            There is nothing that runs one.
        """
        return

    @abstractmethod
    def open_workers(
        self, count: int | None = None, python: str = "", *, events: bool = True
    ) -> Workers:
        """Open workers on this machine.

        Parameters
        ----------
        count
            Number of processes; None for as many as there are cores for this process.
        python
            The interpreter that they run; by default this one.
        events
            Whether they will read events: then they import at once what that needs.
        """

    def plan_submission(
        self,
        needs: JobNeeds,  # noqa: ARG002
        options: SubmitOptions,  # noqa: ARG002
    ) -> Submission | None:
        """Decide how jobs are submitted; None for pools without a queue."""
        return None

    def doubts(self, submission: Submission) -> Iterable[str]:  # noqa: ARG002
        """Return what speaks against jobs that are about to be submitted, in words."""
        return ()

    @abstractmethod
    def open_executor(
        self,
        place: RunPlace,
        workers: Workers,
        environment: PackedEnvironment | None,
        observer: Observer,
    ) -> Executor:
        """Open what does the jobs of a run.

        Parameters
        ----------
        place
            The run folder.
        workers
            Open workers of this pool, which may do the jobs.
        environment
            What jobs bring along; None to use what is installed.
        observer
            Receives what the user should know.
        """

    def follow(self, place: RunPlace, observer: Observer) -> Executor | None:  # noqa: ARG002
        """Open what follows the jobs that were submitted, without submitting more.

        Returns
        -------
        Executor or None
            None where jobs do not outlive the process that started them.
        """
        return None

    def check_resumable(self, place: RunPlace) -> None:  # noqa: B027 -- nothing to check here
        """Check that a run can be resumed on this pool.

        Raises
        ------
        UsageError
            The run was not made for it.
        """

    def amend(self, place: RunPlace, options: SubmitOptions) -> None:  # noqa: ARG002
        """Change how jobs are submitted that are still to be submitted.

        Raises
        ------
        UsageError
            The settings are wrong, or the pool has none.
        """
        raise UsageError(
            "Submit commands and profiles are for jobs on a batch system.",
            remedy="Leave out --submit and --profile.",
        )

    def queue_state(self, place: RunPlace) -> tuple[QueueState | None, set[int]]:  # noqa: ARG002
        """Return the state of the queue, and the numbers of the jobs that are in it.

        The first is None if the run never had jobs in a queue.
        """
        return None, set()

    def memory_requested(self, place: RunPlace) -> str:  # noqa: ARG002
        """Return the memory that jobs ask for; empty if they ask for none."""
        return ""

    def stop(self, place: RunPlace) -> Stopped:
        """Remove the jobs of a run from the queue; what is done is kept.

        Raises
        ------
        UsageError
            The run has no jobs in a queue.
        PoolError
            The batch system cannot be reached.
        """
        raise UsageError(
            f"{place.path} has no jobs on a batch system.",
            remedy="End a run on this machine with Ctrl-C where it runs.",
        )
