"""Packing: what goes in, that it is the same each time, and what bad input gets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from eventflock.cli.demo import ANALYSIS
from eventflock.packing.user_files import time_zones_part
from eventflock.worker.node_layout import CODE_PACKAGES
from tests.conftest import Command, copy_cache

pytestmark = pytest.mark.packing
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler is installed")


def packed(told: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert told.returncode == 0, told.stderr
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def members(archive: str | Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}  # type: ignore[union-attr]


def names(found: dict[str, Any]) -> set[str]:
    return {one["name"] for one in found["parts"]}


def refusal(told: subprocess.CompletedProcess[str], code: int = 4) -> str:
    assert told.returncode == code, told.stdout + told.stderr
    assert "Traceback" not in told.stderr
    return told.stderr


@pytest.fixture
def fresh(tmp_path: Path) -> dict[str, str]:
    """An environment with a cache of its own."""
    return {**os.environ, "EVENTFLOCK_CACHE": str(tmp_path / "cache")}


# --- what goes in ----------------------------------------------------------------------------------


def test_only_what_is_imported_goes_in(eventflock: Command, jets: Path, sample: Path) -> None:
    found = packed(eventflock("pack", jets, sample, "--json"))
    assert {"python", "eventflock", "numpy", "uproot", "awkward", "hist"} <= names(found)
    # pyarrow is loaded by awkward where it is installed; matplotlib is what drawing needs.
    assert not {"matplotlib", "pyarrow", "scipy", "pytest", "click-extra", "rich"} & names(found)
    why = {one["name"]: one["why"] for one in found["parts"]}
    assert why["hist"] == "jets.py imports hist"
    assert why["histoprint"] == "needed by hist"
    assert why["numpy"] == "eventflock's worker"
    assert found["size"] < 33e6
    told = eventflock("pack", jets, sample)
    assert "jets.py imports hist" in told.stdout
    assert f"{found['size'] / 1e6:.2f} MB" in told.stdout


def test_what_is_left_out_by_name(eventflock: Command, jets: Path, sample: Path) -> None:
    found = packed(eventflock("pack", jets, sample, "--with", "scipy", "--json"))
    assert "scipy" in names(found)
    broken = eventflock("pack", jets, sample, "--without", "histoprint")
    assert broken.returncode == 6
    assert "No module named 'histoprint'" in broken.stderr
    assert broken.stderr.endswith("It does not work --without histoprint.\n")
    told = refusal(eventflock("pack", jets, sample, "--without", "numpy"))
    assert "'numpy' cannot be left out: it is eventflock's worker." in told
    told = refusal(eventflock("pack", jets, sample, "--without", "histoprimt"))
    assert "'histoprimt' (--without histoprimt) is not installed; did you mean 'histoprint'" in told


def test_what_is_large_and_never_loaded_is_named(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    """A package of one line requires one of 25 MB, which it does not import."""
    site = tmp_path / "site"
    for name, requires in (("small", "Requires-Dist: heavy\n"), ("heavy", "")):
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}"
        (site / f"{name}-1.0.dist-info/METADATA").write_text(text)
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("ONE = 1\n")
        files = [f"{name}/__init__.py,,", f"{name}-1.0.dist-info/METADATA,,"]
        if name == "heavy":
            (site / "heavy/weights.bin").write_bytes(os.urandom(25_000_000))
            files.append("heavy/weights.bin,,")
        (site / f"{name}-1.0.dist-info/RECORD").write_text("\n".join(files) + "\n")
    (tmp_path / "one.py").write_text(
        "import small\nimport eventflock as ef\n\n\n@ef.analysis\ndef one(events):\n"
        "    return {'n': small.ONE * len(events)}\n"
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    found = packed(eventflock("pack", "one.py", sample, "--json", env=env))
    assert {"small", "heavy"} <= names(found)
    (note,) = (one for one in found["notes"] if "heavy" in one)
    assert "never loaded when the analysis was tried: heavy (25 MB, needed by small)." in note
    assert "--without NAME" in note
    words = ["pack", "one.py", sample, "--without", "heavy", "--json"]
    lean = packed(eventflock(*words, env=env))
    assert "heavy" not in names(lean)
    assert lean["size"] < found["size"] - 20e6


def test_what_a_few_events_load_goes_in(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    """Skims are written with pyarrow, which no line of the analysis says."""
    analysis = tmp_path / "skim.py"
    analysis.write_text(
        "import eventflock as ef\n@ef.analysis\ndef skim(events):\n    return {'kept': events[:1]}\n"
    )
    assert "pyarrow" in names(packed(eventflock("pack", analysis, sample, "--json")))


def test_imports_in_functions_and_names_and_paths(
    eventflock: Command, tmp_path: Path, jets: Path, sample: Path
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/table.json").write_text("[1, 2]")
    (tmp_path / "late.py").write_text("VALUE = 7\n")
    analysis = tmp_path / "lazy.py"
    analysis.write_text(
        "import eventflock as ef\n@ef.analysis\ndef lazy(events):\n"
        "    if len(events) > 10**9:\n        import late, iniconfig\n"
        "    return {'n': len(events)}\n"
    )
    words = ["--with", "pluggy", "--with", "./weights"]
    found = packed(eventflock("pack", analysis, sample, *words, "--json"))
    assert {"iniconfig", "pluggy", "weights"} <= names(found)
    code = members(found["code"])
    assert code["code/analysis/late.py"] == b"VALUE = 7\n"
    assert code["code/analysis/weights/table.json"] == b"[1, 2]"
    assert code["code/analysis/lazy.py"] == analysis.read_bytes()


# --- the same each time ----------------------------------------------------------------------------


def test_two_packers_at_once_and_another_cache_give_the_same_bytes(
    tmp_path: Path, jets: Path, sample: Path, archives: list[str]
) -> None:
    command = [sys.executable, "-P", "-m", "eventflock", "pack", str(jets), str(sample), "--json"]

    def start(cache: str, folder: str) -> subprocess.Popen[str]:
        (tmp_path / folder).mkdir()
        env = {**os.environ, "EVENTFLOCK_CACHE": str(tmp_path / cache)}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=env, cwd=tmp_path / folder
        )

    # In different folders, so that the two do not wait for each other before they build.
    both = [start("one", "a"), start("one", "b")]
    told = [json.loads(process.communicate()[0]) for process in both]
    other = dict(zip(("environment", "code"), archives, strict=True))  # packed some time before
    for kind in ("environment", "code"):
        assert len({Path(one[kind]).name for one in (*told, other)}) == 1
    kept = sorted(path.name for path in (tmp_path / "one/archives").iterdir())
    assert kept == sorted(Path(told[0][kind]).name for kind in ("environment", "code"))
    assert not list((tmp_path / "one/work").iterdir())
    boot = members(other["environment"])
    assert set(boot) == {"demands", "contents.json", "boot.tgz", "rest.tar.zst"}


def test_an_edit_repacks_only_the_code(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    analysis = tmp_path / "jets.py"
    analysis.write_text(ANALYSIS)
    first = packed(eventflock("pack", analysis, sample, "--json"))
    assert packed(eventflock("pack", analysis, sample, "--json")) == first
    analysis.write_text(ANALYSIS.replace("200, 0, 2000", "100, 0, 2000"))
    second = packed(eventflock("pack", analysis, sample, "--json"))
    assert second["environment"] == first["environment"]
    assert second["code"] != first["code"]
    assert second["code_size"] < 20_000
    (tmp_path / "helper.py").write_text("A = 1\n")
    analysis.write_text("import helper\n" + ANALYSIS)
    third = packed(eventflock("pack", analysis, sample, "--json"))
    (tmp_path / "helper.py").write_text("A = 2\n")  # a helper counts as well
    fourth = packed(eventflock("pack", analysis, sample, "--json"))
    assert len({one["code"] for one in (first, second, third, fourth)}) == 4
    assert fourth["environment"] == first["environment"]


@pytest.mark.parametrize(
    ("damage", "which"), [("cut", "environment"), ("flip", "code"), ("gone", "code")]
)
def test_a_damaged_archive_is_made_again(
    eventflock: Command, tmp_path: Path, sample: Path, damage: str, which: str
) -> None:
    analysis = tmp_path / f"{damage}_{which}.py"
    analysis.write_text(f"# {damage} {which}\n{ANALYSIS}")
    env = {**os.environ}
    if which == "environment":  # which other tests share: work on a copy of the cache
        env["EVENTFLOCK_CACHE"] = str(tmp_path / "cache")
        packed(eventflock("pack", analysis, sample, "--json"))
        copy_cache(tmp_path / "cache")
    found = packed(eventflock("pack", analysis, sample, "--json", env=env))
    path = Path(found[which])
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        half = len(data) // 2
        flipped = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
        path.write_bytes(data[:half] if damage == "cut" else flipped)
    assert packed(eventflock("pack", analysis, sample, "--json", env=env)) == found
    assert path.read_bytes() == data


# --- the user's own packages -----------------------------------------------------------------------

EXTENSION = """
#include <Python.h>
static PyObject *twice(PyObject *self, PyObject *arg) {
    return PyLong_FromLong(2 * PyLong_AsLong(arg));
}
static PyMethodDef methods[] = {{"twice", twice, METH_O, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", NULL, -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
"""
USES = """
import mytools
import eventflock as ef

@ef.analysis
def uses(events):
    return {"n": mytools.twice(len(events)), "names": {mytools.VERSION: 1}}
"""


def compile_library(source: str, target: Path, *words: str) -> None:
    file = target.with_suffix(".c")
    file.write_text(source)
    include = sysconfig.get_path("include")
    command = [
        str(COMPILER),
        "-shared",
        "-fPIC",
        "-g",
        f"-I{include}",
        str(file),
        "-o",
        str(target),
    ]
    subprocess.run([*command, *words], check=True)
    file.unlink()


def extension_name() -> str:
    return f"_fast{sysconfig.get_config_var('EXT_SUFFIX')}"


@needs_compiler
def test_a_package_with_an_extension_beside_the_analysis(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    (tmp_path / "mytools").mkdir()
    compile_library(EXTENSION, tmp_path / "mytools" / extension_name())
    (tmp_path / "mytools/__init__.py").write_text(
        "from mytools._fast import twice\nVERSION = 'v1'\n"
    )
    (tmp_path / "uses.py").write_text(USES)
    told = eventflock("run", "uses.py", sample, "--packed", "--jobs", "2", "--out", "run")
    assert told.returncode == 0, told.stderr
    assert "each exactly once" in told.stdout
    kept = members(next((tmp_path / "run/analysis").glob("code-*.tar.gz")))
    built = (tmp_path / "mytools" / extension_name()).stat().st_size
    assert len(kept[f"code/analysis/mytools/{extension_name()}"]) < built  # without debug symbols
    assert kept["code/analysis/mytools/__init__.py"].startswith(b"from mytools._fast")


@needs_compiler
def test_an_editable_install_with_an_extension(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    """A real one, by setuptools, in an environment that sees the packages of this one."""
    project = tmp_path / "project"
    package = project / "src/mytools"
    package.mkdir(parents=True)
    (package / "_fast.c").write_text(EXTENSION)
    (package / "__init__.py").write_text(
        "from importlib.metadata import version\nfrom mytools._fast import twice\n"
        "VERSION = version('my-tools')\n"
    )
    (package / "table.txt").write_text("1")
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'my-tools'\nversion = '3.2.1'\n"
    )
    (project / "setup.py").write_text(
        "from setuptools import Extension, setup\n"
        "setup(ext_modules=[Extension('mytools._fast', ['src/mytools/_fast.c'])])\n"
    )
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "base.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    python = str(venv / "bin/python")
    uv = [str(Path(sysconfig.get_path("scripts")) / "uv"), "pip", "install", "--quiet"]
    subprocess.run([*uv, "--python", python, "--no-deps", "-e", project], check=True)
    (tmp_path / "uses.py").write_text(USES)
    command = [python, "-P", "-m", "eventflock", "run", "uses.py", str(sample), "--packed"]
    told = subprocess.run(
        [*command, "--out", "run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    kept = members(next((tmp_path / "run/analysis").glob("code-*.tar.gz")))
    assert f"code/packages/mytools/{extension_name()}" in kept
    assert kept["code/packages/mytools/table.txt"] == b"1"

    shutil.rmtree(project)  # and now its folder is gone
    (tmp_path / "plain.py").write_text(ANALYSIS)
    told = subprocess.run(
        [python, "-P", "-m", "eventflock", "pack", "plain.py", "--with", "my-tools"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"my-tools is an editable install of {project}, which is gone" in refusal(told)


def test_an_installed_eventflock_is_only_the_worker(tmp_path: Path, sample: Path) -> None:
    """Not an editable one, as in development: what drawing needs stays at home."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    here = sysconfig.get_path("purelib")
    (site / "base.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    python = str(venv / "bin/python")
    uv = [str(Path(sysconfig.get_path("scripts")) / "uv"), "pip", "install", "--quiet"]
    checkout = Path(__file__).parents[1]
    subprocess.run([*uv, "--python", python, "--no-deps", checkout], check=True)
    (tmp_path / "jets.py").write_text(ANALYSIS)
    command = [python, "-P", "-m", "eventflock", "pack", "jets.py", str(sample), "--json"]
    found = packed(
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    )
    assert "eventflock" in names(found)
    assert not {"matplotlib", "mplhep", "rich"} & names(found)
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert packed(again) == found
    assert "packing:" not in again.stderr  # nothing has changed, so nothing is done


def test_all_of_the_users_code_comes_along(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    """Links to folders, headers, what is imported late and later, tests that are imported."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/table.json").write_text("[]")
    package = tmp_path / "mytools"
    (package / "tests").mkdir(parents=True)
    (package / "data").symlink_to(tmp_path / "elsewhere")
    (package / "loop").symlink_to(package)
    (package / "code.h").write_text("int f();")
    (package / "tests/__init__.py").write_text("")
    (package / "tests/helper.py").write_text("def twice(n):\n    return 2 * n\n")
    (package / "__init__.py").write_text(
        "from mytools.tests.helper import twice\nVERSION = 'v1'\ndef late():\n    import later\n"
    )
    (package / "broken.py").write_text("x = " + "+".join(["1"] * 20_000))
    (tmp_path / "later.py").write_text("def f():\n    import latest\n")
    (tmp_path / "latest.py").write_text("")
    (tmp_path / "uses.py").write_text(USES)
    words = ["pack", "uses.py", sample, "--with", "./elsewhere", "--json"]
    code = members(packed(eventflock(*words))["code"])
    for name in ("mytools/data/table.json", "mytools/code.h", "later.py", "latest.py"):
        assert f"code/analysis/{name}" in code
    assert "code/analysis/elsewhere/table.json" in code
    assert not [name for name in code if "/loop/" in name]

    (tmp_path / "elsewhere/deep").mkdir()  # a new file in a new folder is noticed
    (tmp_path / "elsewhere/deep/more.json").write_text("1")
    assert "code/analysis/elsewhere/deep/more.json" in members(packed(eventflock(*words))["code"])
    Path(os.fsdecode(bytes(package) + b"/caf\xe9.txt")).write_text("")
    assert "is not UTF-8" in refusal(eventflock(*words))


def test_a_project_is_built_again_when_it_changes(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    """By its path, and by its path in a requirements file."""
    project = tmp_path / "project"
    (project / "mytools").mkdir(parents=True)
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'my-tools'\nversion = '1'\ndependencies = ['iniconfig']\n"
        "[tool.setuptools]\npackages = ['mytools']\n"
    )
    module = project / "mytools/__init__.py"
    (tmp_path / "plain.py").write_text(
        "import eventflock as ef\n@ef.analysis\ndef plain(events):\n    return {'n': len(events)}\n"
    )
    (tmp_path / "r.txt").write_text("./project\n")
    for words in (["--with", "./project"], ["--requirements", "r.txt"]):
        found = []
        for version in ("v1", "v2"):
            module.write_text(f"VERSION = {version!r}\n\ndef twice(n):\n    return 2 * n\n")
            found.append(packed(eventflock("pack", "plain.py", *words, "--json")))
            assert "iniconfig" in names(found[-1])
        assert {found[0]["code"], found[0]["environment"]} != {
            found[1]["code"],
            found[1]["environment"],
        }


# --- bad input -------------------------------------------------------------------------------------


def test_names_and_paths_that_are_not_there(
    eventflock: Command, tmp_path: Path, jets: Path
) -> None:
    told = refusal(eventflock("pack", jets, "--with", "nunpy"))
    assert "'nunpy' (--with nunpy) is not installed; did you mean 'numpy'" in told
    assert "pip install nunpy" in told
    (tmp_path / "tools").mkdir()
    told = refusal(eventflock("pack", jets, "--with", "./tool"))
    assert "--with ./tool: there is nothing; did you mean 'tools'" in told
    told = refusal(eventflock("pack", jets, "--with", "./tools"))
    assert "the folder has no files" in told
    told = refusal(eventflock("pack", jets, "--with", "tools"))
    assert "The folder of that name is --with ./tools" in told
    told = refusal(eventflock("pack", jets, "--with", "numpy,scipy"))
    assert "Name one package or path with each --with" in told
    told = refusal(eventflock("check", jets, "--in", tmp_path))
    assert "is not a root file system" in told
    (tmp_path / "file").write_text("")
    told = refusal(eventflock("pack", jets, "--out", "file"), 2)
    assert "--out file is not a folder" in told
    told = refusal(eventflock("pack", jets, "--requirements", "none.txt"))
    assert "--requirements none.txt: there is no such file" in told
    told = refusal(eventflock("pack", jets, "--python", "pypy"), 2)
    assert "--python is 'pypy', expected 'standalone'" in told
    told = refusal(eventflock("pack", jets, "--glibc", "mine"), 2)
    assert "--glibc is 'mine', expected one of auto, never, always" in told
    told = refusal(eventflock("run", jets, "x.root", "--with", "numpy"), 2)
    assert "Add --packed" in told
    told = refusal(eventflock("run", jets, "x.root", "--packed", "--pool", "inline"), 2)
    assert "--packed goes with --pool local" in told


def test_a_distribution_without_files(eventflock: Command, tmp_path: Path, jets: Path) -> None:
    site = tmp_path / "extra-packages"
    info = site / "hollow-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hollow\nVersion: 1.0\n")
    (info / "RECORD").write_text("hollow/__init__.py,,\nhollow-1.0.dist-info/RECORD,,\n")
    env = {**os.environ, "PYTHONPATH": str(site)}
    told = refusal(eventflock("pack", jets, "--with", "hollow", env=env))
    assert "The distribution hollow 1.0 has no files here" in told
    assert "--force-reinstall hollow" in told


@needs_compiler
def test_a_library_that_is_nowhere(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    """The user's own file needs a library that was deleted: it names both."""
    package = tmp_path / "mytools"
    package.mkdir()
    compile_library("int answer(void) { return 42; }", tmp_path / "libanswer.so")
    compile_library(
        "int answer(void); int more(void) { return answer() + 1; }",
        package / "libmore.so",
        f"-L{tmp_path}",
        "-lanswer",
    )
    (tmp_path / "libanswer.so").unlink()
    (package / "__init__.py").write_text("VERSION = 'v1'\n\ndef twice(n):\n    return 2 * n\n")
    (tmp_path / "uses.py").write_text(USES)
    told = refusal(eventflock("pack", "uses.py", sample))
    assert f"{package}/libmore.so needs libanswer.so, which is not found on this machine" in told

    compile_library(  # and through a library that is there
        "int more(void); int most(void) { return more(); }",
        package / "libmost.so",
        f"-L{package}", "-lmore", "-Wl,--allow-shlib-undefined", "-Wl,-rpath,/nowhere",
    )  # fmt: skip
    (package / "libmore.so").rename(tmp_path / "libmore.so")
    env = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    told = refusal(eventflock("pack", "uses.py", sample, env=env))
    assert f"{package}/libmost.so needs libmore.so, which needs libanswer.so" in told


@needs_compiler
def test_libraries_that_are_loaded_by_hand_come_along(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    """With ctypes, from a folder that no node has, and itself in need of another library."""
    deep = tmp_path / "deep"
    deep.mkdir()
    compile_library(
        "int answer(void) { return 42; }", deep / "libanswer.so", "-Wl,-soname,libanswer.so"
    )
    compile_library(
        "int answer(void); int more(void) { return answer() + 1; }",
        deep / "libmore.so",
        f"-L{deep}", "-lanswer", f"-Wl,-rpath,{deep}", "-Wl,-soname,libmore.so",
    )  # fmt: skip
    (tmp_path / "uses.py").write_text(
        "import ctypes\nimport eventflock as ef\n"
        f"try:\n    more = ctypes.CDLL('libmore.so')\nexcept OSError:\n"
        f"    more = ctypes.CDLL('{deep}/libmore.so')\n"
        "@ef.analysis\ndef uses(events):\n    return {'n': more.more() * len(events)}\n"
    )
    found = packed(eventflock("pack", "uses.py", sample, "--json"))
    assert {"native/libmore.so", "native/libanswer.so"} <= set(members(found["code"]))
    deep.rename(tmp_path / "gone")
    from eventflock.core.structs import to_json
    from eventflock.packing import proving
    from eventflock.usercode.loading import locate
    from eventflock.worker.prove import ProofRequest

    place = proving.Place(folder=tmp_path, inside=str(tmp_path))
    ref, _ = locate(str(tmp_path / "uses.py"))
    (tmp_path / "request.json").write_bytes(to_json(ProofRequest(analysis=ref)))
    words = ["-m", "eventflock.worker.prove", "request.json", "proof.json"]
    archives = [Path(found["environment"]), Path(found["code"])]
    told, _ = proving.launch(place, archives, words, "proof.json")
    assert proving.read_proof(place, told).error is None


def test_a_full_disk_leaves_nothing_behind(
    eventflock: Command, tmp_path: Path, jets: Path, sample: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted, which needs root")
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        env = {**os.environ, "EVENTFLOCK_CACHE": str(small / "cache")}
        told = refusal(eventflock("pack", jets, sample, env=env))
        assert f"There is no room left for packing in {small}/cache" in told
        assert "EVENTFLOCK_CACHE" in told
        assert not list((small / "cache/archives").iterdir())
        assert not list((small / "cache/work").iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_cache_that_cannot_be_written(eventflock: Command, tmp_path: Path, jets: Path) -> None:
    (tmp_path / "file").write_text("")
    env = {**os.environ, "EVENTFLOCK_CACHE": str(tmp_path / "file/cache")}
    told = refusal(eventflock("pack", jets, env=env))
    assert "EVENTFLOCK_CACHE" in told


# --- odd packages ----------------------------------------------------------------------------------


def make_wheel(folder: Path, name: str, files: dict[str, str], requires: str = "") -> Path:
    """Write a wheel by hand: it is a ZIP with a list of its files."""
    info = f"{name}-1.0.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}"
    tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    members = {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": tag}
    record = "".join(f"{one},,\n" for one in [*members, f"{info}/RECORD"])
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in {**members, f"{info}/RECORD": record}.items():
            wheel.writestr(member, text)
    return path


def test_odd_packages(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    """One that is only metadata, one that reads its stubs, and one with a version of its own."""
    odd = (
        "import lazy_ish\nclass Text(str):\n    def __str__(self):\n        return self\n"
        "__version__ = Text('1.0')\n"
    )
    lazy = (
        "from pathlib import Path\ndef attach_stub():\n"
        "    return Path(__file__).with_suffix('.pyi').read_text()\nWORDS = attach_stub()\n"
    )
    wheels = [
        make_wheel(tmp_path, "onlymeta", {}),
        make_wheel(
            tmp_path, "lazy_ish", {"lazy_ish/__init__.py": lazy, "lazy_ish/__init__.pyi": "x: int"}
        ),
        make_wheel(tmp_path, "odd", {"odd/__init__.py": odd}, "onlymeta"),
    ]
    (tmp_path / "r.txt").write_text("\n".join(map(str, wheels)))
    (tmp_path / "a.py").write_text(
        "import odd\nimport eventflock as ef\n\n@ef.analysis\ndef a(events):\n"
        "    return {odd.lazy_ish.WORDS: len(events)}\n"
    )
    found = packed(eventflock("pack", "a.py", sample, "--requirements", "r.txt", "--json"))
    assert {"odd", "lazy_ish", "onlymeta"} <= names(found)
    told = eventflock("check", "a.py", sample, "--requirements", "r.txt")
    assert told.returncode == 0, told.stdout + told.stderr


def test_time_zones_of_this_machine_where_no_package_has_them(tmp_path: Path) -> None:
    (part,) = time_zones_part()
    for name, path in part.files.items():
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    code = (
        "import datetime, zoneinfo\n"
        "zone = zoneinfo.ZoneInfo('America/Argentina/Ushuaia')\n"
        "print(datetime.datetime(2026, 7, 1, tzinfo=zone))\n"
    )
    env = {"PYTHONTZPATH": "", "PYTHONPATH": str(tmp_path / CODE_PACKAGES)}
    told = subprocess.run(
        [sys.executable, "-S", "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert told.stdout == "2026-07-01 00:00:00-03:00\n", told.stderr


def test_a_process_that_lives_on_holds_nothing(
    eventflock: Command, tmp_path: Path, sample: Path
) -> None:
    """As the helpers of joblib do, for five minutes."""
    (tmp_path / "a.py").write_text(
        "import subprocess\nimport eventflock as ef\n\n@ef.analysis\ndef a(events):\n"
        "    subprocess.Popen(['sleep', '1077'])\n    return {'n': len(events)}\n"
    )
    began = time.monotonic()
    for words in (["pack"], ["check"], ["run", "--packed", "--jobs", "2", "--out", "run"]):
        told = eventflock(words[0], "a.py", sample, *words[1:])
        assert told.returncode == 0, told.stdout + told.stderr
    assert time.monotonic() - began < 120
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [one for one in commands if b"1077" in one.split(b"\0")]


# --- requirements ----------------------------------------------------------------------------------


def test_requirements_in_the_file(eventflock: Command, tmp_path: Path, sample: Path) -> None:
    """A package that is not installed here, of a version that only the file says."""
    block = (
        "# /// script\n# requires-python = '>=3.11'\n# dependencies = ['tabulate==0.9.0']\n# ///\n"
    )
    (tmp_path / "table.py").write_text(
        block + "import eventflock as ef\nimport tabulate\n\n@ef.analysis\ndef table(events):\n"
        "    return {tabulate.__version__: len(events)}\n"
    )
    found = packed(eventflock("pack", "table.py", "--json"))
    version = {one["name"]: one["version"] for one in found["parts"]}
    assert version["tabulate"] == "0.9.0"
    assert packed(eventflock("pack", "table.py", "--json")) == found
    told = eventflock("run", "table.py", sample, "--packed", "--out", "run")
    assert told.returncode == 0, told.stderr


def test_an_edit_of_a_file_that_requirements_name_counts(
    eventflock: Command, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(
        "import tabulate\nimport eventflock as ef\n\n@ef.analysis\ndef a(events):\n    return {}\n"
    )
    (tmp_path / "requirements.txt").write_text("tabulate\n-c more/constraints.txt\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/constraints.txt").write_text("--constraint=inner.txt\n")
    words = ["pack", "a.py", "--requirements", "requirements.txt", "--json"]
    for bound, version in (("0.9", "0.8.10"), ("0.8.10", "0.8.9")):
        (tmp_path / "more/inner.txt").write_text(f"tabulate<{bound}\n")
        parts = {one["name"]: one["version"] for one in packed(eventflock(*words))["parts"]}
        assert parts["tabulate"] == version
    (tmp_path / "a.py").write_text("import hist\n")
    told = eventflock(*words)
    assert told.returncode == 6
    assert "No module named 'hist'" in told.stderr
    assert "name it in the requirements" in told.stderr


def test_requirements_in_a_lock(eventflock: Command, tmp_path: Path, jets: Path) -> None:
    """With a package of the user's beside it, by a path that is relative to the lock."""
    project = tmp_path / "project"
    (project / "libs/mytools/mytools").mkdir(parents=True)
    (project / "libs/mytools/mytools/__init__.py").write_text("VERSION = 'v1'\n")
    build = "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
    (project / "libs/mytools/pyproject.toml").write_text(
        build + "[project]\nname = 'mytools'\nversion = '4.5'\n"
    )
    (project / "pyproject.toml").write_text(
        "[project]\nname = 'study'\nversion = '1'\nrequires-python = '>=3.11'\n"
        "dependencies = ['mytools', 'tabulate<0.9']\n"
        "[tool.uv.sources]\nmytools = { path = 'libs/mytools' }\n"
    )
    uv = str(Path(sysconfig.get_path("scripts")) / "uv")
    subprocess.run([uv, "lock", "--quiet", "--directory", project], check=True)
    (tmp_path / "study.py").write_text(
        "import mytools, tabulate\nimport eventflock as ef\n\n@ef.analysis\n"
        "def study(events):\n    return {mytools.VERSION: 1}\n"
    )
    words = ["pack", "study.py", "--requirements", project / "uv.lock", "--json"]
    version = {one["name"]: one["version"] for one in packed(eventflock(*words))["parts"]}
    assert version["mytools"] == "4.5"
    assert version["tabulate"] == "0.8.10"


def test_requirements_that_cannot_be_resolved(
    eventflock: Command, tmp_path: Path, jets: Path
) -> None:
    (tmp_path / "r.txt").write_text("tabulate==77.0\n")
    told = refusal(eventflock("pack", jets, "--requirements", "r.txt"))
    assert "The requirements of r.txt cannot be installed" in told
    assert "there is no version of tabulate==77.0" in told  # uv's own words
    (tmp_path / "bad.py").write_text("# /// script\n# dependencies = 3\n# ///\n" + ANALYSIS)
    told = refusal(eventflock("pack", "bad.py"))
    assert "'dependencies' is not a list of strings" in told
    (tmp_path / "bad.py").write_text("# /// script\n# dependencies = [\n# ///\n" + ANALYSIS)
    assert "is not TOML" in refusal(eventflock("pack", "bad.py"))
    (tmp_path / "bad.py").write_text("# /// script\n# dependencies = []\n" + ANALYSIS)
    assert "is not closed" in refusal(eventflock("pack", "bad.py"))
