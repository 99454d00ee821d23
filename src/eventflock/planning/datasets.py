"""From the files that were named and what was found in them to datasets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventflock.core.model import NO_UUID, Dataset, FileEntry, UnreadFile
from eventflock.errors import EventflockError, InputError, UsageError
from eventflock.planning.filesets import NamedFile

__all__ = ["Assembled", "assemble", "check_entries", "restrict", "unread_file"]


class Assembled(NamedTuple):
    """The datasets of a run, and the files that are in none of them as they cannot be read."""

    datasets: tuple[Dataset, ...]
    unread: tuple[UnreadFile, ...]


def assemble(named: Sequence[NamedFile], found: Sequence[FileEntry | UnreadFile]) -> Assembled:
    """Put the scanned files together to datasets, in the order in which they were named.

    Parameters
    ----------
    named
        From `expand`.
    found
        The scan of each, in the same order.

    Returns
    -------
    Assembled
        A file without the number of entries that is expected of it is as one that cannot be read.

    Raises
    ------
    InputError
        A file that is there twice in a dataset, under two paths as well.
    """
    files: dict[str, list[FileEntry]] = {name.dataset: [] for name in named}
    metadata: dict[str, dict[str, Any]] = {}
    unread: list[UnreadFile] = []
    seen: dict[tuple[str, str, str], str] = {}
    for name, entry in zip(named, _with_twins(named, found), strict=True):
        if metadata.setdefault(name.dataset, name.metadata) != name.metadata:
            raise InputError(
                f"The dataset {name.dataset!r} is named with different metadata: "
                f"{metadata[name.dataset]} and {name.metadata}.",
                remedy="Give the two different names.",
            )
        if isinstance(entry, UnreadFile):
            unread.append(entry)
            continue
        key = (name.dataset, entry.tree, _identity(entry))
        if key in seen:
            raise _named_twice(name.dataset, seen[key], entry)
        seen[key] = entry.path
        if name.entries not in {None, entry.entries}:
            unread.append(unread_file(name, _other_count(name, entry)))
            continue
        files[name.dataset].append(_as_named(name, entry))
    datasets = tuple(
        Dataset(name=name, files=tuple(group), metadata=metadata[name])
        for name, group in files.items()
    )
    return Assembled(datasets, tuple(unread))


def unread_file(name: NamedFile, why: EventflockError) -> UnreadFile:
    """Return a file that cannot be used, with the reason."""
    return UnreadFile(
        dataset=name.dataset,
        path=name.path,
        tree=name.tree,
        kind=why.kind,
        message=why.message,
        remedy=why.remedy,
        code=why.code,
        replicas=name.replicas,
        steps=name.steps,
        expected=name.entries,
    )


def _other_count(name: NamedFile, entry: FileEntry) -> InputError:
    return InputError(
        f"{entry.path} has {entry.entries:,} entries, {name.entries:,} are expected.",
        remedy="Copy the file again, or correct the fileset or the list of --check.",
    )


def _as_named(name: NamedFile, entry: FileEntry) -> FileEntry:
    """Add to a file what was said of it."""
    others = tuple(place for place in (name.path, *name.replicas) if place != entry.path)
    return msgspec.structs.replace(
        entry, replicas=others, steps=_steps_in(name, entry), checked=name.entries is not None
    )


def check_entries(datasets: Sequence[Dataset]) -> None:
    """Check that there is something to do.

    Raises
    ------
    InputError
        No dataset has any entries.
    """
    every = [file for dataset in datasets for file in dataset.files]
    second = any(tree.entries for file in every for tree in file.second)
    if second or any(stop > 0 for file in every for _, stop in file.asked):
        return
    raise InputError(
        f"There are no entries: the tree {every[0].tree!r} of {every[0].path} is empty"
        + (", and so are all others." if len(every) > 1 else "."),
        remedy="Name files with entries.",
    )


def _with_twins(
    named: Sequence[NamedFile], found: Sequence[FileEntry | UnreadFile]
) -> list[FileEntry | UnreadFile]:
    """Mark files of a dataset that have one UUID, but not the same size and number of entries."""
    kinds: dict[tuple[str, str, str], set[tuple[int, int]]] = {}
    for name, entry in zip(named, found, strict=True):
        if isinstance(entry, FileEntry) and entry.uuid != NO_UUID and entry.size >= 0:
            key = (name.dataset, entry.tree, entry.uuid)
            kinds.setdefault(key, set()).add((entry.size, entry.entries))

    def marked(name: NamedFile, entry: FileEntry | UnreadFile) -> FileEntry | UnreadFile:
        if isinstance(entry, UnreadFile):
            return entry
        several = len(kinds.get((name.dataset, entry.tree, entry.uuid), ())) > 1
        return msgspec.structs.replace(entry, twin=True) if several else entry

    return [marked(name, entry) for name, entry in zip(named, found, strict=True)]


def _steps_in(name: NamedFile, entry: FileEntry) -> tuple[tuple[int, int], ...]:
    """Return the steps of a file in order, joined; empty if they are all of it."""
    if not name.steps:
        return ()
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(name.steps):
        if not 0 <= start <= stop <= entry.entries or (joined and start < joined[-1][1]):
            raise InputError(
                f"The fileset asks for entries {start:,} to {stop:,} of {entry.path}, which has "
                f"{entry.entries:,}{' and asks for some of them twice' if joined else ''}.",
                remedy="Make the fileset again.",
            )
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], stop
        elif stop > start:
            joined.append((start, stop))
    return () if joined == [(0, entry.entries)] else tuple(joined) or ((0, 0),)


def _identity(entry: FileEntry) -> str:
    """Return what tells two files apart: the UUID, and where ROOT wrote none, the real path."""
    if entry.uuid != NO_UUID:
        return entry.identity
    return entry.path if "://" in entry.path else str(Path(entry.path).resolve())


def _named_twice(dataset: str, first: str, entry: FileEntry) -> InputError:
    where = (
        f"{entry.path} is named twice"
        if first == entry.path
        else f"{first} and {entry.path} are the same file (UUID {entry.uuid})"
    )
    return InputError(
        f"{where} in the dataset {dataset!r}: its events would be counted twice.",
        remedy="Name it once. If both are wanted, give them labels: a=FILE b=FILE.",
    )


def restrict(datasets: Sequence[Dataset], text: str) -> tuple[int, int]:
    """Read `START:STOP`, entries counted through the files of each dataset in order.

    Raises
    ------
    UsageError
        Not two whole numbers with a colon between them, or an empty range.
    InputError
        The range ends after the last entry of a dataset.
    """
    match = re.fullmatch(r"\s*(\d*)\s*:\s*(\d*)\s*", text)
    if match is None:
        raise UsageError(
            f"The range {text!r} is not START:STOP.", remedy="For example --range 3000:4000."
        )
    smallest = min(datasets, key=_count)
    start = int(match[1] or 0)
    stop = int(match[2]) if match[2] else max(_count(dataset) for dataset in datasets)
    if start >= stop:
        raise UsageError(
            f"The range {text!r} is empty: START {start:,} is not below STOP {stop:,}.",
            remedy="STOP is the entry after the last, as in a Python slice.",
        )
    if (match[2] and stop > _count(smallest)) or start >= _count(smallest):
        raise InputError(
            f"The range {text!r} goes beyond the {_count(smallest):,} entries of "
            f"the dataset {smallest.name!r} ({smallest.files[0].path}"
            f"{' and others' if len(smallest.files) > 1 else ''}).",
            remedy=f"The last STOP possible is {_count(smallest)}.",
        )
    return start, stop


def _count(dataset: Dataset) -> int:
    return sum(stop - start for file in dataset.files for start, stop in file.asked)
