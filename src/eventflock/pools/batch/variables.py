"""The environment variables that the user gives to jobs, for any batch system."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eventflock.errors import UsageError

__all__ = ["checked"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = ("PYTHON", "LD_LIBRARY_PATH")


def checked(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a table as texts.

    Raises
    ------
    UsageError
        A name is none, or a value is not one line of text.
    """
    pairs = {str(name): _as_text(str(name), value) for name, value in table.items()}
    for name, value in pairs.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a variable.", remedy="Letters, digits and _.")
        if name.startswith(_OURS):
            raise UsageError(
                f"{name} would bring another Python or other libraries into the jobs.",
                remedy="Leave it out; packages go with --with.",
            )
        if "\n" in value or "\r" in value:
            raise UsageError(f"{name} has more than one line.", remedy="Send a file as an input.")
    return pairs


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{name} is {value!r}, expected a text.", remedy="Put it in quotes.")
    return str(value)
