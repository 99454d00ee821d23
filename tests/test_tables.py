"""Rows from tables, numbers and files; filling them in; plain values."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.core.task import Table, Task, TaskKind, fill
from eventflock.errors import AnalysisError, ResultError, UsageError
from eventflock.planning.mapping import check_task
from eventflock.planning.tables import count_table, file_table, read_table
from eventflock.results.plain import decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
CELL = TEXT.filter(lambda text: "\r" not in text)


def table_of(tmp_path: Path, name: str, text: str) -> Table:
    path = tmp_path / name
    path.write_text(text)
    return read_table(path)


@given(st.lists(st.tuples(CELL, CELL.map(lambda text: text + "x")), min_size=1, unique=True))
def test_whatever_csv_holds_is_in_the_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b c"), *rows])
    table = read_table(path)
    assert table.columns == ("a", "b c")
    assert table.rows == tuple(rows)


def test_json_and_lines_are_the_same_rows_with_numbers_as_they_are_written(tmp_path: Path) -> None:
    rows = ['{"m": 1e3, "n": "x", "l": [1, 2.50]}', '{"m": 0.10, "n": null, "l": {"a": true}}']
    table = table_of(tmp_path, "t.jsonl", "\n".join(rows) + "\n\n")
    assert table.rows == (("1e3", "x", "[1, 2.5]"), ("0.10", "", '{"a": true}'))
    assert table_of(tmp_path, "t.json", f"[{', '.join(rows)}]") == table


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "a,b\n1,2\n\n3,4\n", "Line 3 of .* is empty"),
        ("t.csv", "a,b\n1,2\n,\n", None),
        ("t.csv", "a,b\n1,2\n3,4\n1,2\n", "line 4 is the same as line 2"),
        (
            "t.csv",
            "a,b\n1,2\n3\n",
            "Line 3 of .* has 1 values, its first line names 2 columns: a, b",
        ),
        ("t.csv", "a,a\n1,2\n", "has the name 'a', as has another"),
        ("t.csv", "a,\n1,2\n", "has no name"),
        ("t.csv", "index\n1\n", "is called 'index'"),
        ("t.csv", "a{b}\n1\n", "has braces"),
        ("t.csv", "", "is empty"),
        ("t.csv", "a,b\n", "has no rows"),
        ("t.csv", 'a\n"x" y\n', "is no CSV"),
        ("t.json", '{"a": 1}', "is no list of objects"),
        ("t.json", "[{]", "is no JSON"),
        ("t.json", "[{}]", "element 0 is empty"),
        ("t.json", "[1]", "element 0 is '1', not an object"),
        ("t.json", '[{"a": 1}, {"b": 1}]', "element 1 lacks the column 'a'"),
        ("t.jsonl", '{"a": 1}\n\n{"a": 2}\n', "Line 2 of .* is empty"),
        ("t.root", "x", "ends in '.root', which is no table"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, name: str, text: str, said: str | None
) -> None:
    if said is None:  # a row of empty values at the end is taken for the end
        assert len(table_of(tmp_path, name, text).rows) == 1
        return
    with pytest.raises(UsageError, match=said) as caught:
        table_of(tmp_path, name, text)
    assert caught.value.remedy


def test_a_table_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match=r"No such file.*did you mean 'points\.csv'"):
        read_table(tmp_path / "point.csv")
    (tmp_path / "latin.csv").write_bytes(b"a\n\xfc\n")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_table(tmp_path / "latin.csv")


def test_rows_by_number_and_by_file(tmp_path: Path) -> None:
    assert count_table(3).rows == ((), (), ())
    assert count_table(3).values(2) == {"index": "2"}
    for count in (0, -1, 10**9):
        with pytest.raises(UsageError, match="--count is"):
            count_table(count)
    for name in ("b.root", "a.v1.root"):
        (tmp_path / name).touch()
    found = file_table([f"{tmp_path}/*.root", "root://host//c.root"])
    assert found.rows == (
        (f"{tmp_path}/a.v1.root", "a.v1"),
        (f"{tmp_path}/b.root", "b"),
        ("root://host//c.root", "c"),
    )
    with pytest.raises(UsageError, match="matches no file"):
        file_table([f"{tmp_path}/*.txt"])
    with pytest.raises(UsageError, match="is named twice"):
        file_table([f"{tmp_path}/b.root", f"{tmp_path}/*.root"])


@given(st.dictionaries(st.sampled_from(["a", "b", "c d"]), TEXT, min_size=3), TEXT, TEXT)
def test_a_value_is_filled_in_as_it_is(values: dict[str, str], before: str, after: str) -> None:
    before, after = before.replace("{", ""), after.replace("}", "")
    assert fill(f"{before}{{a}}{after}", values) == f"{before}{values['a']}{after}"
    assert fill(f"{before}{{{{a}}}}{after}", values) == f"{before}{{a}}{after}"
    assert fill("{c d}{b}", values) == values["c d"] + values["b"]
    assert fill('{"x": {"y": 1}} {} {0}', values) == '{"x": {"y": 1}} {} {0}'


def test_columns_that_are_not_there_are_named() -> None:
    table = Table(columns=("mass", "width"), rows=(("1", "2"), ("3", "4")))

    def check(*arguments: str, **more: Any) -> None:
        task = Task(kind=TaskKind.SCRIPT, arguments=arguments, **more)
        check_task(task, table, alike=False)

    check("{mass}")
    check("--x", "{index}", '{"json": 1}', "{{other}}", "{mass}")
    check(inputs=("{width}",))
    with pytest.raises(UsageError, match=r"\{mas\}.*did you mean 'mass'"):
        check("{mas}")
    with pytest.raises(UsageError, match="2 rows would all be done alike"):
        check("--mass", "mass")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(TEXT | st.integers() | st.just("$array"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    found = decode(encode(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.array([1.5, np.nan, np.inf]),
        np.array([], dtype="f4"),
        np.array([True, False]),
        np.asfortranarray(np.ones((2, 3), dtype="c16")),
        np.arange(10)[::2],
        np.array(5),
    ],
)
def test_arrays_come_back(array: Any) -> None:
    found = decode(encode(array))
    np.testing.assert_array_equal(found, array)
    assert array.shape == () or found.dtype == array.dtype


def test_histograms_come_back() -> None:
    weighted = hist.Hist.new.Reg(4, 0, 1, name="x").StrCat([], growth=True, name="c").Weight()
    weighted.fill([0.1, 0.9, 2.0], ["a", "b", "a"], weight=[1.0, 2.0, 3.0])
    profile = hist.Hist.new.Var([0, 1, 3]).Mean().fill([0.5, 2, 2], sample=[1.0, 2.0, 5.0])
    found = decode(encode({"w": weighted, "p": [profile]}))
    assert found["w"] == weighted
    assert found["p"][0] == profile
    assert isinstance(found["w"], hist.Hist)


@pytest.mark.parametrize("value", [{1, 2}, b"x", object(), np.array(["a"]), np.array([{}])])
def test_what_is_not_plain_is_named(value: Any) -> None:
    with pytest.raises(AnalysisError, match=r"The item\['a'\]\[1\] is a"):
        encode({"a": [1, value]}, "item")


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(AnalysisError, match="nested more than"):
        encode(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "[", '{"$new": 1}', '{"$array": "AAAA"}', '{"$array": 1}', '{"$histogram": {}}',
        '{"$array": "k05VTVBZ", "b": 1}', '{"$float": "x"}', "[" * 500 + "]" * 500,
        json.dumps({"$histogram": {"uhi": {"uhi_schema": 1, "axes": [], "storage": {"type": "x"}}}}),
    ],
)  # fmt: skip
def test_a_value_that_was_changed_is_refused(text: str) -> None:
    with pytest.raises(ResultError):
        decode(text)


def test_an_array_that_claims_a_terabyte_is_refused() -> None:
    npy = base64.b64decode(json.loads(encode(np.zeros(3)))["$array"])
    claim = npy.replace(b"(3,), }" + b" " * 12, b"(125000000000,), }" + b" ")
    assert claim != npy
    with pytest.raises(ResultError):
        decode(json.dumps({"$array": base64.b64encode(claim).decode()}))
