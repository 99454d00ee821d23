"""Files that could not be read when a run was made: `resume` looks at them again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eventflock.core.additions import Addition
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import Dataset, FileEntry, Job, Plan, UnreadFile
from eventflock.core.observer import Observer
from eventflock.errors import InputError, plural
from eventflock.planning.datasets import assemble
from eventflock.planning.filesets import NamedFile
from eventflock.planning.partition import Sizing, cut, default_chunk
from eventflock.planning.scanning import expect, scan
from eventflock.pools.roles import Workers
from eventflock.worker.messages import Describe, Described

__all__ = ["look_again"]


def look_again(
    workers: Workers, frozen: FrozenPlan, folder: str, observer: Observer
) -> Addition | None:
    """Look at the unread files of a plan; return those that can be read now, cut into jobs.

    Parameters
    ----------
    folder
        Where the frozen analysis is.

    Returns
    -------
    Addition or None
        None if none of them can be read.
    """
    plan = frozen.plan
    request = Describe(analysis=plan.analysis, folder=folder, parameters=plan.parameters)
    ((_, reply),) = workers.ask([request])
    described = expect(reply, Described)
    named = [_named(plan, file) for file in plan.unread]
    entries = scan(workers, named, described, observer)
    found: list[tuple[UnreadFile, FileEntry]] = []
    for file, name, entry in zip(plan.unread, named, entries, strict=True):
        assembled = assemble([name], [entry])
        if assembled.unread:
            observer.note(f"Still not read: {assembled.unread[0].message}")
            continue
        ((new,),) = (dataset.files for dataset in assembled.datasets)
        try:
            found.append((file, _as_new(plan, found, file, new)))
        except InputError as error:
            observer.note(f"Still left out: {error.message}")
    if not found:
        return None
    files: dict[str, list[FileEntry]] = {}
    for file, entry in found:
        files.setdefault(file.dataset, []).append(entry)
    jobs = [job for name, group in files.items() for job in _jobs(plan, name, group)]
    observer.note(f"{plural(len(found), 'file')} can be read now: {plural(len(jobs), 'job')} more.")
    return Addition(
        plan=frozen.digest,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        files={
            name: tuple(msgspec.structs.replace(file, clusters=()) for file in group)
            for name, group in files.items()
        },
        jobs=tuple(jobs),
        read=tuple((file.dataset, file.path) for file, _ in found),
    )


def _find(plan: Plan, name: str) -> tuple[int, Dataset]:
    """Return a dataset with its number."""
    return next((n, one) for n, one in enumerate(plan.datasets) if one.name == name)


def _named(plan: Plan, file: UnreadFile) -> NamedFile:
    return NamedFile(
        dataset=file.dataset,
        path=file.path,
        tree=file.tree,
        metadata=_find(plan, file.dataset)[1].metadata,
        entries=file.expected,
        replicas=file.replicas,
        steps=file.steps,
    )


def _as_new(
    plan: Plan, found: Sequence[tuple[UnreadFile, FileEntry]], file: UnreadFile, entry: FileEntry
) -> FileEntry:
    """Check that a file is not one of the others, and tell it from one that was copied and changed.

    Raises
    ------
    InputError
        Its events would be counted twice.
    """
    planned = _find(plan, file.dataset)[1].files
    others = [*planned, *(new for other, new in found if other.dataset == file.dataset)]
    same = [one for one in others if (one.uuid, one.tree) == (entry.uuid, entry.tree)]
    for other in same:
        if (other.size, other.entries) == (entry.size, entry.entries):
            raise InputError(
                f"{other.path} and {entry.path} are the same file (UUID {entry.uuid}) in the "
                f"dataset {file.dataset!r}: its events would be counted twice.",
                remedy=f"Take {entry.path} away, and resume.",
            )
    return msgspec.structs.replace(entry, twin=True) if same else entry


def _jobs(plan: Plan, name: str, files: Sequence[FileEntry]) -> list[Job]:
    """Cut new files of a dataset into jobs as large as its others."""
    index, dataset = _find(plan, name)
    new = msgspec.structs.replace(dataset, files=tuple(files))
    made = cut([new], _sizing(plan, index, new))
    shift = len(dataset.files)
    return [
        Job(
            index,
            tuple(msgspec.structs.replace(one, file=one.file + shift) for one in job.ranges),
        )
        for job in made
    ]


def _sizing(plan: Plan, index: int, new: Dataset) -> Sizing:
    jobs = [job for job in plan.jobs if job.dataset == index and job.entries]
    if not jobs:
        return Sizing()
    entries = sum(stop - start for file in new.files for start, stop in file.asked)
    largest = max(job.entries for job in jobs)
    ranges = (part for job in jobs for part in job.ranges if part.events)
    chunk = max(stop - start for part in ranges for start, stop in part.chunks())
    return Sizing(
        jobs=max(-(-entries // largest), 1),
        chunk=chunk if chunk < default_chunk(new) else None,
    )
