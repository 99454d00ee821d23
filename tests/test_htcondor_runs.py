"""What a run on HTCondor makes of its waves: watching, stopping, standing; its queue stands in."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventflock.api import run as run_analysis
from eventflock.core.halving import unit_name
from eventflock.core.manifest import Failure
from eventflock.core.observer import Observer
from eventflock.core.options import JobLimits, Options, SubmitOptions
from eventflock.errors import InterruptedRunError, UsageError
from eventflock.failures.retries import Unit
from eventflock.packing.archive import join_environment
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch import executor as executor_module
from eventflock.pools.batch import system as system_module
from eventflock.pools.batch.answers import reply_for
from eventflock.pools.batch.executor import BatchExecutor
from eventflock.pools.batch.needs import JobNeeds
from eventflock.pools.batch.wave import Wave
from eventflock.pools.htcondor.events import CondorJobStates
from eventflock.pools.htcondor.queue import CondorQueue
from eventflock.pools.htcondor.schedd import bindings
from eventflock.pools.htcondor.settings import Settings
from eventflock.pools.htcondor.system import POOL, CondorSubmission, HTCondor
from eventflock.pools.roles import Abilities, Stopped
from eventflock.results.format import write_result
from eventflock.runs.environment import recall_environment
from eventflock.runs.folder import RunFolder
from eventflock.runs.lifecycle import resume, stop
from eventflock.runs.scheduler import JobScheduler, do_jobs
from eventflock.runs.status import status_of
from eventflock.worker.messages import Failed
from eventflock.worker.receipt import receipt_of
from tests.test_htcondor_monitor import (
    COMPLETED,
    HELD,
    IDLE,
    RUNNING,
    Notes,
    Queue,
    a_wave,
    environment,
    monitor_of,
)
from tests.test_htcondor_waves import job as a_job
from tests.test_retries import a_plan

__all__ = ["environment"]

NEEDS = JobNeeds(memory_mb=1, disk_mb=1)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """The only schedd that there is."""
    made = Queue()
    monkeypatch.setattr("eventflock.pools.htcondor.monitor.Schedd", lambda *_: made)
    monkeypatch.setattr(executor_module, "GRACE", 0.0)
    monkeypatch.setattr(executor_module, "PAUSE", 0.01)
    return made


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of four jobs, submitted by somebody who did not wait."""
    found = RunFolder.create(tmp_path / "run", a_plan(), b"")
    with found.lock():
        pass
    CondorSubmission(settings=Settings(), needs=JobNeeds(memory_mb=100, disk_mb=1)).freeze(found)
    return found


def executor_of(
    run: RunFolder, environment: PackedEnvironment | None, observer: Observer
) -> BatchExecutor:
    queue = CondorQueue(run.path.name, NEEDS, Settings())
    return BatchExecutor(run, queue, environment, observer)


def jobs_of(run: RunFolder, count: int = 4, *, retries: bool = True) -> JobScheduler:
    units = [Unit(job=job) for job in range(count)]
    abilities = Abilities(retries=retries)
    return JobScheduler(run, run.load_plan(), units, Observer(), abilities)


def log_of(wave: Wave, *events: str) -> None:
    """Write what HTCondor would write."""
    when = "2026-01-01 00:00:00"
    wave.events.write_text("".join(f"{event.replace('WHEN', when)}\n...\n" for event in events))


SUBMITTED = "000 (007.{0:03d}.000) WHEN Job submitted from host: <127.0.0.1:1>"
ABORTED = "009 (007.{0:03d}.000) WHEN Job was aborted.\n\tby hand (by user ann)"
ENDED = (
    "005 (007.{0:03d}.000) WHEN Job terminated.\n\t(0) Abnormal termination (signal 9)\n"
    "\t(0) No core file\n\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Remote Usage\n"
    "\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage\n"
    "\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Total Remote Usage\n"
    "\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Total Local Usage\n"
    "\t0  -  Run Bytes Sent By Job\n\t0  -  Run Bytes Received By Job\n"
    "\t0  -  Total Bytes Sent By Job\n\t0  -  Total Bytes Received By Job"
)


def an_ended_wave(run: RunFolder) -> Wave:
    """Let job 0 be removed by hand, and all others die, while nobody looks."""
    wave = a_wave(run.pool, jobs=4)
    lines = [SUBMITTED.format(proc) for proc in range(4)]
    lines += [ABORTED.format(0), *(ENDED.format(proc) for proc in (1, 2, 3))]
    log_of(wave, *lines)
    return wave


def test_who_watches_learns_how_jobs_ended_before(run: RunFolder, queue: Queue) -> None:
    an_ended_wave(run)
    frozen = run.load_plan()
    raised = Failure(kind="analysis", message="It raised")
    write_result(run.result(3), receipt_of(frozen.assignment(3), raised), {})
    found = status_of(run.path)
    assert found.queue is not None
    assert found.queue.reasons == {
        "was killed by signal 9, and no result has arrived.": 2,
        "was removed from the queue: by hand (by user ann).": 1,
    }
    executor = POOL.follow(run, Observer())  # without any environment
    with run.lock():
        do_jobs(run, frozen, executor, JobLimits(), Observer())
    found = status_of(run.path)
    assert found.jobs["failed"] == 4
    assert found.queue is not None
    assert found.queue.reasons == {}
    assert {problem.message for problem in found.problems} == {
        "Job 000000 was removed from the queue: by hand (by user ann).",
        "Job 000001 was killed by signal 9, and no result has arrived.",
        "It raised",
    }


def test_who_goes_on_hears_why(
    run: RunFolder, queue: Queue, environment: PackedEnvironment
) -> None:
    an_ended_wave(run)
    notes = Notes()
    executor = executor_of(run, environment, notes)
    assert not executor.has_jobs_elsewhere
    assert executor.submit(jobs_of(run)) == 4
    assert any("3 jobs done again: each was killed by signal 9, and" in one for one in notes.said)
    again = executor_of(run, environment, Notes())
    assert again.submit(jobs_of(run)) == 0
    assert again.has_jobs_elsewhere
    found = status_of(run.path)
    assert found.jobs["queued"] == 4
    assert found.goes_on


def test_a_job_with_a_receipt_that_is_queued_again_is_one_job(run: RunFolder, queue: Queue) -> None:
    scheduler = jobs_of(run, 1, retries=False)
    next(scheduler)
    scheduler.take(0, Failed(failure=Failure(kind="pool", message="gone", code="removed")))
    wave = a_wave(run.pool, jobs=2)
    queue.add(wave, 7, HELD, HELD)
    found = status_of(run.path)
    assert {name: n for name, n in found.jobs.items() if n} == {"queued": 2, "missing": 2}
    assert found.in_pool
    assert not found.goes_on  # watching would not help
    queue.ads[0]["JobStatus"] = RUNNING
    assert status_of(run.path).goes_on


def test_a_cluster_of_which_no_more_jobs_are_made_is_named(run: RunFolder, queue: Queue) -> None:
    wave = a_wave(run.pool, jobs=4)
    queue.add(wave, 7, RUNNING)
    why = {"JobMaterializePaused": 1, "JobMaterializePauseReason": "its items cannot be read"}
    queue.shared = {"JobMaterializeNextProcId": 1, **why}
    found = status_of(run.path)
    assert found.queue is not None
    assert "no more jobs of cluster 7, and 3 are waiting: its items cannot be" in found.queue.note
    notes = Notes()
    answers = executor_of(run, None, notes).do(jobs_of(run))
    queue.ads.clear()
    queue.shared = {}
    assert len(list(answers)) == 4


def test_jobs_that_were_never_made_are_over() -> None:
    states = CondorJobStates(3)
    states.take_event({"EventTypeNumber": 0, "Proc": 0})
    states.take_event({"EventTypeNumber": 37, "Proc": -1, "Reason": "held"})
    assert states.paused == "held"
    states.take_event({"EventTypeNumber": 36, "Proc": -1})
    assert sorted(states.over) == [1, 2]
    assert not states.is_over
    states.take_event({"EventTypeNumber": 9, "Proc": 0, "Reason": "x"})
    assert states.is_over


def test_a_receipt_of_an_earlier_try_does_not_hide_that_a_job_was_removed(tmp_path: Path) -> None:
    wave, target = a_wave(tmp_path, jobs=2), tmp_path / "target.zip"
    monitor = monitor_of(wave, Queue())
    for proc in range(2):
        monitor.states.take_event({"EventTypeNumber": 9, "Proc": proc, "Reason": "by hand"})
    for job, kind in ((unit_name(0), "node"), (unit_name(1), "analysis")):
        failure = Failure(kind=kind, message="no")
        write_result(wave.result(job), receipt_of(a_job(0, "/f.root"), failure), {})
    told = [reply_for(monitor, job, target, 0.0) for job in monitor.jobs]
    assert [one.failure.code for one in told if isinstance(one, Failed)] == ["removed", ""]


# --- stopping ------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from eventflock.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    time.sleep(60)
"""


def test_stop_names_a_process_that_goes_on(
    run: RunFolder, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_module, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(system_module, "STOP_EVERY", 0.1)
    first, second = a_wave(run.pool, jobs=3), a_wave(run.pool, jobs=2, cluster=None)
    queue.add(first, 7, RUNNING, IDLE, HELD)
    queue.add(second, 8, IDLE, IDLE)  # its client has not written the number down yet
    command = [sys.executable, "-P", "-c", HOLDER, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        told = stop(run.path)
        process.kill()
    assert told.removed == 5
    assert f"process {process.pid} on " in told.worker
    assert queue.ads == []
    assert stop(run.path) == Stopped(removed=0)


def test_stop_fetches_what_has_ended(run: RunFolder, queue: Queue) -> None:
    wave = a_wave(run.pool, jobs=3, spool=True)
    queue.add(wave, 7, COMPLETED, RUNNING, COMPLETED)
    found = status_of(run.path)
    assert found.queue is not None
    assert found.queue.counts == {"completed": 2, "running": 1}
    assert stop(run.path).removed == 1
    assert queue.fetched == [0, 2]


# --- calling -------------------------------------------------------------------------------------


def test_what_was_sent_is_found_again_without_packing(run: RunFolder, tmp_path: Path) -> None:
    """Not even a worker is started: there is no analysis to pack."""
    (run.analysis / "c.tar.gz").write_bytes(b"x")
    layer = f"layer-{hashlib.sha256(b'layer').hexdigest()[:32]}.tar.zst"
    (tmp_path / "empty").touch()
    both = (tmp_path / "empty", tmp_path / "empty")
    join_environment(tmp_path / "made", *both, b"{}", f"unpacked 1\nlayer {layer}\n")
    archive = (tmp_path / "made").read_bytes()
    name = f"env-{hashlib.sha256(archive).hexdigest()[:32]}.tar"
    run.environment.write_bytes(
        msgspec.json.encode({"environment": name, "code": "c.tar.gz", "wish": {}})
    )
    for data, beside in ((b"damaged", b"layer"), (archive, b"half"), (archive, b"layer")):
        wave = a_wave(run.pool).path
        (wave / name).write_bytes(data)
        (wave / layer).write_bytes(beside)
    found = recall_environment(run, Observer())
    assert found.environment == wave / name
    assert found.layers == (wave / layer,)


def test_a_result_cannot_be_waited_for_and_not_waited_for() -> None:
    with pytest.raises(UsageError, match=r"Call submit\(\) instead"):
        run_analysis("a.py", "b.root", pool="htcondor", detach=True)


@pytest.mark.parametrize("config", ["ONLY_ENV", "/dev/null"])
def test_no_configuration_is_one(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDOR_CONFIG", config)
    assert bindings().JobEventLog


class Interrupting(BatchExecutor):
    """Somebody presses Ctrl-C before anything is submitted."""

    def do(self, *words: Any, **more: Any) -> Any:
        raise KeyboardInterrupt


@pytest.mark.parametrize("detach", [True, False])
def test_interrupted_before_anything_was_submitted(
    run: RunFolder,
    queue: Queue,
    environment: PackedEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    detach: bool,
) -> None:
    made = Interrupting(run, CondorQueue("run", NEEDS, Settings()), environment, Observer())
    monkeypatch.setattr(made, "submit", made.do)
    monkeypatch.setattr(HTCondor, "open_executor", lambda *_: made)
    for there in (False, True):
        if there:
            queue.add(a_wave(run.pool, jobs=4), 7, *[IDLE] * 4)
            made._rejoin()
        with pytest.raises(InterruptedRunError) as caught:
            resume(run.path, Options(pool="htcondor", detach=detach), Observer())
        assert ("the others go on in the pool" in caught.value.message) == there
        assert ("eventflock resume" in caught.value.remedy) == (not there)


def test_what_a_later_call_says_is_frozen(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"x" * 3_000_000)
    lines = ("request_memory=4GB", "transfer_input_files=weights.bin")
    POOL.amend(run, SubmitOptions(submit=lines))
    told = POOL.recall(run)
    assert told.settings.commands == {"request_memory": "4GB"}
    assert told.needs.disk_mb == 4
    assert POOL.memory_requested(run) == "4GB"
    POOL.amend(run, SubmitOptions(submit=lines))
    assert POOL.recall(run) == told
    run.pool_record("htcondor").unlink()
    with pytest.raises(UsageError, match="for jobs on a batch system"):
        resume(run.path, Options(pool="", submission=SubmitOptions(submit=lines)), Observer())
