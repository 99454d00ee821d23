"""The text of ClassAd expressions, read without HTCondor's bindings: tokens, clauses, references.

The bindings evaluate expressions, but do not show the parts of one, and `ClassAd.externalRefs` does
not tell `MY.x` from `x`. And what a user writes is checked also where no bindings are installed.
The lexical rules are those of https://research.cs.wisc.edu/htcondor/classad/refman/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Token", "is_enclosed", "is_expression", "references", "split", "strings_in", "tokens"]

_TOKEN = re.compile(
    r"""(?P<string> "(?:[^"\\]|\\.)*" )
      | (?P<name> '(?:[^'\\]|\\.)*' | [A-Za-z_]\w* )
      | (?P<number> (?:[0-9]+\.?[0-9]*|\.[0-9]+) (?:[eE][-+]?[0-9]+)? (?![\w.]) )
      | (?P<operator> =\?= | =!= | \?: | [=!<>]= | && | \|\| | [-+*/%<>!?:,] )
      | (?P<dot> \. ) | (?P<open> [(\[{] ) | (?P<close> [)\]}] )
      | (?P<space> \s+ ) | (?P<other> \w+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_SPELT = {"is": "=?=", "isnt": "=!="}
"""As users write what the library writes as words."""
_SCOPES = {"my", "target"}
_WORDS = {*_SPELT, *_SCOPES, "true", "false", "undefined", "error"}
_APART = {("operand", "operand"), ("close", "operand"), ("operator", "close")}
"""Kinds of tokens that cannot follow each other."""


class Token(NamedTuple):
    """A piece of an expression.

    Attributes
    ----------
    kind
        `string`, `name`, `number`, `operator`, `dot`, `open`, `close`, `space`, or `other` for what
        cannot stand in an expression.
    text
        As it is written.
    start, stop
        Where it is.
    """

    kind: str
    text: str
    start: int
    stop: int


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of an expression; together, they are the whole text."""
    for match in _TOKEN.finditer(text):
        yield Token(str(match.lastgroup), match[0], match.start(), match.end())


def strings_in(text: str) -> list[str]:
    """Return the strings in an expression, in their quotes."""
    return [token.text for token in tokens(text) if token.kind == "string"]


def split(text: str) -> list[str]:
    """Split an expression into the clauses that all have to be true, in order.

    Parentheses around clauses are taken off; operators are spelt as in submit files.
    """
    text = text.strip()
    depth, cuts, closed = 0, list[Token](), 0
    for token in tokens(text):
        depth += (token.kind == "open") - (token.kind == "close")
        if depth == 0:
            closed = closed or token.stop
            if token.text in {"||", "?", "?:"}:  # they bind less than &&, so this is one clause
                cuts.clear()
                break
            if token.text == "&&":
                cuts.append(token)
    if text.startswith("(") and closed == len(text):
        return split(text[1:-1])
    if not cuts:
        words = (" " if token.kind == "space" else token.text for token in tokens(text))
        return ["".join(_SPELT.get(word.lower(), word) for word in words)]
    starts = [0, *(cut.stop for cut in cuts)]
    stops = [*(cut.start for cut in cuts), len(text)]
    return [
        clause
        for start, stop in zip(starts, stops, strict=True)
        for clause in split(text[start:stop])
    ]


def references(text: str) -> set[tuple[str, str]]:
    """Return the attributes that an expression refers to.

    Returns
    -------
    set of tuple
        The scope, which is `my`, `target` or empty, and the name as it is written. Functions, and
        members of other ads, are not among them.
    """
    words = [token for token in tokens(text) if token.kind != "space"]
    found = set()
    for index, token in enumerate(words):
        kinds = [word.kind for word in words[:index][-3:]]
        scope = words[index - 2].text.lower() if kinds[-1:] == ["dot"] and index > 1 else ""
        member = kinds[-1:] == ["dot"] and (scope not in _SCOPES or kinds[0] == "dot")
        function = [word.text for word in words[index + 1 : index + 2]] == ["("]
        named = token.kind == "name" and token.text.lower() not in _WORDS
        if named and not member and not function:
            found.add((scope, token.text.strip("'")))
    return found


def is_enclosed(text: str) -> bool:
    """Check whether the parenthesis that opens a text is closed by its last character."""
    depth = 0
    for token in tokens(text):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth <= 0:
            return token.start > 0 and token.stop == len(text)
    return False


def is_expression(text: str) -> bool:
    """Check whether a text can be an expression that says more than one word or number."""
    kinds = _kinds(text)
    if len(kinds) == 1:  # a lone word is an attribute, which the job ought to have
        scoped = re.match(r"(?:MY|TARGET)\.\w", text, re.IGNORECASE)
        return text.lower() == "undefined" or scoped is not None
    return (
        kinds.count("open") == kinds.count("close")
        and kinds[-1:] not in ([], ["open"], ["operator"])
        and (kinds[0] != "operator" or len(kinds) > 2)
        and not set(pairwise(kinds)) & _APART
    )


def _kinds(text: str) -> list[str]:
    """Reduce an expression to operands, operators and brackets; empty if it cannot be one."""
    kinds: list[str] = []
    depth, before = 0, ""
    for token in tokens(text):
        depth += (token.kind == "open") - (token.kind == "close")
        if token.kind == "other" or (token.text == "," and not depth):
            return []
        if "dot" in {token.kind, before} and {token.kind, before} != {"dot", "name"}:
            return []
        if token.kind in {"string", "number", "name"} and before != "dot":  # `a.b` is one operand
            kinds.append("operator" if token.text.lower() in _SPELT else "operand")
        elif token.kind in {"operator", "open", "close"}:
            kinds.append(token.kind)
        before = token.kind
    return kinds
