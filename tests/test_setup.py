"""The site's software, set up on a node before Python starts: a tree that stands for CVMFS."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from eventflock.core.options import PackOptions
from eventflock.errors import UsageError
from eventflock.packing.site_software import read_setup, site_folders
from eventflock.results.result import load
from eventflock.runs.site_table import with_site
from eventflock.worker.node_layout import LAUNCHER, SETUP, UNSUITABLE
from tests.conftest import Command
from tests.site_python import VERSION, make_python

SHOW = """
import json, os, sys
import numpy, site_only
json.dump({
    "argv": sys.argv[1:], "numpy": numpy.__file__, "site": site_only.__file__, "cwd": os.getcwd(),
    "variable": os.environ.get("SITE_VARIABLE"), "program": os.popen("site-tool x").read(),
    "python": os.popen("python3 -c 'import sys; print(sys.executable)'").read().strip(),
    "odd": sorted(n for n in os.environ if n.startswith("EVENTFLOCK_") and n != "EVENTFLOCK_SITE"),
    "path": os.environ.get("PYTHONPATH"), "libraries": os.environ.get("LD_LIBRARY_PATH"),
}, open("result", "w"))
"""


def make_site(folder: Path) -> Path:
    """Write a site's tree: programs, libraries, and Python packages, one of them a false NumPy."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/site-tool").write_text('#!/bin/sh\necho "tool $1"\n')
    (folder / "bin/site-tool").chmod(0o755)
    (folder / "bin/python3").write_text("#!/bin/sh\nexit 7\n")
    (folder / "bin/python3").chmod(0o755)
    (folder / "python/numpy").mkdir(parents=True)
    (folder / "python/numpy/__init__.py").write_text(
        "raise RuntimeError('the numpy of the site')\n"
    )
    (folder / "python/site_only.py").write_text("")
    (folder / "python/ROOT").mkdir()
    (folder / "python/ROOT/__init__.py").write_text("")
    (folder / "bin/root-config").write_text("#!/bin/sh\necho 6.30/02\n")
    (folder / "bin/root-config").chmod(0o755)
    (folder / "lib").mkdir()
    setup = folder / "setup.sh"
    setup.write_text(
        f'export SITE_VARIABLE="a  value"\nexport PATH="{folder}/bin:$PATH"\n'
        f'export PYTHONPATH="{folder}/python:$PYTHONPATH"\nexport PYTHONHOME=/nowhere\n'
        f'export LD_LIBRARY_PATH="{folder}/lib"\ncd /\necho "the site is set up $#"\n'
    )
    return setup


def with_setup(code: str, text: str, target: Path) -> Path:
    """Copy an archive of code, with a set-up in it."""
    with tarfile.open(code) as old, tarfile.open(target, "w:gz") as new:
        for one in old:
            new.addfile(one, old.extractfile(one) if one.isfile() else None)
        info = tarfile.TarInfo(SETUP)
        info.size = len(text.encode())
        new.addfile(info, io.BytesIO(text.encode()))
    return target


def launch(
    archives: list[str], text: str, folder: Path, *first: str, show: str = SHOW, **env: str
) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    code = with_setup(archives[1], text, folder / "code.tar.gz")
    (folder / "template.json").write_text('{"kind":"@KIND@","message":"@SAY@"}')
    (folder / "show.py").write_text(show)
    words = [
        *first,
        archives[0],
        str(code),
        "template.json",
        "result",
        "show.py",
        "a b",
        "'c' \"$d\"",
    ]
    return subprocess.run(
        ["/bin/sh", str(LAUNCHER), *words],
        cwd=folder, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.packing
def test_variables_and_programs_of_the_site_stay_and_packed_packages_come_first(
    archives: list[str], tmp_path: Path
) -> None:
    setup = make_site(tmp_path / "cvmfs")
    folder = tmp_path / "job's"
    told = launch(archives, f"source {setup}\n", folder)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "set-up    the site is set up 0\n" in told.stdout
    seen = json.loads((folder / "result").read_text())
    assert seen["argv"] == ["a b", "'c' \"$d\""]
    assert seen["variable"] == "a  value"
    assert seen["program"] == "tool x\n"
    assert "/packages/numpy/" in seen["numpy"]
    assert seen["site"] == f"{tmp_path}/cvmfs/python/site_only.py"
    assert seen["python"].endswith("/bin/python3")
    assert "/eventflock-" in seen["python"]
    assert seen["cwd"] == str(folder)
    assert (seen["odd"], seen["path"], seen["libraries"]) == ([], None, f"{tmp_path}/cvmfs/lib")


BAD = {
    "source /cvmfs/no.example.org/setup.sh\n": "No such file or directory",
    "echo 'no view for this node'; exit 0\n": "no view for this node",
    "echo 'no licence' >&2; false\n": "its set-up ended with exit status 1: no licence",
    "set -e\nfalse\n": "ended with exit status 1: it printed nothing",
    "kill -9 $$\n": "ended with exit status 137",
    "if then\n": "its set-up ended with exit status 2: ",
}


@pytest.mark.packing
@pytest.mark.parametrize("text", BAD)
def test_a_set_up_that_fails_makes_the_node_unusable(
    archives: list[str], tmp_path: Path, text: str
) -> None:
    told = launch(archives, text, tmp_path / "job")
    assert told.returncode == UNSUITABLE, told.stdout
    receipt = json.loads((tmp_path / "job/result").read_text())
    assert receipt["kind"] == "node"
    assert BAD[text] in receipt["message"]
    assert not list((tmp_path / "job").glob("eventflock-*"))


@pytest.mark.packing
def test_without_bash_and_not_at_all(archives: list[str], tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for tool in Path(folder).iterdir():
            if tool.name != "bash" and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    told = launch(archives, "list=(1 2)\n", tmp_path / "job", PATH=str(tools))
    assert told.returncode == UNSUITABLE
    assert "yntax error" in (tmp_path / "job/result").read_text()
    setup = make_site(tmp_path / "cvmfs")
    told = launch(archives, f". {setup}\n", tmp_path / "plain", PATH=str(tools))
    assert told.returncode == 0, told.stdout + told.stderr
    (tmp_path / "site_only.py").touch()
    told = launch(archives, "exit 3\n", tmp_path / "none", "--no-setup")
    assert "No module named 'site_only'" in told.stderr  # Python began


@pytest.mark.packing
def test_an_analysis_with_a_set_up(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    setup = make_site(tmp_path / "cvmfs")
    shutil.copy(setup, tmp_path / "site.sh")
    (tmp_path / "a.py").write_text(
        "import os\nimport eventflock as ef\n\n@ef.analysis\ndef a(events):\n"
        "    return {os.environ.get('SITE_VARIABLE', 'none'): len(events)}\n"
    )
    words = ["run", "a.py", sample, "--packed", "--setup", "site.sh", "--jobs", "2", "--no-plot"]
    told = eventflock(*words, "--out", "run")
    assert told.returncode == 0, told.stderr
    told = eventflock("check", "a.py", sample, "--setup", "site.sh")
    assert told.returncode == 0, told.stderr
    site = tmp_path / "cvmfs"
    root = f"6.30/02 {site}/bin/root-config; import ROOT: {site}/python/ROOT/__init__.py"
    assert f"ROOT      {root}\n" in told.stdout
    assert "site      numpy: packages/numpy/__init__.py (packed)\n" in told.stdout
    assert f"site      site_only: {site}/python/site_only.py\n" in told.stdout
    (tmp_path / "site.sh").write_text("echo 'the licence server is down'; false\n")
    told = eventflock(*words, "--out", "failed")
    assert told.returncode == 4
    assert "its set-up ended with exit status 1: the licence server is down" in told.stderr


def test_what_is_said_about_a_set_up(
    eventflock: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_setup("lcg:LCG_107/x86_64-el9-gcc13-opt", "--setup") == (
        ". /cvmfs/sft.cern.ch/lcg/views/LCG_107/x86_64-el9-gcc13-opt/setup.sh\n"
    )
    monkeypatch.chdir(tmp_path)
    Path("empty.sh").touch()
    for name, said in (("no.sh", "No such file"), ("empty.sh", "is empty"), ("lcg:107", "no view")):
        with pytest.raises(UsageError, match=said):
            read_setup(name, "--setup")
    told = eventflock("run", "a.py", "b.root", "--setup", "empty.sh")
    assert told.returncode == 2
    Path("s.sh").write_text("true\n")
    told = eventflock("run", "a.py", "b.root", "--setup", "s.sh")
    assert told.returncode == 2
    assert "Add --packed" in told.stderr


# --- in eventflock.toml --------------------------------------------------------------------------


def test_the_table_is_added_to_what_a_call_says(tmp_path: Path) -> None:
    (tmp_path / "site.sh").write_text("export A=1\n")
    (tmp_path / "eventflock.toml").write_text(
        '[packing]\nsetup = "site.sh"\nnode_cache = "auto"\nwith = ["scipy", "./tools"]\n'
        'without = ["torch"]\nrequirements = "r.txt"\n'
    )
    found = with_site(PackOptions(include=("pluggy",)), tmp_path / "inside")
    assert found == PackOptions(
        include=("scipy", f"{tmp_path}/tools", "pluggy"),
        exclude=("torch",),
        requirements=f"{tmp_path}/r.txt",
        node_cache="auto",
        setup="export A=1\n",
    )
    given = PackOptions(setup="true\n", node_cache="/scratch")
    found = with_site(given, tmp_path)
    assert found is not None
    assert (found.setup, found.node_cache) == ("true\n", "/scratch")
    assert with_site(None, tmp_path) is None
    lines = "export A=1\nsource /cvmfs/x/setup.sh\n"
    (tmp_path / "eventflock.toml").write_text(f"[packing]\nsetup = '''\n{lines}'''\n")
    found = with_site(PackOptions(), tmp_path)
    assert found is not None
    assert found.setup == lines


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[packing]\nset_up = "a"\n', "did you mean 'setup'"),
        ("[packing]\nnode_cache = true\n", "node_cache is True"),
        ('[packing]\nwith = "scipy"\n', "Expected a list"),
        ('[packing]\nnode_cache = "a b"\n', "an absolute path"),
        ('[packing]\nsetup = "gone.sh"\n', "setup gone.sh cannot be read: No such file"),
        ('[pakcing]\nsetup = "a"\n', "Did you mean .packing"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "eventflock.toml").write_text(table)
    with pytest.raises(UsageError) as caught:
        with_site(PackOptions(), tmp_path)
    assert re.search(said, str(caught.value))


# --- the Python of the site ----------------------------------------------------------------------

SITE_SHOW = """
import json, os, subprocess, sys
import numpy, site_only, awkward, uproot, msgspec, eventflock, ssl, sqlite3
child = [sys.executable, "-c", "import numpy, sys; print(numpy.__file__)"]
json.dump({
    "argv": sys.argv[1:], "numpy": numpy.__file__, "site": site_only.__file__, "cwd": os.getcwd(),
    "sum": float(awkward.sum(numpy.arange(4.0))), "python": sys.executable, "prefix": sys.prefix,
    "child": subprocess.run(child, capture_output=True, text=True).stdout.strip(),
    "customized": hasattr(sys, "site_was_here"), "eventflock": eventflock.__file__,
    "path": sys.path,
}, open("result", "w"))
"""


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The view of a site with a Python, whose numpy is not the packed one."""
    folder = tmp_path_factory.mktemp("view") / "v1"
    make_site(folder)
    (folder / "bin/python3").unlink()
    make_python(folder)
    (folder / "python/sitecustomize.py").write_text("import sys\nsys.site_was_here = True\n")
    setup = folder / "setup.sh"
    setup.write_text(setup.read_text().replace("export PYTHONHOME=/nowhere\n", ""))
    return folder


@pytest.mark.packing
@pytest.mark.parametrize("cached", [False, True])
def test_the_python_of_the_site_runs_with_the_packed_packages_in_front(
    archives: list[str], tmp_path: Path, view: Path, cached: bool
) -> None:
    (tmp_path / "job's").mkdir()
    words = ["--cache", str(tmp_path / "cache")] if cached else []
    told = launch(
        archives, f"source {view}/setup.sh\n", tmp_path / "job's", "--python", "site", *words,
        show=SITE_SHOW,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"python    {view}/bin/python3\n" in told.stdout
    seen = json.loads((tmp_path / "job's/result").read_text())
    assert seen["argv"] == ["a b", "'c' \"$d\""]
    assert (seen["python"], seen["prefix"]) == (f"{view}/bin/python3", str(view))
    assert "/packages/numpy/" in seen["numpy"]
    assert seen["child"] == seen["numpy"]
    assert "/packages/eventflock/" in seen["eventflock"]
    assert seen["site"] == f"{view}/python/site_only.py"
    assert seen["customized"]
    assert seen["sum"] == 6.0
    assert seen["cwd"] == str(tmp_path / "job's")


@pytest.mark.packing
@pytest.mark.parametrize("setup", [True, False])
def test_a_node_whose_python_does_not_fit(archives: list[str], tmp_path: Path, setup: bool) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    words = f"export PATH={tools}:$PATH\n" if setup else "true\n"
    for name in ("python3", "python"):
        (tools / name).write_text("#!/bin/sh\necho 3.6\n")
        (tools / name).chmod(0o755)
    env = {} if setup else {"PATH": f"{tools}:/usr/bin:/bin"}
    told = launch(archives, words, tmp_path / "job", "--python", "site", **env)
    assert told.returncode == UNSUITABLE, told.stdout
    said = json.loads((tmp_path / "job/result").read_text())["message"]
    assert f"its {tools}/python3 is Python 3.6, and the packages are for Python {VERSION}" in said
    shutil.rmtree(tools)
    tools.mkdir()
    for folder in ("/usr/bin", "/bin", "/sbin", "/usr/sbin"):
        for tool in Path(folder).iterdir():
            if "python" not in tool.name and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    told = launch(archives, "true\n", tmp_path / "none", "--python", "site", PATH=str(tools))
    assert told.returncode == UNSUITABLE, told.stdout
    said = json.loads((tmp_path / "none/result").read_text())["message"]
    assert "has no python3 in PATH, also after its set-up" in said


@pytest.mark.packing
def test_an_analysis_in_the_python_of_the_site(
    eventflock: Command, tmp_path: Path, sample: Path, view: Path
) -> None:
    (tmp_path / "site.sh").write_text(f"source {view}/setup.sh\n")
    (tmp_path / "a.py").write_text(
        "import sys\nimport numpy\nimport eventflock as ef\n\n@ef.analysis\ndef a(events):\n"
        "    where = 'packed' if '/packages/' in numpy.__file__ else 'site'\n"
        "    return {f'{where} {sys.prefix}': len(events)}\n"
    )
    words = ["run", "a.py", sample, "--packed", "--setup", "site.sh", "--python", "site"]
    told = eventflock(*words, "--jobs", "2", "--no-plot", "--out", "run")
    assert told.returncode == 0, told.stderr
    assert list(load(tmp_path / "run")["events"]) == [f"packed {view}"]
    told = eventflock("check", "a.py", sample, "--setup", "site.sh", "--python", "site")
    assert told.returncode == 0, told.stderr
    assert f"python    {view}/bin/python3\n" in told.stdout
    assert "site      numpy: packages/numpy/__init__.py (packed)\n" in told.stdout
    assert "packing: building" not in told.stderr  # it is the same environment
    told = eventflock(*words[:3], "--packed", "--python", "sight")
    assert told.returncode == 2
    assert "--python is 'sight', expected 'standalone' or 'site'." in told.stderr


@pytest.mark.packing
def test_what_the_site_offers_is_not_packed_if_its_python_runs(
    eventflock: Command, tmp_path: Path, sample: Path, view: Path
) -> None:
    """The call is made as users make it: in a shell in which the site is set up."""
    theirs = tmp_path / "site"
    shutil.copytree(view, theirs, symlinks=True)
    shutil.rmtree(theirs / "python/numpy")
    (theirs / "setup.sh").write_text(
        (view / "setup.sh").read_text().replace(str(view), str(theirs))
    )
    (tmp_path / "site.sh").write_text(f"source {theirs}/setup.sh\n")
    (tmp_path / "a.py").write_text(
        "import site_only\nimport eventflock as ef\n\n@ef.analysis\ndef a(events):\n"
        "    return {site_only.__file__: len(events)}\n"
    )
    words = ["a.py", sample, "--setup", "site.sh", "--python", "site"]
    env = {"PYTHONPATH": str(theirs / "python")}
    told = eventflock("run", *words, "--packed", "--no-plot", "--out", "run", env=env)
    assert told.returncode == 0, told.stderr
    assert list(load(tmp_path / "run")["events"]) == [f"{theirs}/python/site_only.py"]
    told = eventflock("run", *words[:4], "--packed", "--no-plot", "--out", "packed", env=env)
    assert told.returncode == 0, told.stderr
    (name,) = load(tmp_path / "packed")["events"]
    assert "/code/" in name


def test_a_site_that_is_not_here_offers_nothing(tmp_path: Path) -> None:
    assert site_folders("source /cvmfs/no.example.org/setup.sh\n", tmp_path) == []
    assert site_folders("exit 0\n", tmp_path) == []
    assert site_folders("", tmp_path) == []
