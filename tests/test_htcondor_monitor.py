"""Following waves in the queues of several schedds, which stand in here for what a pool has."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import pytest

from eventflock.core.halving import unit_name
from eventflock.core.observer import Observer
from eventflock.core.structs import to_json
from eventflock.errors import PoolError
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import USUAL, JobNeeds
from eventflock.pools.batch.submitter import WaveSubmitter
from eventflock.pools.batch.wave import Wave
from eventflock.pools.htcondor import monitor as monitor_module
from eventflock.pools.htcondor.codes import CondorJobStatus
from eventflock.pools.htcondor.description import may_send_once
from eventflock.pools.htcondor.monitor import CondorMonitor, CondorWaveRecord, Schedds
from eventflock.pools.htcondor.queue import CondorQueue
from eventflock.pools.htcondor.schedd import Schedd
from eventflock.pools.htcondor.settings import Settings
from eventflock.pools.htcondor.system import CondorSubmission
from tests.test_htcondor_waves import job as a_job

COMPLETED, HELD = CondorJobStatus.COMPLETED, CondorJobStatus.HELD
IDLE, RUNNING = CondorJobStatus.IDLE, CondorJobStatus.RUNNING
classad = pytest.importorskip("classad2")


class Queue:
    """The queue of a schedd. Conditions are evaluated by HTCondor's own library."""

    def __init__(self, name: str = "here") -> None:
        self.name = name
        self.ads: list[dict[str, Any]] = []
        self.fetched: list[int] = []
        self.broken = self.no_files = ""
        self.reasons: list[str] = []
        self.clusters = 0
        self.hosts = ["node"]
        self.shared: dict[str, Any] = {}

    def add(self, wave: Wave, cluster: int, *statuses: int) -> None:
        """Let the jobs of a wave be in the queue."""
        mark = wave.record(CondorWaveRecord).identity
        for proc, status in enumerate(statuses):
            ad = {"ClusterId": cluster, "ProcId": proc, "JobStatus": int(status)}
            self.ads.append({**ad, "EventflockWave": mark})

    def _answer(self, broken: str = "") -> None:
        if self.broken or broken:
            raise PoolError(f"{self.name} {self.broken or broken}", code="unreachable")

    def _fits(self, constraint: str, ad: dict[str, Any]) -> bool:
        whole = classad.ClassAd(ad)
        whole["Fits"] = classad.ExprTree(constraint)
        return whole.eval("Fits") is True

    def full_job(self, constraint: str) -> Any:
        self._answer()
        return next((classad.ClassAd(ad) for ad in self.ads if self._fits(constraint, ad)), None)

    def jobs(self, constraint: str, projection: Any) -> list[dict[str, Any]]:
        self._answer()
        return [dict(ad) for ad in self.ads if self._fits(constraint, ad)]

    def find_cluster(self, constraint: str) -> int | None:
        self._answer()
        found = [ad for ad in self.ads if self._fits(constraint, ad)]
        return int(found[0]["ClusterId"]) if found else None

    def cluster(self, constraint: str) -> dict[str, Any]:
        self._answer()
        return dict(self.shared)

    def remove(self, constraint: str, reason: str) -> None:
        self._answer()
        self.reasons.append(reason)
        self.ads = [ad for ad in self.ads if not self._fits(constraint, ad)]

    def submit(self, folder: Path, text: str, *, spool: bool) -> int:
        self._answer()
        wave = Wave(folder)
        assert text == wave.description.read_text()
        self.clusters += 1
        self.add(wave, self.clusters, *(IDLE for _ in wave.record(CondorWaveRecord).jobs))
        return self.clusters

    def why_not_common(self) -> str:
        return ""

    def slots(self) -> list[dict[str, Any]]:
        self._answer()
        return [{"Name": f"slot1@{host}"} for host in self.hosts]

    def retrieve(self, constraint: str) -> None:
        self._answer(self.no_files)
        self.fetched += [ad["ProcId"] for ad in self.jobs(constraint, ())]


NUMBERS = itertools.count()


def a_wave(folder: Path, jobs: int = 3, cluster: int | None = 7, **more: Any) -> Wave:
    number = next(NUMBERS)
    path = folder / f"wave-{number:03d}"
    path.mkdir(parents=True)
    names = tuple(unit_name(job) for job in range(jobs))
    record = CondorWaveRecord(identity=f"wave{number}", created="", jobs=names, **more)
    wave = Wave(path)
    wave.record_file.write_bytes(to_json(record))
    if cluster is not None:
        wave.set_cluster(cluster)
    return wave


def monitor_of(wave: Wave, queue: Queue) -> CondorMonitor:
    return CondorMonitor(wave, cast("Schedd", queue))


class Notes(Observer):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_jobs_of_others_with_the_same_number_are_left_alone(tmp_path: Path) -> None:
    ours, theirs, queue = a_wave(tmp_path), a_wave(tmp_path), Queue()
    queue.add(theirs, 7, RUNNING, IDLE, HELD)
    one = monitor_of(ours, queue)
    one.ask()
    assert one.open_jobs() == {}  # they are not ours, so ours are gone
    one = monitor_of(ours, queue)
    one.remove_held()
    one.remove_one(unit_name(1))
    assert one.remove("stop") == 3
    assert len(queue.ads) == 3
    assert monitor_of(theirs, queue).remove("stop") == 3
    assert queue.ads == []
    assert queue.reasons[-1] == "stop"


def test_each_wave_is_asked_for_where_it_was_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def found(name: str, collector: str) -> Queue:
        opened.append((name, collector))
        if collector == "gone":
            raise PoolError("There is no schedd")
        return Queue(name or "here")

    monkeypatch.setattr("eventflock.pools.htcondor.monitor.Schedd", found)
    schedds = Schedds("", "")
    waves = [
        a_wave(tmp_path, schedd=name, collector=collector)
        for name, collector in (("", ""), ("here", ""), ("there", ""), ("here", "other"))
    ]
    assert [schedds.of(wave.record(CondorWaveRecord)).name for wave in (*waves, *waves)] == [
        *("here", "here", "there", "here"),
        *("here", "here", "there", "here"),
    ]
    assert opened == [("", ""), ("there", ""), ("here", "other")]
    elsewhere = Schedds("", "gone")  # not on this machine any more: others still answer
    assert elsewhere.of(waves[2].record(CondorWaveRecord)).name == "there"
    with pytest.raises(PoolError):
        elsewhere.of(a_wave(tmp_path).record(CondorWaveRecord))


def test_a_schedd_is_away_until_it_answers_or_something_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave, queue = a_wave(tmp_path), Queue()
    queue.add(wave, 7, RUNNING, IDLE, IDLE)
    one = monitor_of(wave, queue)
    queue.broken = "does not answer"
    with pytest.raises(PoolError):
        one.ask()
    since = one.away
    assert since > 0
    assert list(one.look()) == []  # it was not asked again: that is no answer
    assert one.away == since
    monkeypatch.setattr(monitor_module, "ASK_EVERY", 0.0)
    with pytest.raises(PoolError):
        list(one.look())
    assert one.away == since
    queue.broken = ""
    list(one.look())
    assert one.away == 0


def test_what_has_ended_is_fetched_before_the_rest_is_removed(tmp_path: Path) -> None:
    wave, queue = a_wave(tmp_path, jobs=4, spool=True), Queue()
    queue.add(wave, 7, COMPLETED, RUNNING, IDLE, COMPLETED)
    one = monitor_of(wave, queue)
    one.ask()  # as status does: it fetches nothing
    assert dict(one.states.counts()) | {"removed": 0} == {
        "completed": 2,
        "running": 1,
        "idle": 1,
        "removed": 0,
    }
    queue.no_files = "does not hand out results"
    with pytest.raises(PoolError):
        one.remove("stop")
    assert one.away
    assert len(queue.ads) == 4
    queue.no_files = ""
    assert one.remove("stop") == 2
    assert queue.fetched == [0, 3]
    assert queue.ads == []


def test_jobs_that_are_made_between_two_questions_have_not_ended(tmp_path: Path) -> None:
    wave, queue = a_wave(tmp_path), Queue()
    queue.add(wave, 7, RUNNING)
    queue.shared = {"JobMaterializeNextProcId": 1}

    def made(constraint: str) -> dict[str, Any]:
        before = dict(queue.shared)
        queue.add(wave, 7, RUNNING, IDLE, IDLE)
        queue.shared = {"JobMaterializeNextProcId": 3}
        return before

    one = monitor_of(wave, queue)
    queue.cluster = made  # type: ignore[method-assign]
    one.ask()
    assert set(one.open_jobs()) == {"000000", "000001", "000002"}


# --- submitting ----------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path) -> PackedEnvironment:
    archives = tmp_path / "env-1.tar", tmp_path / "code-2.tar.gz"
    for archive in archives:
        archive.write_bytes(b"x")
    return PackedEnvironment(environment=archives[0], code=archives[1])


def submitted(
    folder: Path, environment: PackedEnvironment, settings: Settings, schedd: Queue, jobs: int
) -> tuple[list[CondorMonitor], list[str]]:
    (folder / "run/pool").mkdir(parents=True, exist_ok=True)
    notes = Notes()
    queue = CondorQueue("run", JobNeeds(memory_mb=1, disk_mb=1), settings)
    queue._schedds._own = cast("Schedd", schedd)
    submitter = WaveSubmitter(folder / "run/pool", queue, environment, notes)
    assignments = (a_job(number, "root://host//file.root") for number in range(jobs))
    return cast("list[CondorMonitor]", list(submitter.submit(assignments, USUAL))), notes.said


@pytest.mark.parametrize("settings", [Settings(spool=True), Settings(max_idle=0)])
def test_no_more_are_submitted_at_a_time_than_a_schedd_takes(
    tmp_path: Path,
    environment: PackedEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    monkeypatch.setattr("eventflock.pools.htcondor.queue.AT_ONCE", 4)
    waves, said = submitted(tmp_path, environment, settings, Queue(), 10)
    assert [len(one.record.jobs) for one in waves] == [4, 4, 2]
    assert [name for one in waves for name in one.record.jobs] == [f"{n:06d}" for n in range(10)]
    assert len(said) == 3
    (wave,) = submitted(tmp_path, environment, Settings(), Queue(), 10)[0]  # made as others end
    assert len(wave.record.jobs) == 10
    assert not (tmp_path / "run/pool/.wave.part").exists()


def test_more_jobs_than_may_wait_bring_an_environment_each(
    tmp_path: Path, environment: PackedEnvironment
) -> None:
    wanted = Settings(common_files=True, max_idle=5)
    (wave,), said = submitted(tmp_path, environment, wanted, Queue(), 6)
    assert "CommonInputFiles" not in wave.wave.description.read_text()
    assert "6 jobs cannot all be made at once, as it needs. Each job gets its own" in said[0]
    (wave,), said = submitted(tmp_path, environment, wanted, Queue(), 5)
    assert "CommonInputFiles" in wave.wave.description.read_text()
    assert len(said) == 1


def test_what_the_pool_decides_is_said_in_a_dry_run() -> None:
    needs = JobNeeds(memory_mb=1, disk_mb=1, seconds=400)
    assert may_send_once(Settings(), needs, 1000)
    assert not may_send_once(Settings(), needs, 1001)
    assert not may_send_once(Settings(common_files=False), needs, 1)
    assert not may_send_once(Settings(max_idle=0, common_files=True), needs, 20_001)
    assert not may_send_once(Settings(spool=True, common_files=True), needs, 1)
    assert not may_send_once(Settings(), JobNeeds(memory_mb=1, disk_mb=1), 1)
    environment, code = Path("/c/env-1.tar"), Path("/c/code-2.tar.gz")
    packed = PackedEnvironment(environment=environment, code=code)
    submission = CondorSubmission(settings=Settings(), needs=needs)
    told = submission.show(packed, "n", 10)
    assert told.startswith("# Where the pool can do so, the archives are sent once per node")
    assert "#" not in submission.show(packed, "n", 1001)
