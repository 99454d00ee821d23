"""Random mutations of result files: refused or read correctly. `make fuzz` reads many more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.content import PICKLE
from tests.fuzz.hunt import Hunt, Reader, judge
from tests.fuzz.mutations import MUTATIONS, Mutant

FEW = {"bomb": 5, "nesting": 20}
"""Mutations of a kind; `MANY` of those that are not named. Some take long."""
MANY = 140


@pytest.fixture(scope="module")
def hunt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hunt]:
    with Hunt(tmp_path_factory.mktemp("fuzz")) as one:
        yield one


@pytest.mark.parametrize("kind", MUTATIONS)
def test_mutations_are_refused_or_read_correctly(hunt: Hunt, kind: str) -> None:
    @settings(
        max_examples=FEW.get(kind, MANY),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(number=st.integers(0, 2**64 - 1))
    def check(number: int) -> None:
        assert not hunt.try_one(kind, number)

    check()
    assert hunt.counts[kind]["refused"]


# --- the watch itself ----------------------------------------------------------------------------


def run_watched(tmp_path: Path, code: str) -> str:
    """Run code as the reader is run, and give what was logged."""
    hook = Path(__file__).parent / "fuzz" / "hook"
    more = {
        "PYTHONPATH": str(hook),
        "EVENTFLOCK_FUZZ_LOG": str(tmp_path / "log"),
        "TMPDIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-B", "-c", code], env={**os.environ, **more}, check=True)
    return (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"import pickle; (lambda: pickle.loads({PICKLE!r}))()", "pickle.find_class"),
        ("import os; (lambda: os.system('true'))()", "os.system"),
        ("(lambda: eval('1 + 1'))()", "compile"),
        ("import subprocess; (lambda: subprocess.run(['true']))()", "subprocess.Popen"),
        ("(lambda: open('/dev/shm/.eventflock', 'a').close())()", "/dev/shm"),
        ("import json, decimal; json.loads('[]')", ""),
    ],
)
def test_the_watch_sees_code_that_is_run(tmp_path: Path, code: str, words: str) -> None:
    log = run_watched(tmp_path, code)
    assert words in log
    assert bool(log) == bool(words)


def test_a_reader_that_crashes_is_a_finding_and_started_again(tmp_path: Path, hunt: Hunt) -> None:
    good = tmp_path / "good.zip"
    good.write_bytes(hunt.seeds[0].data)
    with Reader(tmp_path) as reader:
        assert reader.read(good, None)["outcome"] == "read"
        assert reader._child is not None
        reader._child.kill()
        reader._child.wait()
        assert "crash" in reader.read(good, None)["why"]
        assert reader.read(good, None)["outcome"] == "read"


def test_wrong_values_and_too_much_memory_are_findings(tmp_path: Path, hunt: Hunt) -> None:
    with Reader(tmp_path) as reader:
        whole, other = (
            _read(reader, tmp_path / "good.zip", seed.data) for seed in hunt.seeds[:3:2]
        )
    plain, touched = Mutant(b""), Mutant(b"", frozenset({"items/0000-a.npy"}))
    assert judge(plain, whole, [whole]) == judge(touched, whole, [whole]) == ""
    assert "memory" in judge(plain, {**whole, "memory": 2**31}, [whole])
    assert "something else" in judge(plain, other, [whole])
    for index in range(len(whole["items"])):
        items = [[*one] for one in whole["items"]]
        items[index][-1] = "0"
        assert judge(plain, {**whole, "items": items}, [whole])
        array = items[index][1] == "array"
        assert bool(judge(touched, {**whole, "items": items}, [whole])) != array
    assert "covers" in judge(touched, {**whole, "covers": []}, [whole])


def _read(reader: Reader, path: Path, data: bytes) -> dict[str, Any]:
    path.write_bytes(data)
    return reader.read(path, None)
