"""What can go wrong with an HTCondor pool: a clear state, nothing lost, and resume works."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from eventflock.results.reader import read_manifest
from eventflock.results.result import load
from tests.condor import Client, running_pool
from tests.roots import bare_root
from tests.truth import energies, truth_of
from tests.user import ok, wait_for

pytestmark = [pytest.mark.pool, pytest.mark.timeout(600)]

TEN = ("--events-per-job", "1000", "--pool", "htcondor")
FIVE = ("--events-per-job", "2000", "--pool", "htcondor")
Expected = list[dict[str, Any]]


def test_no_pool_at_all(client: Client, jets_here: Path, tutorial: Path, tmp_path: Path) -> None:
    run = client.home / "nowhere"
    words = ("run", jets_here, tutorial, "--pool", "htcondor", "--out", run)
    told = client.run(*words, env={"_CONDOR_COLLECTOR_HOST": "127.0.0.1:1"})
    assert told.returncode == 5
    assert "No HTCondor can be reached" in told.stderr
    assert "condor_status" in told.stderr
    told = client.run(*words, env={"CONDOR_CONFIG": "/nowhere/condor_config"})
    assert told.returncode == 5
    assert "CONDOR_CONFIG is '/nowhere/condor_config', and there is no such file." in told.stderr
    told = client.run(*words, "--schedd", "lokalhost")
    assert told.returncode == 5
    assert "There is no schedd 'lokalhost'; did you mean 'localhost" in told.stderr
    assert not run.exists()


def test_no_credential(client: Client, jets_here: Path, tutorial: Path) -> None:
    run = client.home / "stranger"
    words = ("run", jets_here, tutorial, "--pool", "htcondor", "--out", run)
    told = client.run(*words, env={"_CONDOR_SEC_TOKEN_DIRECTORY": str(client.home / "tmp")})
    assert told.returncode == 5
    assert "does not know you" in told.stderr
    assert not run.exists()


def test_no_slot_can_ever_match(client: Client, slow: Path, tutorial: Path) -> None:
    run = client.home / "nomatch"
    more = ("--submit", 'requirements=OpSysAndVer =?= "SL6"', "--submit", "request_memory=9 TB")
    log = client.home / "nomatch.log"
    first = client.start("run", slow, tutorial, *TEN, *more, "--out", run, log=log)
    words = "No slot of the pool can run these jobs"
    wait_for(lambda: log.read_text().count(words) == 2)  # before they are submitted, and later
    first.send_signal(signal.SIGINT)
    assert first.wait(30) == 130
    said = log.read_text()
    assert said.index(words) < said.index("submitted 10 jobs")
    for command in ("status", "why"):
        assert f"waits     {words}" in ok(client.run(command, run)).stdout
    assert 'OpSysAndVer =?= "SL6"' in said
    assert "Debian13" in said
    assert "memory" in said
    assert "eventflock watch" in said
    assert "eventflock stop" in said
    ok(client.run("stop", run))


def test_held_for_a_missing_input(
    client: Client, jets_here: Path, tutorial: Path, expected: Expected
) -> None:
    run, extra = client.home / "held", client.home / "weights.json"
    extra.write_text("{}")
    more = ("--submit", "transfer_input_files=weights.json", "--submit", "hold=true", "--detach")
    ok(client.run("run", jets_here, tutorial, *FIVE, *more, "--out", run))
    told = client.run("watch", run)
    assert told.returncode == 5, told.stdout + told.stderr
    assert "Job 000000 is held" in told.stderr
    extra.unlink()
    client.inside("condor_release", "-all")
    wait_for(lambda: {one["HoldReasonCode"] for one in client.queue()} == {13})
    told = client.run("watch", run)
    assert told.returncode == 5
    assert "weights.json" in told.stderr
    status = ok(client.run("status", run)).stdout
    assert "5 held" in status
    assert "weights.json" in status
    extra.write_text("{}")
    # The jobs were submitted on hold, and a new wave would be: let them go while it looks on.
    resumed = client.start("resume", run)
    wait_for((run / "pool/wave-002/cluster").exists)
    client.inside("condor_release", "-all")
    assert resumed.wait(120) in {0, 5}
    ok(client.run("watch", run))
    assert energies(run) == truth_of(expected)


def test_a_removed_job_is_named_and_done_again(
    client: Client, slow: Path, tutorial: Path, expected: Expected
) -> None:
    run = client.home / "removed"
    log = client.home / "removed.log"
    first = client.start("run", slow, tutorial, *TEN, "--out", run, log=log)
    cluster = run / "pool/wave-001/cluster"
    wait_for(lambda: list(run.glob("results/job-*.zip")))
    client.inside("condor_rm", f"{cluster.read_text().strip()}.9")
    assert first.wait(120) == 7
    said = log.read_text()
    assert "Job 000009 was removed from the queue" in said
    assert "PARTIAL   9,000 of 10,000 events" in said
    ok(client.run("resume", run))
    assert json.loads((run / "pool/wave-002/wave.json").read_text())["jobs"] == ["000009"]
    assert energies(run) == truth_of(expected)


def test_what_happened_while_nobody_looked(
    client: Client, slow: Path, tutorial: Path, expected: Expected
) -> None:
    run = client.home / "unseen"
    ok(client.run("run", slow, tutorial, *TEN, "--detach", "--out", run))
    cluster = (run / "pool/wave-001/cluster").read_text().strip()
    wait_for(lambda: list(run.glob("pool/wave-001/job-*.zip")))
    client.inside("condor_rm", f"{cluster}.9")
    wait_for(lambda: not client.queue())
    assert (
        "1 job: was removed from the queue: via condor_rm" in ok(client.run("status", run)).stdout
    )
    told = client.run("watch", run)
    assert told.returncode == 7
    assert "Job 000009 was removed from the queue: via condor_rm" in told.stderr
    assert "removed from the queue" in ok(client.run("why", run)).stdout
    ok(client.run("resume", run))
    assert json.loads((run / "pool/wave-002/wave.json").read_text())["jobs"] == ["000009"]
    assert energies(run) == truth_of(expected)


def test_resume_with_other_demands(
    client: Client, jets_here: Path, tutorial: Path, expected: Expected
) -> None:
    run = client.home / "demands"
    nowhere = ("--submit", 'requirements=OpSysAndVer =?= "SL6"', "--detach")
    ok(client.run("run", jets_here, tutorial, *TEN, *nowhere, "--out", run))
    assert ok(client.run("stop", run)).stdout.startswith("removed   10 jobs")
    wait_for(lambda: not client.queue())
    told = ok(client.run("resume", run, "--submit", "requirements=true"))
    assert "10 jobs done again: each was removed from the queue: eventflock stop" in told.stderr
    assert "requirements = true" in (run / "pool/wave-002/submit.txt").read_text()
    assert energies(run) == truth_of(expected)


def test_the_schedd_goes_away_in_the_middle(
    client: Client, slow: Path, tutorial: Path, expected: Expected
) -> None:
    run = client.home / "away"
    log = client.home / "away.log"
    first = client.start("run", slow, tutorial, *TEN, "--out", run, log=log)
    wait_for(lambda: list(run.glob("results/job-*.zip")))
    assert client.kill("condor_schedd") == 1
    code = first.wait(240)
    if code:  # nothing is lost, whatever the pool made of it
        ok(client.run("resume", run))
    assert energies(run) == truth_of(expected)


def test_vacated_jobs_go_back_to_the_queue(
    client: Client, slow: Path, tutorial: Path, expected: Expected
) -> None:
    run = client.home / "vacated"
    log = client.home / "vacated.log"
    words = ("--param", "seconds=4", "--out", run)
    first = client.start("run", slow, tutorial, *TEN[2:], "--jobs", "2", *words, log=log)
    wait_for(lambda: [one for one in client.queue() if one["JobStatus"] == 2])
    client.inside("condor_vacate_job", "-fast", "-all")
    assert first.wait(120) == 0, log.read_text()
    assert "went back to the queue" in log.read_text()
    assert energies(run) == truth_of(expected)


def test_the_disk_of_the_access_point_is_full(
    client: Client, slow: Path, tutorial: Path, expected: Expected
) -> None:
    run, filler = client.small / "full", client.small / "filler"
    log = client.home / "full.log"
    words = ("--param", "seconds=3", "--out", run)
    first = client.start("run", slow, tutorial, *FIVE, *words, log=log)
    wait_for((run / "pool/wave-001/cluster").exists)
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], check=False, stderr=-3)
    assert first.wait(240) != 0
    assert "Traceback" not in log.read_text()
    filler.unlink()
    ok(client.run("resume", run))
    assert energies(run) == truth_of(expected)
    shutil.rmtree(run)


def test_a_result_that_never_arrives_is_made_again(
    client: Client, slow: Path, tutorial: Path, expected: Expected
) -> None:
    run = client.home / "lost"
    words = ("--param", "seconds=0", "--detach", "--out", run)
    told = ok(client.run("run", slow, tutorial, *FIVE, *words))
    assert "follow    eventflock watch" in told.stdout
    wave = run / "pool/wave-001"
    wait_for(lambda: len(list(wave.glob("job-*.zip"))) == 5)
    wait_for(lambda: not client.queue())
    (wave / "job-000002.zip").unlink()
    (wave / "job-000003.zip").write_bytes((wave / "job-000003.zip").read_bytes()[:-100])
    told = client.run("watch", run)
    assert told.returncode == 7
    assert "PARTIAL   6,000 of 10,000 events" in told.stdout
    ok(client.run("resume", run))
    assert json.loads((run / "pool/wave-002/wave.json").read_text())["jobs"] == ["000002", "000003"]
    assert energies(run) == truth_of(expected)


HUNGRY = """
import time
import numpy as np
import eventflock as ef


@ef.analysis
def hungry(events, context):
    if context.start <= 4321 < context.stop:
        taken = np.ones(60_000_000)
        time.sleep(20)  # HTCondor looks now and then
        taken.sum()
    return {"n": len(events)}
"""


def test_a_job_that_needs_more_memory_gets_it(client: Client, tutorial: Path) -> None:
    analysis, run = client.home / "hungry.py", client.home / "hungry"
    analysis.write_text(HUNGRY)
    more = ("--submit", "request_memory=400 MB", "--out", run)
    told = ok(client.run("run", analysis, tutorial, *TEN, *more))
    assert "it used more memory than it asked for" in told.stderr
    assert "It is tried with more memory." in told.stderr
    second = (run / "pool/wave-002/submit.txt").read_text()
    assert "request_memory = 800MB" in second
    assert json.loads((run / "pool/wave-002/wave.json").read_text())["jobs"] == ["000004"]
    status = ok(client.run("status", run)).stdout
    assert "400 MB requested; " in status


def test_a_node_that_fails_everything_is_avoided(
    client: Client, jets_here: Path, tutorial: Path, expected: Expected
) -> None:
    run = client.home / "black-hole"
    log = client.home / "black-hole.log"
    with client.black_hole():
        first = client.start("run", jets_here, tutorial, *TEN, "--out", run, log=log)
        assert first.wait(300) == 0, log.read_text()
    assert energies(run) == truth_of(expected)
    assert "perhaps the node did not even start it" in log.read_text()
    later = sorted(run.glob("pool/wave-00[2-9]/submit.txt"))
    assert all("black-hole" in one.read_text() for one in later)


def test_a_job_that_takes_too_long_is_ended_and_halved(client: Client, tutorial: Path) -> None:
    analysis, run = client.home / "long.py", client.home / "long"
    analysis.write_text(
        "import time\nimport eventflock as ef\n\n@ef.analysis\ndef long(events):\n"
        "    time.sleep(2 if len(events) else 0)\n    return {'n': len(events)}\n"
    )
    words = ("--pool", "htcondor", "--jobs", "1", "--chunk", "2500", "--time-limit", "5")
    told = ok(client.run("run", analysis, tutorial, *words, "--out", run))
    assert "took longer than the 5 s it may take" in told.stderr
    assert "allowed_execute_duration = 65" in (run / "pool/wave-001/submit.txt").read_text()
    assert "It is halved down to chunks." in told.stderr


def test_a_schedd_that_shares_no_disk(
    client: Client, base_of_pools: Path, slow: Path, tutorial: Path, expected: Expected
) -> None:
    elsewhere = base_of_pools / "elsewhere"
    elsewhere.mkdir()
    client.own(elsewhere)
    data = shutil.copy(tutorial, elsewhere / "data.root")
    run = elsewhere / "spooled"
    words = ("--events-per-job", "2500", "--pool", "htcondor", "--spool", "--param", "seconds=0")
    ok(client.run("run", slow, data, *words, "--out", run))
    assert energies(run) == truth_of(expected)
    assert not client.queue()
    assert "unpacking in /var/lib/condor/" in (run / "pool/wave-001/job-000003.log").read_text()


def test_stop_fetches_what_such_a_schedd_keeps(
    client: Client, base_of_pools: Path, slow: Path, tutorial: Path
) -> None:
    elsewhere = base_of_pools / "far"
    elsewhere.mkdir()
    client.own(elsewhere)
    data, run = shutil.copy(tutorial, elsewhere / "data.root"), elsewhere / "stopped"
    words = (*TEN, "--spool", "--detach", "--param", "seconds=3", "--out", run)
    ok(client.run("run", slow, data, *words))
    wait_for(lambda: [one for one in client.queue() if one["JobStatus"] == 4])
    assert "ended (results to be fetched)" in ok(client.run("status", run)).stdout
    ok(client.run("stop", run))
    wait_for(lambda: not client.queue())
    assert list(run.glob("pool/wave-001/job-*.zip"))
    assert json.loads(ok(client.run("status", run, "--json")).stdout)["jobs"]["done"] > 0


def test_an_analysis_that_raises_in_all_jobs(client: Client, tutorial: Path) -> None:
    wrong = client.home / "wrong.py"
    wrong.write_text(
        "import eventflock as ef\n\n@ef.analysis\n"
        "def wrong(events):\n    if len(events): raise ValueError('no such thing')\n    return {}\n"
    )
    run = client.home / "wrong"
    words = ("--events-per-job", "500", "--pool", "htcondor", "--out", run)
    told = client.run("run", wrong, tutorial, *words)
    assert told.returncode == 6
    assert "raised ValueError: no such thing" in told.stderr
    assert "raise ValueError('no such thing')" in told.stderr
    wait_for(lambda: not client.queue())  # the others were not left behind


DYING = """
import os, signal, sys
from eventflock.__main__ import main
from eventflock.pools.batch.wave import Wave

# The schedd has the jobs; the client does not live to write down which they are.
Wave.set_cluster = lambda wave, number: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(main())
"""


@pytest.mark.parametrize("after", ["resume", "resume when all have ended", "stop"])
def test_killed_before_the_number_of_the_cluster_is_written(
    client: Client, slow: Path, tutorial: Path, expected: Expected, after: str
) -> None:
    run = client.home / f"unnumbered-{after.replace(' ', '-')}"
    words = ("--param", "seconds=1", "--out", run)
    # Few are made at a time: most are in the queue only as what is still to be made.
    (client.home / "eventflock.toml").write_text("[htcondor]\nmax_idle = 2\n")
    told = client.python("-c", DYING, "run", slow, tutorial, *FIVE, *words)
    (client.home / "eventflock.toml").unlink()
    assert told.returncode == -signal.SIGKILL, told.stdout + told.stderr
    wave = run / "pool/wave-001"
    assert not (wave / "cluster").exists()
    if after == "stop":
        assert ok(client.run("stop", run)).stdout.startswith("removed   ")
        wait_for(lambda: not client.queue())
    elif after == "resume":
        assert "in the queue already" in ok(client.run("resume", run)).stderr
        assert int((wave / "cluster").read_text()) > 0
    else:
        wait_for(lambda: len(list(wave.glob("job-*.zip"))) == 5)
        wait_for(lambda: not client.queue())
    ok(client.run("resume", run))
    assert energies(run) == truth_of(expected)
    waves = sorted(path.name for path in run.glob("pool/wave-*"))
    assert waves == (["wave-001", "wave-002"] if after == "stop" else ["wave-001"])
    submitted = (wave / "events.log").read_text().count("Job submitted from host")
    assert submitted <= 5


@pytest.fixture(scope="module")
def newer(
    newer_root: subprocess.Popen[bytes],
    base_of_pools: Path,
    client: Client,
    tutorial: Path,
    jets_here: Path,
) -> Any:
    """The access point of a pool of HTCondor 25."""
    newer_root.wait()
    base = base_of_pools / "newer"
    base.mkdir()
    base.chmod(0o755)
    with running_pool(base, "sid") as made:
        made.env["EVENTFLOCK_CACHE"] = client.env["EVENTFLOCK_CACHE"]
        shutil.copy(tutorial, made.home)
        shutil.copy(jets_here, made.home)
        yield made


def test_the_newer_generation_sends_the_environment_once(newer: Client, expected: Expected) -> None:
    (newer.home / "eventflock.toml").write_text("[htcondor]\ncommon_files = true\n")
    run = newer.home / "common"
    # Each job takes eight seconds to start, on either slot.
    words = ("run", "jets.py", "tutorial-10k.root", "--jobs", "4", "--pool", "htcondor")
    ok(newer.run(*words, "--out", run))
    assert energies(run) == truth_of(expected)
    events = (run / "pool/wave-001/events.log").read_text()
    assert events.count("Finished transferring common files") == 1
    (newer.home / "eventflock.toml").unlink()
    ok(newer.run(*words, "--out", newer.home / "plain"))
    one, other = (read_manifest(path / "result.zip") for path in (run, newer.home / "plain"))
    assert (one.items, one.payloads, one.coverage) == (other.items, other.payloads, other.coverage)


def test_the_older_generation_says_that_it_cannot(
    client: Client, jets_here: Path, tutorial: Path
) -> None:
    toml = client.home / "eventflock.toml"
    toml.write_text("[htcondor]\ncommon_files = true\n")
    try:
        run = client.home / "uncommon"
        told = ok(client.run("run", jets_here, tutorial, "--pool", "htcondor", "--out", run))
    finally:
        toml.unlink()
    assert told.stderr.count("files are sent once per node from 24.9") == 1


WHERE = """
import pathlib
import numpy
import eventflock as ef

@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def where(events):
    version = pathlib.Path("/etc/debian_version").read_text().strip()
    return {f"{version} {'/packages/' in numpy.__file__}": len(events)}
"""


def test_jobs_in_a_container_of_the_pool(newer: Client, base_of_pools: Path) -> None:
    """HTCondor starts Apptainer, with a folder on the nodes that is a Debian 11."""
    images = newer.folder / "root/cvmfs/images"
    shutil.copytree(
        bare_root(base_of_pools, "bullseye"), images / "plain", symlinks=True,
        ignore=shutil.ignore_patterns("dev", "scratch"),
    )  # fmt: skip
    # HTCondor tests an image by what is in those that Apptainer has made.
    newer.inside("apptainer", "build", "--sandbox", "/cvmfs/images/debian11", "/cvmfs/images/plain")
    (images / "debian11").chmod(0o755)
    (newer.home / "where.py").write_text(WHERE)
    words = ("run", "where.py", "tutorial-10k.root", "--jobs", "2", "--pool", "htcondor")
    run = newer.home / "contained"
    ok(newer.run(*words, "--container", "/cvmfs/images/debian11", "--out", run))
    (seen,) = load(run)["events"]
    assert seen.startswith("11.")
    assert seen.endswith(" True")
    log = (run / "pool/wave-001/job-000000.log").read_text()
    assert "with the bundled glibc, as its own is 2.31" in log


def test_a_pool_that_runs_no_containers(client: Client, jets_here: Path, tutorial: Path) -> None:
    run = client.home / "contained"
    words = ("run", jets_here, tutorial, "--pool", "htcondor", "--out", run)
    told = client.run(*words, "--container", "docker://debian:13")
    assert told.returncode == 5
    assert "No slot of the pool can run the container docker://debian:13: none of" in told.stderr
    assert not run.exists()
