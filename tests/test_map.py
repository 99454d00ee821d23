"""A script, another program, or a function for each row, on this machine's cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hist import Hist

import eventflock as ef
from eventflock.errors import AnalysisError, IncompleteError, UsageError
from eventflock.results.reader import read_manifest
from tests import nasty
from tests.conftest import Command, alive

FIT = """
import argparse, os, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--mass", type=float)
parser.add_argument("--fail", default="")
options = parser.parse_args()
print("fitting", options.mass)
if options.fail == str(int(options.mass)):
    raise ValueError(f"no minimum at {options.mass}")
pathlib.Path("fit.txt").write_text(f"{2 * options.mass}")
os.makedirs("more/deep")
pathlib.Path("more/deep/log.bin").write_bytes(bytes(1000))
"""
POINTS = "mass,note\n100,a\n125,b\n200,c\n400,d\n"


@pytest.fixture(autouse=True)
def scripts(tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text(FIT)
    (tmp_path / "points.csv").write_text(POINTS)


def write(folder: Path, text: str, name: str = "script.py") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


# --- what a script sees, and what comes back ---------------------------------------------------


def test_each_script_sees_exactly_its_arguments(eventflock: Command, tmp_path: Path) -> None:
    script, table = nasty.write(tmp_path)
    words = ["map", script, "--over", table, "--group", "7", "--out", "run", "--"]
    told = eventflock(*words, *nasty.ARGUMENTS)
    assert told.returncode == 0, told.stderr
    assert "complete  200 rows, each exactly once, in 29 jobs" in told.stdout
    nasty.check(tmp_path / "run/outputs")
    assert (tmp_path / "run/logs/17.stdout").read_text() == "row 17\n"


def test_all_that_it_leaves_comes_back_and_the_receipt_says_how(
    eventflock: Command, tmp_path: Path
) -> None:
    told = eventflock(
        "map", "fit.py", "--over", "points.csv", "--out", "run", "--", "--mass={mass}"
    )
    assert told.returncode == 0, told.stderr
    outputs = tmp_path / "run/outputs"
    wanted = [f"{n}/{name}" for n in range(4) for name in ("fit.txt", "more/deep/log.bin")]
    assert files_in(outputs) == wanted
    assert [(outputs / f"{n}/fit.txt").read_text() for n in range(4)] == [
        "200.0", "250.0", "400.0", "800.0"
    ]  # fmt: skip
    assert files_in(tmp_path / "run/logs") == [f"{n}.stdout" for n in range(4)]
    result = ef.load(tmp_path / "run")
    assert result.complete
    assert [row.number for row in result.rows] == [0, 1, 2, 3]
    for row in result.rows:
        assert row.ok
        assert row.exit_code == 0
        assert 0 < row.cpu_seconds < row.seconds + 0.1 < 60
        assert 10**6 < row.memory < 10**9
        assert row.host
    assert result.outputs[2] == outputs / "2"
    status = json.loads(eventflock("status", "run", "--json").stdout)
    assert (status["events"], status["noun"], status["complete"]) == (4, "row", True)


def test_nothing_is_in_the_folder_but_its_inputs(eventflock: Command, tmp_path: Path) -> None:
    """An input is a copy: to change it makes it an output, and leaves the original alone."""
    (tmp_path / "cards").mkdir()
    for name in "ab":
        (tmp_path / f"cards/{name}.txt").write_text(name)
    (tmp_path / "common.txt").write_text("common")
    (tmp_path / "cards.jsonl").write_text('{"card": "cards/a.txt"}\n{"card": "cards/b.txt"}\n')
    write(
        tmp_path,
        "import sys, os, json\n"
        "json.dump(sorted(os.listdir()), open('seen.json', 'w'))\n"
        "with open(sys.argv[1], 'a') as file: file.write('+')\n",
    )
    words = ["--over", "cards.jsonl", "--input", "common.txt", "--input", "{card}", "--out", "run"]
    told = eventflock("map", "script.py", *words, "--", "{card}")
    assert told.returncode == 0, told.stderr
    outputs = tmp_path / "run/outputs"
    assert files_in(outputs) == ["0/a.txt", "0/seen.json", "1/b.txt", "1/seen.json"]
    assert json.loads((outputs / "1/seen.json").read_text()) == ["b.txt", "common.txt"]
    assert (outputs / "1/b.txt").read_text() == "b+"
    assert (tmp_path / "cards/b.txt").read_text() == "b"


def test_a_row_for_each_file(eventflock: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("x 1", "y"):
        (tmp_path / f"data/{name}.txt").write_text(name * 3)
    write(
        tmp_path,
        "import sys, pathlib\n"
        "pathlib.Path(sys.argv[2] + '.out').write_text(pathlib.Path(sys.argv[1]).read_text())\n",
    )
    words = ["--files", "data/*.txt", "--out", "run", "--", "{file}", "{stem}"]
    told = eventflock("map", "script.py", *words)
    assert told.returncode == 0, told.stderr
    assert files_in(tmp_path / "run/outputs") == ["0/x 1.out", "1/y.out"]
    assert (tmp_path / "run/outputs/0/x 1.out").read_text() == "x 1" * 3


def test_only_what_is_named_comes_back(eventflock: Command, tmp_path: Path) -> None:
    words = ["--over", "points.csv", "--output", "*.txt", "--out", "run", "--", "--mass", "{mass}"]
    assert eventflock("map", "fit.py", *words).returncode == 0
    assert files_in(tmp_path / "run/outputs") == [f"{n}/fit.txt" for n in range(4)]


def test_a_script_runs_as_python_would_run_it(eventflock: Command, tmp_path: Path) -> None:
    """Its name, its folder, its neighbours, processes and pickles of its own, its exit code."""
    write(tmp_path, "VALUE = 7\n", "neighbour.py")
    write(
        tmp_path,
        "import concurrent.futures, multiprocessing, pickle, sys, neighbour\n"
        "class Own:\n    pass\n"
        "def double(x):\n    return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    assert __file__ == sys.argv[0] and __file__.endswith('script.py'), __file__\n"
        "    assert pickle.loads(pickle.dumps(Own())).__class__ is Own\n"
        "    context = multiprocessing.get_context(sys.argv[1])\n"
        "    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:\n"
        "        print(list(pool.map(double, [1, neighbour.VALUE])))\n"
        "    sys.exit(3)\n",
    )
    (tmp_path / "methods.csv").write_text("method\nfork\nspawn\nforkserver\n")
    words = ["--over", "methods.csv", "--ok-codes", "3", "--out", "run", "--", "{method}"]
    told = eventflock("map", "script.py", *words)
    assert told.returncode == 0, told.stderr
    for number in range(3):
        assert (tmp_path / f"run/logs/{number}.stdout").read_text() == "[2, 14]\n"
    assert {row.exit_code for row in ef.load(tmp_path / "run").rows} == {3}


def test_another_program(eventflock: Command, tmp_path: Path) -> None:
    """It finds the Python of the environment first."""
    write(
        tmp_path,
        '#!/bin/sh\nprintf "%s" "$1" > got.txt\npython3 -c "import sys; print(sys.prefix)"\n',
        "fit.sh",
    )
    words = ["--executable", "./fit.sh", "--count", "2", "--out", "run", "--", "a {index} b"]
    assert eventflock("map", *words).returncode == 0
    assert (tmp_path / "run/outputs/1/got.txt").read_text() == "a 1 b"
    assert (tmp_path / "run/logs/1.stdout").read_text().strip() == sys.prefix
    words = ["--executable", "printf", "--count", "2", "--out", "printf", "--", "%s", "{index}"]
    assert eventflock("map", *words).returncode == 0
    assert (tmp_path / "printf/logs/1.stdout").read_text() == "1"


# --- what goes wrong ---------------------------------------------------------------------------


def test_a_row_that_fails_is_told_and_the_others_are_kept(
    eventflock: Command, tmp_path: Path
) -> None:
    words = ["--over", "points.csv", "--out", "run", "--", "--mass", "{mass}", "--fail", "200"]
    told = eventflock("map", "fit.py", *words, env={**os.environ, "COLUMNS": "200"})
    assert told.returncode == 7
    assert "PARTIAL   3 of 4 rows" in told.stdout
    assert "1 row missing, of 1 of 4 jobs:\n  row 2\n" in told.stderr
    assert "ended with exit code 1: ValueError: no minimum at 200.0" in told.stderr
    assert "in row 2 (mass=200, note=c)" in told.stderr
    assert "Repeat it: eventflock repeat run 2" in told.stderr
    assert sorted(one.name for one in (tmp_path / "run/outputs").iterdir()) == ["0", "1", "3"]
    assert "no minimum" in (tmp_path / "run/logs/2.stderr").read_text()
    why = eventflock("why", "run").stdout
    assert "1 row of 4 missing, 1 cause" in why
    assert "the program failed: 1 row, 1 job" in why
    repeated = eventflock("repeat", "run", "2")
    assert repeated.returncode == 6
    assert "fitting 200.0" in repeated.stdout
    assert "ValueError: no minimum at 200.0" in repeated.stderr
    assert eventflock("repeat", "run", "0").returncode == 0
    assert (tmp_path / "row-0/fit.txt").read_text() == "200.0"
    assert "has no row 9: it has rows 0 to 3" in eventflock("repeat", "run", "9").stderr
    accepted = eventflock("merge", "run", "--accept", "0.7", "--no-strict")
    assert accepted.returncode == 0


def test_failures_are_grouped_by_their_last_line(eventflock: Command, tmp_path: Path) -> None:
    write(
        tmp_path,
        "import sys\nn = int(sys.argv[1])\n"
        "if n % 3 == 1: raise KeyError('lumi')\n"
        "if n % 3 == 2: sys.exit(f'fit {n} did not converge')\n",
    )
    told = eventflock("map", "script.py", "--count", "30", "--out", "run", "--", "{index}")
    assert told.returncode == 7
    found = json.loads(eventflock("why", "run", "--json").stdout)
    assert [(one["events"], one["cause"]) for one in found["groups"]] == [(10, "program")] * 2
    assert {one["message"].split(": ", 1)[1] for one in found["groups"]} == {
        "KeyError: 'lumi'", "fit 2 did not converge"
    }  # fmt: skip


def test_in_a_group_each_row_has_its_own_end(eventflock: Command, tmp_path: Path) -> None:
    words = ["--over", "points.csv", "--group", "4", "--out", "run", "--", "--mass", "{mass}"]
    told = eventflock("map", "fit.py", *words, "--fail", "125")
    assert told.returncode == 7
    assert sorted(one.name for one in (tmp_path / "run/outputs").iterdir()) == ["0", "2", "3"]
    assert "no minimum at 125" in (tmp_path / "run/logs/1.stderr").read_text()
    manifest = read_manifest(tmp_path / "run/results/job-000000.zip")
    assert [(row.number, row.ok) for row in manifest.rows] == [
        (0, True), (1, False), (2, True), (3, True)
    ]  # fmt: skip


def test_what_looks_like_chance_is_tried_again_in_its_group(
    eventflock: Command, tmp_path: Path
) -> None:
    """What the first try has left and printed is not mixed with that of the second."""
    write(
        tmp_path,
        "import os, pathlib, signal, sys\n"
        f"mark = pathlib.Path('{tmp_path}/mark-' + sys.argv[1])\n"
        "print('try', mark.exists(), flush=True)\n"
        "pathlib.Path(f'file-{mark.exists()}').touch()\n"
        "if not mark.exists() and sys.argv[1] != '1':\n"
        "    mark.touch()\n"
        "    print('dying', file=sys.stderr, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n",
    )
    words = ["--count", "3", "--group", "3", "--out", "run", "--", "{index}"]
    told = eventflock("map", "script.py", *words)
    assert told.returncode == 0, told.stderr
    assert files_in(tmp_path / "run/outputs") == ["0/file-True", "1/file-False", "2/file-True"]
    assert files_in(tmp_path / "run/logs") == ["0.stdout", "1.stdout", "2.stdout"]
    assert (tmp_path / "run/logs/2.stdout").read_text() == "try True\n"


FAILURES = {
    "open('x', 'w')": "left no 'wanted*', which was promised with --output; it left x",
    "pass": "it left no file at all",
    "import os; os.symlink('/etc/passwd', 'wanted')": "'wanted', which is a link to /etc/passwd",
    "import os; os.mkdir('d'); os.symlink('d', 'wanted')": "'wanted', which is a link to d",
    "import os; os.mkfifo('wanted')": "'wanted', which is no plain file",
    "open('wanted', 'wb').write(bytes(2_000_000))": "a row may leave 1,000 files of 1 MB:\n  wanted: 2",
    "[open(f'wanted{n}', 'w') for n in range(1001)]": "It left 1,001 files of 0 B",
    "open(b'wanted\\xff', 'w')": "'wanted\\udcff', which has a name that is no text",
    "open('wan\\nted', 'w')": "it left 'wan\\nted'",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": "was ended by SIGTERM",
    "import os; os._exit(0 if os.close(1) else 5)": "ended with exit code 5",
    "import os; open('wanted','w').close(); os.close(1); os.close(2)": "",
    "import subprocess; open('wanted','w').close(); subprocess.Popen(['sleep', '1234'])": (
        "ended, but left running: sleep 1234"
    ),
    "import os, time; open('wanted','w').close()\nif os.fork() == 0:\n os.setsid()\n"
    " if os.fork() == 0:\n  time.sleep(1235)\n os._exit(0)": "ended, but left running",
    "import subprocess; open('wanted','w').close(); subprocess.Popen(['sleep', '0.3'])": "",
    "raise OSError(28, 'No space left on device')": "No space left on device",
    "x = bytes(10**15)": "MemoryError",
    "def f(": "is no Python script",
}


@pytest.mark.parametrize("body", FAILURES, ids=lambda body: body[:40])
def test_what_scripts_do_wrong(eventflock: Command, tmp_path: Path, body: str) -> None:
    write(tmp_path, body)
    words = ["--output", "wanted*", "--output-limit", "1MB", "--count", "1", "--out", "run"]
    began = time.monotonic()
    told = eventflock("map", "script.py", *words)
    said = FAILURES[body]
    if not said:
        assert told.returncode == 0, told.stderr
        assert files_in(tmp_path / "run/outputs") == ["0/wanted"]
        return
    assert told.returncode in {2, 5, 6}, told.stderr
    assert said in told.stderr
    assert "Traceback" not in told.stderr.replace("Traceback (most recent call last)", "")
    assert time.monotonic() - began < 60
    assert not list((tmp_path / "run").glob("outputs/*"))
    for folder in Path("/proc").glob("[0-9]*"):  # nothing of it runs any more
        words_of = folder.joinpath("cmdline")
        if words_of.exists() and b"123" in words_of.read_bytes().split(b"\0")[-2:][0]:
            assert not alive(int(folder.name)), words_of.read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_is_full_is_told(eventflock: Command, tmp_path: Path) -> None:
    """The rows that are done are kept, and resume does the others when there is room."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "small", small], check=True)
    try:
        write(
            tmp_path,
            "import sys\nn = int(sys.argv[1])\n"
            "open('x', 'wb').write(bytes(4_000_000 if n == 2 else 1000))\n",
        )
        words = ["--count", "4", "--out", "run", "--workers", "1", "--", "{index}"]
        environment = {**os.environ, "TMPDIR": str(small)}
        told = eventflock("map", "script.py", *words, env=environment)
    finally:
        subprocess.run(["umount", small], check=True)
    assert told.returncode == 7
    assert "No space left on device" in told.stderr
    assert sorted(one.name for one in (tmp_path / "run/outputs").iterdir()) == ["0", "1", "3"]
    assert eventflock("resume", "run").returncode == 0
    assert files_in(tmp_path / "run/outputs") == [f"{n}/x" for n in range(4)]


def test_a_script_that_hangs_or_takes_too_long(eventflock: Command, tmp_path: Path) -> None:
    write(
        tmp_path,
        "import sys, time\n"
        "if sys.argv[1] == '1': time.sleep(100)\n"
        "while sys.argv[1] == '2': pass\n",
    )
    words = ["--count", "4", "--group", "4", "--stall", "1s", "--time-limit", "4s", "--out", "run"]
    told = eventflock("map", "script.py", *words, "--", "{index}")
    assert told.returncode == 7
    groups = json.loads(eventflock("why", "run", "--json").stdout)["groups"]
    said = {one["cause"]: one["message"] for one in groups}
    assert said == {
        "stalled": "The script made no progress for 1 s, and was ended.",
        "time": "The script took longer than the 4 s it may take, and was ended.",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Name a Python script"),
        (["fit.py"], "There are no rows"),
        (["fit.py", "--over", "points.csv", "--count", "3", "--", "{index}"], "exclude each other"),
        (["fti.py", "--count", "3"], "did you mean 'fit.py'"),
        (["fit.py", "--over", "points.csv", "--", "{mas}"], "did you mean 'mass'"),
        (["fit.py", "--over", "points.csv"], "4 rows would all be done alike"),
        (["fit.py", "--over", "point.csv", "--", "{mass}"], "did you mean 'points.csv'"),
        (["fit.py", "--count", "3", "--rows", "2:9"], "--rows '2:9' is no part of rows 0 to 2"),
        (["fit.py", "--count", "3", "--input", "no.txt"], "/no.txt cannot be read: No such file"),
        (["fit.py", "--count", "3", "--input", "."], "is a folder"),
        (["fit.py", "--count", "3", "--input", "{index}.txt"], "0.txt (row 0) cannot be read"),
        (["fit.py", "--count", "3", "--input", "root://h//x"], "is a URL"),
        (["fit.py", "--count", "3", "--ok-codes", "a"], "--ok-codes is 'a'"),
        (["fit.py", "--count", "3", "--output-limit", "much"], "--output-limit is 'much'"),
        (["fit.py", "--count", "3", "--group", "0"], "--group is 0"),
        (["fit.py", "--count", "3", "--group", "2", "--target-time", "1m"], "exclude each other"),
        (["--executable", "fit.sh", "--count", "3"], "There is no program 'fit.sh'"),
        (["--executable", "./points.csv", "--count", "3"], "is not executable"),
        (["fit.py", "--executable", "true", "--count", "3", "--then", "no.py"], "'no.py'"),
        (["fit.py", "--count", "3", "--mass", "1"], "No such option"),
    ],
)
def test_a_call_that_is_wrong(
    eventflock: Command, tmp_path: Path, words: list[str], said: str
) -> None:
    told = eventflock("map", *words, "--out", "run") if "--" not in words else eventflock(
        "map", "--out", "run", *words
    )  # fmt: skip
    assert told.returncode == 2, told.stderr
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert not (tmp_path / "run").exists()


def test_two_rows_that_would_write_one_file_are_told(eventflock: Command, tmp_path: Path) -> None:
    write(tmp_path, "import sys; open(sys.argv[1].rpartition('=')[2], 'w').close()\n")
    place = f"{tmp_path}/out.txt"
    told = eventflock("map", "script.py", "--count", "2", "--", f"--out={place}")
    assert f"Rows 0 and 1 are both given {place}, which is not there" in told.stderr
    told = eventflock("map", "script.py", "--count", "2", "--", f"{tmp_path}/{{index}}.txt")
    assert "are both given" not in told.stderr


def test_two_inputs_of_one_name(eventflock: Command, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.txt").touch()
    words = ["--input", "a/card.txt", "--input", "b/card.txt", "--count", "2"]
    told = eventflock("map", "fit.py", *words)
    assert told.returncode == 2
    assert "Row 0 has two inputs of one name" in told.stderr


def test_an_input_that_changes_stops_its_rows(eventflock: Command, tmp_path: Path) -> None:
    card = tmp_path / "card.txt"
    card.write_text("1")
    write(tmp_path, "import sys\nsys.exit(open('card.txt').read() != '1')\n")
    words = ["--count", "2", "--input", "card.txt", "--out", "run"]
    assert eventflock("map", "script.py", *words).returncode == 0
    (tmp_path / "run/results/job-000001.zip").unlink()
    card.write_text("2")
    told = eventflock("resume", "run")
    assert told.returncode == 7
    assert "card.txt changed since the run was made" in told.stderr
    card.unlink()
    assert "cannot be read: No such file" in eventflock("resume", "run").stderr


# --- going on ----------------------------------------------------------------------------------


def test_resume_does_what_is_missing_with_the_script_as_it_was(
    eventflock: Command, tmp_path: Path
) -> None:
    write(
        tmp_path,
        f"import os, sys\nif not os.path.exists('{tmp_path}/mended') and sys.argv[1] == '1':\n"
        "    sys.exit(1)\nprint(os.getpid())\n",
    )
    told = eventflock("map", "script.py", "--count", "3", "--out", "run", "--", "{index}")
    assert told.returncode == 7
    before = [(tmp_path / f"run/logs/{n}.stdout").read_text() for n in (0, 2)]
    (tmp_path / "mended").touch()
    write(tmp_path, "print('another script')\n")
    told = eventflock("resume", "run")
    assert told.returncode == 0, told.stderr
    assert before == [(tmp_path / f"run/logs/{n}.stdout").read_text() for n in (0, 2)]
    assert (tmp_path / "run/logs/1.stdout").read_text().strip().isdigit()


def test_outputs_that_were_changed_are_put_back(eventflock: Command, tmp_path: Path) -> None:
    words = ["--over", "points.csv", "--out", "run", "--", "--mass", "{mass}"]
    assert eventflock("map", "fit.py", *words).returncode == 0
    outputs = tmp_path / "run/outputs"
    (outputs / "0/fit.txt").write_text("other")
    (outputs / "1/more/deep/log.bin").unlink()
    (outputs / "2/stranger").touch()
    (outputs / ".3.part").mkdir()
    assert eventflock("resume", "run").returncode == 0
    wanted = [f"{n}/{name}" for n in range(4) for name in ("fit.txt", "more/deep/log.bin")]
    assert files_in(outputs) == wanted
    assert (outputs / "0/fit.txt").read_text() == "200.0"
    assert not (outputs / ".3.part").exists()


def test_only_some_rows_and_jobs_by_time(eventflock: Command, tmp_path: Path) -> None:
    words = ["--over", "points.csv", "--rows", "1:3", "--out", "run", "--", "--mass", "{mass}"]
    told = eventflock("map", "fit.py", *words)
    assert "complete  2 rows, each exactly once, in 2 jobs" in told.stdout
    assert files_in(tmp_path / "run/logs") == ["1.stdout", "2.stdout"]
    write(tmp_path, "import time; time.sleep(1)\n")
    words = ["--count", "9", "--target-time", "3.7s", "--out", "timed"]
    told = eventflock("map", "script.py", *words)
    assert "complete  9 rows, each exactly once, in 3 jobs" in told.stdout, told.stderr
    assert "3 rows for each job" in told.stderr


def test_then(eventflock: Command, tmp_path: Path) -> None:
    """It is run once, in the folder of the outputs; if it fails, the rows are kept."""
    write(
        tmp_path,
        "import pathlib\nfound = sorted(pathlib.Path().glob('*/fit.txt'))\n"
        "print('sum of', len(found))\n"
        "with open('sum.txt', 'a') as file:\n"
        "    file.write(str(sum(float(one.read_text()) for one in found)) + ';')\n",
        "add.py",
    )
    words = ["--over", "points.csv", "--out", "run", "--then", "add.py", "--", "--mass", "{mass}"]
    told = eventflock("map", "fit.py", *words)
    assert told.returncode == 0, told.stderr
    assert "sum of 4" in told.stderr
    assert (tmp_path / "run/outputs/sum.txt").read_text() == "1650.0;"
    assert eventflock("resume", "run").returncode == 0
    assert (tmp_path / "run/outputs/sum.txt").read_text() == "1650.0;"
    write(tmp_path, "raise ValueError('nothing to draw')\n", "add.py")
    words[3] = "second"
    told = eventflock("map", "fit.py", *words)
    assert told.returncode == 6
    assert "All rows are done, but add.py ended with exit code 1" in told.stderr
    assert "nothing to draw" in told.stderr
    assert len(files_in(tmp_path / "second/outputs")) == 8


# --- from Python -------------------------------------------------------------------------------


def moments(item: dict[str, Any]) -> dict[str, Any]:
    if item["x"].sum() < 0:
        raise ValueError("negative")
    made = Hist.new.Reg(5, 0, 5, name="x").Int64().fill(item["x"])
    return {"n": len(item["x"]), "h": made, "x": item["x"] ** 2, "t": (None, True, "a")}


def test_a_function_for_each_item_in_order(tmp_path: Path) -> None:
    items = [{"x": np.arange(n, dtype=float)} for n in range(7)]
    found = ef.map(moments, items, group=3, workers=2, out=tmp_path / "run")
    assert [one["n"] for one in found] == list(range(7))
    assert found[6]["x"].tolist() == [n**2 for n in range(6)]
    assert found[6]["h"].values().tolist() == [1, 1, 1, 1, 1]
    assert found[0]["t"] == (None, True, "a")
    assert [one["n"] for one in ef.load(tmp_path / "run").returned()] == list(range(7))


def test_typed_in_and_folded_in_order(tmp_path: Path) -> None:
    factor = 3
    found = ef.map(
        lambda text: text * factor, list("abcd"), reduce=lambda a, b: a + b, out=tmp_path / "run"
    )
    assert found == "aaabbbcccddd"


def test_an_item_that_fails_and_going_on(tmp_path: Path) -> None:
    items = [{"x": np.array([float(n)])} for n in (1, -1, 2)]
    with pytest.raises(IncompleteError, match="ValueError: negative") as caught:
        ef.map(moments, items, out=tmp_path / "run")
    assert "in row 1" in str(caught.value)
    with pytest.raises(IncompleteError):  # the same call goes on, and fails again
        ef.map(moments, items, out=tmp_path / "run")
    good = [items[0], items[2]]
    ef.map(moments, good, out=tmp_path / "good")
    stamps = [one.stat().st_mtime_ns for one in (tmp_path / "good/results").iterdir()]
    assert [one["n"] for one in ef.map(moments, good, out=tmp_path / "good")] == [1, 1]
    assert stamps == [one.stat().st_mtime_ns for one in (tmp_path / "good/results").iterdir()]
    with pytest.raises(UsageError, match="exists already"):
        ef.map(moments, items, out=tmp_path / "good")


def test_what_a_function_may_not_return_or_take(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="The returned value is a set"):
        ef.map(lambda n: {n}, [1], out=tmp_path / "a")
    with pytest.raises(AnalysisError, match="The item 1 is a object"):
        ef.map(print, [1, object()], out=tmp_path / "b")
    with pytest.raises(UsageError, match="no items"):
        ef.map(print, [], out=tmp_path / "c")
