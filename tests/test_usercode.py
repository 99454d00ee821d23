"""Analyses: their parameters, and finding and freezing them."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

import eventflock as ef
from eventflock.errors import AnalysisError, UsageError
from eventflock.usercode.decorator import Analysis
from eventflock.usercode.loading import freeze, load, locate
from eventflock.usercode.parameters import check_parameters, restore_parameters


class Sign(Enum):
    PLUS = "plus"
    MINUS = "minus"


@ef.analysis
def one(  # type: ignore[no-untyped-def]
    events: Any,
    *,
    scale: float = 1.0,
    count: int = 1,
    flag: bool = False,
    name: str = "",
    edges: list[float] = (),  # type: ignore[assignment]
    sign: Sign = Sign.PLUS,
    mode: Literal["fast", "slow"] = "fast",
    maybe: int | None = None,
    free=3,
) -> dict[str, Any]:
    return {"n": len(events) * scale}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("scale", "1", 1.0),
        ("scale", "1e3", 1000.0),
        ("scale", "-inf", -math.inf),
        ("edges", '[1, "inf"]', [1.0, math.inf]),
        ("count", "12", 12),
        ("flag", "true", True),
        ("flag", "0", False),
        ("name", "12", "12"),
        ("name", "", ""),
        ("edges", "[0, 1.5, 3]", [0.0, 1.5, 3.0]),
        ("sign", "minus", Sign.MINUS),
        ("mode", "slow", "slow"),
        ("maybe", "null", None),
        ("maybe", "3", 3),
        ("free", "[1, 2]", [1, 2]),
        ("free", "text", "text"),
    ],
)
def test_parameters_are_read_as_their_types(name: str, text: str, value: Any) -> None:
    stored = check_parameters(one, {name: text}, text=True)
    assert restore_parameters(one, json.loads(json.dumps(stored))) == {name: value}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scale", "wide"),
        ("scale", ""),
        ("count", "1.5"),
        ("flag", "maybe"),
        ("edges", "[a]"),
        ("sign", "zero"),
        ("mode", "medium"),
        ("maybe", "x"),
    ],
)
def test_parameters_of_the_wrong_type_are_named(name: str, text: str) -> None:
    with pytest.raises(UsageError) as error:
        check_parameters(one, {name: text}, text=True)
    assert repr(text) in str(error.value)
    assert repr(name) in str(error.value)


def test_parameters_from_python_keep_their_types() -> None:
    assert check_parameters(one, {"count": 3, "name": "3"}) == {"count": 3, "name": "3"}
    with pytest.raises(UsageError):
        check_parameters(one, {"count": "3"})


def test_a_parameter_without_default_is_needed() -> None:
    @ef.analysis
    def needs(events: Any, *, cut: float) -> dict[str, Any]:
        return {}

    with pytest.raises(UsageError, match="needs the parameter 'cut'"):
        check_parameters(needs, {})


def test_it_is_still_a_function() -> None:
    assert one([1, 2], scale=2.0) == {"n": 4.0}
    assert isinstance(one, Analysis)
    assert one.__name__ == "one"


def test_columns_are_a_list() -> None:
    with pytest.raises(UsageError, match=r"columns=\['x'\]"):
        ef.analysis(columns="x")(lambda events: {})


def test_an_analysis_at_hand_is_found_again_or_pickled(tmp_path: Path) -> None:
    ref, source = freeze(one)
    assert (ref.origin, ref.name, source) == (__name__, "one", b"")
    typed, pickled = freeze(Analysis(lambda events: {"n": 3}))
    (tmp_path / typed.file).write_bytes(pickled)
    assert load(typed, tmp_path)([]) == {"n": 3}
    (tmp_path / typed.file).write_bytes(pickled + b".")
    with pytest.raises(AnalysisError, match="changed"):
        load(typed, tmp_path)


def test_the_frozen_code_is_what_runs(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("import eventflock as ef\n@ef.analysis\ndef f(events):\n    return {'v': 1}\n")
    ref, source = locate(str(file))
    frozen = tmp_path / "frozen"
    frozen.mkdir()
    (frozen / ref.file).write_bytes(source)
    file.write_text("import eventflock as ef\n@ef.analysis\ndef f(events):\n    return {'v': 2}\n")
    assert load(ref, frozen)([]) == {"v": 1}
    (frozen / ref.file).write_bytes(file.read_bytes())
    with pytest.raises(AnalysisError, match="changed since the run was made"):
        load(ref, frozen)


def test_an_undecorated_function_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text("def f(events):\n    return {'v': 1}\n")
    assert load(locate(f"{file}:f")[0])([]) == {"v": 1}


def test_a_parameter_that_is_not_keyword_only_is_explained() -> None:
    with pytest.raises(UsageError, match="default value") as error:
        ef.analysis(lambda events, scale=1.0: {})
    assert "scale=..." in error.value.remedy


def test_a_part_of_a_package_is_told_how_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj/ana.py").write_text("from . import other\n")
    ref, _ = locate(str(tmp_path / "proj/ana.py"))
    with pytest.raises(AnalysisError, match="attempted relative import") as caught:
        load(ref)
    assert "name it proj.ana, from the folder above" in caught.value.remedy
