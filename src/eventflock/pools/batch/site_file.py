"""The tables of users and sites in `eventflock.toml`, or in `pyproject.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from eventflock.errors import UsageError, nearest
from eventflock.pools.names import BATCH_SYSTEMS

__all__ = ["PACKING", "find_table"]

OWN = "eventflock.toml"
PROJECT = "pyproject.toml"
PACKING = "packing"
"""The table about the environment of jobs."""
TABLES = (*BATCH_SYSTEMS, PACKING)


def find_table(name: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """Return the nearest table of a name, and the file that it is in.

    Parameters
    ----------
    name
        Of a batch system, or `PACKING`.
    folder
        `eventflock.toml`, or `pyproject.toml` with a table `[tool.eventflock.NAME]`, is looked for
        in it and the folders above.

    Raises
    ------
    UsageError
        A file cannot be read, is not TOML, or has nearly such a table.
    """
    for parent in (folder, *folder.parents):
        for path, read in ((parent / OWN, _of_own_file), (parent / PROJECT, _of_project)):
            table = read(path, name)
            if table is not None:
                return table, path
    return {}, folder / OWN


def _of_own_file(path: Path, name: str) -> dict[str, Any] | None:
    """Return the table in `eventflock.toml`; None if there is no such file."""
    whole = _load(path)
    if whole is None:
        return None
    outside = next((key for key, one in whole.items() if not isinstance(one, dict)), None)
    if outside not in {None, name}:
        raise UsageError(
            f"{path}: {outside} stands outside of a table.",
            remedy=f"Write [{name}] above it.",
        )
    return _inner(whole, "", name, path) or {}


def _of_project(path: Path, name: str) -> dict[str, Any] | None:
    """Return the table in `pyproject.toml`; None if there is none."""
    tool = (_load(path) or {}).get("tool")
    ours = _inner(tool, "tool.", "eventflock", path) if isinstance(tool, dict) else None
    return _inner(ours, "tool.eventflock.", name, path) if ours else None


def _inner(outer: dict[str, Any], before: str, key: str, path: Path) -> dict[str, Any] | None:
    """Return a table in another one, or None if there is none."""
    table = outer.get(key)
    if table is None and key in TABLES:
        others = [one for one in outer if one not in TABLES]
        if near := next((one for one in others if nearest(one, [key])), None):
            raise UsageError(
                f"{path} has a table [{before}{near}], which nothing reads.",
                remedy=f"Did you mean [{before}{key}]?",
            )
    elif not isinstance(table, dict | None):
        raise UsageError(
            f"{path}: {before}{key} is not a table.",
            remedy=f"Write [{before}{key}] and the settings below it.",
        )
    return table


def _load(path: Path) -> dict[str, Any] | None:
    """Read a TOML file; None if there is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not TOML: {error}.",
            remedy='A name with + stands in quotes: "+JobFlavour" = "longlunch".',
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}.", remedy="Check its permissions."
        ) from None
