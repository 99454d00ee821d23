"""What cannot be done costs only itself: baskets, events, files; and a job that hangs ends."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import eventflock as ef
from eventflock.core.options import JobLimits
from eventflock.core.tracebacks import crash_in
from eventflock.errors import AnalysisError, IncompleteError, InputError, PoolError
from eventflock.results.reader import read_manifest
from eventflock.runs.diagnosis import explain as why
from tests.damage import make_tree, spoil_basket

HEAD = """
import os, signal, time
import awkward as ak
import eventflock as ef
from hist import Hist
"""
SUMS = """
@ef.analysis(tree="t")
def sums(events):
    made = Hist.new.Reg(10, 0, 20_000, name="x").Double().fill(events.x, weight=events.y + 0.1)
    return {"n": len(events), "x": int(ak.sum(events.x)), "h": made, "rows": events[events.x % 7 == 0]}
"""


def write(path: Path, text: str) -> Path:
    path.write_text(HEAD + text)
    return path


@pytest.mark.slow
def test_a_corrupt_basket_of_a_thousand_clusters_costs_only_its_entries(tmp_path: Path) -> None:
    good = make_tree(tmp_path / "good.root", clusters=1000, size=20)
    analysis = write(tmp_path / "sums.py", SUMS)
    undisturbed = ef.run(analysis, good, events_per_job=2500, chunk=500, out=tmp_path / "calm")
    bad = tmp_path / "bad.root"
    bad.write_bytes(good.read_bytes())
    first, last = spoil_basket(bad, "y", 613)
    assert last - first == 20
    with pytest.raises(IncompleteError, match="cannot read basket 613 of the branch 'y'"):
        ef.run(analysis, bad, events_per_job=2500, chunk=500, out=tmp_path / "run")
    partial = ef.load(tmp_path / "run")
    assert [(gap.start, gap.stop) for gap in partial.missing] == [(first, last)]
    lost = range(first, last)
    assert partial["n"] == 20_000 - 20
    assert partial["x"] == undisturbed["x"] - sum(lost)
    rows = set(undisturbed["rows"].x.to_list()) - {float(one) for one in lost}
    assert set(partial["rows"].x.to_list()) == rows
    (group,) = why(tmp_path / "run").groups
    assert (group.cause, group.events, group.jobs) == ("read", 20, 1)

    bad.write_bytes(good.read_bytes())  # mended: the same bits as if nothing had been
    result = ef.resume(tmp_path / "run")
    assert result.complete
    calm, mended = (
        read_manifest(one / "result.zip") for one in (tmp_path / "calm", tmp_path / "run")
    )
    assert mended.payloads == calm.payloads
    assert mended.items == calm.items


def test_a_basket_that_is_not_needed_costs_nothing(tmp_path: Path) -> None:
    bad = make_tree(tmp_path / "bad.root")
    spoil_basket(bad, "y", 3)
    analysis = write(
        tmp_path / "a.py",
        '@ef.analysis(tree="t")\ndef a(events):\n    return {"x": int(ak.sum(events.x))}\n',
    )
    assert ef.run(analysis, bad, jobs=4, out=tmp_path / "run")["x"] == sum(range(200))


def test_single_events_are_found_and_the_rest_is_done(tmp_path: Path) -> None:
    a = make_tree(tmp_path / "a.root", clusters=100)
    analysis = write(
        tmp_path / "a.py",
        '@ef.analysis(tree="t")\ndef a(events):\n'
        "    bad = events.x[(events.x == 123) | (events.x == 777)]\n"
        '    if len(bad): raise ValueError(f"bad event")\n'
        '    return {"n": len(events)}\n',
    )
    with pytest.raises(IncompleteError) as error:
        ef.run(analysis, a, events_per_job=250, out=tmp_path / "run")
    assert "2 events missing, of 2 of 4 jobs" in str(error.value)
    assert ef.load(tmp_path / "run")["n"] == 998
    found = [(gap.start, gap.stop) for gap in ef.load(tmp_path / "run").missing]
    assert found == [(123, 124), (777, 778)]
    # Events for which the analysis itself raised are not accepted, unless that is said.
    with pytest.raises(IncompleteError):
        ef.resume(tmp_path / "run", accept=0.99)
    accepted = ef.resume(tmp_path / "run", accept=0.99, strict=False)
    assert accepted.label == "PARTIAL: 998 of 1,000 events (99.8 %, accepted)"
    assert accepted.manifest.accepted == 0.99
    with pytest.raises(IncompleteError):
        ef.resume(tmp_path / "run", accept=0.999, strict=False)


def test_a_job_of_which_every_event_fails_is_not_searched_for_long(tmp_path: Path) -> None:
    a = make_tree(tmp_path / "a.root", clusters=200)
    calls = tmp_path / "calls"
    analysis = write(
        tmp_path / "a.py",
        '@ef.analysis(tree="t")\ndef a(events):\n'
        f'    with open("{calls}", "a") as file: file.write(f"{{len(events)}}\\n")\n'
        '    if len(events): raise ValueError("all bad")\n    return {"n": 0}\n',
    )
    with pytest.raises(AnalysisError, match="all bad"):
        ef.run(analysis, a, jobs=2, workers=1, out=tmp_path / "run")
    assert sum(map(int, calls.read_text().split())) < 5 * 2000


def test_a_file_that_is_gone_costs_its_events(tmp_path: Path) -> None:
    files = [make_tree(tmp_path / f"{name}.root") for name in "abc"]
    analysis = write(tmp_path / "sums.py", SUMS)
    undisturbed = ef.run(analysis, files, jobs=2, out=tmp_path / "run")
    kept = files[1].read_bytes()
    for path in (tmp_path / "run/results").iterdir():
        path.unlink()
    (tmp_path / "run/result.zip").unlink()
    files[1].unlink()
    with pytest.raises(IncompleteError, match=r"There is no file .*b\.root"):
        ef.resume(tmp_path / "run")
    partial = ef.load(tmp_path / "run")
    assert [(Path(gap.path).name, gap.start, gap.stop) for gap in partial.missing] == [
        ("b.root", 0, 200)
    ]
    files[1].write_bytes(kept)
    assert ef.resume(tmp_path / "run")["x"] == undisturbed["x"]


def test_nothing_that_can_be_read_is_an_input_error(tmp_path: Path) -> None:
    bad = make_tree(tmp_path / "bad.root", clusters=2)
    for number in (0, 1):
        spoil_basket(bad, "y", number)
    analysis = write(tmp_path / "sums.py", SUMS)
    with pytest.raises(InputError, match="cannot read basket 0"):
        ef.run(analysis, bad, jobs=1, out=tmp_path / "run")
    assert not (tmp_path / "run/result.zip").exists()


def test_memory_that_cannot_be_had_for_a_chunk_can_be_for_its_parts(tmp_path: Path) -> None:
    a = make_tree(tmp_path / "a.root")
    analysis = write(
        tmp_path / "a.py",
        '@ef.analysis(tree="t")\ndef a(events):\n'
        "    if len(events) > 30: raise MemoryError\n"
        '    return {"n": len(events)}\n',
    )
    assert ef.run(analysis, a, jobs=2, out=tmp_path / "run")["n"] == 200
    assert [(one.cause, one.times) for one in why(tmp_path / "run").tried] == [("allocation", 2)]


@pytest.mark.slow
def test_a_job_that_hangs_ends_itself_and_says_where(tmp_path: Path) -> None:
    a = make_tree(tmp_path / "a.root")
    analysis = write(
        tmp_path / "a.py",
        '@ef.analysis(tree="t")\ndef a(events):\n'
        "    if ak.any(events.x == 42): time.sleep(600)\n"
        '    return {"n": len(events)}\n',
    )
    began = time.monotonic()
    with pytest.raises(IncompleteError, match="made no progress for 2 s"):
        ef.run(
            analysis, a, jobs=5, chunk=20, out=tmp_path / "run", limits=JobLimits(stall_seconds=2)
        )
    assert time.monotonic() - began < 300  # of the 600 that it would sleep
    missing = ef.load(tmp_path / "run").missing
    assert [(gap.start, gap.stop) for gap in missing] == [(40, 60)]
    (group,) = why(tmp_path / "run").groups
    assert group.cause == "stalled"
    assert "time.sleep(600)" in group.traceback
    assert "a.py" in group.message


def test_a_job_that_takes_too_long_is_halved(tmp_path: Path) -> None:
    a = make_tree(tmp_path / "a.root")
    analysis = write(
        tmp_path / "a.py",
        '@ef.analysis(tree="t")\ndef a(events):\n    end = time.monotonic() + 0.6\n'
        '    while time.monotonic() < end: pass\n    return {"n": len(events)}\n',
    )
    result = ef.run(
        analysis, a, jobs=1, chunk=50, out=tmp_path / "run", limits=JobLimits(limit_seconds=1.5)
    )
    assert result["n"] == 200
    assert {one.cause for one in why(tmp_path / "run").tried} == {"time"}


def test_a_replica_is_read_where_a_file_cannot_be(tmp_path: Path) -> None:
    good, bad = make_tree(tmp_path / "good.root"), tmp_path / "bad.root"
    bad.write_bytes(good.read_bytes())
    fileset = {"d": {"files": {str(bad): {"object_path": "t", "replicas": [str(good)]}}}}
    (tmp_path / "f.json").write_text(json.dumps(fileset))
    analysis = write(tmp_path / "sums.py", SUMS)
    undisturbed = ef.run(analysis, tmp_path / "f.json", jobs=2, out=tmp_path / "calm")
    spoil_basket(bad, "y", 3)
    result = ef.run(analysis, tmp_path / "f.json", jobs=2, out=tmp_path / "run")
    assert result.complete
    assert result["x"] == undisturbed["x"]


def test_a_worker_that_is_ended_from_outside_is_in_the_account(tmp_path: Path) -> None:
    a = make_tree(tmp_path / "a.root")
    analysis = write(
        tmp_path / "a.py",
        '@ef.analysis(tree="t")\ndef a(events):\n    if len(events): os._exit(3)\n    return {}\n',
    )
    with pytest.raises(PoolError, match="ended with exit status 3"):
        ef.run(analysis, a, jobs=4, out=tmp_path / "run")
    groups = why(tmp_path / "run").groups
    assert {group.cause for group in groups} <= {"died", "no result"}
    assert sum(one.events for one in groups) == 200


CRASH = """\
about to crash
Fatal Python error: Segmentation fault

Thread 0x00007f766 (most recent call first):
  File "/x/threading.py", line 982 in run

Current thread 0x00007f767 (most recent call first):
  File "/home/me/five.py", line 9 in five
  File "/x/eventflock/analysis.py", line 102 in on_chunk
  File "/x/eventflock/worker/calling.py", line 74 in call

Extension modules: msgspec._core, numpy.linalg
"""


def test_of_a_crash_the_users_own_lines_are_shown() -> None:
    assert crash_in(CRASH.splitlines()) == [
        "Fatal Python error: Segmentation fault",
        '  File "/home/me/five.py", line 9 in five',
    ]
    assert crash_in(["nothing", "of that kind"]) == []
