"""Runs whose jobs bring their environment along: the same bits, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import eventflock as ef
from eventflock.core.options import PackOptions
from eventflock.packing.cache import Cache
from eventflock.results.reader import read_manifest
from tests.conftest import Command, alive, copy_cache

pytestmark = pytest.mark.packing

WEIGHTED = """
import awkward as ak
import numpy as np
import eventflock as ef
from hist import Hist
import os, sys, time

@ef.analysis
def weighted(events, *, fail: str = "", wait: float = 0.0):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / 1000
    if len(events) and fail == "raise":
        raise ValueError("the third jet")
    if len(events) and fail == "die":
        os.abort()
    if len(events) > 200 and wait:
        open("began", "w").close()
        time.sleep(wait)
    print("seen", len(events), sys.prefix)
    made = Hist.new.Reg(50, 0, 500, name="E").Weight().fill(energy, weight=np.cos(energy))
    return {"E": made, "n": len(events), "sum": float(ak.sum(energy))}
"""


@pytest.fixture
def weighted(tmp_path: Path) -> Path:
    path = tmp_path / "weighted.py"
    path.write_text(WEIGHTED)
    return path


def content(run: Path) -> object:
    manifest = read_manifest(run / "result.zip")
    sums = {name: one.sha256 for name, one in manifest.payloads.items()}
    return sums, manifest.items, manifest.coverage, manifest.counters.events


def test_the_same_bits_as_without_packing(
    eventflock: Command, tmp_path: Path, weighted: Path, sample: Path
) -> None:
    words = ["run", weighted, sample, "--jobs", "3", "--chunk", "777"]
    told = eventflock(*words, "--packed", "--out", "packed")
    assert told.returncode == 0, told.stderr
    assert "each exactly once, in 3 jobs" in told.stdout
    assert eventflock(*words, "--out", "plain").returncode == 0
    assert content(tmp_path / "packed") == content(tmp_path / "plain")

    environment = json.loads((tmp_path / "packed/environment.json").read_text())
    digest = environment["environment"].removeprefix("env-").removesuffix(".tar")
    manifest = read_manifest(tmp_path / "packed/results/job-000000.zip")
    assert manifest.environment == digest
    log = (tmp_path / "packed/pool/job-000000.log").read_text()
    for line in ("started ", "host ", "user ", "directory ", "seen 777 ", "ended "):
        assert line in log
    assert "exit status 0" in log
    assert f"seen 777 {sys.prefix}\n" not in log  # it was not this interpreter


def test_an_analysis_that_raises(eventflock: Command, weighted: Path, sample: Path) -> None:
    told = eventflock("run", weighted, sample, "--packed", "--jobs", "9", "--param", "fail=raise")
    assert told.returncode == 6
    assert "raised ValueError: the third jet" in told.stderr
    assert 'raise ValueError("the third jet")' in told.stderr  # the user's own line
    assert "On the first events of 'events' the analysis failed" in told.stderr  # before the jobs
    assert "not tried, as all before failed alike" in told.stderr


def test_what_lacks_a_file_on_the_node_is_repeated_as_the_job_ran(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    (tmp_path / "a.py").write_text(
        "import sys\nimport eventflock as ef\n\n@ef.analysis\ndef a(events):\n"
        "    if len(events) and '/eventflock-job-' in sys.executable:\n"
        "        open('/gone/weights.json')\n    return {'n': len(events)}\n"
    )
    told = eventflock("run", "a.py", sample, "--packed", "--jobs", "1")
    assert told.returncode == 6
    (line,) = [one for one in told.stderr.splitlines() if one.startswith("Repeat it:")]
    assert line.endswith("--pool local --packed")
    again = eventflock(*shlex.split(line.partition("eventflock ")[2]))
    assert "FileNotFoundError" in again.stderr


def test_a_job_that_dies(eventflock: Command, tmp_path: Path, weighted: Path, sample: Path) -> None:
    """The trial dies as well, before anything is made."""
    told = eventflock("run", weighted, sample, "--packed", "--param", "fail=die")
    assert told.returncode == 4
    assert "The trial of the analysis in" in told.stderr
    assert "ended with exit status -6" in told.stderr
    assert not (tmp_path / "runs").exists()


def started(
    weighted: Path, sample: Path, folder: Path, *words: str
) -> tuple[subprocess.Popen[bytes], Path]:
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-P", "-m", "eventflock", "run", str(weighted), str(sample)]
    options = ["--packed", "--jobs", "4", "--param", "wait=60", "--out", "run", "--quiet"]
    with (folder / "client.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *options, *words],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(scratch)},
            stderr=log,
        )
    until(lambda: len(list(scratch.glob("eventflock-job-*/began"))) == 2, process)
    return process, scratch


def until(true: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end
        if process is not None:
            assert process.poll() is None
        time.sleep(0.02)


def processes_in(scratch: Path) -> list[int]:
    """Return the processes that run below a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().decode(errors="replace")
            if str(scratch) in words and alive(int(path.name)):
                found.append(int(path.name))
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_when_the_client_is_gone_so_are_its_jobs(
    tmp_path: Path, weighted: Path, sample: Path, how: signal.Signals
) -> None:
    process, scratch = started(weighted, sample, tmp_path, "--workers", "2")
    assert processes_in(scratch)
    process.send_signal(how)
    code = process.wait(30)
    assert code == {signal.SIGINT: 130, signal.SIGKILL: -9, signal.SIGTERM: 143}[how]
    until(lambda: not processes_in(scratch))
    until(lambda: not list(scratch.glob("eventflock-job-*")))
    # No job was done, and none has a receipt that says anything else.
    assert not list((tmp_path / "run/results").glob("job-*.zip"))


def test_resume_finds_the_environment_again(
    eventflock: Command, tmp_path: Path, weighted: Path, sample: Path, archives: list[str]
) -> None:
    words = ["run", weighted, sample, "--jobs", "3", "--packed", "--out", "run"]
    env = {**os.environ, "EVENTFLOCK_CACHE": str(tmp_path / "cache")}
    copy_cache(tmp_path / "cache")  # to be damaged
    assert eventflock(*words, env=env).returncode == 0
    before = content(tmp_path / "run")
    said = json.loads((tmp_path / "run/environment.json").read_text())
    archive = tmp_path / "cache/archives" / said["environment"]
    for damage in ("cut", "gone"):
        (tmp_path / "run/results/job-000001.zip").unlink()
        if damage == "cut":
            archive.write_bytes(archive.read_bytes()[:1000])
        if damage == "gone":
            shutil.rmtree(tmp_path / "cache")
        told = eventflock("resume", "run", env=env)
        assert told.returncode == 0, told.stderr
        assert content(tmp_path / "run") == before
        assert archive.exists()
    # Packed by another version, perhaps: then the run does not go on with something else.
    said["environment"] = f"env-{'0' * 32}.tar"
    (tmp_path / "run/environment.json").write_text(json.dumps(said))
    (tmp_path / "run/results/job-000001.zip").unlink()
    told = eventflock("resume", "run", env=env)
    assert told.returncode == 4
    assert "packing it again gives another one" in told.stderr
    (tmp_path / "run/environment.json").write_text("{")
    assert eventflock("resume", "run", env=env).returncode == 3


def test_what_lies_beside_the_analysis_is_what_was_packed(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    """Also on the machine that packed it, and however it changes afterwards."""
    (tmp_path / "weights.json").write_text("2")
    (tmp_path / "weigh.py").write_text(
        "import json\nfrom pathlib import Path\nimport eventflock as ef\n\n"
        "@ef.analysis\ndef weigh(events):\n"
        "    weight = json.loads((Path(__file__).parent / 'weights.json').read_text())\n"
        "    return {'n': weight * len(events)}\n"
    )
    words = ["run", "weigh.py", sample, "--packed", "--jobs", "2", "--out", "run", "--no-plot"]
    told = eventflock(*words, "--with", "weights.json")
    assert told.returncode == 0, told.stderr
    (tmp_path / "weights.json").write_text("100")
    (tmp_path / "run/results/job-000001.zip").unlink()
    assert eventflock("resume", "run").returncode == 0
    assert ef.load(tmp_path / "run")["n"] == 20_000
    # What the trial opens is packed; what was not packed is missing here, too.
    assert eventflock("check", "weigh.py", sample).returncode == 0
    source = (tmp_path / "weigh.py").read_text()
    for name, condition in (("late", "len(events)"), ("never", "__file__.count('code/')")):
        late = source.replace("    weight =", f"    weight = {condition} and")
        (tmp_path / f"{name}.py").write_text(late)
    assert eventflock("check", "late.py", sample).returncode == 0
    told = eventflock("check", "never.py", sample)
    assert told.returncode == 6
    assert "code/analysis/weights.json" in told.stderr


def test_from_python(tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An analysis that was typed in, with a function that it refers to."""
    monkeypatch.chdir(tmp_path)
    factor = 3

    @ef.analysis
    def typed(events):  # type: ignore[no-untyped-def]
        return {"n": factor * len(events)}

    result = ef.run(typed, sample, packing=PackOptions(), out="run", workers=1)
    assert result["n"] == 30_000
    assert read_manifest(tmp_path / "run/results/job-000000.zip").environment
    assert Cache().intact(
        json.loads((tmp_path / "run/environment.json").read_text())["environment"]
    )


def test_a_histogram_of_boost_histogram(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    """Not of hist: what it wraps is remembered, as it cannot be referred to itself."""
    (tmp_path / "bare.py").write_text(
        "import awkward as ak\nimport boost_histogram as bh\nimport eventflock as ef\n\n"
        "@ef.analysis\ndef bare(events):\n    made = bh.Histogram(bh.axis.Regular(10, 0, 1000))\n"
        "    made.fill(ak.to_numpy(ak.flatten(events['jet_AntiKt10LCTopo_E'])) / 1000)\n"
        "    return {'E': made}\n"
        "\nkept = bh.Histogram(bh.axis.Regular(10, 0, 1))\n\n"
        "@ef.analysis\ndef same(events):\n    return {'E': kept}\n"
    )
    told = eventflock("run", "bare.py:bare", sample, "--chunk", "1000", "--out", "run")
    assert told.returncode == 0, told.stderr
    told = eventflock("run", "bare.py:same", sample, "--chunk", "1000", "--no-plot")
    assert told.returncode == 6
    assert "same" in told.stderr
