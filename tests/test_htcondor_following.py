"""Following waves in the queues of several schedds, which stand in here for what a pool has."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, cast

import pytest

from eventflock.errors import PoolError
from eventflock.model import to_json
from eventflock.pools.htcondor import following as following_module
from eventflock.pools.htcondor.following import Following, Schedds
from eventflock.pools.htcondor.schedd import COMPLETED, HELD, IDLE, RUNNING, Schedd
from eventflock.pools.htcondor.wave import Wave, WaveRecord

classad = pytest.importorskip("classad2")


class Queue:
    """The queue of a schedd. Conditions are evaluated by HTCondor's own library."""

    def __init__(self, name: str = "here") -> None:
        self.name = name
        self.ads: list[dict[str, Any]] = []
        self.fetched: list[int] = []
        self.broken = self.no_files = ""
        self.reasons: list[str] = []
        self.shared: dict[str, Any] = {}

    def add(self, wave: Wave, cluster: int, *statuses: int) -> None:
        """Let the jobs of a wave be in the queue."""
        mark = wave.record().identity
        for proc, status in enumerate(statuses):
            ad = {"ClusterId": cluster, "ProcId": proc, "JobStatus": status}
            self.ads.append({**ad, "EventflockWave": mark})

    def _answer(self, broken: str = "") -> None:
        if self.broken or broken:
            raise PoolError(f"{self.name} {self.broken or broken}", code="unreachable")

    def _fits(self, constraint: str, ad: dict[str, Any]) -> bool:
        whole = classad.ClassAd(ad)
        whole["Fits"] = classad.ExprTree(constraint)
        return whole.eval("Fits") is True

    def jobs(self, constraint: str, projection: Any) -> list[dict[str, Any]]:
        self._answer()
        return [dict(ad) for ad in self.ads if self._fits(constraint, ad)]

    def cluster(self, constraint: str) -> dict[str, Any]:
        self._answer()
        return dict(self.shared)

    def remove(self, constraint: str, reason: str) -> None:
        self._answer()
        self.reasons.append(reason)
        self.ads = [ad for ad in self.ads if not self._fits(constraint, ad)]

    def retrieve(self, constraint: str) -> None:
        self._answer(self.no_files)
        self.fetched += [ad["ProcId"] for ad in self.jobs(constraint, ())]


NUMBERS = itertools.count()


def a_wave(folder: Path, jobs: int = 3, cluster: int | None = 7, **more: Any) -> Wave:
    number = next(NUMBERS)
    path = folder / f"wave-{number:03d}"
    path.mkdir(parents=True)
    names = tuple(f"{job:06d}" for job in range(jobs))
    record = WaveRecord(identity=f"wave{number}", created="", jobs=names, **more)
    wave = Wave(path)
    wave.record_file.write_bytes(to_json(record))
    if cluster is not None:
        wave.set_cluster(cluster)
    return wave


def following(wave: Wave, queue: Queue) -> Following:
    return Following(wave, cast("Schedd", queue))


def test_jobs_of_others_with_the_same_number_are_left_alone(tmp_path: Path) -> None:
    ours, theirs, queue = a_wave(tmp_path), a_wave(tmp_path), Queue()
    queue.add(theirs, 7, RUNNING, IDLE, HELD)
    one = following(ours, queue)
    one.ask()
    assert one.open_jobs() == {}  # they are not ours, so ours are gone
    one = following(ours, queue)
    one.remove_held()
    one.remove_one("000001")
    assert one.remove("stop") == 3
    assert len(queue.ads) == 3
    assert following(theirs, queue).remove("stop") == 3
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

    monkeypatch.setattr("eventflock.pools.htcondor.following.Schedd", found)
    schedds = Schedds("", "")
    waves = [
        a_wave(tmp_path, schedd=name, collector=collector)
        for name, collector in (("", ""), ("here", ""), ("there", ""), ("here", "other"))
    ]
    assert [schedds.of(one.record()).name for one in (*waves, *waves)] == [
        *("here", "here", "there", "here"),
        *("here", "here", "there", "here"),
    ]
    assert opened == [("", ""), ("there", ""), ("here", "other")]
    elsewhere = Schedds("", "gone")  # not on this machine any more: others still answer
    assert elsewhere.of(waves[2].record()).name == "there"
    with pytest.raises(PoolError):
        elsewhere.of(a_wave(tmp_path).record())


def test_a_schedd_is_away_until_it_answers_or_something_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave, queue = a_wave(tmp_path), Queue()
    queue.add(wave, 7, RUNNING, IDLE, IDLE)
    one = following(wave, queue)
    queue.broken = "does not answer"
    with pytest.raises(PoolError):
        one.ask()
    since = one.away
    assert since > 0
    assert list(one.look()) == []  # it was not asked again: that is no answer
    assert one.away == since
    monkeypatch.setattr(following_module, "ASK_EVERY", 0.0)
    with pytest.raises(PoolError):
        list(one.look())
    assert one.away == since
    queue.broken = ""
    list(one.look())
    assert one.away == 0


def test_what_has_ended_is_fetched_before_the_rest_is_removed(tmp_path: Path) -> None:
    wave, queue = a_wave(tmp_path, jobs=4, spool=True), Queue()
    queue.add(wave, 7, COMPLETED, RUNNING, IDLE, COMPLETED)
    one = following(wave, queue)
    one.ask()  # as status does: it fetches nothing
    assert dict(one.account.counts()) | {"removed": 0} == {
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

    one = following(wave, queue)
    queue.cluster = made  # type: ignore[method-assign]
    one.ask()
    assert set(one.open_jobs()) == {"000000", "000001", "000002"}
