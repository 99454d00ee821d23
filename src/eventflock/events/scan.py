"""Looking at one ROOT file: what planning and later checks need to know about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.model import NO_UUID, FileEntry, SecondTree, WantedTree
from eventflock.errors import EventflockError, InputError
from eventflock.events.files import (
    branch_names,
    check_columns,
    choose_tree,
    clusters_of,
    find_trees,
    is_readable,
    is_url,
    modified,
    size_of,
)
from eventflock.events.naming import BranchNames
from eventflock.events.open_files import OpenFile, OpenFiles
from eventflock.events.recovery import is_unclosed, recoverable_trees
from eventflock.events.tree_head import TreeHead, read_head
from eventflock.failures.codes import FailureCode

__all__ = ["scan_file"]

SMALL = 50_000
"""A file of so few entries is hardly cut..."""
LARGE = 100_000
"""... so that it is not worth the time to read as many bytes of descriptions of branches."""


def scan_file(
    path: str,
    tree: str = "",
    columns: Sequence[str] = (),
    second: Sequence[WantedTree] = (),
    files: OpenFiles | None = None,
) -> FileEntry:
    """Look at one file once: what planning and later checks need to know about it.

    Parameters
    ----------
    path
        Path or URL.
    tree
        Name of the tree; may be empty where the file has just one.
    columns
        Branches that must be there.
    second
        Its other trees that are read.
    files
        Keeps the file open; without it, the file is closed.

    Raises
    ------
    InputError
        See `open_file`; or a tree or a branch is not there, or cannot be understood.
    """
    kept = files if files is not None else OpenFiles()
    opened = kept.open(path)
    try:
        entry = _scan(opened, path, tree, columns)
        others = [_scan_second(opened, entry, wanted) for wanted in second]
    except BaseException:
        kept.drop(path)
        raise
    if files is None:
        kept.close()
    return msgspec.structs.replace(entry, second=tuple(others)) if others else entry


def _scan(opened: OpenFile, path: str, tree: str, columns: Sequence[str]) -> FileEntry:
    root = opened.root
    if is_unclosed(root) and not is_url(path):
        _check_unclosed(path, root, tree)
    name = choose_tree(path, root, tree)
    with _reading(path, name):
        head = read_head(root, name)
        if head is None or columns or not _is_enough(head):
            found = opened.tree(name)
            total = getattr(found, "uncompressed_bytes", 0)
            head = TreeHead(int(found.num_entries), total, clusters_of(found))
            _check_columns(path, name, root, found, columns)
    size = size_of(path, root)
    # Baskets kept inside the tree's own record are missing from its count of bytes.
    total = max(head.bytes, size)
    uuid = str(root.file.uuid)
    return FileEntry(
        path=path,
        tree=name,
        uuid=uuid,
        modified=modified(path) if uuid == NO_UUID else 0,
        size=size,
        entries=head.entries,
        entry_bytes=float(total) / max(head.entries, 1),
        clusters=head.clusters or (0, head.entries),
    )


def _check_unclosed(path: str, root: Any, tree: str) -> None:
    """Refuse a file that was not closed, if ROOT would find other entries than there are here."""
    with _reading(path, tree):
        recovered = recoverable_trees(Path(path), root)
    here = {name.rpartition("/")[2]: name for name in find_trees(root)}
    counts = {name: int(root[full].num_entries) for name, full in here.items()}
    if recovered.items() <= counts.items():
        return
    trees = ", ".join(f"{name!r} with {count:,} entries" for name, count in recovered.items())
    raise InputError(
        f"{path} was not closed by its writer. ROOT would recover {trees}; without that there is "
        f"{', '.join(f'{name!r} with {count:,}' for name, count in counts.items()) or 'no tree'}.",
        remedy=f'Have ROOT repair it: root -e \'TFile::Open("{path}", "UPDATE")->Close()\'',
    )


def _is_enough(head: TreeHead) -> bool:
    """Check whether the branches need not be read, to know where their baskets begin."""
    return bool(head.clusters) or (head.entries <= SMALL and head.size > LARGE)


def _scan_second(opened: OpenFile, entry: FileEntry, wanted: WantedTree) -> SecondTree:
    path = entry.path
    name = choose_tree(path, opened.root, wanted.tree)
    if name == entry.tree:
        raise InputError(
            f"{path}: the tree {name!r} is read as the events, and again by {wanted.name!r}.",
            remedy="Name the tree with the events: @analysis(tree=...).",
            code=FailureCode.BRANCH,
        )
    with _reading(path, name):
        head = read_head(opened.root, name)
        if head is None or wanted.columns:
            found = opened.tree(name)
            head = TreeHead(int(found.num_entries), 0, ())
            _check_columns(path, name, opened.root, found, wanted.columns)
    return SecondTree(name=wanted.name, tree=name, entries=head.entries)


@contextlib.contextmanager
def _reading(path: str, tree: str) -> Iterator[None]:
    try:
        yield
    except EventflockError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: the tree {tree!r} cannot be read: {type(error).__name__}: {error}",
            remedy="The file may be damaged: copy it again, or leave it out.",
        ) from error


def _check_columns(path: str, tree: str, root: Any, found: Any, columns: Sequence[str]) -> None:
    """Check that branches are there, and can be read."""
    if not columns:
        return
    names = BranchNames(found) if hasattr(found, "common_entry_offsets") else None
    full = [] if names is None else [full for full, _ in names.shortest()]
    check_columns(path, tree, [*branch_names(found), *full], columns)
    for column in columns:
        branch = names.find(column) if names is not None else None
        if not is_readable(root, found, column if branch is None else branch):
            raise InputError(
                f"The branch {column!r} of {path} cannot be read as an array.",
                remedy="Leave it out of columns=[...].",
                code=FailureCode.BRANCH,
            )
