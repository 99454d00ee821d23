"""The forms of filesets that coffea and public benchmarks have had.

    {"NAME": {"files": {"a.root": "tree"}, "metadata": {}}}             coffea today
    {"NAME": {"files": {"a.root": {"object_path": "tree", "steps": [[0, 9]], "num_entries": 9}}}}
    {"NAME": ["a.root"]}                                                coffea before 2023
    {"NAME": "a.root"}
    {"NAME": {"files": ["a.root"], "treename": "tree"}}
    {"NAME": {"PART": {"files": [{"path": "a.root", "nevts": 9}]}}}     datasets NAME__PART

Keys that are not known here are left alone: others keep what they need beside ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from eventflock.errors import UsageError

__all__ = ["EXPECTED", "FilesetFile", "read_fileset"]

EXPECTED = 'Expected {"NAME": {"files": {"a.root": "tree"}, "metadata": {}}}.'


Steps: TypeAlias = tuple[tuple[int, int], ...]


class FilesetFile(NamedTuple):
    """One file of a fileset.

    Attributes
    ----------
    dataset, name
        The dataset, and the file as it is named.
    tree
        Empty if the fileset does not say.
    metadata
        Of the dataset.
    entries
        How many there should be, if the fileset says.
    replicas
        Other places of the same file, which only eventflock knows.
    steps
        The entries that are asked for, as `(start, stop)`; empty for all.
    """

    dataset: str
    name: str
    tree: str
    metadata: dict[str, Any]
    entries: int | None
    replicas: tuple[str, ...]
    steps: Steps


def read_fileset(fileset: Any, where: str) -> Iterator[FilesetFile]:
    """Yield the files of a fileset.

    Parameters
    ----------
    fileset
        As it was decoded from JSON.
    where
        What it is called in errors.

    Raises
    ------
    UsageError
        It has none of these forms.
    """
    if not isinstance(fileset, Mapping) or not fileset:
        raise _wrong(where, "the whole", fileset)
    for name, value in _flat(fileset):
        given: Any = [value] if isinstance(value, str | os.PathLike) else value
        says: Mapping[str, Any] = value if isinstance(value, Mapping) else {"files": given}
        files, metadata = says.get("files"), says.get("metadata") or {}
        tree = says.get("treename") or says.get("object_path") or ""
        if not isinstance(files, Mapping | list | tuple) or not files:
            raise _wrong(where, repr(name), value)
        if not all((isinstance(tree, str), isinstance(metadata, Mapping), isinstance(name, str))):
            raise _wrong(where, repr(name), value)
        pairs = files.items() if isinstance(files, Mapping) else [_listed(file) for file in files]
        for file, about in pairs:
            yield _read_file(where, (name, dict(metadata), tree), file, about)


def _flat(fileset: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the datasets; those within another one get both names."""
    for name, value in fileset.items():
        parts = value.items() if isinstance(value, Mapping) and "files" not in value else ()
        inner = [(part, says) for part, says in parts if isinstance(says, Mapping)]
        if inner and all("files" in says for _, says in inner):
            yield from ((f"{name}__{part}", says) for part, says in inner)
        else:
            yield name, value


def _listed(file: Any) -> tuple[Any, Any]:
    """Return name and description of an element of a list of files."""
    if isinstance(file, Mapping):
        return file.get("path"), {"num_entries": file.get("nevts"), **file}
    return file, None


def _read_file(
    where: str, dataset: tuple[str, dict[str, Any], str], file: Any, about: Any
) -> FilesetFile:
    name, metadata, tree = dataset
    says = about if isinstance(about, Mapping) else {"object_path": about}
    file = os.fspath(file) if isinstance(file, os.PathLike) else file
    inner, replicas = says.get("object_path"), says.get("replicas") or []
    if (
        not isinstance(file, str)
        or not isinstance(inner, str | None)
        or not isinstance(replicas, list | tuple)
        or not all(isinstance(one, str) and one for one in replicas)
    ):
        raise _wrong(where, repr(file), about)
    entries, steps = _numbers(where, file, says)
    return FilesetFile(
        dataset=name,
        name=file,
        tree=inner or tree,
        metadata=metadata,
        entries=entries,
        steps=steps,
        replicas=tuple(one if "://" in one else str(Path(one).absolute()) for one in replicas),
    )


def _numbers(where: str, file: str, says: Mapping[str, Any]) -> tuple[int | None, Steps]:
    """Return the number of entries that a file should have, if that is said, and the steps."""
    entries = says.get("num_entries")
    try:
        steps = tuple((int(start), int(stop)) for start, stop in says.get("steps") or ())
        return None if entries is None else int(entries), steps
    except (TypeError, ValueError):
        raise _wrong(where, repr(file), dict(says)) from None


def _wrong(where: str, place: str, value: Any) -> UsageError:
    text = repr(value)
    return UsageError(
        f"The fileset {where} is not in coffea's form at {place}: {text[:80]}"
        f"{'...' if len(text) > 80 else ''}",
        remedy=EXPECTED,
    )
