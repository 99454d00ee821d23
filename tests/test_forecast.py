"""Jobs of the right size: what trials measure is what jobs then take, and nobody waits in vain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

import eventflock as ef
from eventflock.core.model import FORMAT, AnalysisRef, Dataset, FileEntry, Plan
from eventflock.core.observer import Observer
from eventflock.core.options import Options
from eventflock.core.structs import from_json, to_json
from eventflock.core.units import parse_duration, say_bytes, say_duration
from eventflock.errors import AnalysisError, InputError, PoolError, UsageError
from eventflock.events.sample import TREE
from eventflock.packing.environment import TransferSizes
from eventflock.planning import timing as measuring
from eventflock.planning.forecast import (
    Fact,
    Forecast,
    Measured,
    compare,
    describe_forecast,
    events_per_job,
    facts,
    forecast,
    jobs_each,
)
from eventflock.planning.partition import Sizing, cut
from eventflock.planning.prepare import Prepared, prepare
from eventflock.planning.timing import TimingStep, fit
from eventflock.pools.roles import Workers
from eventflock.pools.table import find_pool, open_workers
from eventflock.results.reader import read_manifest
from eventflock.runs.folder import RunFolder
from eventflock.usercode.loading import freeze, locate

MB = 2**20


class Notes(Observer):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def note(self, text: str) -> None:
        self.all.append(text)


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    opened = open_workers(find_pool("local"), 1)
    yield opened
    opened.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that end after a fifth of a second, so that the tests do."""
    monkeypatch.setattr(measuring, "LONG_ENOUGH", 0.2)


def write(folder: Path, body: str) -> Path:
    path = folder / "one.py"
    path.write_text(
        "import os, time\nimport awkward as ak\nimport numpy as np\nimport eventflock as ef\n"
        f"@ef.analysis(tree={TREE!r})\ndef one(events, context):\n    n = len(events)\n    {body}\n"
    )
    return path


def prepared(
    pool: Workers, analysis: Path, *files: str | Path, notes: Notes | None = None, **options: Any
) -> Prepared:
    ref, source = locate(str(analysis))
    names = [str(file) for file in files]
    return prepare(pool, ref, source, names, Options(**options), notes or Observer())


def fact_of(run: Path) -> tuple[Plan, Fact]:
    plan = RunFolder(run).load_plan().plan
    files = [file.path for file in RunFolder(run).result_files(plan) if file.path is not None]
    return plan, facts(plan, [(read_manifest(one), one.stat().st_size) for one in files])


def entries_of(plan: Plan) -> list[int]:
    """Every entry that the jobs do, in their order; for one dataset of one file."""
    return [event for job in plan.jobs for part in job.ranges for event in range(*part_of(part))]


def part_of(part: Any) -> tuple[int, int]:
    return part.start, part.stop


# --- measured, and run ---------------------------------------------------------------------------


@pytest.mark.usefixtures("short")
def test_jobs_take_the_time_that_was_asked_for(pool: Workers, sample: Path, tmp_path: Path) -> None:
    analysis = write(tmp_path, "time.sleep(n * 1e-4)\n    return {'n': n}")
    told = prepared(pool, analysis, sample, target_seconds=0.3)
    (measured,) = told.measured
    assert 0.9e-4 < measured.event_seconds < 2e-4
    assert measured.tried < 10_000
    assert measured.cpu_share < 0.5
    expected = forecast(told.plan, told.measured, told.target_seconds)
    assert 1 < expected.jobs * expected.job_seconds < 2
    run = tmp_path / "run"
    assert ef.run(analysis, sample, target_seconds=0.3, out=run, workers=1).complete
    plan, fact = fact_of(run)
    assert entries_of(plan) == list(range(10_000))
    assert 3 <= fact.jobs <= 8
    assert 0.15 < fact.job_seconds < 0.6
    assert 0.5 < fact.job_seconds / expected.job_seconds < 2


@pytest.mark.usefixtures("short")
def test_memory_grows_with_the_chunk_as_measured(
    pool: Workers, sample: Path, tmp_path: Path
) -> None:
    analysis = write(tmp_path, "a = np.ones((n, 2500))\n    return {'s': float(a.sum())}")
    told = prepared(pool, analysis, sample, target_seconds=60)
    assert told.measured[0].event_memory == pytest.approx(20_000, rel=0.3)
    expected = forecast(told.plan, told.measured, 60, TransferSizes())
    ef.run(analysis, sample, target_seconds=60, out=tmp_path / "run", workers=1)
    plan, fact = fact_of(tmp_path / "run")
    assert (fact.jobs, plan.jobs) == (1, told.plan.jobs)
    assert expected.memory_bytes == pytest.approx(fact.memory_bytes, rel=0.3)
    assert fact.memory_bytes < expected.request_memory_mb * MB
    assert expected.request_memory_mb % 128 == 0


@pytest.mark.usefixtures("short")
def test_memory_of_one_dataset_is_not_that_of_the_one_before(
    pool: Workers, sample: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.root"
    with uproot.recreate(other) as root:
        root[TREE] = {"x": np.arange(5_000.0)}
    analysis = write(
        tmp_path,
        "a = np.ones((n, 5000 if context.dataset == 'heavy' else 1))\n"
        "    return {'s': float(a.sum())}",
    )
    told = prepared(pool, analysis, f"heavy={sample}", f"light={other}", target_seconds=60)
    heavy, light = told.measured
    assert (heavy.dataset, light.dataset) == ("heavy", "light")
    assert heavy.event_memory > 20_000
    assert light.memory + light.event_memory * 5_000 < heavy.memory + 200 * MB


@pytest.mark.usefixtures("short")
def test_skims_grow_and_histograms_do_not(pool: Workers, sample: Path, tmp_path: Path) -> None:
    analysis = write(
        tmp_path,
        "time.sleep(2e-5 * n)\n"
        "    return {'rows': ak.zip({'pt': events['jet_AntiKt10LCTopo_pt']}), 'h': np.zeros(1000)}",
    )
    told = prepared(pool, analysis, sample, target_seconds=0.05)
    expected = forecast(told.plan, told.measured, told.target_seconds)
    assert expected.jobs > 1
    ef.run(analysis, sample, jobs=expected.jobs, out=tmp_path / "run")
    fact = fact_of(tmp_path / "run")[1]
    assert expected.bytes_to_bring == pytest.approx(fact.bytes_to_bring, rel=0.3)

    analysis = write(tmp_path, "return {'n': n, 'h': np.zeros(1000)}")
    (measured,) = prepared(pool, analysis, sample, target_seconds=60).measured
    assert measured.event_output == 0
    assert 0 < measured.output < 10_000


@pytest.mark.usefixtures("short")
def test_what_each_call_takes_is_not_taken_for_that_of_its_events(
    pool: Workers, sample: Path, tmp_path: Path
) -> None:
    analysis = write(tmp_path, "time.sleep(0.1)\n    return {'n': n}")
    (measured,) = prepared(pool, analysis, sample, target_seconds=60, chunk=5_000).measured
    assert measured.chunk == 5_000
    assert measured.chunk_seconds == pytest.approx(0.1, rel=0.3)
    assert measured.event_seconds * 5_000 < 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_many_small_files_take_the_time_of_opening_them(pool: Workers, tmp_path: Path) -> None:
    for number in range(40):
        with uproot.recreate(tmp_path / f"{number:02d}.root") as root:
            root.mktree(TREE, {f"x{n}": np.arange(10) for n in range(100)})
    analysis = write(tmp_path, "return {'n': n}")
    told = prepared(pool, analysis, tmp_path, target_seconds=0.05)
    assert told.measured[0].file == 10
    ef.run(analysis, tmp_path, target_seconds=0.05, out=tmp_path / "run", workers=1)
    fact = fact_of(tmp_path / "run")[1]
    expected = forecast(told.plan, told.measured, told.target_seconds)
    total = expected.jobs * expected.job_seconds
    # Beside other work on all cores, the wall time of such short jobs is mostly waiting for a core.
    assert 0.4 * fact.cpu_seconds < total < 2.5 * fact.jobs * fact.job_seconds
    assert len(told.plan.jobs) > 1


# --- trials that fail ----------------------------------------------------------------------------


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(n * 1e-4)\n    1 / (n == 0)",
        "time.sleep(n * 1e-4)\n    1 / (9900 > context.stop)",
    ],
    ids=["everywhere", "at the end"],
)
def test_an_analysis_that_raises_stops_before_there_is_a_run(
    sample: Path, tmp_path: Path, body: str
) -> None:
    analysis = write(tmp_path, f"{body}\n    return {{'n': n}}")
    with pytest.raises(AnalysisError, match="ZeroDivisionError") as error:
        ef.run(analysis, sample, target_seconds=60, out=tmp_path / "run", workers=1)
    assert "1 / (" in error.value.traceback
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("short")
def test_an_analysis_may_raise_on_fewer_events_than_jobs_have(
    pool: Workers, sample: Path, tmp_path: Path
) -> None:
    for few in ("0", "0, 1"):
        body = f"assert n in {{{few}, *range(300, 10_001)}}\n    return {{'n': n}}"
        analysis = write(tmp_path, body)
        assert prepared(pool, analysis, sample, target_seconds=60).measured[0].tried == 10_000
    with pytest.raises(AnalysisError, match="AssertionError"):
        prepared(pool, analysis, sample, target_seconds=60, entries="0:20")


@pytest.mark.usefixtures("short")
def test_a_worker_that_dies_of_many_events_ends_the_growing(
    pool: Workers, sample: Path, tmp_path: Path
) -> None:
    analysis = write(tmp_path, "n > 500 and os.kill(os.getpid(), 9)\n    return {'n': n}")
    notes = Notes()
    (measured,) = prepared(pool, analysis, sample, notes=notes, target_seconds=60).measured
    assert 1 < measured.tried <= 500
    assert any("events failed: The worker process was killed" in one for one in notes.all)
    body = "time.sleep(n * 1e-4)\n    context.start > 7000 and os.kill(os.getpid(), 9)"
    analysis = write(tmp_path, f"{body}\n    return {{'n': n}}")
    notes = Notes()
    (measured,) = prepared(pool, analysis, sample, notes=notes, target_seconds=60).measured
    assert measured.tried > 1000
    assert any("events failed: The worker process was killed" in one for one in notes.all)
    analysis = write(tmp_path, "n and os._exit(3)\n    return {'n': n}")
    with pytest.raises(PoolError, match="exit status 3"):
        prepared(pool, analysis, sample, target_seconds=60)


@pytest.mark.usefixtures("short")
def test_a_file_that_is_damaged_at_its_end_is_found(
    pool: Workers, jets: Path, sample: Path, tmp_path: Path
) -> None:
    data = bytearray(sample.read_bytes())
    with uproot.open(sample) as root:
        branch = root[TREE]["jet_AntiKt10LCTopo_E"]
        at = int(branch.member("fBasketSeek")[branch.num_baskets - 1])
    data[at + 100 : at + 3000] = bytes(2900)
    damaged = tmp_path / "damaged.root"
    damaged.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        prepared(pool, jets, damaged, target_seconds=60)


# --- around it -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("short")
def test_datasets_without_entries_and_functions_of_a_notebook(
    pool: Workers, sample: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.root"
    with uproot.recreate(empty) as root:
        root.mktree(TREE, {"x": np.float64})

    @ef.analysis(tree=TREE)
    def typed(events: Any) -> dict[str, Any]:
        return {"n": len(events)}

    ref, source = freeze(typed)
    notes = Notes()
    files = [f"none={empty}", f"some={sample}"]
    told = prepare(pool, ref, source, files, Options(target_seconds=60), notes)
    assert [measurement.dataset for measurement in told.measured] == ["some"]
    assert entries_of(told.plan) == list(range(10_000))
    assert any(one.startswith("trial     some: 10,000 events") for one in notes.all)


@pytest.mark.usefixtures("short")
def test_an_event_longer_than_a_job_has_it_alone(
    pool: Workers, sample: Path, tmp_path: Path
) -> None:
    analysis = write(tmp_path, "time.sleep(n * 0.05)\n    return {'n': n}")
    notes = Notes()
    told = prepared(pool, analysis, sample, notes=notes, target_seconds=0.01, entries="0:20")
    assert [job.entries for job in told.plan.jobs] == [1] * 20
    assert any("each of its jobs has 1 event" in one for one in notes.all)


def test_without_a_time_nothing_is_measured(pool: Workers, jets: Path, sample: Path) -> None:
    told = prepared(pool, jets, sample, jobs=3)
    assert (told.measured, len(told.plan.jobs)) == ((), 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_seconds": 0}, "--target-time is 0"),
        ({"target_seconds": math.nan}, "--target-time is nan"),
        ({"target_seconds": math.inf}, "--target-time is inf"),
        ({"target_seconds": "20m"}, "--target-time is '20m'"),
        ({"target_seconds": 60.0, "jobs": 3}, "--jobs 3 and --target-time 60 s exclude"),
        ({"target_seconds": 1200, "events_per_job": 3}, "--events-per-job 3 and .* 20 min"),
    ],
)
def test_times_that_make_no_sense_are_refused(
    pool: Workers, jets: Path, sample: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        prepared(pool, jets, sample, **options)


# --- pure ----------------------------------------------------------------------------------------

seconds = st.floats(0, 1e4)
measurements = st.builds(
    Measured,
    dataset=st.just("d"),
    entries=st.integers(1, 10**9),
    file=st.floats(1, 1e9),
    chunk=st.floats(1, 1e6),
    file_seconds=seconds,
    chunk_seconds=seconds,
    event_seconds=st.floats(1e-9, 1e4),
    first_seconds=seconds,
)


@given(measurements, st.floats(1e-3, 1e6), seconds)
def test_a_job_has_from_one_to_all_events(one: Measured, target: float, start_up: float) -> None:
    events = events_per_job(one, target, start_up)
    assert 1 <= events <= one.entries
    more = events_per_job(one, 2 * target, start_up)
    assert more >= events
    if 1 < events < one.entries:  # then its events have at least half of the time, not much more
        taken = (
            events * one.event_seconds
            + max(events / one.chunk - 1, 0) * one.chunk_seconds
            + max(events / one.file - 1, 0) * one.file_seconds
        )
        assert taken <= target * 1.001
        each = one.event_seconds + one.chunk_seconds / one.chunk + one.file_seconds / one.file
        assert taken + each >= target / 2 * 0.999


def test_starting_counts_as_time_of_the_job() -> None:
    one = Measured(dataset="d", entries=10**9, file=1e9, chunk=1e6, event_seconds=1e-3)
    assert events_per_job(one, 100) == 100_000
    assert events_per_job(one, 100, 20) == 80_000
    assert events_per_job(one, 100, 90) == 50_000


@given(st.lists(measurements, max_size=4), st.floats(1e-3, 1e6), st.integers(1, 1000))
def test_jobs_are_no_more_than_allowed(many: list[Measured], target: float, most: int) -> None:
    counts, longer = jobs_each(many, target, 5.0, most)
    assert len(counts) == len(many)
    assert sum(counts) <= max(most, len(many))
    assert all(1 <= count <= one.entries for count, one in zip(counts, many, strict=True))
    assert longer >= target
    if longer == target:
        for count, one in zip(counts, many, strict=True):
            events = events_per_job(one, target, 5.0 + one.first_seconds)
            assert count == -(-one.entries // events)


def test_too_many_jobs_become_longer_not_fewer_than_need_be() -> None:
    one = Measured(dataset="d", entries=10**9, file=1e9, chunk=1e6, event_seconds=1.0)
    (count,), target = jobs_each([one], 60.0)
    assert 90_000 < count <= 100_000
    assert target == pytest.approx(1e9 / count, rel=0.05)


steps = st.builds(
    TimingStep,
    events=st.integers(1, 10**7),
    files=st.integers(1, 100),
    chunks=st.integers(100, 1000),
    largest=st.integers(1, 10**6),
    seconds=st.floats(0, 1e5),
    cpu_seconds=st.floats(0, 1e5),
    memory=st.integers(0, 2**40),
    output=st.integers(2**30, 2**31),
    rows=st.integers(0, 2**30),
)


@given(st.lists(steps, min_size=1, max_size=8), st.lists(steps, max_size=2), st.floats(0, 100))
def test_whatever_trials_say_the_model_makes_sense(
    grown: list[TimingStep], elsewhere: list[TimingStep], opening: float
) -> None:
    plain = Measured(dataset="d", entries=10**9, file=1e9, chunk=1e6, file_seconds=opening)
    one = fit(plain, sorted(grown, key=lambda step: step.events), elsewhere)
    assert 0 < one.event_seconds < math.inf
    numbers = [one.chunk_seconds, one.cpu_share, one.memory, one.event_memory, one.output]
    assert all(0 <= number < math.inf for number in [*numbers, one.event_output])
    assert 1 <= events_per_job(one, 1200) <= 10**9


@given(st.floats(1e-3, 10), st.floats(1e-3, 10), st.floats(1e-7, 1e-2), st.integers(0, 3))
def test_a_straight_line_is_found_again(
    opening: float, each: float, per_event: float, held_up: int
) -> None:
    sizes = [(1, 1), (200, 1), (1000, 1), (5000, 1), (25_000, 3), (2_500_000, 250)]
    grown = [
        TimingStep(
            events=events,
            files=1,
            chunks=chunks,
            largest=events // chunks,
            seconds=opening + chunks * each + events * per_event,
            memory=10**8 + 50 * (events // chunks),
            output=1000 + 8 * events,
            rows=8 * events,
        )
        for events, chunks in sizes
    ]
    late = grown[held_up]
    grown[held_up] = TimingStep(
        events=late.events, files=1, chunks=1, largest=late.largest, seconds=late.seconds + 1,
        memory=late.memory, output=late.output, rows=late.rows,
    )  # fmt: skip
    plain = Measured(dataset="d", entries=10**9, file=1e9, chunk=1e4, file_seconds=opening)
    one = fit(plain, grown)
    taken = 100 * one.chunk_seconds + 10**6 * one.event_seconds
    assert taken == pytest.approx(100 * each + 10**6 * per_event, rel=0.15)
    assert one.event_memory == pytest.approx(50, rel=0.01)
    assert one.event_output == pytest.approx(8)
    assert one.output == pytest.approx(1000, abs=10)


def test_noise_in_small_trials_is_not_gigabytes_and_reading_is_not_forgotten() -> None:
    plain = Measured(dataset="d", entries=10**9, file=1e9, chunk=1e6)

    def step(events: int, memory: float) -> TimingStep:
        return TimingStep(
            events=events, files=1, chunks=1, largest=events, seconds=events / 100,
            memory=int(100 * MB + memory),
        )  # fmt: skip

    noisy = fit(plain, [step(1, 0), step(500, 1.5 * MB)], [], 50.0)
    assert noisy.event_memory == 150
    still = fit(plain, [step(1, 0), step(500, 0)], [], 50.0)
    assert still.event_memory == 50
    large = fit(plain, [step(1, 0), step(500, 500 * 20_000)], [], 50.0)
    assert 15_000 < large.event_memory < 20_000
    seen = fit(plain, [step(1, 0), step(500_000, 500_000 * 30)], [], 50.0)
    assert seen.event_memory == pytest.approx(30, rel=0.01)
    wide = fit(plain, [step(1, 0), step(500, 0)], [], 1e6)
    assert wide.event_memory * plain.chunk == 128 * MB


def plan_of(*files: FileEntry, jobs: int) -> Plan:
    datasets = (Dataset(name="d", files=files),)
    return Plan(
        format=FORMAT, version="", created="", analysis=AnalysisRef(name="a"), parameters={},
        datasets=datasets, jobs=cut(datasets, Sizing(jobs=jobs, chunk=500)),
    )  # fmt: skip


def file_of(path: str, entries: int = 1000, size: int = 10 * MB) -> FileEntry:
    return FileEntry(path=path, tree="t", uuid=path, size=size, entries=entries)


ONE = Measured(
    dataset="d", entries=2000, file=1000, chunk=500, file_seconds=1.0, chunk_seconds=2.0,
    event_seconds=0.01, first_seconds=5.0, cpu_share=0.5, memory=100 * MB, event_memory=MB / 100,
    output=1000, event_output=2.0,
)  # fmt: skip


def test_what_is_sent_is_the_archives_and_whole_local_files() -> None:
    plan = plan_of(file_of("/a.root"), file_of("/b.root"), jobs=4)
    sizes = TransferSizes(environment_bytes=30 * MB, unpacked_bytes=100 * MB, code_bytes=MB)
    found = forecast(plan, [ONE], 60, sizes)
    assert found.bytes_to_send == 4 * (30 + 1 + 10) * MB
    assert found.bytes_to_bring == 4 * 1000 + 2 * 2000
    assert found.request_disk_mb == math.ceil(1.2 * (100 + 31 + 10) + 100 + 0.01)
    assert found.memory_bytes == 105 * MB
    assert found.request_memory_mb == 384  # 1.3 * 105 + 200 = 336.5
    assert found.job_seconds == found.longest_seconds == 5 + 1 + 2 + 5
    assert found.cpu_seconds == pytest.approx(4 * 13 / 2)
    remote = plan_of(file_of("root://host//a.root"), file_of("/b.root"), jobs=1)
    assert forecast(remote, [ONE], 60, sizes).bytes_to_send == 41 * MB
    unknown = plan_of(file_of("/a.root", size=-1), jobs=1)
    assert forecast(unknown, [ONE], 60, TransferSizes()).bytes_to_send == 0
    here = forecast(plan, [ONE], 60)
    assert (here.bytes_to_send, here.job_seconds) == (0, 8)


def test_forecasts_are_told_and_kept() -> None:
    plan = plan_of(file_of("/a.root"), file_of("/b.root"), jobs=4)
    sizes = TransferSizes(environment_bytes=30 * MB, unpacked_bytes=100 * MB, code_bytes=MB)
    found = forecast(plan, [ONE], 60, sizes)
    assert from_json(to_json(found), Forecast) == found
    assert from_json(to_json(ONE), Measured) == ONE
    assert describe_forecast(found) == (
        "forecast  4 jobs of about 13 s, 26 s of CPU time; 172 MB to send, 8 kB to bring back; "
        "asks for 384 MB memory, 270 MB disk"
    )
    assert describe_forecast(forecast(plan, [ONE], 60)) == (
        "forecast  4 jobs of about 8 s, 16 s of CPU time; 105 MB of memory in each, 8 kB of results"
    )


def test_forecast_and_fact_stand_side_by_side() -> None:
    plan = plan_of(file_of("/a.root"), file_of("/b.root"), jobs=4)
    found = forecast(plan, [ONE], 60, TransferSizes())
    assert compare(found, facts(plan, [])) == [("jobs", "4", "0 of 4")]
    fact = Fact(
        jobs=2, jobs_planned=4, events=1000, job_seconds=14.0, longest_seconds=130.0,
        cpu_seconds=28.0, memory_bytes=110 * MB, bytes_to_bring=4000,
    )  # fmt: skip
    assert from_json(to_json(fact), Fact) == fact
    assert compare(found, fact) == [
        ("jobs", "4", "2 of 4"),
        ("time of a job", "13 s, at most 13 s", "14 s, at most 2.2 min"),
        ("memory of a job", "105 MB, 384 MB asked for", "110 MB"),
        ("CPU time", "26 s", "28 s so far"),
        ("results", "8 kB", "4 kB so far"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20m", 1200), ("20min", 1200), ("20 min", 1200), ("1h30m", 5400), ("1h 30m", 5400),
        ("90", 90), ("1.5h", 5400), ("45s", 45), (" 2D ", 172_800), ("0.5", 0.5), ("1d12h", 129_600),
    ],
)  # fmt: skip
def test_times_are_read(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "0", "0s", "-5", "-5m", "nan", "inf", "m", "20x", "20 minutes", "1h30", "1e3", "9" * 400, "٣m"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_duration(text)
    assert repr(text) in error.value.message
    assert "20m" in error.value.remedy


@given(st.floats(1e-6, 1e9))
def test_numbers_are_said_shortly(value: float) -> None:
    for said in (say_duration(value), say_bytes(value)):
        number, unit = said.split()
        assert len(number) <= 6
        assert unit
    assert say_duration(64_800) == "18 h"
    assert say_duration(0.25) == "250 ms"
    assert say_bytes(3.9e9) == "3.9 GB"
