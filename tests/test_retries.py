"""What is tried next of jobs that failed: decided for any causes, it ends, and loses nothing."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflock.core.halving import UnitName, part_of, unit_name
from eventflock.core.manifest import Failure
from eventflock.core.model import AnalysisRef, Dataset, FileEntry, Job, Plan, Range
from eventflock.core.observer import Observer
from eventflock.core.states import UnitEnd
from eventflock.failures.causes import CAUSES, TRIES_MAX, RecoveryStep, cause_of, normalized
from eventflock.failures.retries import Unit, next_units, pause_of, step_for
from eventflock.pools.htcondor.holds import explain_hold
from eventflock.pools.roles import Abilities
from eventflock.runs.folder import RunFolder
from eventflock.runs.scheduler import PARTS_MAX, JobScheduler
from eventflock.worker.messages import Done, Failed, Reply, Run

CODES = {
    "program": Failure(kind="analysis", message="", code="program:1"),
    "analysis": Failure(kind="analysis", message="raised 1"),
    "returned": Failure(kind="analysis", message="no", code="returned"),
    "branch": Failure(kind="input", message="no branch", code="branch"),
    "read": Failure(kind="input", message="cannot be read", code="read", path="root://a//b"),
    "file": Failure(kind="input", message="cannot be opened", path="root://a//b"),
    "memory": Failure(kind="pool", message="held", code="hold:memory", host="a"),
    "allocation": Failure(kind="memory", message="no memory"),
    "time": Failure(kind="pool", message="long", code="time:60"),
    "stalled": Failure(kind="pool", message="hangs", code="stalled:60", host="b"),
    "died": Failure(kind="pool", message="killed", code="signal:SIGKILL"),
    "node": Failure(kind="node", message="unfit", host="c"),
    "lost": Failure(kind="pool", message="lost", code="lost"),
    "result": Failure(kind="pool", message="no result", code="no-result"),
    "server": Failure(kind="pool", message="server", code="server:600"),
    "disk": Failure(kind="pool", message="disk", code="hold:disk!"),
    "transfer": Failure(kind="pool", message="transfer", code="hold:transfer-in!"),
    "site": Failure(kind="pool", message="site", code="hold:site!"),
    "unknown": Failure(kind="bug", message="?"),
    "place": Failure(kind="pool", message="gone", code="hold:transfer-in"),
    "credential": Failure(kind="pool", message="expired", code="hold:credential"),
    "held": Failure(kind="pool", message="held", code="hold:user"),
    "removed": Failure(kind="pool", message="removed", code="removed"),
    "call": Failure(kind="usage", message="wrong"),
}
"""A failure of each cause."""


def a_plan(jobs: int = 4, chunks: int = 4, size: int = 4, replicas: int = 1) -> Plan:
    entries = jobs * chunks * size
    file = FileEntry(
        path="/f.root",
        tree="t",
        uuid="u",
        size=1,
        entries=entries,
        replicas=tuple(f"root://{n}" for n in range(replicas)),
    )
    step = chunks * size
    return Plan(
        format=1,
        version="0",
        created="",
        analysis=AnalysisRef(name="a"),
        parameters={},
        datasets=(Dataset(name="d", files=(file,)),),
        jobs=tuple(
            Job(
                0,
                (
                    Range(
                        0,
                        n * step,
                        (n + 1) * step,
                        tuple(range(n * step, (n + 1) * step, size))[1:],
                    ),
                ),
            )
            for n in range(jobs)
        ),
    )


def test_every_cause_is_recognised() -> None:
    assert {name: cause_of(failure).name for name, failure in CODES.items()} == {
        name: name for name in CODES
    }
    assert set(CODES) == set(CAUSES)


@pytest.mark.parametrize("code", [*range(49), 777])
@pytest.mark.parametrize("subcode", [0, 2, 28, 102])
def test_every_hold_of_htcondor_has_a_cause(code: int, subcode: int) -> None:
    words = explain_hold(code, subcode, "")
    cause = cause_of(Failure(kind="pool", message="", code=words.code))
    assert cause.name not in {"died", "unknown"}
    assert words.again <= (not cause.permanent)  # what may pass by itself is tried again


failures = st.sampled_from(sorted(CODES)).map(CODES.__getitem__)


@given(
    told=st.lists(failures, min_size=200, max_size=200),
    asks=st.booleans(),
    replicas=st.integers(0, 2),
)
def test_whatever_fails_and_how_often_it_ends(
    told: list[Failure], asks: bool, replicas: int
) -> None:
    plan = a_plan(jobs=1, chunks=2, size=2, replicas=replicas)
    open_units = [Unit(job=0)]
    given_up: list[str] = []
    causes = iter(told * 5)
    tries = 0
    while open_units:
        unit = open_units.pop()
        failure = next(causes)
        step = step_for(unit, failure, plan, asks=asks)
        assert 0 <= pause_of(unit, step, failure) <= 300
        units = next_units(unit, step, failure)
        assert all(sum(one.tries.values()) < TRIES_MAX for one in units)
        if not units:
            given_up.append(unit.piece)
        open_units += units
        tries += 1
    lost = [
        e
        for one in given_up
        for r in part_of(plan.jobs[0], one).ranges
        for e in range(r.start, r.stop)
    ]
    assert sorted(lost) == list(range(4))
    assert tries <= TRIES_MAX * 7


def test_what_the_table_says_is_done_in_its_order() -> None:
    plan = a_plan(jobs=1)

    def story(name: str, *, asks: bool, times: int = 20) -> list[RecoveryStep]:
        unit, steps = Unit(job=0), []
        for _ in range(times):
            step = step_for(unit, CODES[name], plan, asks=asks)
            steps.append(step)
            units = next_units(unit, step, CODES[name])
            if len(units) != 1:
                break
            unit = units[0]
        return steps

    assert story("analysis", asks=False) == [RecoveryStep.ISOLATE, RecoveryStep.FAIL]
    assert story("read", asks=False) == [
        RecoveryStep.AGAIN,
        RecoveryStep.REPLICA,
        RecoveryStep.ISOLATE,
        RecoveryStep.FAIL,
    ]
    assert story("memory", asks=True) == [
        RecoveryStep.MEMORY,
        RecoveryStep.MEMORY,
        RecoveryStep.HALVE,
    ]
    assert story("memory", asks=False) == [RecoveryStep.HALVE]
    assert story("time", asks=True) == [RecoveryStep.HALVE_CHUNKS]
    assert story("died", asks=False) == [RecoveryStep.AGAIN, RecoveryStep.HALVE]
    assert story("node", asks=True) == [RecoveryStep.AGAIN] * 3 + [RecoveryStep.FAIL]
    assert story("lost", asks=True) == [RecoveryStep.AGAIN] * 10 + [RecoveryStep.FAIL]
    assert story("credential", asks=True) == [RecoveryStep.STOP]
    assert story("held", asks=True) == [RecoveryStep.FAIL]


def test_a_local_file_that_cannot_be_read_is_not_read_twice() -> None:
    local = msgspec.structs.replace(CODES["read"], path="/f.root")
    assert step_for(Unit(job=0), local, a_plan(replicas=0), asks=False) is RecoveryStep.ISOLATE
    assert step_for(Unit(job=0), local, a_plan(replicas=1), asks=False) is RecoveryStep.REPLICA


def test_pauses_double_and_machines_are_avoided() -> None:
    plan, unit = a_plan(), Unit(job=0)
    pauses = []
    for host in "abc":
        failure = msgspec.structs.replace(CODES["node"], host=host)
        step = step_for(unit, failure, plan, asks=True)
        pauses.append(pause_of(unit, step, failure))
        (unit,) = next_units(unit, step, failure)
    assert pauses == [1, 2, 4]
    assert unit.avoid == ("a", "b", "c")


def test_messages_with_other_numbers_are_the_same() -> None:
    one = Failure(kind="pool", message="Job 000012 is held: /a/b.root, entries 1 to 2,000 (0x7f)")
    other = Failure(kind="pool", message="Job 000345 is held: /c/d.root, entries 7 to 80 (0x11)")
    assert normalized(one) == normalized(other) == "Job * is held: *, entries * to * (*)"


# --- handing out jobs -----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    found = RunFolder.create(tmp_path / "run", a_plan(), b"")
    with found.lock():
        pass
    return found


def scheduler_of(run: RunFolder, **abilities: bool) -> JobScheduler:
    frozen = run.load_plan()
    units = [Unit(job=job) for job in range(frozen.job_count)]
    return JobScheduler(run, frozen, units, Observer(), Abilities(**abilities))


def drive(scheduler: JobScheduler, answer: object) -> list[tuple[UnitName, UnitEnd]]:
    """Answer all requests as a pool of one worker would; return how each ended."""
    found = []
    index = 0
    while (request := next(scheduler, None)) is not None:
        assert isinstance(request, Run)
        unit = unit_name(request.assignment.job, request.assignment.piece)
        _, end = scheduler.take(index, answer(request))  # type: ignore[operator]
        found.append((unit, end))
        index += 1
    return found


def test_a_job_is_over_when_its_last_piece_is(run: RunFolder) -> None:
    def answer(request: Run) -> Reply:
        one = request.assignment
        bad = one.job == 1 and any(r.start <= 19 < r.stop for r in one.ranges)
        return Failed(failure=CODES["time"]) if bad and len(one.ranges[0].edges) else Done(events=1)

    found = drive(scheduler_of(run), answer)
    assert found[:2] == [("000000", "done"), ("000001", "retried")]
    assert sorted(unit for unit, _ in found if unit.startswith("000001")) == [
        *("000001", "000001-0", "000001-00", "000001-01", "000001-1"),
    ]
    assert sum(end == "done" for _, end in found) == 4
    assert not any(run.results.iterdir())  # nothing was given up


def test_what_is_given_up_leaves_a_receipt(run: RunFolder) -> None:
    def answer(request: Run) -> Reply:
        return Failed(failure=CODES["removed"]) if request.assignment.job == 2 else Done(events=1)

    found = drive(scheduler_of(run), answer)
    assert ("000002", "failed") in found
    assert [path.name for path in run.results.iterdir()] == ["job-000002.zip"]


@pytest.mark.slow
def test_many_failures_cost_as_much_each_as_few(tmp_path: Path) -> None:
    """All are alike: whether to give up is asked at each of them."""
    plan = a_plan(jobs=20_000, chunks=1, size=1)
    run = RunFolder.create(tmp_path / "run", plan, b"")
    scheduler = scheduler_of(run)
    names = [next(scheduler).assignment.job for _ in plan.jobs]

    def seconds(some: list[int]) -> float:
        started = time.process_time()
        for index in some:
            scheduler.take(index, Failed(failure=CODES["lost"]))
        return time.process_time() - started

    first = seconds(names[:2000])
    last = seconds(names[-2000:]) if seconds(names[2000:-2000]) else 0
    assert last < 3 * first + 0.5
    assert not scheduler.hopeless


def test_a_job_of_which_every_part_dies_is_not_halved_for_ever(run: RunFolder) -> None:
    def answer(request: Run) -> Reply:
        return Failed(failure=CODES["died"]) if request.assignment.job == 3 else Done(events=1)

    found = drive(scheduler_of(run), answer)
    assert len(found) < 60
    assert sum(end == "failed" for _, end in found) == 1
    assert len(list(run.results.iterdir())) >= PARTS_MAX


def test_expired_credentials_stop_what_has_not_begun(run: RunFolder) -> None:
    found = drive(scheduler_of(run), lambda _: Failed(failure=CODES["credential"]))
    assert found == [("000000", "failed")]


def test_what_waits_for_another_try_has_a_receipt_in_the_end(run: RunFolder) -> None:
    scheduler = scheduler_of(run)
    assert next(scheduler).assignment.job == 0
    assert scheduler.take(0, Failed(failure=CODES["time"])) == (0, "retried")
    scheduler.close()
    names = sorted(path.name for path in run.results.iterdir())
    assert names == ["job-000000-0.zip", "job-000000-1.zip"]


def test_who_only_looks_on_tries_nothing_again(run: RunFolder) -> None:
    found = drive(scheduler_of(run, retries=False), lambda _: Failed(failure=CODES["lost"]))
    assert found == [(f"{job:06d}", "failed") for job in range(4)]


@settings(max_examples=30)
@given(data=st.data())
def test_any_failures_end_with_all_jobs_over(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    run = RunFolder.create(
        tmp_path_factory.mktemp("any") / "run", a_plan(jobs=2, chunks=2, size=2), b""
    )
    with run.lock():
        pass
    quick = [name for name, one in CAUSES.items() if not one.pause]
    some = st.sampled_from([*quick, "", "", ""])

    def answer(_: Run) -> Reply:
        name = data.draw(some)
        return Failed(failure=CODES[name]) if name else Done(events=1)

    scheduler = scheduler_of(run)
    found = drive(scheduler, answer)
    over = sum(end in {"done", "failed"} for _, end in found)
    stopped = any(
        name in (run.failures.read_text() if run.failures.exists() else "")
        for name in ("all jobs",)
    )
    assert over == 2 or stopped or scheduler.hopeless
