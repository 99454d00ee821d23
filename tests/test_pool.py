"""Runs on a real HTCondor pool: Debian 13 on this machine, another distribution and Python."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.events.sample import write_sample
from eventflock.results.reader import read_manifest
from tests.condor import Client
from tests.test_credentials import make_proxy
from tests.test_processors import write_processor
from tests.truth import energies, truth_of
from tests.user import USER, ok, wait_for
from tests.xrootd import running_server

pytestmark = [pytest.mark.pool, pytest.mark.timeout(600)]


def test_the_tutorial_from_one_command_to_the_plot(
    client: Client, jets_here: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    run = client.home / "ten"
    words = ["--events-per-job", "1000", "--out", run]
    told = ok(client.run("run", jets_here, tutorial, "--pool", "htcondor", *words))
    assert "complete  10,000 events, each exactly once, in 10 jobs" in told.stdout
    assert energies(run) == truth_of(expected)
    assert (run / "plots/E.png").stat().st_size > 10_000
    results = [read_manifest(path) for path in sorted((run / "results").iterdir())]
    assert len(results) == 10
    assert {result.counters.events for result in results} == {1000}
    log = (run / "pool/wave-001/job-000000.log").read_text()
    assert "unpacking in /var/lib/condor/execute/dir_" in log
    assert not client.queue()
    status = json.loads(ok(client.run("status", run, "--json")).stdout)
    assert status["complete"]
    assert status["queue"]["counts"] == {}


@pytest.mark.parametrize("jobs", ["1", "37"])
def test_other_cuts_give_the_same_bins_and_the_same_bits_as_local_cores(
    client: Client, jets_here: Path, tutorial: Path, expected: list[dict[str, Any]], jobs: str
) -> None:
    far, near = client.home / f"far-{jobs}", client.home / f"near-{jobs}"
    ok(client.run("run", jets_here, tutorial, "--jobs", jobs, "--out", far, "--pool", "htcondor"))
    ok(client.run("run", jets_here, tutorial, "--jobs", jobs, "--out", near))
    assert energies(far) == truth_of(expected)
    ours, theirs = read_manifest(far / "result.zip"), read_manifest(near / "result.zip")
    assert ours.coverage == theirs.coverage
    assert (ours.items, ours.payloads) == (theirs.items, theirs.payloads)


OWN = """
import helping.maths as hm
import awkward as ak
import eventflock as ef
import scipy.special, sys
from hist import Hist


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def own(events):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / hm.GEV
    if len(events):
        print("PYTHON", sys.version.split()[0], sys.executable, scipy.special.erf(1.0))
    return {"E": Hist.new.Reg(200, 0, 2000, name="E").Int64().fill(energy)}
"""


def test_own_package_and_scipy_where_neither_is_installed(
    client: Client, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    folder = client.home / "project"
    (folder / "helping").mkdir(parents=True)
    (folder / "helping/__init__.py").write_text("")
    (folder / "helping/maths.py").write_text("GEV = 1000.0\n")
    (folder / "own.py").write_text(OWN)
    run = client.home / "own"
    words = ["--jobs", "2", "--out", run, "--pool", "htcondor"]
    ok(client.run("run", folder / "own.py", tutorial, *words))
    assert energies(run) == truth_of(expected)
    said = (run / "pool/wave-001/job-000001.log").read_text()
    (line,) = [one for one in said.splitlines() if one.startswith("PYTHON")]
    theirs = client.inside("sh", "-c", "ls /usr/bin/python3* || true")
    assert line.split()[1] not in theirs
    assert line.split()[2].startswith("/var/lib/condor/execute/")
    assert list((run / "pool/wave-001").glob("layer-*.tar.zst"))  # scipy is sent as one


def test_a_processor_of_coffea_with_its_correction(client: Client, data_dir: Path) -> None:
    write_processor(client.home)
    data = shutil.copy(data_dir / "nanoAOD_2015_CMS_Open_Data_ttbar.root", client.home)
    fileset = {"tt": {"files": {str(data): "Events"}, "metadata": {"xsec": 831.8}}}
    (client.home / "fileset.json").write_text(json.dumps(fileset))
    words = [client.home / "my_processor.py", client.home / "fileset.json", "--jobs", "3"]
    far, near = client.home / "coffea-far", client.home / "coffea-near"
    ok(client.run("run", *words, "--pool", "htcondor", "--out", far))
    ok(client.run("run", *words, "--out", near))
    ours, theirs = read_manifest(far / "result.zip"), read_manifest(near / "result.zip")
    assert (ours.coverage, ours.items, ours.payloads) == (
        theirs.coverage,
        theirs.items,
        theirs.payloads,
    )
    assert ours.branches == theirs.branches


def test_names_come_through_unharmed(
    client: Client, jets_here: Path, tutorial: Path, expected: list[dict[str, Any]], slow: Path
) -> None:
    folder = client.home / "a b, 'ü\" #; x=y"
    folder.mkdir(exist_ok=True)
    shutil.copy(tutorial, folder / "in, put $(HOME).root")
    client.own(folder)
    note = "x \"y\" 'z' $(HOME) $$(Arch) %(a)s ; | & ü\\n"
    words = ["--param", f"note={note}", "--param", "seconds=0", "--jobs", "2"]
    more = ["--submit", '+Note=a "b" $(DOLLAR)(c) ü', "--out", folder / "run"]
    data = folder / "in, put $(HOME).root"
    ok(client.run("run", slow, data, *words, *more, "--pool", "htcondor"))
    assert energies(folder / "run") == truth_of(expected)
    assert read_manifest(folder / "run/results/job-000000.zip").parameters["note"] == note
    told = client.run("run", slow, tutorial, "--pool", "htcondor", "--out", folder / "$(HOME)")
    assert told.returncode == 2
    assert "'$('" in told.stderr


def test_watch_from_elsewhere_kill_and_resume(
    client: Client, slow: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    run = client.home / "killed"
    words = ["--events-per-job", "1000", "--param", "seconds=2", "--out", run]
    first = client.start("run", slow, tutorial, "--pool", "htcondor", *words)
    wait_for(lambda: list(run.glob("results/job-*.zip")))
    watching = client.start("watch", run, log=client.home / "watch.log")
    time.sleep(1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert watching.wait(120) == 0, (client.home / "watch.log").read_text()
    assert energies(run) == truth_of(expected)
    assert len(list(run.glob("pool/wave-*"))) == 1
    told = ok(client.run("resume", run))
    assert "complete  10,000 events" in told.stdout


def test_killed_and_resumed_submits_only_what_is_missing(
    client: Client, slow: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    run = client.home / "resumed"
    words = ["--events-per-job", "1000", "--param", "seconds=2", "--out", run]
    first = client.start("run", slow, tutorial, "--pool", "htcondor", *words)
    wait_for(lambda: list(run.glob("results/job-*.zip")))
    first.send_signal(signal.SIGKILL)
    first.wait()
    told = ok(client.run("resume", run))
    assert "in the queue already" in told.stderr
    waves = list(run.glob("pool/wave-*"))
    assert len(waves) == 1, told.stderr  # nothing was submitted again
    assert energies(run) == truth_of(expected)


def test_stop_then_resume(
    client: Client, slow: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    run = client.home / "stopped"
    words = ["--events-per-job", "1000", "--param", "seconds=2", "--out", run]
    first = client.start("run", slow, tutorial, "--pool", "htcondor", *words)
    wait_for(lambda: len(list(run.glob("results/job-*.zip"))) > 1)
    told = ok(client.run("stop", run))
    assert "from the queue; what is done is kept" in told.stdout
    assert first.wait(60) in {5, 7}
    results = run.glob("results/job-*.zip")
    done = {result.name for result in results if read_manifest(result).status == "done"}
    assert 0 < len(done) < 10
    wait_for(lambda: not client.queue())
    status = json.loads(ok(client.run("status", run, "--json")).stdout)
    assert status["jobs"]["done"] == len(done)
    assert "partial" in status["label"].lower()
    ok(client.run("resume", run))
    again = json.loads((run / "pool/wave-002/wave.json").read_text())["jobs"]
    assert {f"job-{job}.zip" for job in again}.isdisjoint(done)
    assert len(again) + len(done) == 10
    assert energies(run) == truth_of(expected)


SECOND = """
import awkward as ak
import eventflock as ef


@ef.analysis(tree="Events")
def a(events):
    return {"n": len(events)}


@a.also(tree="Runs")
def runs(runs):
    return {"sumw": float(ak.sum(runs.sumw))}
"""


def test_a_file_that_can_be_read_only_later_is_submitted_then(client: Client) -> None:
    """With its second tree, which is counted once as those of the others are."""
    folder = client.home / "late"
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, USER)
    for n in range(3):
        with uproot.recreate(folder / f"{n}.root") as file:
            file["Events"] = {"x": np.arange(100)}
            file["Runs"] = {"sumw": np.full(n + 1, 10.0)}
    (folder / "a.py").write_text(SECOND)
    content = (folder / "1.root").read_bytes()
    (folder / "1.root").write_bytes(bytes(len(content)))
    run = folder / "run"
    words = ["--events-per-job", "60", "--out", run, "--pool", "htcondor", "--no-plot"]
    told = client.run("run", folder / "a.py", folder, *words)
    assert told.returncode == 7, told.stderr
    assert "1 of 3 files not read" in told.stderr
    (folder / "1.root").write_bytes(content)
    told = ok(client.run("resume", run, "--no-plot"))
    assert "300 events and 6 entries of 'Runs', each exactly once, in 6 jobs" in told.stdout
    result = ef.load(run)
    assert (result["n"], result["runs", "sumw"]) == (300, 60.0)
    second = json.loads((run / "pool/wave-002/wave.json").read_text())["jobs"]
    assert len(second) == 2


@pytest.mark.timeout(3600)
def test_many_small_jobs_are_made_one_after_the_other(
    client: Client, jets_here: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    """As many as EVENTFLOCK_MANY says; 1,000 take a while on two cores."""
    many = int(os.environ.get("EVENTFLOCK_MANY", "30"))
    (client.home / "eventflock.toml").write_text("[htcondor]\nmax_idle = 5\n")
    run = client.home / "many"
    words = ["--events-per-job", str(10_000 // many), "--out", run, "--pool", "htcondor"]
    try:
        ok(client.run("run", jets_here, tutorial, *words, timeout=3600))
    finally:
        (client.home / "eventflock.toml").unlink()
    assert energies(run) == truth_of(expected)
    events = (run / "pool/wave-001/events.log").read_text()
    assert "Cluster submitted" in events  # made late: only then is there such an event


def test_a_hundred_thousand_jobs(client: Client, jets_here: Path, slow: Path) -> None:
    data = write_sample(client.home / "large.root", events=100_000)
    run = client.home / "hundred-thousand"
    words = ["--events-per-job", "1", "--detach", "--submit", "requirements=false"]
    code = (
        "import resource, subprocess, sys, time; t = time.time();"
        "code = subprocess.call([sys.executable, '-P', '-m', 'eventflock', *sys.argv[1:]]);"
        "print(code, time.time() - t, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    ok(client.run("pack", jets_here, data))  # what takes long once is not what is measured
    told = ok(
        client.python(
            "-c", code, "run", jets_here, data, *words, "--out", run, "--pool", "htcondor"
        )
    )
    code_, seconds, kilobytes = told.stdout.split()[-3:]
    print(f"100,000 jobs: {seconds} s, {int(kilobytes) / 1e6:.2f} GB")
    assert int(code_) == 0, told.stdout + told.stderr
    assert float(seconds) < 60
    assert int(kilobytes) < 1_000_000
    started = time.monotonic()
    status = json.loads(ok(client.run("status", run, "--json")).stdout)
    taken = time.monotonic() - started
    print(f"status: {taken:.1f} s")
    assert taken < 5
    assert sum(status["queue"]["counts"].values()) == 100_000
    told = ok(client.run("stop", run))
    assert told.stdout.startswith("removed   100,000 jobs")
    wait_for(lambda: not client.queue())


def test_the_file_on_an_xrootd_server(
    client: Client, jets_here: Path, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    with running_server(client.home / "served", client.home / "xrootd") as server:
        shutil.copy(tutorial, server.folder / "tutorial-10k.root")
        url = f"{server.url}/tutorial-10k.root"
        run = client.home / "remote"
        words = ["--events-per-job", "1000", "--out", run, "--pool", "htcondor"]
        ok(client.run("run", jets_here, url, *words))
        assert energies(run) == truth_of(expected)
        manifests = [read_manifest(path) for path in sorted((run / "results").iterdir())]
        size = tutorial.stat().st_size
        for manifest in manifests:
            assert manifest.branches == ("jet_AntiKt10LCTopo_E",)
            assert manifest.coverage[0].path == url
            assert manifest.counters.bytes_read < size / 4
        assert not list((run / "pool/wave-001").glob("input-*"))


CARRIED = """
import os
from pathlib import Path
import eventflock as ef


@ef.analysis
def a(events):
    token = Path(os.environ["BEARER_TOKEN_FILE"]).read_text()
    proxy = Path(os.environ["X509_USER_PROXY"]).read_text()
    return {"n": len(events), "token": int("SECRET" in token), "proxy": proxy.count("BEGIN CERT")}
"""


def test_credentials_go_with_the_jobs_and_nowhere_else(client: Client, tutorial: Path) -> None:
    home = client.home / "secrets"
    home.mkdir(exist_ok=True)
    payload = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + 900}).encode()).decode()
    (home / "token").write_text(f"e30.{payload}.SECRET-{os.getpid()}")
    make_proxy(home / "proxy.pem", days=1)
    (home / "a.py").write_text(CARRIED)
    for file in home.iterdir():
        shutil.chown(file, USER)
        file.chmod(0o600)
    env = {"X509_USER_PROXY": str(home / "proxy.pem"), "BEARER_TOKEN_FILE": str(home / "token")}
    with running_server(client.home / "guarded", client.home / "xrootd-2") as server:
        shutil.copy(tutorial, server.folder / "a.root")
        run = client.home / "carried"
        words = ["--events-per-job", "5000", "--out", run, "--pool", "htcondor", "--no-plot"]
        told = ok(client.run("run", home / "a.py", f"{server.url}/a.root", *words, env=env))
    result = ef.load(run)
    assert (result["n"], result["token"], result["proxy"]) == (10_000, 2, 2)
    secrets = [(home / "token").read_bytes()[-12:], (home / "proxy.pem").read_bytes()[60:120]]
    for file in (path for path in run.rglob("*") if path.is_file()):
        data = [file.read_bytes()]
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                data += [archive.read(name) for name in archive.namelist()]
        assert not any(secret in one for secret in secrets for one in data), file
    assert "SECRET" not in told.stdout + told.stderr
