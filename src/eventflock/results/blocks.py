"""Merging many results on all cores: blocks of jobs are added up by processes of their own.

The blocks follow from the plan alone, so the sum has the same bits on any number of cores. The
sum of a block comes back as a result file.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.manifest import Failure
from eventflock.core.model import Job, Plan
from eventflock.core.structs import Frozen, from_json, to_json
from eventflock.errors import PoolError, error_from
from eventflock.results.verify import JobFiles

__all__ = ["BLOCK", "BlockSum", "Place", "Task", "add_blocks", "blocks_of"]

BLOCK = 1000
"""Jobs that are added up by themselves, where there are more."""
PROGRAM = "eventflock.results.add_block"


class BlockSum(Frozen, frozen=True):
    """The sum of a block.

    Attributes
    ----------
    name
        Of the result file; empty if no job of the block has a result.
    absent
        Jobs that are not, or not wholly, in it.
    error
        Why there is none.
    """

    name: str = ""
    absent: tuple[int, ...] = ()
    error: Failure | None = None


class Files(msgspec.Struct, array_like=True):
    """The result files of a job."""

    path: str | None
    pieces: dict[str, str]


class Task(Frozen, frozen=True):
    """What a process is told.

    Attributes
    ----------
    digest, plan
        The plan; jobs of which others take care are empty, to keep it small.
    files
        Of the jobs of this process, with their numbers.
    size
        Number of jobs of a block.
    blocks
        Of which this process takes care.
    """

    digest: str
    plan: Plan
    files: tuple[tuple[int, Files], ...]
    size: int
    blocks: tuple[int, ...]


class Place(NamedTuple):
    """Where everything is in the folder that all share."""

    folder: Path

    def task(self, number: int) -> Path:
        """Return where the `Task` of a process is, as JSON."""
        return self.folder / f"task-{number:03d}.json"

    def told(self, block: int) -> Path:
        """Return where it is told what became of a block, as JSON."""
        return self.folder / f"block-{block:06d}.json"

    def sum(self, block: int) -> Path:
        """Return where the sum of a block is, a result file."""
        return self.folder / f"block-{block:06d}.zip"


def blocks_of(jobs: int, size: int) -> list[range]:
    """Return the numbers of the jobs of each block."""
    return [range(start, min(start + size, jobs)) for start in range(0, jobs, size)]


def add_blocks(
    frozen: FrozenPlan, files: Sequence[JobFiles], folder: Path, processes: int
) -> Iterator[tuple[BlockSum, Path]]:
    """Add up the results of all blocks, and yield their sums in the order of the plan.

    Parameters
    ----------
    frozen, files
        The plan, and the result files of each job.
    folder
        For the sums.
    processes
        How many to start.

    Raises
    ------
    EventflockError
        Results do not fit together, or a process ended without a word.
    """
    place = Place(folder)
    count = len(blocks_of(len(files), BLOCK))
    processes = min(processes, count)
    for number in range(processes):
        task = _task(frozen, files, range(number, count, processes))
        place.task(number).write_bytes(to_json(task))
    with _started(folder, processes) as children:
        for child in children:
            child.wait()
    for block in range(count):
        try:
            told = from_json(place.told(block).read_bytes(), BlockSum)
        except (OSError, msgspec.MsgspecError):
            code = children[block % len(children)].returncode
            raise PoolError(
                f"A process that merges ended with exit code {code}.",
                remedy="Merge again: 'eventflock merge RUN'. Is there enough memory, and room?",
            ) from None
        if told.error is not None:
            raise error_from(told.error)
        yield told, place.sum(block)


def _task(frozen: FrozenPlan, files: Sequence[JobFiles], mine: range) -> Task:
    blocks = blocks_of(len(files), BLOCK)
    plan = frozen.plan
    jobs = [Job(job.dataset, ()) for job in plan.jobs]
    own: list[tuple[int, Files]] = []
    for number in (number for block in mine for number in blocks[block]):
        jobs[number] = plan.jobs[number]
        path, pieces = files[number]
        texts = {piece: str(one) for piece, one in pieces.items()}
        own.append((number, Files(str(path) if path else None, texts)))
    small = msgspec.structs.replace(plan, jobs=tuple(jobs))
    return Task(digest=frozen.digest, plan=small, files=tuple(own), size=BLOCK, blocks=tuple(mine))


@contextlib.contextmanager
def _started(folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start processes, and end those that are left."""
    path = os.pathsep.join(one for one in sys.path if one)
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", PROGRAM, str(folder), str(number)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; we end them
        )
        for number in range(count)
    ]
    try:
        yield children
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
