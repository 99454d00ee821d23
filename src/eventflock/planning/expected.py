"""How many entries files should have, as catalogues say it: `--check EXPECTED.json`.

{"a.root": 1000, "root://host//store/b.root": {"nevents": 2000}}
[{"name": "/store/b.root", "nevents": 2000}]
[{"file": [{"name": "/store/b.root", "nevents": 2000}]}]       DAS of CMS (dasgoclient -json)
{"NAME": {"files": {"a.root": {"num_entries": 1000}}}}         coffea
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.observer import Observer
from eventflock.core.options import Expected
from eventflock.errors import InputError, UsageError, nearest, plural
from eventflock.planning.filesets import NamedFile, read_bytes

__all__ = ["with_expected"]

_NUMBERS = ("entries", "num_entries", "nevents", "nevts", "events", "nEvents", "num_events")
_NAMES = ("name", "path", "file", "lfn", "logical_file_name", "LFN", "url")
FORM = 'Expected {"FILE": NUMBER, ...}, or what a catalogue gives: [{"name": FILE, "nevents": N}].'
SHOWN = 5


def with_expected(
    named: Sequence[NamedFile], expected: Expected, observer: Observer
) -> list[NamedFile]:
    """Add the number of entries that each file should have.

    Parameters
    ----------
    named
        The files of the run.
    expected
        Numbers by file. A name is that of the file, its path, or the end of its path or URL from a
        slash on. Empty for none.

    Raises
    ------
    UsageError
        It cannot be understood.
    InputError
        It has a file that is not among the named ones, or a name that stands for several.
    """
    if isinstance(expected, str) and not expected:
        return list(named)
    where, content = _load(expected)
    counts = dict(_counts(content, where))
    if not counts:
        raise UsageError(f"There are no numbers of entries in {where}.", remedy=FORM)
    by_end: dict[str, list[int]] = {}
    for index, file in enumerate(named):
        for end in _ends(file.path):
            by_end.setdefault(end, []).append(index)
    found: dict[int, int] = {}
    absent: list[str] = []
    for name, count in counts.items():
        places = _places(name, by_end)
        if not places:
            absent.append(name)
        if len({named[index].path for index in places}) > 1:
            raise InputError(
                f"{where} has {name!r}, which {len(places)} files of the run end with.",
                remedy="Write their whole paths there.",
            )
        for index in places:
            _check_same(named[index], found.get(index, named[index].entries), count, where)
            found[index] = count
    if absent:
        raise _not_named(absent, named, where)
    if len(found) < len(named):
        observer.note(
            f"{where} says nothing of {plural(len(named) - len(found), 'file')}, of which the "
            "number of entries is not checked."
        )
    return [
        msgspec.structs.replace(file, entries=found.get(index, file.entries))
        for index, file in enumerate(named)
    ]


def _load(expected: Expected) -> tuple[str, Any]:
    if not isinstance(expected, str | Path):
        return "the expected numbers", expected
    try:
        return str(expected), msgspec.json.decode(read_bytes(Path(expected), "list of --check"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{expected} of --check is not JSON: {error}.", remedy=FORM) from None


def _counts(content: Any, where: str) -> Iterator[tuple[str, int]]:
    """Yield files with their numbers, whichever form they have."""
    if isinstance(content, Mapping):
        for name, says in content.items():
            count = _number(says)
            inner = says.get("files", says) if isinstance(says, Mapping) else says
            if count is not None:
                yield str(name), count
            elif isinstance(inner, Mapping | list | tuple):
                yield from _counts(inner, where)
            else:
                raise UsageError(
                    f"{where} of --check says {says!r} of {name!r}, expected a number of entries.",
                    remedy=FORM,
                )
        return
    if not isinstance(content, list | tuple):
        raise UsageError(f"{where} of --check is {type(content).__name__}.", remedy=FORM)
    for says in content:
        names = [says[key] for key in _NAMES if key in says] if isinstance(says, Mapping) else []
        count = _number(says)
        if count is not None and names and isinstance(names[0], str):
            yield names[0], count
        elif names and isinstance(names[0], list | tuple):
            yield from _counts(names[0], where)
        else:
            raise UsageError(f"{where} of --check has {says!r} in a list.", remedy=FORM)


def _number(says: Any) -> int | None:
    if isinstance(says, Mapping):
        says = next((says[key] for key in _NUMBERS if key in says), None)
    is_count = isinstance(says, int) and not isinstance(says, bool) and says >= 0
    return says if is_count else None


def _ends(path: str) -> list[str]:
    """Return a path, and its ends from each slash on."""
    inside = path.partition("://")[2] or path
    parts = [part for part in inside.split("/") if part]
    return [path, *("/".join(parts[start:]) for start in range(len(parts)))]


def _places(name: str, by_end: Mapping[str, list[int]]) -> list[int]:
    """Find the files that a name stands for."""
    clean = "/".join(part for part in name.split("/") if part)
    for known in (name, str(Path(name).absolute()), clean):
        if known in by_end:
            return by_end[known]
    return []


def _check_same(file: NamedFile, before: int | None, count: int, where: str) -> None:
    if before is not None and before != count:
        raise InputError(
            f"{file.path} should have {count:,} entries by {where}, and {before:,} by another "
            "name or by the fileset.",
            remedy="Correct one of them.",
        )


def _not_named(absent: Sequence[str], named: Sequence[NamedFile], where: str) -> InputError:
    names = ", ".join(absent[:SHOWN]) + (
        f" and {len(absent) - SHOWN:,} more" if len(absent) > SHOWN else ""
    )
    near = nearest(Path(absent[0]).name, (Path(file.path).name for file in named))
    return InputError(
        f"{where} has {plural(len(absent), 'file')} that the run does not name: {names}"
        f"{'; ' + near if near else '.'}",
        remedy="Name them, or take them out of the list.",
    )
