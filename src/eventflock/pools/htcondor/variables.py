"""The environment variables of jobs, in the one syntax of HTCondor that can hold any value.

`environment = "NAME=VALUE OTHER='two words'"` has double quotes around all of it. Without them
HTCondor reads an older syntax, in which all of that is the value of one variable. See
https://htcondor.readthedocs.io/en/latest/man-pages/condor_submit.html, `environment`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eventflock.errors import UsageError

__all__ = ["with_variable", "written"]

HOW = (
    'Write it as a table: [htcondor.environment] NAME = "VALUE"; or with double quotes inside: '
    "--submit 'environment=\"NAME=VALUE OTHER='\\''two words'\\''\"'."
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PAIR = re.compile(r"(?P<name>[^ \t=']+)=(?P<value>(?:[^ \t']|'(?:[^']|\'\')*')*)(?:[ \t]+|$)")
_OURS = ("PYTHON", "LD_LIBRARY_PATH")


def written(value: Any) -> str:
    """Return what stands right of `environment =`.

    Parameters
    ----------
    value
        A table, a text with double quotes around it, or `NAME=VALUE` and more behind semicolons.

    Raises
    ------
    UsageError
        It is none of these, or HTCondor would understand something else.
    """
    if isinstance(value, Mapping):
        pairs = {str(name): _as_text(str(name), one) for name, one in value.items()}
    elif not isinstance(value, str):
        raise UsageError(f"expected variables, not {value!r}.", remedy=HOW)
    elif len(text := value.strip(" \t")) > 1 and text[0] == text[-1] == '"':
        pairs = _read(text[1:-1])
    else:
        pairs = _read_old(text)
    for name, one in pairs.items():
        _check(name, one)
    return '"' + " ".join(f"{name}={_quoted(one)}" for name, one in pairs.items()) + '"'


def with_variable(text: str, name: str, value: str) -> str:
    """Add a variable to what stands right of `environment =`, unless it is there."""
    pairs = _read(text[1:-1])
    return written({name: value, **pairs})


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{name} is {value!r}, expected a text.", remedy="Put it in quotes.")
    return str(value)


def _read(inner: str) -> dict[str, str]:
    """Read the newer syntax, without the quotes around it."""
    found, place = {}, 0
    inner = inner.strip(" \t")
    if re.search(r'(?<!")"(?:"")*(?!")', inner):
        raise UsageError("a double quote in it is not doubled.", remedy=HOW)
    while place < len(inner):
        match = _PAIR.match(inner, place)
        if match is None:
            raise UsageError(f"{inner[place:][:40]!r} is no NAME=VALUE.", remedy=HOW)
        parts = re.findall(r"'((?:[^']|'')*)'|([^']+)", match["value"])
        found[match["name"]] = "".join(
            quoted.replace("''", "'") + plain for quoted, plain in parts
        ).replace('""', '"')
        place = match.end()
    return found


def _read_old(text: str) -> dict[str, str]:
    """Read the older syntax where it cannot be meant as the newer one."""
    if set(text) & set(" \t'\""):
        raise UsageError(
            "without double quotes around all of it, HTCondor takes blanks and quotes as parts of "
            "one value.",
            remedy=HOW,
        )
    pairs = [one.partition("=") for one in text.split(";") if one]
    wrong = next((name for name, equals, _ in pairs if not equals), None)
    if wrong is not None or not pairs:
        raise UsageError(f"{wrong or text!r} is no NAME=VALUE.", remedy=HOW)
    return {name: value for name, _, value in pairs}


def _check(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a variable.", remedy="Letters, digits and _.")
    if name.startswith(_OURS):
        raise UsageError(
            f"{name} would bring another Python or other libraries into the jobs.",
            remedy="Leave it out; packages go with --with.",
        )
    if "\n" in value or "\r" in value:
        raise UsageError(f"{name} has more than one line.", remedy="Send a file as an input.")


def _quoted(value: str) -> str:
    """Write a value; what HTCondor would replace in it is not, and neither is a quote lost."""
    value = value.replace('"', '""')
    if not value or set(value) & set(" \t'"):
        doubled = value.replace("'", "''")
        return f"'{doubled}'"
    return value
