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
from eventflock.pools.batch.variables import checked

__all__ = ["with_variable", "written"]

HOW = (
    'Write it as a table: [htcondor.environment] NAME = "VALUE"; or with double quotes inside: '
    "--submit 'environment=\"NAME=VALUE OTHER='\\''two words'\\''\"'."
)
_PAIR = re.compile(r"(?P<name>[^ \t=']+)=(?P<value>(?:[^ \t']|'(?:[^']|\'\')*')*)(?:[ \t]+|$)")


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
        return _written(checked(value))
    if not isinstance(value, str):
        raise UsageError(f"expected variables, not {value!r}.", remedy=HOW)
    if len(text := value.strip(" \t")) > 1 and text[0] == text[-1] == '"':
        pairs = _read(text[1:-1])
    else:
        pairs = _read_old(text)
    return _written(checked(pairs))


def _written(pairs: Mapping[str, str]) -> str:
    return '"' + " ".join(f"{name}={_quoted(one)}" for name, one in pairs.items()) + '"'


def with_variable(text: str, name: str, value: str) -> str:
    """Add a variable to what stands right of `environment =`, unless it is there."""
    pairs = _read(text[1:-1])
    return written({name: value, **pairs})


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


def _quoted(value: str) -> str:
    """Write a value; what HTCondor would replace in it is not, and neither is a quote lost."""
    value = value.replace('"', '""')
    if not value or set(value) & set(" \t'"):
        doubled = value.replace("'", "''")
        return f"'{doubled}'"
    return value
