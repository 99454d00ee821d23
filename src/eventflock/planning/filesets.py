"""From what the user names (globs, folders, lists, filesets) to files, without opening any.

Workers open them (`scanning`), and `datasets` puts them together.
"""

from __future__ import annotations

import glob
import gzip
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from eventflock.errors import InputError, UsageError, nearest
from eventflock.planning.coffea import EXPECTED, FilesetFile, read_fileset

__all__ = ["Fileset", "NamedFile", "expand", "read_bytes"]

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
    typed: bool = False
    """Whether just this path was given, not a list, a fileset, a folder or a pattern."""


def expand(
    names: Sequence[str | Fileset],
    *,
    dataset: str = "",
    tree: str = "",
    declared: str = "",
    redirectors: Sequence[str] = (),
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
    redirectors
        Where files are looked for that cannot be read where they are named.

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
        found.extend(_as_typed(one, rest) for one in _expand_one(rest, asked))
    return [_redirected(file, redirectors) for file in found] if redirectors else found


def _as_typed(file: NamedFile, name: str) -> NamedFile:
    path = _split_tree(name)[0]
    is_itself = file.path in {path, str(Path(path).absolute())}
    return msgspec.structs.replace(file, typed=True) if is_itself else file


def _redirected(file: NamedFile, redirectors: Sequence[str]) -> NamedFile:
    """Add the places at redirectors: the same path there, if it is one that servers may know."""
    for redirector in redirectors:
        if not re.fullmatch(r"(root|roots|xroot|xroots|https?|davs?)://[^/]+/*", redirector):
            raise UsageError(
                f"The redirector {redirector!r} is not a server.",
                remedy="As in --redirector root://xrootd-cms.infn.it",
            )
    known = re.fullmatch(r"\w+://[^/]+/+(.+)", file.path, re.DOTALL)
    if known is None and Path(file.path).exists():
        return file
    inside = known[1] if known else file.path.lstrip("/")
    double = ["/" if one.lower().startswith(("root", "xroot")) else "" for one in redirectors]
    places = [
        f"{redirector.rstrip('/')}/{slash}{inside}"
        for redirector, slash in zip(redirectors, double, strict=True)
    ]
    others = [place for place in places if place not in {file.path, *file.replicas}]
    return msgspec.structs.replace(file, replicas=(*file.replicas, *others))


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
        is_pattern = bool(_MAGIC.search(inside)) or inside.endswith("/")
        paths = _from_server(path) if is_pattern else [path]
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


def _from_server(pattern: str) -> list[str]:
    """List the files of a pattern at a server, or all ROOT files below a folder, `.../`."""
    import fsspec

    is_folder = pattern.endswith("/")
    try:
        system, path = fsspec.core.url_to_fs(pattern)
        found = sorted(system.find(path) if is_folder else system.glob(path))
    except Exception as error:
        raise InputError(
            f"{pattern} cannot be listed: {type(error).__name__}: {error}",
            remedy="Name the files one by one, or as @list.txt.",
        ) from error
    if is_folder or pattern.endswith("*"):
        found = [name for name in found if _ROOT_FILE.fullmatch(name.rpartition("/")[2])]
    if not found:
        what = "The folder has no ROOT file" if is_folder else "No file matches"
        raise InputError(f"{what}: {pattern!r}.", remedy="Check the address and the pattern.")
    return [system.unstrip_protocol(name) for name in found]


def _from_list(path: Path, asked: _Asked) -> list[NamedFile]:
    lines = read_bytes(path, "list of files").decode(errors="replace").splitlines()
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


def read_bytes(path: Path, what: str) -> bytes:
    """Read a file that the user names, which may be compressed.

    Raises
    ------
    InputError
        It cannot be read.
    """
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
        return msgspec.json.decode(read_bytes(path, "fileset"))
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
