"""What `[packing]` in `eventflock.toml` says about the environment of jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.options import PackOptions
from eventflock.errors import UsageError, nearest
from eventflock.packing.launching import launch_flags
from eventflock.packing.site_software import read_container, read_setup
from eventflock.pools.batch.site_file import PACKING, find_table

__all__ = ["with_site"]

_TEXTS = {"setup", "node_cache", "requirements", "glibc", "python", "container"}
_LISTS = {"with": "include", "without": "exclude"}


def with_site(given: PackOptions | None, folder: Path) -> PackOptions | None:
    """Add what the table says to what a call says, which wins.

    Parameters
    ----------
    given
        None where jobs use what is installed: then there is nothing to add to.
    folder
        Where the call is made; the table is looked for in it and the folders above.

    Raises
    ------
    UsageError
        The table is wrong.
    """
    if given is None:
        return None
    table, file = find_table(PACKING, folder.absolute())
    usual = PackOptions()
    changes: dict[str, Any] = {}
    for key, value in table.items():
        if key in _LISTS:
            names = _names(value, key, file)
            field = _LISTS[key]
            changes[field] = (*names, *getattr(given, field))
        elif key in _TEXTS:
            if not isinstance(value, str):
                raise UsageError(f"{file}: {key} is {value!r}.", remedy="Expected a text.")
            if getattr(given, key) == getattr(usual, key):
                changes[key] = _text(key, value, file)
        else:
            known = sorted({*_TEXTS, *_LISTS})
            near = nearest(key, known)
            raise UsageError(
                f"{file}: nothing reads {key!r} in [{PACKING}]{'; ' + near if near else '.'}",
                remedy=f"It may have {', '.join(known)}.",
            )
    found = msgspec.structs.replace(given, **changes)
    launch_flags(found.glibc, found.node_cache, found.python)  # says what is wrong
    return found


def _text(key: str, value: str, file: Path) -> str:
    if key == "setup":
        return read_setup(value, f"{file}: setup", file.parent)
    if key == "container":
        return read_container(value, f"{file}: container", file.parent)
    if key == "requirements" and value:
        return str(file.parent / value)
    return value


def _names(value: Any, key: str, file: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UsageError(
            f"{file}: {key} is {value!r}.", remedy=f'Expected a list: {key} = ["NAME"].'
        )
    return tuple(str(file.parent / one) if "/" in one else one for one in value)
