"""What may stand right of '=' in a submit description, and how to write what the user means.

HTCondor replaces macros without a word, and takes a ClassAd expression for a string or the other
way round. So a value is checked here as far as it can be without asking a pool.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from eventflock.errors import UsageError
from eventflock.pools.htcondor.classads import is_enclosed, is_expression
from eventflock.pools.htcondor.names import LISTS, check_name
from eventflock.pools.htcondor.variables import written

__all__ = ["Line", "check_text", "command", "shown", "text_of"]


class Line(NamedTuple):
    """One submit command as it was written.

    Attributes
    ----------
    name, value
        Left and right of '='; a value from a TOML file has a type.
    where
        Where it stands, for messages.
    folder
        What relative paths in it are relative to.
    """

    name: str
    value: Any
    where: str
    folder: Path


UNIVERSES = ("vanilla", "container", "docker")

_MACRO = re.compile(
    r"""(?<!\$) (?: \$\( (?:Cluster|ClusterId|Process|ProcId|DOLLAR) \)
                  | \$\$\( [A-Za-z_][A-Za-z0-9_.]* (?: :[^()$]* )? \)
                  | \$\$\(\[ [^$]*? \]\) )""",
    re.VERBOSE | re.IGNORECASE,
)
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})  # Unicode categories; Cs is half a character
_OTHER_MACRO = re.compile(r"\$+([A-Za-z0-9_]*\([^)]{0,40}\)?)")
_TWICE = re.compile(r"\$\(DOLLAR\)(?:\(DOLLAR\)|\$\$|\$\(DOLLAR\))", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_REAL = re.compile(r"[-+]?(?:[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_AMOUNT = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+) *(?:[KMGT]B?)?", re.IGNORECASE)


def command(line: Line) -> str:
    """Check a command whose name is in the normal form, and return what to write right of '='.

    Raises
    ------
    UsageError
        HTCondor would not do what the line says, or eventflock sets this itself.
    """
    check_name(line.name)
    if line.name == "environment":
        line = line._replace(value=written(line.value))
    text = text_of(line)
    if line.name.startswith("+"):
        return _attribute(text)
    if line.name in _CHECKS:
        _CHECKS[line.name](text)
    return text


def text_of(line: Line) -> str:
    """Return the value of a command as text that HTCondor reads as it stands.

    Raises
    ------
    UsageError
        There is no such text.
    """
    text = _plain(line)
    check_text(text)
    text = text.strip(" ")  # HTCondor drops it
    if not text:
        empty = f" The empty string is {line.name}='\"\"'." if line.name.startswith("+") else ""
        raise UsageError(
            "the value is empty.", remedy=f"Is a variable of the shell not set?{empty}"
        )
    if text.endswith("\\"):
        raise UsageError(
            "HTCondor takes a '\\' at the end for a line that goes on.", remedy="Leave it out."
        )
    _check_macros(text)
    return text


def _plain(line: Line) -> str:
    """Return a value of TOML as text."""
    value = line.value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        if line.name not in LISTS:
            raise UsageError(f"{line.name} is not a list.", remedy="Write one text, in quotes.")
        for one in value:
            if "," in one:
                raise UsageError(
                    f"{one!r} has a comma, at which HTCondor would cut it.",
                    remedy="Make two of it, or rename the file.",
                )
        return ", ".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise UsageError(
        f"expected a text, a number or true or false, not {value!r}.",
        remedy="Put it in quotes.",
    )


def check_text(text: str) -> None:
    """Check that a text can stand in one line of a submit description.

    Raises
    ------
    UsageError
        It has a character that cannot.
    """
    control = next((one for one in text if unicodedata.category(one) in _CONTROL), "")
    if control:
        raise UsageError(
            f"it has the character {control!r}, which cannot be written in a submit description.",
            remedy="A value is one line of printable text.",
        )


def _check_macros(text: str) -> None:
    """Refuse what HTCondor would replace: by nothing, where it does not know the name."""
    twice = _TWICE.search(text)
    if twice:
        raise UsageError(
            f"HTCondor makes something else of {twice[0]!r}.",
            remedy="'$(DOLLAR)' stands for a '$' before '(NAME)', and only there.",
        )
    other = _OTHER_MACRO.search(_MACRO.sub("...", text))
    if other:
        raise UsageError(
            f"HTCondor would replace {other[0]!r} by something else, or by nothing.",
            remedy=f"If the text itself is meant, write '$(DOLLAR){other[1]}'.",
        )


def _attribute(text: str) -> str:
    """Return the ClassAd expression for a value: as it is if it is one, else as a string.

    In a submit description a backslash in a string stands for itself, unless a quote follows.
    """
    if _WHOLE.fullmatch(text) and (len(text) > 20 or not -(2**63) <= int(text) < 2**63):
        raise UsageError(
            "the number needs more than 64 bits, and HTCondor would make 0 of it.",
            remedy=f"If text is meant, put it in quotes: '\"{text}\"'.",
        )
    if _REAL.fullmatch(text) and not math.isfinite(float(text)):
        raise UsageError("the number is too large.", remedy="Write a smaller one.")
    if _WHOLE.fullmatch(text) or _REAL.fullmatch(text) or text.lower() in {"true", "false"}:
        return text
    if _is_literal(text) or is_enclosed(text):
        return text
    quoted = text.replace('"', '\\"')
    return f'"{quoted}"'


def _is_literal(text: str) -> bool:
    """Check whether a text is one ClassAd string in its quotes."""
    inside = text[1:-1]
    return len(text) > 1 and text[0] == text[-1] == '"' and not re.search(r'(?<!\\)"', inside)


def _is_expression(text: str) -> bool:
    return is_expression(_MACRO.sub("1", text))


def _check_amount(text: str) -> None:
    if not _AMOUNT.fullmatch(text) and not _is_expression(text):
        raise UsageError(
            "it is neither an amount nor an expression of HTCondor.",
            remedy="An amount is a number with K, M, G or T, such as 2 GB or 1500 MB.",
        )


def _check_cpus(text: str) -> None:
    if not re.fullmatch(r"[1-9][0-9]*", text) and not _is_expression(text):
        raise UsageError(
            "it is neither a number of cores nor an expression of HTCondor.",
            remedy="Give a whole number from 1 on; an expression of one word in parentheses.",
        )


def _check_retries(text: str) -> None:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UsageError("expected a whole number, 0 or more.", remedy="For example 3.")


def _check_universe(text: str) -> None:
    if text.lower() not in UNIVERSES:
        raise UsageError(
            f"expected one of {', '.join(UNIVERSES)}: others do not send files to jobs alike.",
            remedy="Leave it out for vanilla.",
        )


def _check_condition(text: str) -> None:
    if re.search(r"(?<![=!<>?])=(?![=?!])", re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)):
        raise UsageError(
            "one '=' does not compare.", remedy="Write '==', or '=?=' where some slots lack it."
        )
    lone = re.fullmatch(r"!?\s*[A-Za-z_]\w*", text) is not None
    if not lone and not _is_expression(text) and not is_enclosed(text):
        opened, closed = text.count("("), text.count(")")
        why = f" It has {opened} '(' and {closed} ')'." if opened != closed else ""
        raise UsageError(
            f"it is no expression of HTCondor.{why}",
            remedy='As in requirements=OpSysAndVer == "Debian13", with text in quotes.',
        )


_CHECKS: dict[str, Callable[[str], None]] = {
    "requirements": _check_condition,
    "request_memory": _check_amount,
    "request_disk": _check_amount,
    "request_cpus": _check_cpus,
    "max_retries": _check_retries,
    "universe": _check_universe,
}


def shown(line: Line) -> str:
    """Return a line as `NAME=VALUE` for a message, not longer than one reads."""
    value = line.value if isinstance(line.value, str) else _toml(line.value)
    text = "".join(one if one.isprintable() else repr(one)[1:-1] for one in value)
    return f"{line.name}={text[:100]}{'...' if len(text) > 100 else ''}"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
