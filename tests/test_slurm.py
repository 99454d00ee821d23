"""What Slurm is told and what it says, without a cluster; `test_pool_slurm.py` has a real one."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.core.manifest import Failure
from eventflock.core.options import PackOptions, SubmitOptions
from eventflock.core.states import QueueStatus
from eventflock.errors import UsageError
from eventflock.failures.causes import cause_of
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import JobDemands, JobNeeds
from eventflock.pools.slurm.commands import parse_ended, parse_limit
from eventflock.pools.slurm.description import BODY, describe, option_line, times
from eventflock.pools.slurm.settings import Settings, amend, read_settings
from eventflock.pools.slurm.states import SlurmJobStates, Task, why_pending
from tests.conftest import Command
from tests.test_launcher import SHELLS

NEEDS = JobNeeds(memory_mb=1500, disk_mb=100)
ENVIRONMENT = PackedEnvironment(environment=Path("env-1.tar"), code=Path("code-1.tar.gz"))


def said(*lines: str, folder: Path) -> Settings:
    return read_settings(SubmitOptions(submit=lines), folder)


def refusal(*lines: str, folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        said(*lines, folder=folder)
    return str(caught.value)


def script(settings: Settings, **more: object) -> str:
    return describe("run 1", "abc", ENVIRONMENT, NEEDS, settings, 10, **more)  # type: ignore[arg-type]


# --- settings ------------------------------------------------------------------------------------


def test_table_profile_and_call_each_replace_what_was_said_before(tmp_path: Path) -> None:
    (tmp_path / "eventflock.toml").write_text(
        '[slurm]\npartition = "long"\ntime = 90\nexclusive = true\nmax_jobs = 50\n'
        'scratch = "/scratch/$USER"\ncopy_inputs = true\nprofile = "day"\n'
        "[slurm.environment]\nFLAVOUR = \"it is 'good'\"\n"
        '[slurm.profiles.day]\npartition = "day"\naccount = "cms"\n'
        '[htcondor]\n"+ProjectName" = "top"\n'
    )
    found = said("time=2:00:00", "--cpus_per_task=2", "p=short", folder=tmp_path / "inside")
    assert found.options == {
        "account": "cms",
        "partition": "short",
        "time": "2:00:00",
        "exclusive": "",
        "cpus-per-task": "2",
    }
    assert (found.max_jobs, found.scratch, found.copy_inputs) == (50, "/scratch/$USER", True)
    text = script(found)
    assert "#SBATCH --exclusive\n" in text
    assert "export FLAVOUR='it is '\"'\"'good'\"'\"''" in text
    assert 'scratch="/scratch/$USER"' in text
    assert "bring='cp -L'" in text
    later = amend(found, SubmitOptions(submit=("partition=long",)), tmp_path)
    assert later.options["partition"] == "long"
    assert later.options["time"] == "2:00:00"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("array=0-9", "array cannot be set"),
        ("output=/tmp/x", "kept with the run"),
        ("ntasks=4", "use cpus-per-task"),
        ("request_memory=4GB", "such as mem=4G"),
        ("+ProjectName=top", "submit command of HTCondor"),
        ("a b=3", "no option of sbatch"),
        ("mem=4\nG", "one line of text"),
    ],
)
def test_what_is_not_for_the_user_to_choose(line: str, expected: str, tmp_path: Path) -> None:
    assert expected in refusal(line, folder=tmp_path)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("max_jobs = -1", "max_jobs is -1."),
        ('scratch = "/a; rm"', "scratch is '/a; rm'."),
        ("copy_inputs = 1", "Expected true or false"),
        ('environment = "A=1"', "[slurm.environment]"),
        ('environment = { PYTHONPATH = "/x" }', "another Python"),
        ("time = [1]", "expected a text or a number"),
        ('profile = "day"', "no profile 'day' for Slurm"),
    ],
)
def test_tables_that_are_wrong(table: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "eventflock.toml").write_text(f"[slurm]\n{table}\n")
    assert expected in refusal(folder=tmp_path)


def test_a_table_that_is_nearly_one(tmp_path: Path) -> None:
    (tmp_path / "eventflock.toml").write_text("[slrum]\ntime = 1\n")
    assert "Did you mean [slurm]?" in refusal(folder=tmp_path)


def test_options_for_htcondor_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--spool is for HTCondor"):
        read_settings(SubmitOptions(spool=True), tmp_path)


def test_without_slurm_one_sentence_says_so(eventflock: Command, jets: Path, sample: Path) -> None:
    told = eventflock("run", jets, sample, "--pool", "slurm", env={"PATH": "/nowhere"})
    assert told.returncode == 5
    assert "There is no Slurm on this machine: sbatch is not found." in told.stderr
    assert len(told.stderr.splitlines()) == 2


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="Slurm is not installed")
def test_a_machine_that_is_in_no_cluster(eventflock: Command, jets: Path, sample: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "SLURM_CONF"}
    told = eventflock("run", jets, sample, "--pool", "slurm", env=env)
    if "not set up" not in told.stderr:
        pytest.skip("this machine is in a Slurm cluster")
    assert told.returncode == 5
    assert "Could not establish a configuration source." in told.stderr
    assert told.stderr.endswith("or set SLURM_CONF.\n")


# --- the batch script ----------------------------------------------------------------------------


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1))
def test_a_value_is_one_word_in_the_script_whatever_is_in_it(value: str) -> None:
    line = option_line("comment", value)
    assert line.startswith("#SBATCH --comment=")
    # sbatch reads quotes and backslashes as a POSIX shell does within double quotes
    if '"' in line[: len("#SBATCH --comment=") + 1]:
        assert shlex.split(line.removeprefix("#SBATCH ")) == [f"--comment={value}"]
    else:
        assert line == f"#SBATCH --comment={value}"


def test_later_tries_ask_for_more_and_go_elsewhere() -> None:
    settings = Settings(options={"mem": "1.5G", "exclude": "n9"})
    text = script(settings, demands=JobDemands(memory=2.0, avoid=("n1", "n2")))
    assert "#SBATCH --mem=3G\n" in text
    assert "#SBATCH --exclude=n9,n1,n2\n" in text
    assert "#SBATCH --array=0-9\n" in text
    assert "#SBATCH --job-name=run-1\n" in text
    assert "--mem=1500M" not in text
    per_cpu = script(Settings(options={"mem-per-cpu": "800"}), demands=JobDemands(memory=1.5))
    assert "#SBATCH --mem-per-cpu=1200\n" in per_cpu
    assert "--mem=" not in per_cpu
    assert times("0", 2) == "0"


def test_the_time_limit_is_the_job_own_and_a_minute() -> None:
    needs = JobNeeds(memory_mb=1, disk_mb=1, limit_seconds=3600)
    text = describe("r", "i", ENVIRONMENT, needs, Settings(), 1)
    assert "#SBATCH --time=61\n" in text
    assert "#SBATCH --requeue\n" in text
    assert "\ncontainer=''\n" in text
    image = msgspec.structs.replace(ENVIRONMENT, options=PackOptions(container="/a b.sif"))
    assert "\ncontainer='/a b.sif'\n" in describe("r", "i", image, needs, Settings(), 1)
    own = describe("r", "i", ENVIRONMENT, needs, Settings(options={"no-requeue": ""}), 1)
    assert "--requeue\n" not in own.replace("--no-requeue", "")


@pytest.mark.skipif(shutil.which("dash") is None, reason="dash is not installed")
def test_a_job_that_cannot_see_its_folder_says_so(tmp_path: Path) -> None:
    told = subprocess.run(
        ["dash", BODY],
        env={"SLURM_SUBMIT_DIR": str(tmp_path / "gone"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 85
    assert f"does not see {tmp_path / 'gone'}" in told.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_what_killed_jobs_have_left_is_removed_after_a_day(tmp_path: Path, shell: str) -> None:
    scratch, wave = tmp_path / "scratch", tmp_path / "wave"
    wave.mkdir()
    (wave / "items.txt").write_text("000000 00000 0 none\n")
    for name, pid, days in (("old", 2**22 + 1, 2), ("new", 2**22 + 1, 0), ("live", os.getpid(), 2)):
        (scratch / f"eventflock-{name}").mkdir(parents=True)
        mark = scratch / f"eventflock-{name}/.job"
        mark.write_text(f"{pid}\n")
        os.utime(mark, (time.time() - days * 86400 - 60,) * 2)
    (scratch / "other").mkdir()
    script = tmp_path / "job.sh"
    head = f'bring="ln -s"\nscratch="{scratch}"\nflags=\nenvironment=e\ncode=c\n'
    script.write_text(head + BODY.read_text())
    words = [shell, "sh"] if shell.endswith("busybox") else [shell]
    subprocess.run(
        [*words, script],
        env={"SLURM_SUBMIT_DIR": str(wave), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    left = {path.name for path in scratch.iterdir()}
    assert left == {"eventflock-new", "eventflock-live", "other"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("infinite", math.inf), ("30:00", 1800), ("1:00:00", 3600), ("2-12:00:00", 216_000)],
)
def test_time_limits_of_partitions(text: str, seconds: float) -> None:
    assert parse_limit(text) == seconds


# --- states --------------------------------------------------------------------------------------


def states(*tasks: Task | None, logs: dict[int, str] | None = None) -> SlurmJobStates:
    found = SlurmJobStates(len(tasks))
    known = {number: task for number, task in enumerate(tasks) if task is not None}
    found.take(known, logs or {})
    return found


@pytest.mark.parametrize(
    ("task", "log", "status", "cause"),
    [
        (Task("PENDING", reason="Priority"), "", QueueStatus.IDLE, ""),
        (Task("PENDING", reason="JobHeldUser"), "", QueueStatus.HELD, "held"),
        (Task("PENDING", reason="launch failed requeued held"), "", QueueStatus.HELD, "site"),
        (Task("REQUEUE_HOLD"), "", QueueStatus.HELD, "held"),
        (Task("CONFIGURING", "n1"), "", QueueStatus.RUNNING, ""),
        (Task("SUSPENDED", "n1"), "", QueueStatus.RUNNING, ""),
        (Task("COMPLETING", "n1"), "", QueueStatus.RUNNING, ""),
        (Task("COMPLETED", "n1", status="0:0"), "", QueueStatus.ENDED, "result"),
        (Task("FAILED", "n1", status="1:0"), "", QueueStatus.ENDED, "result"),
        (Task("FAILED", "n1"), "error: Exceeded job memory limit", QueueStatus.ENDED, "memory"),
        (Task("OUT_OF_MEMORY", "n1"), "", QueueStatus.ENDED, "memory"),
        (Task("TIMEOUT", "n1"), "", QueueStatus.ENDED, "time"),
        (Task("NODE_FAIL", "n1"), "", QueueStatus.ENDED, "lost"),
        (Task("PREEMPTED", "n1"), "", QueueStatus.ENDED, "lost"),
        (Task("CANCELLED", by="anna"), "", QueueStatus.REMOVED, "removed"),
        (None, "", QueueStatus.ENDED, "result"),
        (
            None,
            "*** JOB 4 ON n2 CANCELLED AT 2026 DUE TO TIME LIMIT ***",
            QueueStatus.ENDED,
            "time",
        ),
        (None, "*** JOB 4 ON n2 CANCELLED AT 2026-11-28 ***", QueueStatus.REMOVED, "removed"),
        (None, "detected 1 oom_kill event in StepId=4.batch", QueueStatus.ENDED, "memory"),
    ],
)
def test_each_state_means_what_it_means_for_other_batch_systems(
    task: Task | None, log: str, status: QueueStatus, cause: str
) -> None:
    found = states(task, logs={0: log})
    seen = found.of(0)
    assert seen.status == status
    assert found.is_over == status.is_over()
    if cause in {"removed", "result"}:
        assert not seen.end_code
    elif cause:
        code = seen.code if status == QueueStatus.HELD else seen.end_code
        assert cause_of(Failure(kind="pool", message="", code=code)).name == cause


def test_a_job_that_was_requeued_is_told_once_and_ends_later() -> None:
    found = states(Task("RUNNING", "n1"))
    assert found.take({0: Task("PENDING", reason="BeginTime")}, {}) == [0]
    assert found.take({0: Task("PENDING", reason="BeginTime")}, {}) == []
    assert found.of(0).status == QueueStatus.IDLE
    found.take({0: Task("COMPLETED", "n2", status="0:0")}, {})
    assert (found.of(0).host, found.of(0).how) == ("n2", "ended with exit status 0")
    found.take({}, {})  # Slurm forgets it; what was seen stays
    assert found.of(0).how == "ended with exit status 0"


def test_a_hold_that_is_released_is_forgotten() -> None:
    found = states(Task("PENDING", reason="JobHeldUser"))
    assert found.held == [0]
    found.take({0: Task("PENDING", reason="Priority")}, {})
    assert found.of(0).status == QueueStatus.IDLE
    assert not found.of(0).words


def test_reasons_that_are_as_usual_are_not_explained() -> None:
    assert not why_pending("Priority")
    assert not why_pending("Resources")
    assert "limit of your account" in why_pending("AssocGrpCpuLimit")
    assert "not available" in why_pending("(ReqNodeNotAvail, UnavailableNodes:n1)")


def test_accounting_knows_tasks_that_never_ran_by_one_line() -> None:
    lines = [
        "7_0|COMPLETED|n1|0:0|ours",
        "7_2|CANCELLED by 0|n2|0:15|ours",
        "7_3|RUNNING|n2|0:0|ours",
        "7_4|FAILED|n1|3:0|another's",
        "7_[1-3,5,8-9%2]|CANCELLED by 0|None assigned|0:0|",
    ]
    found = parse_ended(lines, "ours")
    assert found == {
        0: Task("COMPLETED", "n1", "", "0:0"),
        2: Task("CANCELLED", "n2", "", "0:15", "root"),
        **dict.fromkeys((1, 5, 8, 9), Task("CANCELLED", "", "", "0:0", "root")),
    }
    assert parse_ended(["7_[0-99]|PENDING|None assigned|0:0|ours"], "ours") == {}
