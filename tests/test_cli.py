"""The command as a user meets it: what it prints, where, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.cli.demo import ANALYSIS
from tests.conftest import Command

ROOT = Path(__file__).parent.parent


def test_demo_says_where_everything_is(eventflock: Command, tmp_path: Path) -> None:
    done = eventflock("demo")
    assert done.returncode == 0, done.stderr
    for name in ("sample.root", "jets.py", "run/result.zip", "run/plots/E.png", "run/plan.json"):
        assert (tmp_path / "demo" / name).exists()
    assert "complete  10,000 events, each exactly once, in 10 jobs" in done.stdout
    assert "demo/run/plots/E.png" in done.stdout
    result = ef.load(tmp_path / "demo/run")
    assert result["E"].sum(flow=True) > 30_000
    assert eventflock("demo").returncode == 0  # again, over itself
    (tmp_path / "demo/jets.py").write_text(ANALYSIS + "# mine\n")
    assert eventflock("demo").returncode == 2
    assert (tmp_path / "demo/jets.py").read_text().endswith("# mine\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    again = eventflock("demo", "--out", "mine")
    assert again.returncode == 2
    assert (tmp_path / "mine/thesis.tex").exists()


def test_the_example_is_the_demo() -> None:
    assert (ROOT / "examples/jets.py").read_text() == ANALYSIS


def test_run_status_merge_plot_resume(
    eventflock: Command, tmp_path: Path, sample: Path, jets: Path
) -> None:
    done = eventflock("run", jets, sample, "--jobs", "5", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "runs/jets-001/result.zip" in done.stdout
    assert "runs/jets-001/plots/E.png" in done.stdout
    assert "5 jobs, 10,000 events in 1 file" in done.stderr
    assert "10,000 of 10,000 events" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr

    status = json.loads(eventflock("status", "runs/jets-001", "--json").stdout)
    assert status["complete"]
    others = dict.fromkeys(("partial", "failed", "unusable", "missing"), 0)
    assert status["jobs"] == {"done": 5, **others}

    (tmp_path / "runs/jets-001/results/job-000002.zip").unlink()
    assert eventflock("merge", "runs/jets-001").returncode == 0  # what is complete is kept
    (tmp_path / "runs/jets-001/result.zip").unlink()
    merged = eventflock("merge", "runs/jets-001")
    assert merged.returncode == 7
    assert "PARTIAL   8,000 of 10,000 events" in merged.stdout
    assert "entries 4,000 to 6,000 (2,000)" in merged.stderr
    assert "eventflock resume runs/jets-001" in merged.stderr
    plotted = eventflock("plot", "runs/jets-001", "--log", "--format", "png,pdf", "--out", "p")
    assert plotted.stdout.split() == ["p/E.png", "p/E.pdf"]
    text = eventflock("status", "runs/jets-001").stdout
    assert "4 done, 1 missing" in text
    assert "PARTIAL: 8,000 of 10,000 events (80.0 %)" in text

    resumed = eventflock("resume", "runs/jets-001", "--no-plot")
    assert resumed.returncode == 0, resumed.stderr
    assert "1 of 1 job" in resumed.stderr

    second = eventflock("run", jets, sample, "--no-plot", "--quiet", "--json")
    assert json.loads(second.stdout)["run"] == "runs/jets-002"
    assert second.stderr == ""


def test_a_run_folder_can_be_moved(
    eventflock: Command, tmp_path: Path, sample: Path, jets: Path
) -> None:
    assert eventflock("run", jets, sample, "--jobs", "3", "--out", "a", "--no-plot").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a").rename(tmp_path / "elsewhere/b")
    (tmp_path / "elsewhere/b/results/job-000001.zip").unlink()
    assert eventflock("resume", "elsewhere/b").returncode == 0
    assert eventflock("plot", "elsewhere/b").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "nope.py", "x.root"], 2, "no analysis file 'nope.py'"),
        (["run", "jets.py", "x.root"], 3, "There is no file"),
        (["run", "jets.py", "a.root", "--pool", "locl"], 2, "did you mean 'local'?"),
        (["run", "jets.py", "a.root", "--workers", "0"], 2, "--workers is 0"),
        (["run", "jets.py", "a.root", "--jobs", "0"], 2, "--jobs is 0"),
        (["run", "jets.py", "a.root", "--jobs", "many"], 2, "many"),
        (["run", "jets.py", "a.root", "--param", "scale"], 2, "not NAME=VALUE"),
        (["run", "jets.py", "a.root", "--param", "scale=wide"], 2, "'wide', expected float"),
        (["run", "jets.py", "a.root", "--range", "9000:10001"], 3, "beyond the 10,000 entries"),
        (["run", "jets.py", "a.root", "--tree", "nope"], 3, "no tree 'nope'"),
        (["run", "raises.py", "a.root"], 6, "ZeroDivisionError"),
        (["status", "nothing"], 2, "nothing is not there"),
        (["resume", "."], 2, "not a run folder"),
        (["plot", "nothing"], 3, "no result file nothing"),
        (["inspect", "jets.py"], 3, "not a ROOT file"),
        (["nonsense"], 2, "nonsense"),
        (["run"], 2, "Missing argument"),
        (["run", "jets.py", ""], 2, "file name is empty"),
    ],
)
def test_wrong_calls_say_what_to_do(
    eventflock: Command, tmp_path: Path, sample: Path, words: list[str], code: int, said: str
) -> None:
    (tmp_path / "jets.py").write_text(ANALYSIS)
    raises = "import eventflock as ef\n@ef.analysis\ndef r(events):\n    return {'x': 1 // len(events[:0])}\n"
    (tmp_path / "raises.py").write_text(raises)
    (tmp_path / "a.root").symlink_to(sample)
    done = eventflock(*words)
    assert done.returncode == code
    assert said in done.stderr
    assert ("Traceback" in done.stderr) == (code == 6)


def test_the_command_that_repeats_a_failing_chunk_repeats_it(
    eventflock: Command, tmp_path: Path
) -> None:
    with uproot.recreate(tmp_path / "it's a file.root") as root:
        root["t"] = {"x": np.arange(100.0)}
    (tmp_path / "fails.py").write_text(
        "import eventflock as ef\n@ef.analysis\n"
        "def fails(events, context, *, at: float, names: list[str] = ()):\n"
        "    if context.metadata['kind'] == 'mc' and (events.x == at).to_numpy().any():\n"
        "        raise RuntimeError(f'{context.start}-{context.stop} {names}')\n"
        "    return {'n': len(events)}\n"
    )
    fileset = {"tt bar": {"files": {"it's a file.root": "t"}, "metadata": {"kind": "mc"}}}
    (tmp_path / "fileset.json").write_text(json.dumps(fileset))
    options = ["--param", "at=42", "--param", 'names=["a b", "c"]', "--chunk", "7", "--jobs", "2"]
    first = eventflock("run", "fails.py", "fileset.json", *options)
    assert first.returncode == 7  # all but that event is in the result
    assert "RuntimeError: 42-43 ['a b', 'c']" in first.stderr
    (line,) = (one for one in first.stderr.splitlines() if one.startswith("Repeat it: "))
    command = line.removeprefix("Repeat it: eventflock ")
    again = subprocess.run(
        f"{sys.executable} -m eventflock {command}",
        shell=True, capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert again.returncode == 6
    assert "RuntimeError: 42-43 ['a b', 'c']" in again.stderr


SLOW = """
import time
import eventflock as ef
@ef.analysis
def slow(events, *, flag: str):
    open(flag, "a").close()
    time.sleep(0.05 * bool(len(events)))
    return {"n": len(events)}
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(
    eventflock: Command, tmp_path: Path, sample: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["run", "slow.py", sample, "--jobs", "100", "--out", "run", "--param", "flag=flag"]
    client = subprocess.Popen(
        [sys.executable, "-m", "eventflock", *map(str, words)],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    results = tmp_path / "run/results"
    deadline = time.monotonic() + 60
    while not results.exists() or not list(results.glob("job-*.zip")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.send_signal(number)
    _, said = client.communicate(timeout=30)
    assert client.returncode == code
    assert "eventflock resume run" in said
    assert "Traceback" not in said
    status = json.loads(eventflock("status", "run", "--json").stdout)
    assert 0 < status["jobs"]["done"] < 100
    before = {path: path.stat().st_mtime_ns for path in results.glob("job-*.zip")}
    assert eventflock("resume", "run", "--no-plot").returncode == 0
    assert all(one.stat().st_mtime_ns == then for one, then in before.items())
    assert ef.load(tmp_path / "run")["n"] == 10_000


def test_a_full_disk_loses_nothing(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    """A limit on the size of files is what a full disk looks like, and needs no root."""
    (tmp_path / "big.py").write_text(
        "import numpy as np\nimport eventflock as ef\n@ef.analysis\ndef big(events):\n"
        "    n = len(events)\n    return {'a': np.random.default_rng(n).uniform(size=20_000)}\n"
    )
    words = ["run", "big.py", str(sample), "--jobs", "2", "--out", "run", "--no-plot"]
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 64; exec "$@"', "_", sys.executable, "-m", "eventflock", *words],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert limited.returncode != 0
    assert "File too large" in limited.stderr
    assert [path.name for path in (tmp_path / "run/results").glob(".*")] == []
    assert eventflock("resume", "run", "--no-plot").returncode == 0


def test_inspect_shows_trees_and_branches(eventflock: Command, sample: Path) -> None:
    done = eventflock("inspect", sample)
    assert done.returncode == 0
    for word in ("TTbar_14TeV_MU80/mytree", "jet_AntiKt10LCTopo_phi", "10,000"):
        assert word in done.stdout
    report = json.loads(eventflock("inspect", sample, "--json").stdout)
    assert report["trees"][0]["entries"] == 10_000


def test_output_can_be_cut_short(tmp_path: Path, sample: Path) -> None:
    command = f"{sys.executable} -m eventflock inspect '{sample}' | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_terminal_sees_a_bar(tmp_path: Path, sample: Path, jets: Path) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "eventflock", "run", str(jets), str(sample), "--no-plot"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    while True:
        try:
            seen += os.read(master, 4096)
        except OSError:
            break
    os.close(master)
    assert process.wait() == 0
    assert b"events/s" in seen
    assert b"100%" in seen


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom eventflock.cli import app\n"
        "heavy = {'numpy', 'awkward', 'uproot', 'hist', 'matplotlib', 'boost_histogram'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
