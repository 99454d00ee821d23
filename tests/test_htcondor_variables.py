"""Environment variables of jobs on HTCondor: written so that they arrive as they are, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.core.options import SubmitOptions
from eventflock.pools.htcondor.settings import read_settings
from eventflock.pools.htcondor.variables import written
from tests.test_htcondor_settings import commands, refusal, table

VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
NAMES = st.from_regex(r"[A-O_][A-Za-z0-9_]*", fullmatch=True).filter(lambda name: name[:3] != "LD_")


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_a_table_is_written_so_that_it_is_read_as_it_was(values: dict[str, str]) -> None:
    text = written(values)
    assert text[0] == text[-1] == '"'
    assert written(text) == text
    assert len(text.replace('""', "")) >= 2
    assert text[1:-1].replace('""', "").count('"') == 0  # HTCondor would end the text there


def test_variables_in_every_form(tmp_path: Path) -> None:
    table(tmp_path, "[htcondor.environment]\nA = \"two 'words'\"\nN = 3\nE = ''\n")
    found = read_settings(SubmitOptions(), tmp_path).commands
    assert found == {"environment": "\"A='two ''words''' N=3 E=''\""}
    assert commands("environment=A=1;B=x") == {"environment": '"A=1 B=x"'}
    quoted = '"A=1 B=\'x y\' C=a""b"'
    assert commands(f"environment={quoted}") == {"environment": quoted}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("NAME=VALUE OTHER='two words'", "takes blanks and quotes as parts of one value"),
        ("NAME", "is no NAME=VALUE"),
        ('"NAME"', "is no NAME=VALUE"),
        ('"A=1" B=2"', "is not doubled"),
        ('"A=\'x"', "is no NAME=VALUE"),
        ('"1A=x"', "is no name of a variable"),
        ("PYTHONPATH=/x", "would bring another Python"),
        ("A=$(HOME)", "would replace"),
    ],
)
def test_variables_that_would_be_others_are_refused(line: str, said: str) -> None:
    assert said in refusal(f"environment={line}")
