"""A program: add up some blocks of results, `python -m eventflock.results.add_block`.

Its arguments are the folder with the tasks, and the number of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.manifest import Failure
from eventflock.core.structs import from_json, to_json
from eventflock.errors import EventflockError
from eventflock.results.blocks import BlockSum, Place, Task, blocks_of
from eventflock.results.merge import add_up
from eventflock.results.verify import JobFiles


def main(folder: str, number: str) -> None:
    """Write the sum of each block, or why there is none."""
    place = Place(Path(folder))
    task = from_json(place.task(int(number)).read_bytes(), Task)
    frozen = FrozenPlan(task.plan, task.digest)
    files = [JobFiles()] * len(task.plan.jobs)
    for job, one in task.files:
        pieces = {piece: Path(path) for piece, path in one.pieces.items()}
        files[job] = JobFiles(Path(one.path) if one.path else None, pieces)
    blocks = blocks_of(len(files), task.size)
    for block in task.blocks:
        try:
            told = add_up(frozen, files, blocks[block], place.sum(block))
        except EventflockError as error:
            told = BlockSum(error=Failure.of(error))
        place.told(block).write_bytes(to_json(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
