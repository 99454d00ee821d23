"""Importing pickles: what physicists have in them comes in, anything else is never run."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pickle
import struct
import sys
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import boost_histogram as bh
import numpy as np
import pytest
from hist import Hist
from hypothesis import given, settings
from hypothesis import strategies as st

import eventflock as ef
from eventflock.errors import AnalysisError, InputError, ResultError, UsageError
from eventflock.pickles.importing import import_pickles
from eventflock.pickles.unpickler import unpickle
from eventflock.pickles.values import values_of
from tests.conftest import Command

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
HERE = Path(__file__).parent / "pickles"


def write(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def tutorial_pickle(counts: list[float], edges: np.ndarray[Any, Any]) -> bytes:
    """Write a pickle as Python 2 did, of a list of NumPy's numbers and an array."""

    def text(data: bytes) -> bytes:
        return b"S'" + b"".join(b"\\x%02x" % one for one in data) + b"'\n"

    dtype = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    scalar = b"cnumpy.core.multiarray\nscalar\n("
    numbers = [scalar + dtype + text(struct.pack("<d", one)) + b"tRa" for one in counts]
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    state = b"(I1\n(I%d\nt" % len(edges) + dtype + b"I00\n" + text(edges.tobytes()) + b"tb"
    return b"(dS'hist'\n(l" + b"".join(numbers) + b"sS'bins'\n" + array + state + b"s."


@pytest.mark.skipif("EVENTFLOCK_DATA" not in os.environ, reason="EVENTFLOCK_DATA is not set")
def test_the_pickles_of_the_tutorial(tmp_path: Path, eventflock: Command) -> None:
    data = Path(os.environ["EVENTFLOCK_DATA"])
    folder = data.parent / "tutorial"
    if not folder.is_dir():
        pytest.skip("the tutorial's pickles are not beside EVENTFLOCK_DATA")
    files = sorted(folder.glob("*.pkl"))
    done = eventflock("import-pickles", *files, "--out", tmp_path / "old")
    assert done.returncode == 0, done.stderr
    assert "IMPORTED  1 result from 10 files" in done.stdout
    expected = json.loads((data / "expected.json").read_text())["tutorial_2014_merged"]
    result = ef.load(tmp_path / "old")
    found = result["hist"]
    assert found.values().tolist() == expected["values"]
    assert found.sum() == expected["total"] == 39_844
    bins, low, high = expected["bins"]
    assert found.axes[0].edges.tolist() == np.linspace(low, high, bins + 1).tolist()
    assert (result.complete, result.label) == (False, "IMPORTED from 10 files")
    drawn = eventflock("plot", tmp_path / "old")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "old/plots/hist.png").stat().st_size > 10_000


def test_what_python_2_wrote(tmp_path: Path) -> None:
    edges = np.linspace(0, 30, 4)
    for number, counts in enumerate(([1.0, 2.0, 3.0], [10.0, 20.0, 30.0])):
        (tmp_path / f"{number}.pkl").write_bytes(tutorial_pickle(counts, edges))
    made = import_pickles(sorted(tmp_path.glob("*.pkl")), tmp_path / "out")
    found = ef.load(made.result)["hist"]
    assert found.values().tolist() == [11, 22, 33]
    assert found.axes[0] == Hist.new.Reg(3, 0, 30).Double().axes[0]
    assert [Path(one.path).name for one in made.manifest.imported] == ["0.pkl", "1.pkl"]


def histograms() -> dict[str, Any]:
    weighted = Hist.new.Reg(5, 0, 1, name="x", label="X").StrCat([], growth=True, name="c")
    profile = bh.Histogram(bh.axis.Integer(0, 3), storage=bh.storage.Mean())
    logarithmic = bh.axis.Regular(3, 1, 1000, transform=bh.axis.transform.log)
    circular = bh.axis.Variable([0, 1, 3], circular=True)
    return {
        "weighted": weighted.Weight(name="n", label="L").fill(x=[0.1, 2], c=["b", "a"], weight=[2, 3]),
        "profile": profile.fill([0, 0, 1], sample=[1.0, 3.0, 5.0]),
        "axes": bh.Histogram(logarithmic, circular, bh.axis.Boolean()).fill([10], [0.5], [True]),
        "counts": bh.Histogram(bh.axis.Regular(3, 0, 1), storage=bh.storage.Int64()).fill([0.5]),
        "numpy": {"hist": np.array([1, 2]), "bins": [0.0, 1.0, 4.0]},
    }  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_histograms_and_numbers_come_in_as_they_were(tmp_path: Path, protocol: int) -> None:
    values = histograms() | {
        "n": 3,
        "sum": np.float64(1.5),
        "array": np.arange(6, dtype=">i4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "cuts": OrderedDict(all=10, some=Counter(a=2), more=defaultdict(int, b=1)),
        "text": "left out",
    }
    both = {"mc": values}
    made = import_pickles(
        [write(tmp_path / f"{number}.pkl", both, protocol) for number in range(2)], tmp_path / "out"
    )
    result = ef.load(made.result)
    assert made.left_out == ("mc/text",)
    for name, one in histograms().items():
        found = result["mc", name]
        if name == "numpy":
            assert found.values().tolist() == [2, 4]
            assert found.axes[0].edges.tolist() == [0, 1, 4]
            continue
        twice = one + one
        assert found.view(flow=True).tobytes() == twice.view(flow=True).tobytes()
        assert list(found.axes) == list(Hist(twice).axes)
    assert result["mc", "weighted"].label == "L"
    assert (result["mc", "n"], result["mc", "sum"]) == (6, 3.0)
    assert result["mc", "array"].tolist() == [[0, 2, 4], [6, 8, 10]]
    assert result["mc", "fortran"].tolist() == [[0, 2, 4], [6, 8, 10]]
    assert result["mc", "cuts"] == {"all": 20, "some": {"a": 4}, "more": {"b": 2}}


def test_a_histogram_alone_and_packed(tmp_path: Path) -> None:
    one = histograms()["counts"]
    (tmp_path / "a.pkl.gz").write_bytes(gzip.compress(pickle.dumps(one)))
    made = import_pickles([tmp_path / "a.pkl.gz"], tmp_path / "out", name="E")
    assert ef.load(made.result)["E"].values().tolist() == one.values().tolist()


def test_accumulators_of_coffea(tmp_path: Path) -> None:
    made = import_pickles([HERE / "coffea.pkl"], tmp_path / "out")
    result = ef.load(made.result)
    assert result["ttbar", "events"] == 3
    assert result["ttbar", "cutflow"] == {"all": 3, "two jets": 1}
    assert result["ttbar", "column"].tolist() == [0, 1, 2]
    found = result["ttbar", "pt"]
    assert (found.label, found.axes[0].label, list(found.axes[1])) == (
        "all",
        "p [GeV]",
        ["mc", "tt"],
    )
    assert found.sum().value == 6
    assert made.left_out == ("ttbar/files", "ttbar/runs")


# --- what is not run ---------------------------------------------------------------------------


class Call:
    """Pickles as a call of something."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.what = function, args

    def __reduce__(self) -> Any:
        return self.what


def array_state(shape: tuple[int, ...], data: Any, dtype: bytes = b"f8") -> bytes:
    """Write a pickle of an array that says what it likes."""
    make = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    sizes = b"(" + b"".join(b"L%dL\n" % size for size in shape) + b"t"
    kind = b"cnumpy\ndtype\n(S'" + dtype + b"'\nI0\nI1\ntR"
    body = pickle.dumps(data, 0)[:-1]
    return make + b"(I1\n" + sizes + kind + b"I00\n" + body + b"tb."


def hostile(marker: Path) -> dict[str, tuple[bytes, str]]:
    touch = f"touch {marker}"
    dump = pickle.dumps
    core = b"cboost_histogram._core.hist\nany_int64\n(t\x81"

    def state(*parts: Any) -> bytes:
        return core + dump(parts, 2)[2:-1] + b"b."

    two = {"name": "", "label": ""}
    return {
        "os.system": (dump(Call(os.system, touch)), r"it wants posix\.system"),
        "os.system 0": (dump(Call(os.system, touch), 0), r"it wants posix\.system"),
        "eval": (dump(Call(eval, f"open({str(marker)!r}, 'w')")), r"it wants builtins\.eval"),
        "getattr": (dump(Call(getattr, "", "join")), r"it wants builtins\.getattr"),
        "a file": (dump(Call(Path, "/")), r"it wants pathlib\.Path"),
        "persistent": (b"Pabc\n.", "unknown opcode"),
        "extension": (b"\x82\x01.", "unknown opcode"),
        "a terabyte": (array_state((10**12,), b"abc"), "NumPy array of shape"),
        "a terabyte at once": (
            dump(Call(np.empty, (10**12,))), r"it wants numpy\.empty"),
        "negative": (array_state((-1,), ""), "unknown way"),
        "objects": (dump(np.array([{}, None], dtype=object)), "'O8', which are not numbers"),
        "objects in a list": (array_state((1,), [Call(os.system, touch)], b"f8"), "it wants posix"),
        "fields": (dump(np.zeros(2, [("a", "f8")])), "NumPy array of '[|]?V8'"),
        "bytearray": (b"\x96" + struct.pack("<Q", 10**12) + b".", "bytes follow, and 1 do"),
        "memo": (b"Nr\xff\xff\xff\xff.", "nothing that can be added up"),
        "bins that are not there": (
            state(0, 1, 0, 0, 0, 0, 0, 10**9, two, 0.0, 1.0, 0, np.zeros(3, np.int64)),
            "axes of|reader crash|damaged|memory"),
        "categories that are not there": (
            state(0, 1, 0, 0, 24, 0, 10**9, "a", two, 0, np.zeros(3, np.int64)),
            "damaged|reader crash|memory|axes of"),
        "a core that is not made": (core + b".", "is a histogram without content"),
        "half": (dump({"a": 1})[:-3], "damaged one"),
        "no pickle": (b"\x00\x01\x02 no pickle", "opcode|damaged one"),
        "empty": (b"", "damaged one"),
        "attributes": (b"cnumpy\ndtype\n}S'real'\nI1\nsb.", "describes a type in an unknown way"),
        "attributes of a function": (
            b"cnumpy.core.multiarray\nscalar\n}S'a'\nI1\nsb.", "describes a function"),
        "doubling": (b"(lp0\n" + b"".join(b"(lp%d\ng%d\nag%d\na" % (n + 1, n, n) for n in range(60))
                     + b".", "nothing that can be added up"),
        "doubling mappings": (_doubling(), "more than"),
        "a mapping in itself": (b"(dp0\nS'a'\ng0\ns.", "levels deep"),
        "edges": (dump({"hist": [1, 2], "bins": [0, 1]}), "counts and .* edges"),
        "edges that fall": (dump({"hist": [1, 2], "bins": [0, 2, 1]}), "do not increase"),
        "words": (dump({"hist": ["a"], "bins": [0, 1]}), "not numbers"),
        "nothing": (dump({"a": "text"}), "nothing that can be added up"),
    }  # fmt: skip


def _doubling() -> bytes:
    inner: Any = 1
    for _ in range(25):
        inner = {"a": inner, "b": inner}
    return pickle.dumps(inner)


@pytest.mark.parametrize("name", sorted(hostile(Path("marker"))))
def test_nothing_else_is_run(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    data, said = hostile(marker)[name]
    (tmp_path / "bad.pkl").write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        import_pickles([tmp_path / "bad.pkl"], tmp_path / "out")
    assert str(tmp_path / "bad.pkl") in caught.value.message
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_pickles_are_read_or_refused(data: st.DataObject) -> None:
    """No histograms: those that are changed are read in a process of their own."""
    whole = bytearray(pickle.dumps({"a": np.arange(5.0), "b": [1, 2.5], "c": {"hist": [1], "bins": [0, 1]}}, data.draw(st.sampled_from(PROTOCOLS))))  # fmt: skip
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ResultError, RecursionError):
        values_of(unpickle(bytes(whole)), "x")


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.integers() | st.floats(allow_nan=False) | st.lists(st.integers(0, 9), min_size=1).map(np.array),
        lambda inner: st.dictionaries(st.text(min_size=1), inner, min_size=1, max_size=4),
        max_leaves=10,
    ),
    st.sampled_from(PROTOCOLS),
)  # fmt: skip
def test_numbers_and_arrays_are_the_same(value: Any, protocol: int) -> None:
    found, left_out = values_of(unpickle(pickle.dumps(value, protocol)), "x")
    assert not left_out
    expected = dict(_flat(value, ()) if isinstance(value, dict) else {("x",): value})
    assert found.keys() == expected.keys()
    for path, one in found.items():
        np.testing.assert_array_equal(one, expected[path])


def _flat(value: Any, path: tuple[str, ...]) -> Any:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, (*path, key))
        else:
            yield (*path, key), inner


def test_wrong_calls(tmp_path: Path, eventflock: Command) -> None:
    one = write(tmp_path / "a.pkl", {"n": 1})
    with pytest.raises(UsageError, match="named twice"):
        import_pickles([one, tmp_path / "." / "a.pkl"], tmp_path / "out")
    with pytest.raises(InputError, match=r"no\.pkl is not there"):
        import_pickles([tmp_path / "no.pkl"], tmp_path / "out")
    other = write(tmp_path / "b.pkl", {"n": np.arange(3)})
    with pytest.raises(AnalysisError, match=r"b\.pkl does not fit"):
        import_pickles([one, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    import_pickles([one], tmp_path / "out")
    with pytest.raises(UsageError, match="is there already"):
        import_pickles([one], tmp_path / "out")
    for command in ("status", "resume", "merge", "why"):
        done = eventflock(command, tmp_path / "out")
        assert (done.returncode, "it was imported" in done.stderr) == (2, True), command
    told = eventflock("import-pickles", one, "--out", tmp_path / "new", "--json")
    assert json.loads(told.stdout)["results"] == ["n"]
    assert "eventflock.pickles" not in sys.modules or ef.load(tmp_path / "out")["n"] == 1
