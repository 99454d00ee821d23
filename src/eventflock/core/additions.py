"""What is added to a plan later: files that could not be read when the run was made."""

from __future__ import annotations

import msgspec

from eventflock.core.model import FileEntry, Job, Plan
from eventflock.core.structs import Frozen

__all__ = ["Addition", "extended"]


class Addition(Frozen, frozen=True):
    """Files that could be read at last, and their jobs. What was planned before does not change.

    Attributes
    ----------
    plan
        SHA-256 of the plan that it belongs to.
    created
        When it was made.
    files
        By dataset, those that follow its others.
    jobs
        They follow all others, and count datasets and files as the whole plan does.
    read
        Dataset and path of each of these files, as they stand in `Plan.unread`.
    """

    plan: str
    created: str
    files: dict[str, tuple[FileEntry, ...]]
    jobs: tuple[Job, ...]
    read: tuple[tuple[str, str], ...]


def extended(plan: Plan, addition: Addition) -> Plan:
    """Return the plan with what was added to it."""
    replace = msgspec.structs.replace
    datasets = tuple(
        replace(dataset, files=(*dataset.files, *addition.files.get(dataset.name, ())))
        for dataset in plan.datasets
    )
    unread = tuple(file for file in plan.unread if (file.dataset, file.path) not in addition.read)
    jobs = (*plan.jobs, *addition.jobs)
    return replace(plan, datasets=datasets, jobs=jobs, unread=unread)
