"""Opening ROOT files, and finding the trees in them.

All failures leave here as `InputError` with the file's name, so that callers need not know
which of uproot's, fsspec's or the system's exceptions a broken file leads to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventflock.core.model import FileEntry
from eventflock.errors import InputError, nearest
from eventflock.failures.codes import FailureCode

__all__ = [
    "branch_names",
    "check_columns",
    "choose_tree",
    "clusters_of",
    "find_trees",
    "has_friends",
    "is_readable",
    "is_url",
    "modified",
    "open_file",
    "same_file",
    "size_of",
    "url_stamp",
    "why_unreadable",
]


def is_url(path: str) -> bool:
    """Check whether this is a URL (`root://`, `https://`, ...), not a path on this machine."""
    return "://" in path


def open_file(path: str, *, array_cache: dict[str, Any] | None = None) -> Any:
    """Open a ROOT file and check that all of it is there.

    Parameters
    ----------
    path
        A path or a URL, without a tree name.
    array_cache
        Where uproot keeps the arrays it has read; by default it keeps none.

    Returns
    -------
    uproot.ReadOnlyDirectory
        To be closed by the caller (a context manager).

    Raises
    ------
    InputError
        Missing, not readable, not ROOT, or truncated.
    """
    import uproot

    try:
        # A Path is never split at a colon into file and tree, a URL has to be a string.
        root = uproot.open(path if is_url(path) else Path(path), array_cache=array_cache)
    except Exception as error:
        raise _explain(path, error) from error
    end = root.file.fEND
    size = size_of(path, root)
    if 0 <= size < end:
        root.close()
        raise InputError(
            f"{path} is truncated: {size:,} bytes of {end:,} are there.",
            remedy="Copy the file again, or leave it out.",
        )
    return root


def _explain(path: str, error: Exception) -> InputError:
    """Explain in one sentence why a file could not be opened."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    local = not is_url(path)
    if local and not Path(path).exists():
        return InputError(
            f"There is no file {path}.", remedy=_look_beside(path), code=FailureCode.GONE
        )
    if local and Path(path).is_dir():
        return InputError(
            f"{path} is a folder, not a ROOT file.", remedy="Name the files in it, or the folder."
        )
    if isinstance(error, PermissionError):
        return InputError(f"{path} cannot be read: {text}.", remedy="Check its permissions.")
    if "not a ROOT file" in text:
        return InputError(
            f"{path} is not a ROOT file: it does not begin with 'root'.",
            remedy="Name ROOT files only, or a text file of names as @list.txt.",
        )
    if local and Path(path).stat().st_size == 0:
        return InputError(f"{path} is empty (0 bytes).", remedy="Copy the file again.")
    if local and "expected Chunk of length" in text:
        return InputError(
            f"{path} is truncated or damaged: {Path(path).stat().st_size:,} bytes are there, and "
            "the file refers to more.",
            remedy="Copy the file again, or leave it out.",
        )
    if isinstance(error, ImportError):
        return InputError(
            f"{path} cannot be opened: {text}.",
            remedy="Install what reads such URLs: pip install 'eventflock[http]' for https://, "
            "'eventflock[xrootd]' for root://.",
        )
    if local:
        remedy = "Check the file with 'eventflock inspect', or leave it out."
    elif "://[" in path:
        remedy = "Addresses with the number of an IPv6 host cannot be opened: use the host's name."
    else:
        remedy = "Check the address, the network and your credential."
    gone = (
        local
        or isinstance(error, FileNotFoundError)
        or "://[" in path
        or "no such file" in str(error).lower()
    )
    return InputError(
        f"{path} cannot be opened: {type(error).__name__}: {text}",
        remedy=remedy,
        code="" if gone else FailureCode.UNREACHABLE,
    )


def _look_beside(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f"There is no folder {folder} either."
    near = nearest(Path(path).name, (one.name for one in folder.iterdir()))
    return near[:1].upper() + near[1:] if near else "Check the path."


def size_of(path: str, root: Any) -> int:
    """Return the size of a file in bytes; -1 where a server does not say."""
    if not is_url(path):
        return Path(path).stat().st_size
    try:
        return int(root.file.source.num_bytes)
    except (OSError, TypeError, NotImplementedError):
        return -1


def url_stamp(url: str) -> str:
    """Return what a server says of a file by which another version of it would be known.

    Returns
    -------
    str
        Its size with its tag or time; empty if the server does not say.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        info = system.info(path)
    except Exception:  # noqa: BLE001 -- whatever it is, opening the file will say it
        return ""
    tags = (info.get(name) for name in ("ETag", "mtime", "Last-Modified", "LastModified"))
    tag = next((tag for tag in tags if tag), "")
    return f"{info['size']}/{tag}" if tag and info.get("size") is not None else ""


def modified(path: str) -> int:
    """Return when a file was changed last, in nanoseconds since 1970; 0 if that is not known."""
    with contextlib.suppress(OSError):
        return Path(path).stat().st_mtime_ns
    return 0


def find_trees(root: Any) -> dict[str, str]:
    """Return all trees in all directories of a file, as `{name: class name}`, without cycles."""
    names: dict[str, str] = root.classnames(recursive=True, cycle=False)
    return {name: kind for name, kind in names.items() if _is_tree(kind)}


def _is_tree(kind: str) -> bool:
    return kind in {"TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple", "ROOT::Experimental::RNTuple"}


def clusters_of(tree: Any) -> tuple[int, ...]:
    """Return the entry offsets, with the first and last, where all branches start a basket."""
    entries = int(tree.num_entries)
    if hasattr(tree, "cluster_summaries"):
        offsets = {int(summary.num_first_entry) for summary in tree.cluster_summaries}
    else:
        offsets = _common_offsets(tree)
    return tuple(sorted({0, entries} | {offset for offset in offsets if 0 < offset < entries}))


def _common_offsets(tree: Any) -> set[int]:
    """Find where the baskets of all branches start, but for branches that cannot say it."""
    try:
        return {int(offset) for offset in tree.common_entry_offsets()}
    except ValueError:
        found: list[set[int]] = []
        for branch in tree.itervalues(recursive=True):
            with contextlib.suppress(ValueError):
                found.append({int(offset) for offset in branch.entry_offsets})
        return set.intersection(*found) if found else set()


def choose_tree(path: str, root: Any, name: str) -> str:
    """Return the full name of the tree to read; with an empty `name`, the only one there is.

    Raises
    ------
    InputError
        No tree of that name, no tree at all, or several to choose from.
    """
    if name:
        # One spelling for each tree, so that none is counted twice under two.
        clean = "/".join(part.split(";")[0] for part in name.split("/") if part)
        try:
            kind = root.classname_of(clean)
        except Exception:  # noqa: BLE001 -- uproot raises several kinds for what is not there
            kind = ""
        if _is_tree(kind):
            _check_cycle(path, root, name, clean)
            return clean
    trees = list(find_trees(root))
    shown = ", ".join(repr(tree) for tree in trees[:10]) + (", ..." if len(trees) > 10 else "")
    if not trees:
        raise _no_tree(path, root)
    if name:
        raise InputError(
            f"{path} has no tree {name!r}, it has {shown}.",
            remedy="Choose one with --tree, or in the analysis with @analysis(tree=...).",
        )
    if len(trees) > 1:
        raise InputError(
            f"{path} has {len(trees)} trees: {shown}.",
            remedy="Choose one with --tree, or in the analysis with @analysis(tree=...).",
        )
    return trees[0]


def _no_tree(path: str, root: Any) -> InputError:
    kinds = root.classnames(cycle=False).items()
    chain = next((name for name, kind in kinds if kind == "TChain"), None)
    if chain is not None:
        return InputError(
            f"{path} has no tree: {chain!r} is a TChain, a list of other files.",
            remedy="Name those files.",
        )
    return InputError(f"{path} has no tree.", remedy=f"See 'eventflock inspect {path}'.")


def _check_cycle(path: str, root: Any, name: str, clean: str) -> None:
    """Refuse an older cycle of a tree: only the newest is read."""
    _, semicolon, cycle = name.rpartition(";")
    newest = str(root.key(clean).fCycle)
    if semicolon and cycle != newest:
        raise InputError(
            f"{path}: the tree {name!r} is not the newest cycle, which is ;{newest}.",
            remedy=f"Name it {clean!r}.",
        )


def check_columns(path: str, tree: str, known: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise `InputError` for the first of `wanted` that is not in `known`."""
    have = set(known)
    for column in wanted:
        if column not in have:
            raise InputError(
                f"There is no branch {column!r} in the tree {tree!r} of {path}"
                f"{'; ' + near if (near := nearest(column, known)) else '.'}",
                remedy=f"'eventflock inspect {path}' lists the branches.",
                code=FailureCode.BRANCH,
            )


def branch_names(tree: Any) -> list[str]:
    """Return the names of all branches of a tree, without the path to them."""
    return [str(key) for key in tree.keys(full_paths=False)]


def is_readable(root: Any, tree: Any, branch: Any) -> bool:
    """Check whether a branch, or the one of a name, can be an awkward array."""
    return not why_unreadable(root, tree, branch)


def why_unreadable(root: Any, tree: Any, branch: Any) -> str:
    """Return why a branch, or the one of a name, cannot be an awkward array; empty if it can."""
    if not hasattr(tree, "common_entry_offsets"):  # RNTuple knows all its types
        return ""
    try:
        found = tree[branch] if isinstance(branch, str) else branch
        found.interpretation.awkward_form(root.file)
    except Exception as error:  # noqa: BLE001 -- each kind of unknown class raises its own
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    entries, have = int(tree.num_entries), int(found.num_entries)
    if have < entries and not found.branches:
        # Filled later, or not to the end: which entry belongs to which event is nowhere said.
        return f"it has {have:,} entries, and the tree {entries:,}"
    return ""


def has_friends(path: str, tree: str) -> bool:
    """Check whether a TTree has friends, about which uproot says nothing."""
    try:
        with open_file(path) as root:
            chunk, cursor = root.key(tree).get_uncompressed_chunk_cursor()
            return b"TFriendElement" in bytes(chunk.remainder(cursor.index, cursor, {}))
    except Exception:  # noqa: BLE001 -- it is only asked to explain an error
        return False


def same_file(entry: FileEntry, uuid: str, size: int) -> bool:
    """Check whether a file is still the one that was planned."""
    return uuid == entry.uuid and (size < 0 or entry.size < 0 or size == entry.size)
