"""ClassAd expressions as text, against HTCondor's own ClassAd library."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.pools.htcondor.classads import is_expression, references, split, tokens

classad2 = pytest.importorskip("classad2")
classad2.parseOne("A = 1")  # until it has read an ad, names mean less to it than to HTCondor


def expression(text: str) -> Any:
    return classad2.ExprTree(text)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("a", ["a"]),
        ("((a && (b)) && ((c)))", ["a", "b", "c"]),
        ("(a && b) || c", ["(a && b) || c"]),
        ("a && b ? c : d", ["a && b ? c : d"]),
        ("a && b ?: c", ["a && b ?: c"]),
        ("(a) && (b)", ["a", "b"]),
        ("(a || b) && (c)", ["a || b", "c"]),
        (r'x == "a && \" && (" && y', [r'x == "a && \" && ("', "y"]),
        ("'odd && name' && f(a && b) && {a && b}[0] && [a = b && c].a",
         ["'odd && name'", "f(a && b)", "{a && b}[0]", "[a = b && c].a"]),
        ('Os is "SL6" && Isnt isnt undefined', ['Os =?= "SL6"', "=!= =!= undefined"]),
        ("a &&\n  b\t||  c", ["a && b || c"]),
    ],
)  # fmt: skip
def test_split(text: str, clauses: list[str]) -> None:
    assert split(text) == clauses


VALUES = {"A": 1, "B": True, "C": "x", "D": False}
ATOMS = st.sampled_from(
    [
        *("A", "B", "Nope", "TARGET.D", "!D", "A + 1 >= 2", "A & 1", "5.000000000000000E-01 < 1"),
        *('C == "a && b"', r'C == "\" && ("', r'C == "\\"', "A =?= 1", "A =!= undefined", "'B'"),
        *("ifThenElse(B && D, A, B)", "{ B && D, A }[1] == 1", "[ x = B && D ].x", 'C > "]"'),
    ]
)
WHOLE = st.recursive(
    ATOMS,
    lambda inner: (
        st.builds("({} || {})".format, inner, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
        | st.builds("(({} && {}) ?: ({}))".format, inner, inner, inner)
    ),
    max_leaves=4,
)


def inner_of(clause: str) -> str:
    return clause[1:-1] if clause.startswith("(") else clause


@st.composite
def conjunctions(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Draw clauses, and a text in which they are joined and put into parentheses anyhow."""
    clauses = draw(st.lists(WHOLE, min_size=1, max_size=5))
    parts = list(clauses)
    while len(parts) > 1:
        at = draw(st.integers(0, len(parts) - 2))
        form = draw(st.sampled_from(["{} && {}", "({} && {})", "(({})&&{} )", " ( {} )\n&& {}"]))
        parts[at : at + 2] = [form.format(parts[at], parts[at + 1])]
    return parts[0], clauses


@given(conjunctions())
def test_split_gives_the_clauses_back(drawn: tuple[str, list[str]]) -> None:
    text, clauses = drawn
    assert split(text) == [inner_of(clause) for clause in clauses]
    spelt = split(str(expression(text)))  # as the library writes it
    assert [str(expression(one)) for one in spelt] == [
        str(expression(inner_of(one))) for one in clauses
    ]
    scopes = classad2.ClassAd(VALUES), classad2.ClassAd({"D": False})
    truths = [expression(one).eval(*scopes) for one in split(text)]
    assert (expression(text).eval(*scopes) is True) == all(
        truth is True or (type(truth) is int and truth != 0) for truth in truths
    ) or len(clauses) == 1


PIECES = st.sampled_from(
    [
        *("MY.a", "TARGET.b", "Foo.Bar", "c1", "'q r'", "_d", "12", "1.5", ".5", "1e3", "2GB"),
        *("true", "undefined", '"x y"', r'"a \" b"', "f(", "(", ")", "{", "}", "[", "]", ","),
        *("&&", "||", "=?=", "=!=", "?", ":", "?:", "+", "-", "*", "/", "%", "<", ">=", "!", "=="),
        *("is", "isnt", "$", "@", " ", "\n"),
    ]
)
SOUP = st.lists(PIECES, min_size=1, max_size=9).map(" ".join)


@given(st.text(max_size=30) | SOUP)
def test_tokens_are_the_whole_text(text: str) -> None:
    assert "".join(token.text for token in tokens(text)) == text


OPERANDS = st.sampled_from(
    [
        *("MY.a", "TARGET.b", "Target.E", "Foo.Bar", "c1", "'q r'", "MY.'q r'", "_d", "true"),
        *("12", "1.5", "1e3", '"x y"', r'"a \" MY.z"', "undefined"),
    ]
)
EXPRESSIONS = st.recursive(
    OPERANDS,
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("strcat({}, {})".format, inner, inner)
        | st.builds("{} =?= {}".format, inner, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
        | st.builds("{{ {}, {} }}".format, inner, inner)
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_references_are_those_that_the_library_finds(text: str) -> None:
    theirs = classad2.ClassAd().externalRefs(expression(text))
    # The library leaves out MY, and returns members of other ads with their ad.
    ours = {f"{scope}.{name}" if scope == "target" else name for scope, name in references(text)}
    assert ours == {
        f"target.{name}" if scope.lower() == "target" else scope
        for scope, _, name in (their.partition(".") for their in theirs)
        if scope
    }


@given(EXPRESSIONS)
def test_what_the_library_can_parse_is_an_expression(text: str) -> None:
    expression(f"{text} + 1")
    assert is_expression(f"{text} + 1")


@pytest.mark.parametrize("text", ["2 * 1024", "ifThenElse(a, 1, 2)", "MY.x", "a + 1e3", "(a)"])
def test_expressions(text: str) -> None:
    assert is_expression(text)


@pytest.mark.parametrize("text", ["2 GB", "many", "2, 3", "1 +", "(1", "12GB", "$1", "a b", "'a'"])
def test_what_is_no_expression(text: str) -> None:
    assert not is_expression(text)
