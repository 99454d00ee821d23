"""What is written for HTCondor, and what is made of its events; without a pool."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.core.halving import UnitName
from eventflock.core.model import AnalysisRef, Assignment, FileEntry, Range
from eventflock.core.options import PackOptions
from eventflock.core.states import QueueStatus
from eventflock.core.structs import to_json
from eventflock.errors import UsageError
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import JobDemands, JobNeeds
from eventflock.pools.batch.wave import PER_FILE, Wave, WaveDraft, waves_in
from eventflock.pools.htcondor.description import check_folder, describe, times
from eventflock.pools.htcondor.events import CondorJobStates
from eventflock.pools.htcondor.monitor import CondorMonitor, CondorWaveRecord
from eventflock.pools.htcondor.settings import Settings

NEEDS = JobNeeds(memory_mb=1024, disk_mb=500)
ARCHIVES = ("env-1.tar", "code-2.tar.gz")
ENVIRONMENT = PackedEnvironment(environment=Path(ARCHIVES[0]), code=Path(ARCHIVES[1]))


def text_of(
    settings: Settings, environment: PackedEnvironment = ENVIRONMENT, **more: Any
) -> dict[str, str]:
    text = describe("jets 1", "abc", environment, NEEDS, settings, **more)
    *lines, queue, last = text.split("\n")
    assert queue == "queue job, shard, line, inputs from items.txt"
    assert last == ""
    return dict(line.split(" = ", 1) for line in lines)


def test_what_the_user_says_wins() -> None:
    told = text_of(Settings(commands={"request_memory": "4GB", "+ProjectName": '"top"'}))
    assert told["request_memory"] == "4GB"
    assert told["+ProjectName"] == '"top"'
    assert told["request_disk"] == "500 MB"
    assert told["max_idle"] == "1000"
    assert told["batch_name"] == "jets-1"


def test_archives_travel_with_each_job_or_once_per_node() -> None:
    plain = text_of(Settings(inputs=("/a/weights.json",)))
    assert plain["transfer_input_files"] == (
        "env-1.tar, code-2.tar.gz, template.json, /a/weights.json, $(inputs)"
    )
    once = text_of(Settings(), common=True)
    assert once["transfer_input_files"] == "template.json, $(inputs)"
    assert once["+CommonInputFiles"] == '"env-1.tar, code-2.tar.gz"'
    assert "max_idle" not in once


def test_jobs_in_a_container() -> None:
    options = PackOptions(container="docker://debian:13")
    told = text_of(Settings(), msgspec.structs.replace(ENVIRONMENT, options=options))
    assert told["universe"] == "container"
    assert told["container_image"] == "docker://debian:13"
    assert text_of(Settings())["universe"] == "vanilla"


def test_other_tries_ask_for_more_and_avoid_machines() -> None:
    demands = JobDemands(memory=2, disk=4, avoid=("bad.example.org", "b"))
    told = text_of(Settings(commands={"Request_Memory": "1.5 GB"}), demands=demands)
    assert told["Request_Memory"] == "3GB"
    assert told["request_disk"] == "2000MB"
    assert told["requirements"] == (
        'substr(TARGET.Name, -16) =!= "@bad.example.org" && substr(TARGET.Name, -2) =!= "@b"'
    )
    told = text_of(Settings(commands={"requirements": "A || B"}), demands=JobDemands(avoid=("b",)))
    assert told["requirements"] == '(A || B) && substr(TARGET.Name, -2) =!= "@b"'
    assert "requirements" not in text_of(Settings())


@pytest.mark.parametrize(
    ("amount", "more"),
    [("2GB", "4GB"), ("2 gb", "4gb"), ("1000", "2000"), ("0.5G", "1G"), ("a + b", "(a + b) * 2")],
)
def test_amounts_grow(amount: str, more: str) -> None:
    assert times(amount, 2) == more
    assert times(amount, 1) == amount


def test_a_job_may_take_so_long_and_no_longer() -> None:
    text = describe(
        "n",
        "i",
        ENVIRONMENT,
        JobNeeds(memory_mb=1, disk_mb=1, limit_seconds=60),
        Settings(),
    )
    assert "\nallowed_execute_duration = 120\n" in text
    assert "allowed_execute_duration" not in text_of(Settings())


@pytest.mark.parametrize("name", ["$(HOME)", "a$$(b)", "back\\slash"])
def test_folders_that_htcondor_would_replace(name: str) -> None:
    with pytest.raises(UsageError, match=r"has .* in its name"):
        check_folder(Path("/runs") / name)
    check_folder(Path("/runs/a b, 'c' \"d\" $x ü"))


def job(number: int, path: str) -> Assignment:
    entry = FileEntry(path=path, tree="t", uuid="u", size=1, entries=10)
    return Assignment(
        plan="p",
        job=number,
        dataset="d",
        metadata={},
        files=(entry,),
        ranges=(Range(0, 0, 10),),
        analysis=AnalysisRef(name="a"),
        parameters={"x": "$(HOME) \n"},
    )


def test_a_wave_has_plain_names_and_a_line_for_each_job(tmp_path: Path) -> None:
    data = tmp_path / "a, $(b) 'c'.root"
    data.write_bytes(b"x")
    for name in ARCHIVES:
        (tmp_path / name).write_bytes(b"y")
    environment = PackedEnvironment(environment=tmp_path / ARCHIVES[0], code=tmp_path / ARCHIVES[1])
    pool = tmp_path / "pool"
    pool.mkdir()
    draft = WaveDraft(pool, environment)
    numbers = list(range(0, 2 * (PER_FILE + 5), 2))
    for number in numbers:
        draft.add(job(number, str(data) if number else "root://host//file.root"))
    assert waves_in(pool) == []
    wave = draft.finish(lambda identity: f"# {identity}\n", CondorWaveRecord())
    assert [one.path for one in waves_in(pool)] == [wave.path]
    assert wave.record(CondorWaveRecord).jobs == tuple(f"{one:06d}" for one in numbers)
    assert wave.cluster() is None
    items = [one.split(" ", 3) for one in wave.items.read_text().splitlines()]
    assert items[0] == ["000000", "00000", "0", "jobs-00000.jsonl"]
    assert items[PER_FILE][:3] == [f"{2 * PER_FILE:06d}", "00001", "0"]
    assert items[-1][3] == "jobs-00001.jsonl,input-00000.root"
    assert (wave.path / "input-00000.root").resolve() == data
    for number, (name, shard, line, _) in zip(numbers, items, strict=True):
        lines = (wave.path / f"jobs-{shard}.jsonl").read_bytes().splitlines()
        told = json.loads(lines[int(line)])
        assert told["assignment"]["job"] == number == int(name)
        assert told["inputs"] == ({str(data): "input-00000.root"} if number else {})
    assert json.loads((wave.path / "template.json").read_bytes())["job"] == "@JOB@"
    assert not (pool / ".wave.part").exists()


# --- events --------------------------------------------------------------------------------------


def story(proc: int, kinds: list[str]) -> list[dict[str, Any]]:
    """Return the events of a job: what a log says of it."""
    base: dict[str, Any] = {"Proc": proc, "Cluster": 1}
    events: dict[str, dict[str, Any]] = {
        "run": {"EventTypeNumber": 1, "SlotName": "slot1@node"},
        "evict": {"EventTypeNumber": 4, "Reason": "the node was wanted"},
        "hold": {"EventTypeNumber": 12, "HoldReason": "why", "HoldReasonCode": 3},
        "release": {"EventTypeNumber": 13},
        "image": {"EventTypeNumber": 6, "MemoryUsage": 77},
        "end": {"EventTypeNumber": 5, "TerminatedNormally": True, "ReturnValue": 0},
        "remove": {"EventTypeNumber": 9, "Reason": "by hand"},
    }
    return [{**base, "EventTypeNumber": 0}, *({**base, **events[kind]} for kind in kinds)]


MIDDLE = st.lists(st.sampled_from(["run", "evict", "hold", "release", "image"]), max_size=8)
STORIES = st.lists(
    st.tuples(MIDDLE, st.sampled_from(["end", "remove", ""])), min_size=1, max_size=6
)


def heard(jobs: int, events: list[Mapping[str, Any]]) -> CondorJobStates:
    states = CondorJobStates(jobs)
    for event in events:
        states.take_event(event)
    return states


@given(STORIES, st.data())
def test_doubled_and_missing_events_do_no_harm(
    stories: list[tuple[list[str], str]], data: st.DataObject
) -> None:
    events: list[Mapping[str, Any]] = []
    for proc, (middle, last) in enumerate(stories):
        events += story(proc, [*middle, *([last] if last else [])])
    plain = heard(len(stories), events)
    doubled: list[Mapping[str, Any]] = []
    for event in events:
        doubled += [event] * data.draw(st.integers(1, 3))
        if data.draw(st.booleans()) and event["EventTypeNumber"] in {5, 9}:
            doubled += [one for one in events if one["Proc"] == event["Proc"]]  # all of it again
    twice = heard(len(stories), doubled)
    assert [plain.status_of(n) for n in range(len(stories))] == [
        twice.status_of(n) for n in range(len(stories))
    ]
    assert sorted(plain.over) == sorted(twice.over)
    assert plain.counts() == twice.counts()
    ends = [one for one in events if one["EventTypeNumber"] in {5, 9}]
    lossy = heard(len(stories), ends)
    assert sorted(lossy.over) == sorted(plain.over)
    # What the log does not say, the queue does: jobs that are gone from it are over.
    lossy.take_queue([], more=False)
    assert all(lossy.status_of(n).is_over() for n in range(len(stories)))
    assert sorted(lossy.over) == list(range(len(stories)))


def test_the_queue_is_asked_where_the_log_is_silent() -> None:
    states = CondorJobStates(4)
    states.take_queue(
        [
            {"ProcId": 0, "JobStatus": 2, "RemoteHost": "slot1@node7"},
            {"ProcId": 1, "JobStatus": 5, "HoldReason": "x", "HoldReasonCode": 1},
        ],
        more=True,
    )
    assert [states.status_of(n) for n in range(4)] == ["running", "held", "waiting", "waiting"]
    assert states.hosts() == {"node7"}
    assert states.counts()[QueueStatus.WAITING] == 2
    states.take_queue([{"ProcId": 3, "JobStatus": 1}], more=False)
    assert [states.status_of(n) for n in range(4)] == ["ended", "ended", "ended", "idle"]
    assert states.over == [0, 1, 2]


LOG = """\
000 (007.000.000) 2026-11-25 13:02:39 Job submitted from host: <127.0.0.1:3889>
...
000 (008.001.000) 2026-11-25 13:02:39 Job submitted from host: <127.0.0.1:3889>
...
009 (008.001.000) 2026-11-25 13:02:40 Job was aborted.
	by hand
...
009 (007.005.000) 2026-11-25 13:02:40 Job was aborted.
	by hand
...
012 (007.000.000) 2026-11-25 13:02:40 Job was held.
	by hand
	Code 1 Subcode 0
...
"""


@pytest.mark.parametrize("cluster", ["7\n", None])
def test_events_of_other_jobs_in_the_log_say_nothing(
    tmp_path: Path, cluster: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDOR_CONFIG", "ONLY_ENV")
    pytest.importorskip("htcondor2")
    wave = Wave(tmp_path)
    record = CondorWaveRecord(identity="a", jobs=(UnitName("40"), UnitName("50")))
    wave.record_file.write_bytes(to_json(record))
    wave.events.write_text(LOG)
    if cluster:
        wave.cluster_file.write_text(cluster)
    with contextlib.closing(CondorMonitor(wave, None)) as monitor:
        told = list(monitor.look())
        assert [(job, seen.status) for job, seen in told] == [("40", "held")]
        assert monitor.open_jobs() == {"40": "held", "50": "waiting"}
        assert monitor.seen(UnitName("50")).words == "it was never made"
