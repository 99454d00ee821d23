"""Rows on a real HTCondor pool."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventflock as ef
from tests import nasty
from tests.condor import Client
from tests.site_python import make_python
from tests.test_examples import EXAMPLES
from tests.truth import energies, truth_of
from tests.user import ok, wait_for

pytestmark = [pytest.mark.pool, pytest.mark.timeout(600)]


def test_the_tutorial_as_it_was_by_one_command(
    client: Client, tutorial: Path, expected: list[dict[str, Any]]
) -> None:
    """Ten rows, ten files named by process number, one plot; and the same by an analysis."""
    folder = client.home / "tutorial"
    shutil.copytree(EXAMPLES / "tutorial", folder)
    client.own(folder)
    run = client.home / "by-hand"
    words = ["--over", folder / "ranges.csv", "--input", tutorial, "--output", "*.pkl"]
    more = ["--then", folder / "make_plot.py", "--pool", "htcondor", "--out", run]
    arguments = ["-p", "{index}", "-f", tutorial.name, "-s", "{start}", "-n", "1000"]
    told = ok(client.run("map", folder / "main.py", *words, *more, "--", *arguments))
    assert "complete  10 rows, each exactly once, in 10 jobs" in told.stdout
    total = np.zeros(200)
    for number in range(10):
        (left,) = (run / f"outputs/{number}").iterdir()
        assert left.name == f"hist_jet_AntiKt10LCTopo_E_{number}.pkl"
        total += pickle.loads(left.read_bytes())["hist"]
        assert f"Finished job {number}" in (run / f"logs/{number}.stdout").read_text()
    assert (run / "outputs/hist_jet_AntiKt10LCTopo_E.png").stat().st_size > 10_000
    assert {row.host for row in ef.load(run).rows} != {""}

    easy = client.home / "by-analysis"
    shutil.copy(EXAMPLES / "jets.py", folder)
    ok(client.run("run", folder / "jets.py", tutorial, "--pool", "htcondor", "--out", easy))
    assert energies(easy) == truth_of(expected)
    assert total.tolist() == ef.load(easy)["E"].values().tolist()


def test_each_script_sees_exactly_its_arguments(client: Client) -> None:
    folder = client.home / "nasty"
    folder.mkdir()
    script, table = nasty.write(folder)
    client.own(folder)
    words = ["--over", table, "--group", "50", "--pool", "htcondor", "--out", folder / "run"]
    ok(client.run("map", script, *words, "--", *nasty.ARGUMENTS))
    nasty.check(folder / "run/outputs")


SLOW = """
import pathlib, sys, time
card = pathlib.Path(sys.argv[1]).read_text()
time.sleep(3)
if card == "2":
    sys.exit("no limit for 2")
pathlib.Path("limit.txt").write_text(card)
"""


def test_inputs_of_rows_failures_and_a_client_that_is_killed(client: Client) -> None:
    folder = client.home / "cards"
    folder.mkdir()
    (folder / "limit.py").write_text(SLOW)
    for number in range(6):
        (folder / f"card {number}.txt").write_text(f"{number}")
    table = folder / "cards.csv"
    table.write_text("card\n" + "".join(f"{folder}/card {n}.txt\n" for n in range(6)))
    client.own(folder)
    run = folder / "run"
    words = ["--over", table, "--input", "{card}", "--pool", "htcondor", "--out", run]
    first = client.start("map", folder / "limit.py", *words, "--", "{card}")
    wait_for(lambda: list(run.glob("results/job-*.zip")))
    first.send_signal(signal.SIGKILL)
    first.wait()
    told = client.run("resume", run)
    assert told.returncode == 7
    assert "5 of 6 rows" in told.stdout
    (group,) = json.loads(client.run("why", run, "--json").stdout)["groups"]
    assert group["message"] == "The script ended with exit code 1: no limit for 2"
    assert (run / "logs/2.stderr").read_text() == "no limit for 2\n"
    for number in (0, 1, 3, 4, 5):
        assert (run / f"outputs/{number}/limit.txt").read_text() == f"{number}"


def test_variables_of_jobs_arrive_as_they_are(client: Client) -> None:
    folder = client.home / "variables"
    folder.mkdir()
    values = {"A": "two 'words'", "B": 'a "quoted" text', "C": "", "D": "x=1;y,2 ü", "E": "100 %s"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    table = client.home / "eventflock.toml"
    table.write_text("\n".join(["[htcondor.environment]", *lines]))
    (folder / "show.py").write_text(
        "import json, os\n"
        "json.dump({k: v for k, v in os.environ.items() if len(k) == 1}, open('v.json', 'w'))\n"
    )
    client.own(folder)
    try:
        words = ["--count", "1", "--pool", "htcondor", "--out", folder / "run"]
        ok(client.run("map", folder / "show.py", *words))
    finally:
        table.unlink()
    seen = json.loads((folder / "run/outputs/0/v.json").read_text())
    assert {name: seen.get(name) for name in values} == values


def test_a_row_for_each_file_which_goes_along(client: Client) -> None:
    """Under its own name, on nodes that share no disk with the access point."""
    folder = client.home / "files"
    (folder / "data").mkdir(parents=True)
    for number in range(3):
        (folder / f"data/part {number}.txt").write_text(f"{number}")
    (folder / "copy.py").write_text(
        "import pathlib, sys\nsource = pathlib.Path(sys.argv[1])\n"
        "pathlib.Path(sys.argv[2] + '.out').write_text(source.name + source.read_text())\n"
    )
    client.own(folder)
    words = ["--files", f"{folder}/data/*.txt", "--pool", "htcondor", "--out", folder / "run"]
    ok(client.run("map", folder / "copy.py", *words, "--", "{file}", "{stem}"))
    for number in range(3):
        said = (folder / f"run/outputs/{number}/part {number}.out").read_text()
        assert said == f"part {number}.txt{number}"


SITE = """
set -e
view=/cvmfs/site.example.org/views/v1
mkdir -p $view/bin $view/python/numpy
echo 'raise RuntimeError("the numpy of the site")' > $view/python/numpy/__init__.py
echo 'NAME = "the site"' > $view/python/site_only.py
printf '#!/bin/sh\\necho tool' > $view/bin/site-tool
chmod 755 $view/bin/site-tool
cat > $view/setup.sh <<EOF
export SITE_VIEW=$view
export PATH=$view/bin:\\$PATH PYTHONPATH=$view/python
echo "set up $view"
EOF
"""
USES = """
import os, subprocess, numpy, site_only
tool = subprocess.run(["site-tool"], capture_output=True, text=True).stdout.strip()
print(site_only.NAME, os.environ["SITE_VIEW"], tool, "/packages/numpy/" in numpy.__file__)
"""


def test_the_software_of_the_site(client: Client) -> None:
    """A tree at /cvmfs on the nodes, which the access point has not."""
    client.inside("sh", "-c", SITE)
    folder = client.home / "site"
    folder.mkdir()
    (folder / "uses.py").write_text(USES)
    (folder / "site.sh").write_text("source /cvmfs/site.example.org/views/v1/setup.sh\n")
    (folder / "gone.sh").write_text("source /cvmfs/site.example.org/views/v2/setup.sh\n")
    client.own(folder)
    words = ["--count", "2", "--pool", "htcondor"]
    more = ["--setup", folder / "site.sh", "--with", "numpy", "--out", folder / "run"]
    ok(client.run("map", folder / "uses.py", *words, *more))
    said = (folder / "run/logs/1.stdout").read_text()
    assert said == "the site /cvmfs/site.example.org/views/v1 tool True\n"
    more = ["--setup", folder / "gone.sh", "--with", "numpy", "--out", folder / "gone"]
    told = client.run("map", folder / "uses.py", *words, *more)
    assert told.returncode == 4
    assert "its set-up ended with exit status 1" in told.stderr
    assert "/views/v2/setup.sh: No such file or directory" in told.stderr


PYTHON_OF_SITE = """
import os, sys, numpy, site_only
print(sys.executable, site_only.NAME, os.environ["SITE_VIEW"], "/packages/numpy/" in numpy.__file__)
"""


def test_the_python_of_the_site(client: Client) -> None:
    """The view has a Python of its own, which runs the jobs with the packed packages in front."""
    client.inside("sh", "-c", SITE)
    view = client.folder / "root/cvmfs/site.example.org/views/v1"
    make_python(view)
    with (view / "setup.sh").open("a") as setup:
        setup.write("export LD_LIBRARY_PATH=$SITE_VIEW/lib\n")
    folder = client.home / "site-python"
    folder.mkdir()
    (folder / "uses.py").write_text(PYTHON_OF_SITE)
    (folder / "site.sh").write_text("source /cvmfs/site.example.org/views/v1/setup.sh\n")
    client.own(folder)
    words = ["--count", "2", "--pool", "htcondor", "--setup", folder / "site.sh"]
    more = ["--python", "site", "--with", "numpy", "--out", folder / "run"]
    ok(client.run("map", folder / "uses.py", *words, *more))
    said = (folder / "run/logs/1.stdout").read_text().split()
    there = "/cvmfs/site.example.org/views/v1"
    assert said == [f"{there}/bin/python3", "the", "site", there, "True"]
    log = (folder / "run/pool/wave-001/job-000000.log").read_text()
    assert f"python    {there}/bin/python3" in log
