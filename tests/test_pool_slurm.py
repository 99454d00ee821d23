"""Runs on a real Slurm cluster, which the tests start on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflock.results.reader import read_manifest
from tests.conftest import SLOW
from tests.slurm import SlurmUser, running_cluster
from tests.truth import energies, truth_of
from tests.user import ok, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmUser]:
    with tempfile.TemporaryDirectory(prefix="eventflock-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_cluster(folder) as user:
            yield user


@pytest.fixture
def user(cluster: SlurmUser) -> Iterator[SlurmUser]:
    yield cluster
    cluster.tidy()


@pytest.fixture(scope="module")
def tutorial(cluster: SlurmUser, data_dir: Path) -> Path:
    return Path(shutil.copy(data_dir / "tutorial-10k.root", cluster.home / "tutorial-10k.root"))


@pytest.fixture(scope="module")
def jets(cluster: SlurmUser, jets: Path) -> Path:
    return Path(shutil.copy(jets, cluster.home / "jets.py"))


@pytest.fixture(scope="module")
def slow(cluster: SlurmUser) -> Path:
    path = cluster.home / "slow.py"
    path.write_text(SLOW)
    return path


def same_bits(far: Path, near: Path) -> bool:
    ours, theirs = read_manifest(far / "result.zip"), read_manifest(near / "result.zip")
    return (ours.coverage, ours.items, ours.payloads) == (
        theirs.coverage,
        theirs.items,
        theirs.payloads,
    )


def status(user: SlurmUser, run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(user.run("status", run, "--json").stdout)
    return found


# --- the main job --------------------------------------------------------------------------------


def test_the_tutorial_from_one_command_to_the_plot_with_the_bits_of_local_cores(
    user: SlurmUser, jets: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    far, near = user.home / "far", user.home / "near"
    words = ["--events-per-job", "1000"]
    large = ["--with", "scipy"]  # which has a layer of its own
    told = ok(user.run("run", jets, tutorial, "--pool", "slurm", *words, *large, "--out", far))
    assert "complete  10,000 events, each exactly once, in 10 jobs" in told.stdout
    assert len(list((far / "pool/wave-001").glob("layer-*.tar.zst"))) == 1
    assert energies(far) == truth_of(expected)
    assert (far / "plots/E.png").stat().st_size > 10_000
    ok(user.run("run", jets, tutorial, *words, "--out", near))
    assert same_bits(far, near)
    assert status(user, far)["queue"]["counts"] == {}
    left = {path.name for path in (far / "pool/wave-001").iterdir()}
    assert not {name for name in left if name.endswith((".part", ".zip")) or "slurm-" in name}
    assert not list(Path("/tmp").glob("eventflock-*/result.zip"))


def test_a_partition_for_short_jobs_takes_those_that_a_trial_has_cut(
    user: SlurmUser, jets: Path, tutorial: Path
) -> None:
    run = user.home / "short"
    words = ["--pool", "slurm", "--submit", "partition=short", "--out", run]
    told = ok(user.run("run", jets, tutorial, *words))
    assert "complete  10,000 events" in told.stdout
    assert "--time" not in (run / "pool/wave-001/submit.txt").read_text()
    told = ok(user.run("run", jets, tutorial, "--pool", "slurm", "--dry-run"))
    assert "#SBATCH --time=" not in told.stdout  # an hour, and a minute more, is too long there


def test_rows_of_a_table_run_as_well(user: SlurmUser) -> None:
    (user.home / "square.py").write_text("import sys\nprint(int(sys.argv[1]) ** 2)\n")
    run = user.home / "rows"
    words = ["--count", "6", "--group", "2", "--pool", "slurm", "--out", run, "--", "{index}"]
    ok(user.run("map", user.home / "square.py", *words))
    assert [(run / f"logs/{n}.stdout").read_text().strip() for n in range(6)] == [
        str(n**2) for n in range(6)
    ]


def test_an_array_is_not_larger_than_slurm_allows_and_no_more_than_may_be_in_the_queue(
    user: SlurmUser, jets: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    project = user.home / "limited"
    project.mkdir()
    user.own(project)
    (project / "eventflock.toml").write_text("[slurm]\nmax_jobs = 4\n")
    run = project / "run"
    process = user.start(
        *("run", jets, tutorial, "--jobs", "10", "--pool", "slurm", "--out", run), cwd=project
    )
    most = 0
    while process.poll() is None:
        most = max(most, len(user.states()))
        time.sleep(0.1)
    assert process.returncode == 0, (user.home / "client.log").read_text()
    assert 1 <= most <= 4
    assert energies(run) == truth_of(expected)
    assert len(list((run / "pool").glob("wave-*"))) >= 3


# --- clients that leave --------------------------------------------------------------------------


def test_a_client_that_is_killed_leaves_jobs_that_go_on(
    user: SlurmUser, slow: Path, tutorial: Path
) -> None:
    run, near = user.home / "killed", user.home / "killed-near"
    words = ["--jobs", "10", "--param", "seconds=1", "--out"]
    process = user.start("run", slow, tutorial, "--pool", "slurm", *words, run)
    wait_for(user.running)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = status(user, run)
    assert found["queue"]["counts"]
    assert found["queue"]["hosts"] == ["n1", "n2"] or set(found["queue"]["hosts"]) <= {"n1", "n2"}
    told = ok(user.run("resume", run))
    assert "in the queue already" in told.stderr
    assert len(list((run / "pool").glob("wave-*"))) == 1
    ok(user.run("run", slow, tutorial, *words, near))
    assert same_bits(run, near)


def test_the_array_of_a_client_that_died_too_early_is_found_again(
    user: SlurmUser, slow: Path, tutorial: Path
) -> None:
    run = user.home / "early"
    words = ["--jobs", "6", "--param", "seconds=1", "--out", run]
    ok(user.run("run", slow, tutorial, "--pool", "slurm", "--detach", *words))
    cluster = run / "pool/wave-001/cluster"
    number = cluster.read_text()
    cluster.unlink()
    ok(user.run("watch", run))
    assert cluster.read_text() == number
    assert len(list((run / "pool").glob("wave-*"))) == 1


def test_detached_stopped_and_resumed(user: SlurmUser, slow: Path, tutorial: Path) -> None:
    run = user.home / "stopped"
    words = ["--jobs", "8", "--param", "seconds=2", "--out", run]
    ok(user.run("run", slow, tutorial, "--pool", "slurm", "--detach", *words))
    wait_for(user.running)
    told = ok(user.run("stop", run))
    assert "removed" in told.stdout
    wait_for(lambda: not user.states())
    assert not status(user, run)["complete"]
    told = ok(user.run("resume", run))
    assert "complete  10,000 events, each exactly once" in told.stdout


# --- what others do to jobs ----------------------------------------------------------------------


def test_tasks_that_somebody_cancels_are_missed_and_resume_does_them(
    user: SlurmUser, slow: Path, tutorial: Path
) -> None:
    run, near = user.home / "cancelled", user.home / "cancelled-near"
    words = ["--jobs", "6", "--param", "seconds=2", "--out"]
    process = user.start("run", slow, tutorial, "--pool", "slurm", *words, run)
    first = wait_for(user.running)[0]
    user.by_hand("scancel", first)
    assert process.wait(120) == 7
    why = user.run("why", run).stdout
    assert "removed from the queue" in why
    assert "scancel" in why
    ok(user.run("resume", run))
    ok(user.run("run", slow, tutorial, *words, near))
    assert same_bits(run, near)


def test_held_by_a_person_said_and_released(user: SlurmUser, slow: Path, tutorial: Path) -> None:
    run = user.home / "held"
    words = ["--jobs", "8", "--param", "seconds=2", "--out", run]
    ok(user.run("run", slow, tutorial, "--pool", "slurm", "--detach", *words))
    array = (run / "pool/wave-001/cluster").read_text().strip()
    user.by_hand("scontrol", "hold", f"{array}_7")
    found = status(user, run)
    assert "held: somebody put it on hold" in found["queue"]["reasons"]
    process = user.start("watch", run)
    wait_for(lambda: user.states() == ["PENDING"])
    user.by_hand("scontrol", "release", f"{array}_7")
    assert process.wait(120) in {0, 7}  # a watch that ends with what is held says so
    ok(user.run("watch", run))


def test_a_node_that_is_set_down_in_the_middle(user: SlurmUser, slow: Path, tutorial: Path) -> None:
    run, near = user.home / "down", user.home / "down-near"
    words = ["--jobs", "8", "--param", "seconds=3", "--out"]
    process = user.start("run", slow, tutorial, "--pool", "slurm", *words, run)
    wait_for(lambda: len(user.running()) >= 3)
    user.slurm("scontrol", "update", "nodename=n2", "state=down", "reason=test")
    try:
        assert user.hurry(process) == 0, (user.home / "client.log").read_text()
    finally:
        user.slurm("scontrol", "update", "nodename=n2", "state=resume")
    ok(user.run("run", slow, tutorial, *words, near))
    assert same_bits(run, near)


def test_jobs_that_are_preempted_come_back(user: SlurmUser, slow: Path, tutorial: Path) -> None:
    run = user.home / "preempted"
    words = ["--jobs", "4", "--param", "seconds=10", "--out", run]
    process = user.start("run", slow, tutorial, "--pool", "slurm", *words)
    wait_for(lambda: len(user.running()) == 4)
    for _ in range(2):
        user.by_hand("sbatch", "-p", "urgent", "-c", "2", "-o", "/dev/null", "--wrap", "sleep 2")
    assert wait_for(user.delayed)
    assert user.hurry(process) == 0, (user.home / "client.log").read_text()


def test_a_controller_that_does_not_answer_and_one_that_is_started_again(
    user: SlurmUser, slow: Path, tutorial: Path
) -> None:
    run, log = user.home / "away", user.home / "client.log"
    words = ["--jobs", "8", "--param", "seconds=4", "--out", run]
    process = user.start("run", slow, tutorial, "--pool", "slurm", *words)
    wait_for(user.running)
    controller = _controller(user)
    os.kill(controller, signal.SIGSTOP)
    try:
        wait_for(lambda: "Slurm does not answer" in log.read_text())
    finally:
        os.kill(controller, signal.SIGCONT)
    os.kill(controller, signal.SIGTERM)  # it saves its state; another one is started
    assert process.wait(200) == 0, log.read_text()
    assert "Slurm answers again" in log.read_text()
    assert _controller(user) != controller


def _controller(user: SlurmUser) -> int:
    """Return the number of the process of the controller, which has another in its namespace."""
    inner = int((user.folder / "slurmctld.pid").read_text())
    there = (path for path in Path("/proc").glob("[0-9]*") if _is_controller(path, inner))
    (found,) = (one for one in there if str(user.folder) in (one / "cmdline").read_text())
    return int(found.name)


def _is_controller(process: Path, inner: int) -> bool:
    """Check whether a process is the controller, which has another number in its namespace."""
    try:
        text = (process / "status").read_text()
    except OSError:
        return False
    numbers = next(line for line in text.splitlines() if line.startswith("NSpid")).split()
    return text.startswith("Name:\tslurmctld") and numbers[-1] == str(inner) and len(numbers) > 2


# --- limits --------------------------------------------------------------------------------------


def test_a_job_that_needs_more_memory_gets_more(user: SlurmUser, tutorial: Path) -> None:
    (user.home / "hungry.py").write_text(
        "import time\nimport numpy as np\nimport eventflock as ef\n\n\n"
        "@ef.analysis\ndef hungry(events):\n"
        "    if len(events) and len(events) > 100:\n"
        "        a = np.ones(60_000_000)\n        time.sleep(3)\n"
        '    return {"n": len(events)}\n'
    )
    run = user.home / "hungry"
    words = ["--jobs", "2", "--pool", "slurm", "--submit", "mem=400M", "--out", run]
    told = user.run("run", user.home / "hungry.py", tutorial, *words)
    assert told.returncode == 0, told.stderr
    assert "used more memory than it had asked for" in told.stderr
    assert "more memory" in told.stderr
    assert "--mem=800M" in (run / "pool/wave-002/submit.txt").read_text()


def test_jobs_above_the_time_limit_are_halved(user: SlurmUser, tutorial: Path) -> None:
    (user.home / "long.py").write_text(
        "import time\nimport eventflock as ef\n\n\n"
        "@ef.analysis\ndef long(events):\n"
        "    time.sleep(len(events) / 2500 * 24)\n"
        '    return {"n": len(events)}\n'
    )
    run = user.home / "long"
    words = ["--jobs", "1", "--chunk", "2500", "--pool", "slurm", "--submit", "time=1"]
    told = user.run("run", user.home / "long.py", tutorial, *words, "--out", run, timeout=380)
    assert told.returncode == 0, told.stderr
    assert "took longer than its time limit" in told.stderr


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("partition=nope", "invalid partition specified: nope"),
        ("mem=900000", "Requested node configuration is not available"),
        ("constraint=foo", "Invalid feature specification"),
        ("partitionn=short", "Did you mean 'partition'?"),
        ("mem=plenty", "Invalid --mem specification"),
    ],
)
def test_what_slurm_would_not_take_is_said_before_anything_is_packed(
    user: SlurmUser, jets: Path, tutorial: Path, option: str, said: str
) -> None:
    run = user.home / "refused"
    started = time.monotonic()
    told = user.run("run", jets, tutorial, "--pool", "slurm", "--submit", option, "--out", run)
    assert told.returncode == 2, told.stderr
    assert said in told.stderr
    assert "pack" not in told.stderr
    assert not run.exists()
    assert time.monotonic() - started < 10


def test_jobs_that_no_partition_runs_are_explained(
    user: SlurmUser, jets: Path, tutorial: Path
) -> None:
    run = user.home / "idle"
    process = user.start(
        *("run", jets, tutorial, "--jobs", "2", "--pool", "slurm", "--out", run),
        *("--submit", "partition=short", "--submit", "time=30"),
    )
    log = user.home / "client.log"
    wait_for(lambda: "above that of the partition (PartitionTimeLimit)" in log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    ok(user.run("stop", run))


# --- accounting ----------------------------------------------------------------------------------


def test_what_the_queue_has_forgotten_accounting_knows(slow: Path, tutorial: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="eventflock-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_cluster(folder, "--accounting", "--set", "MinJobAge=2") as user:
            run = user.home / "forgotten"
            source, data = (Path(shutil.copy(one, user.home)) for one in (slow, tutorial))
            words = ["--jobs", "8", "--param", "seconds=3", "--pool", "slurm", "--detach"]
            ok(user.run("run", source, data, *words, "--out", run))
            running = wait_for(user.running)
            user.slurm("scancel", running[0])  # by root, one that runs; and those that wait
            user.slurm("scancel", "--state=PENDING", running[0].partition("_")[0])
            wait_for(lambda: not user.slurm("squeue", "-h", "-t", "all"))
            known = ("sacct", "-n", "-X", "-s", "PENDING,RUNNING")  # it is told a moment later
            wait_for(lambda: not user.slurm(*known, "-S", "now-1hour"))
            assert user.run("watch", run).returncode == 7
            why = user.run("why", run).stdout
            assert "cancelled by root" in why, why
            assert "somebody" not in why
            ok(user.run("resume", run))
