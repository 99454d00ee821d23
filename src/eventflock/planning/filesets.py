"""From what the user names (files, globs, folders, lists, filesets) to datasets that are scanned.

`expand` finds the files without opening any; `assemble` puts the scanned files together and
refuses what would be counted twice. Between these two steps, workers open the files.
"""

from __future__ import annotations

import glob
import gzip
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from eventflock.core.model import NO_UUID, Dataset, FileEntry
from eventflock.errors import InputError, UsageError, nearest
from eventflock.planning.coffea import EXPECTED, FilesetFile, read_fileset

__all__ = ["Fileset", "NamedFile", "assemble", "expand", "restrict"]

DEFAULT_NAME = "events"
_LABEL = re.compile(r"([A-Za-z0-9_.+-]+)=(.+)", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")
_ROOT_FILE = re.compile(r".+\.root(\.\d+)*", re.DOTALL)
"""Some systems number their files: `x.pool.root.1`."""
_FILE_AND_TREE = re.compile(r"(.+\.root(?:\.\d+)*):(.*)", re.DOTALL)
Fileset: TypeAlias = Mapping[str, Any]
"""A fileset itself, see `planning.coffea`."""


class NamedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file as the user named it: path or URL, and what was said of it."""

    dataset: str
    path: str
    tree: str = ""
    metadata: dict[str, Any] = {}
    entries: int | None = None
    replicas: tuple[str, ...] = ()
    steps: tuple[tuple[int, int], ...] = ()


def expand(
    names: Sequence[str | Fileset], *, dataset: str = "", tree: str = "", declared: str = ""
) -> list[NamedFile]:
    """Find the files that the user names, in the order they are named.

    Parameters
    ----------
    names
        Paths, globs, folders, URLs, `@list.txt`, `fileset.json`, each optionally as `NAME=...`
        and optionally with the tree as `file.root:tree`; or filesets themselves.
    dataset
        Name of the dataset of all files that have no name of their own.
    tree
        Name of the tree of all files that do not say.
    declared
        The same, as the analysis says it. A fileset must not name another one.

    Raises
    ------
    UsageError
        No names, or a list or fileset that cannot be understood.
    InputError
        A name that leads to no file.
    """
    if not names:
        raise UsageError("No files are named.", remedy="Name at least one ROOT file.")
    if not all(str(name).strip() for name in names):
        raise UsageError("A file name is empty.", remedy="Is a variable of the shell not set?")
    found: list[NamedFile] = []
    for name in names:
        if isinstance(name, Mapping):
            asked = _Asked(dataset, tree or declared, dataset, declared)
            found.extend(_from_fileset(name, "that was given", asked))
            continue
        label, rest = _split_label(str(name))
        given = label or dataset
        asked = _Asked(given or DEFAULT_NAME, tree or declared, given, declared)
        found.extend(_expand_one(rest, asked))
    return found


class _Asked(NamedTuple):
    """What was said about files beside their names.

    Attributes
    ----------
    dataset, tree
        For files that do not say.
    given
        The name of the dataset, if the user gave one.
    declared
        The tree that the analysis names.
    """

    dataset: str
    tree: str
    given: str = ""
    declared: str = ""


def _split_label(name: str) -> tuple[str, str]:
    match = _LABEL.fullmatch(name)
    # A file or a folder may have '=' in its name, as in year=2018/*.root.
    if match is None or Path(name).exists() or Path(name.split("/", maxsplit=1)[0]).exists():
        return "", name
    return match[1], match[2]


def _expand_one(name: str, asked: _Asked) -> list[NamedFile]:
    if name.startswith("@"):
        return _from_list(Path(name[1:]), asked)
    path, inner = _split_tree(name)
    if "://" in path:
        inside = path.partition("://")[2].partition("/")[2].partition("?")[0]  # not the host
        paths = _from_remote_glob(path) if _MAGIC.search(inside) else [path]
    elif path.endswith((".json", ".json.gz")):
        return _from_fileset(_load_fileset(Path(path)), path, asked)
    elif Path(path).is_dir():
        paths = _from_folder(Path(path))
    elif _MAGIC.search(path) and not Path(path).exists():
        paths = _from_glob(path)
    else:
        paths = [str(Path(path).absolute())]
    tree = inner or asked.tree
    return [NamedFile(dataset=asked.dataset, path=file, tree=tree) for file in paths]


def _split_tree(name: str) -> tuple[str, str]:
    """Split `file.root:tree` as uproot does; a colon elsewhere belongs to the path."""
    match = _FILE_AND_TREE.fullmatch(name)
    if match is None or Path(name).exists():
        return name, ""
    return match[1], match[2]


def _from_folder(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*.root*") if _ROOT_FILE.fullmatch(path.name))
    found = sorted(str(path.absolute()) for path in paths if path.is_file())
    if not found:
        raise InputError(
            f"The folder {folder} has no file *.root.",
            remedy="Name the files themselves if they have another ending.",
        )
    return found


def _from_glob(pattern: str) -> list[str]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 -- the pattern may be absolute
    if not found:
        raise InputError(
            f"No file matches {pattern!r} (in {Path.cwd()}).", remedy="Check the pattern."
        )
    return [str(Path(one).absolute()) for one in found]


def _from_remote_glob(pattern: str) -> list[str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(pattern)
        found = sorted(system.glob(path))
    except Exception as error:
        raise InputError(
            f"{pattern} cannot be listed: {type(error).__name__}: {error}",
            remedy="Name the files one by one, or as @list.txt.",
        ) from error
    if not found:
        raise InputError(f"No file matches {pattern!r}.", remedy="Check the pattern.")
    return [system.unstrip_protocol(one) for one in found]


def _from_list(path: Path, asked: _Asked) -> list[NamedFile]:
    lines = _read(path, "list of files").decode(errors="replace").splitlines()
    names = [text for line in lines if (text := line.strip()) and not text.startswith("#")]
    if not names:
        raise InputError(f"The list {path} names no files.", remedy="Write one file per line.")
    found: list[NamedFile] = []
    for name in names:
        label, rest = _split_label(name)
        if rest.startswith("@"):
            raise UsageError(f"The list {path} names another list: {rest!r}.", remedy="Join them.")
        dataset = label or asked.dataset
        found.extend(_expand_one(rest, asked._replace(dataset=dataset, given="")))
    return found


def _read(path: Path, what: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        beside = [one.name for one in path.parent.glob("*")] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        raise InputError(
            f"The {what} {path} cannot be read: {error.strerror}{'; ' + near if near else '.'}",
            remedy="Check the path.",
        ) from None
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _load_fileset(path: Path) -> Any:
    try:
        return msgspec.json.decode(_read(path, "fileset"))
    except (msgspec.DecodeError, OSError, EOFError, RecursionError, zlib.error) as error:
        raise UsageError(f"The fileset {path} is not JSON: {error}.", remedy=EXPECTED) from None


def _from_fileset(fileset: Any, where: str, asked: _Asked) -> list[NamedFile]:
    """Read a fileset as coffea writes it; paths in it are relative to the current folder."""
    files = list(read_fileset(fileset, where))
    datasets = {file.dataset for file in files}
    if asked.given and len(datasets) > 1:
        raise UsageError(
            f"The fileset {where} has {len(datasets)} datasets, so {asked.given!r} cannot name "
            "them all.",
            remedy="Leave the name out.",
        )
    found: list[NamedFile] = []
    for file in files:
        _check_tree(file, where, asked)
        inner = _Asked(asked.given or file.dataset, file.tree or asked.tree)
        found.extend(
            msgspec.structs.replace(
                one,
                metadata=file.metadata,
                entries=file.entries,
                replicas=file.replicas,
                steps=file.steps,
            )
            for one in _expand_one(file.name, inner)
        )
    return found


def _check_tree(file: FilesetFile, where: str, asked: _Asked) -> None:
    """Refuse to decide between the tree that a fileset names, and the one of the analysis."""
    names = {name.partition(";")[0].strip("/") for name in (file.tree, asked.declared) if name}
    if len(names) > 1 and asked.tree == asked.declared:
        raise UsageError(
            f"The fileset {where} names the tree {file.tree!r} of {file.name}, and the analysis "
            f"names {asked.declared!r}.",
            remedy="Name the tree in one of them only, or the same in both.",
        )


def assemble(named: Sequence[NamedFile], entries: Iterable[FileEntry]) -> tuple[Dataset, ...]:
    """Put the scanned files together to datasets, in the order in which they were named.

    Parameters
    ----------
    named
        From `expand`.
    entries
        The scan of each, in the same order.

    Raises
    ------
    InputError
        A file that is there twice in a dataset, under two paths as well; no entries at all.
    """
    files: dict[str, list[FileEntry]] = {}
    metadata: dict[str, dict[str, Any]] = {}
    seen: dict[tuple[str, str, str], str] = {}
    for name, entry in zip(named, _with_twins(named, entries), strict=True):
        if name.entries is not None and name.entries != entry.entries:
            raise InputError(
                f"{entry.path} has {entry.entries:,} entries, the fileset says {name.entries:,}.",
                remedy="Make the fileset again, or choose entries with --range.",
            )
        key = (name.dataset, entry.tree, _identity(entry))
        if key in seen:
            raise _named_twice(name.dataset, seen[key], entry)
        seen[key] = entry.path
        if name.replicas or name.steps:
            steps = _steps_in(name, entry)
            entry = msgspec.structs.replace(  # noqa: PLW2901
                entry, replicas=name.replicas, steps=steps
            )
        files.setdefault(name.dataset, []).append(entry)
        if metadata.setdefault(name.dataset, name.metadata) != name.metadata:
            raise InputError(
                f"The dataset {name.dataset!r} is named with different metadata: "
                f"{metadata[name.dataset]} and {name.metadata}.",
                remedy="Give the two different names.",
            )
    every = [one for group in files.values() for one in group]
    if not any(stop > 0 for one in every for _, stop in one.asked) and not any(
        tree.entries for one in every for tree in one.second
    ):
        first = next(iter(files.values()))[0]
        raise InputError(
            f"There are no entries: the tree {first.tree!r} of {first.path} is empty"
            + (", and so are all others." if len(seen) > 1 else "."),
            remedy="Name files with entries.",
        )
    return tuple(
        Dataset(name=name, files=tuple(group), metadata=metadata[name])
        for name, group in files.items()
    )


def _with_twins(named: Sequence[NamedFile], entries: Iterable[FileEntry]) -> list[FileEntry]:
    """Mark files of a dataset that have one UUID, but not the same size and number of entries."""
    found = list(entries)
    kinds: dict[tuple[str, str, str], set[tuple[int, int]]] = {}
    keys = [(name.dataset, one.tree, one.uuid) for name, one in zip(named, found, strict=True)]
    for key, entry in zip(keys, found, strict=True):
        if entry.uuid != NO_UUID and entry.size >= 0:
            kinds.setdefault(key, set()).add((entry.size, entry.entries))
    return [
        msgspec.structs.replace(entry, twin=True) if len(kinds.get(key, ())) > 1 else entry
        for key, entry in zip(keys, found, strict=True)
    ]


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
