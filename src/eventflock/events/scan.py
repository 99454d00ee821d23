"""Looking at one ROOT file: what planning and later checks need to know about it."""

from __future__ import annotations

from collections.abc import Sequence

from eventflock.core.model import NO_UUID, FileEntry
from eventflock.errors import InputError
from eventflock.events.files import (
    branch_names,
    check_columns,
    choose_tree,
    clusters_of,
    is_readable,
    modified,
    size_of,
)
from eventflock.events.naming import BranchNames
from eventflock.events.open_files import OpenFile, OpenFiles

__all__ = ["scan_file"]


def scan_file(
    path: str, tree: str = "", columns: Sequence[str] = (), files: OpenFiles | None = None
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
    files
        Keeps the file open; without it, the file is closed.

    Raises
    ------
    InputError
        See `open_file`; or the tree or a branch is not there, or cannot be understood.
    """
    kept = files if files is not None else OpenFiles()
    opened = kept.open(path)
    try:
        entry = _scan(opened, path, tree, columns)
    except BaseException:
        kept.drop(path)
        raise
    if files is None:
        kept.close()
    return entry


def _scan(opened: OpenFile, path: str, tree: str, columns: Sequence[str]) -> FileEntry:
    root = opened.root
    name = choose_tree(path, root, tree)
    try:
        found = opened.tree(name)
        entries = int(found.num_entries)
        clusters = clusters_of(found)
    except Exception as error:
        raise InputError(
            f"{path}: the tree {name!r} cannot be read: {type(error).__name__}: {error}",
            remedy="The file may be damaged: copy it again, or leave it out.",
        ) from error
    if columns:
        names = BranchNames(found) if hasattr(found, "common_entry_offsets") else None
        full = [] if names is None else [full for full, _ in names.shortest()]
        check_columns(path, name, [*branch_names(found), *full], columns)
        for column in columns:
            branch = names.find(column) if names is not None else None
            if not is_readable(root, found, column if branch is None else branch):
                raise InputError(
                    f"The branch {column!r} of {path} cannot be read as an array.",
                    remedy="Leave it out of columns=[...].",
                )
    size = size_of(path, root)
    # Baskets kept inside the tree's own record are missing from its count of bytes.
    total = max(getattr(found, "uncompressed_bytes", 0), size)
    uuid = str(root.file.uuid)
    return FileEntry(
        path=path,
        tree=name,
        uuid=uuid,
        modified=modified(path) if uuid == NO_UUID else 0,
        size=size,
        entries=entries,
        entry_bytes=float(total) / max(entries, 1),
        clusters=clusters,
    )
