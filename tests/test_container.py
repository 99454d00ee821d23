"""Jobs in containers: with a real Podman here, and a real Apptainer in a root file system."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflock.core.options import SubmitOptions
from eventflock.errors import PoolError, UsageError
from eventflock.packing.site_software import read_container
from eventflock.pools.table import find_pool
from eventflock.results.result import load
from eventflock.worker.node_layout import CONTAINER, LAUNCHER
from tests.conftest import Command
from tests.containers import make_image, podman_or_skip, running
from tests.roots import bare_root
from tests.site_python import make_python
from tests.user import wait_for

ANALYSIS = """
import pathlib, sys, time
import numpy
import eventflock as ef

@ef.analysis
def where(events, *, pause: float = 0.0):
    version = pathlib.Path("/etc/debian_version").read_text().strip()
    if len(events) and version.startswith("13"):  # not when it is tried here
        time.sleep(pause)
    packed = "/packages/" in numpy.__file__
    return {f"{version} {sys.prefix == '/opt/python'} {packed}": len(events)}
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[dict[str, str]]:
    """The variables for Podman, and an image of Debian 13 with a Python of its own."""
    folder = tmp_path_factory.mktemp("podman")
    env = podman_or_skip(folder)
    root = folder / "root"
    shutil.copytree(
        bare_root(cache.parent, "trixie"),
        root,
        symlinks=True,
        ignore_dangling_symlinks=True,
        ignore=shutil.ignore_patterns("dev", "scratch", "x"),
    )
    make_python(root / "opt/python")
    change = ["ENV PATH=/opt/python/bin:/usr/bin:/bin", "ENV LD_LIBRARY_PATH=/opt/python/lib"]
    make_image(root, "eventflock-test:13", env, *change)
    shutil.rmtree(root)
    yield env
    subprocess.run(
        ["podman", "rmi", "-f", "eventflock-test:13"],
        env={**os.environ, **env},
        check=True,
        capture_output=True,
    )


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    (tmp_path / "where.py").write_text(ANALYSIS)
    return tmp_path / "where.py"


@pytest.mark.packing
@pytest.mark.parametrize("python", ["packed", "site"])
def test_jobs_run_in_an_image(
    eventflock: Command,
    tmp_path: Path,
    sample: Path,
    analysis: Path,
    podman: dict[str, str],
    python: str,
) -> None:
    words = ["run", analysis, sample, "--container", "eventflock-test:13", "--no-plot"]
    words += ["--python", "site"] if python == "site" else []
    told = eventflock(*words, "--jobs", "2", "--out", "run", env=podman)
    assert told.returncode == 0, told.stderr
    (seen,) = load(tmp_path / "run")["events"]
    version, own, packed = seen.split()
    assert version.startswith("13.")
    assert packed == "True"
    assert own == str(python == "site")
    log = (tmp_path / "run/pool/job-000000.log").read_text()
    assert "container eventflock-test:13, by podman\n" in log


@pytest.mark.packing
def test_a_folder_is_an_image_too_and_check_looks_inside(
    eventflock: Command,
    tmp_path: Path,
    sample: Path,
    analysis: Path,
    podman: dict[str, str],
    cache: Path,
) -> None:
    root = bare_root(cache.parent, "bullseye")
    told = eventflock("check", analysis, sample, "--container", root, env=podman)
    assert told.returncode == 0, told.stderr
    assert f"where     {root}: " in told.stdout
    (tmp_path / "eventflock.toml").write_text(f'[packing]\ncontainer = "{root}"\n')
    told = eventflock("run", analysis, sample, "--packed", "--no-plot", "--out", "run", env=podman)
    assert told.returncode == 0, told.stderr
    (seen,) = load(tmp_path / "run")["events"]
    assert seen.startswith("11.")
    assert not (root / "work").exists() or not list((root / "work").iterdir())


@pytest.mark.packing
def test_an_image_that_is_not_there_is_said_with_the_reason(
    eventflock: Command, tmp_path: Path, sample: Path, analysis: Path, podman: dict[str, str]
) -> None:
    told = eventflock(
        "run", analysis, sample, "--container", "localhost/no:1", "--jobs", "1", env=podman
    )
    assert told.returncode == 4
    assert "cannot run this: podman cannot start localhost/no:1: " in told.stderr


@pytest.mark.packing
def test_nothing_runs_on_when_the_client_is_killed(
    tmp_path: Path, sample: Path, analysis: Path, podman: dict[str, str]
) -> None:
    image = "eventflock-killed:13"  # other tests run beside
    env = {**os.environ, **podman}
    subprocess.run(["podman", "tag", "eventflock-test:13", image], env=env, check=True)
    words = ["run", str(analysis), str(sample), "--container", image, "--no-plot"]
    process = subprocess.Popen(
        [sys.executable, "-m", "eventflock", *words, "--jobs", "1", "--param", "pause=600"],
        cwd=tmp_path, env=env, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: len(running(podman, image)) == 1, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: running(podman, image) == [], 60)


def test_a_machine_that_runs_no_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PoolError, match="it has none of apptainer, singularity, podman, docker"):
        find_pool("local").check_container("debian:13", SubmitOptions())


def test_names_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.sif").touch()
    (tmp_path / "tree").mkdir()
    for name in (
        "docker://python:3.11",
        "oras://ghcr.io/x/y:1",
        "debian:13",
        "ghcr.io/x/y@sha256:ab",
    ):
        assert read_container(name, "--container", tmp_path) == name
    assert read_container("a.sif", "--container", tmp_path) == f"{tmp_path}/a.sif"
    assert read_container("./tree", "--container", tmp_path) == f"{tmp_path}/tree"
    assert read_container("/cvmfs/a.sif", "--container", tmp_path) == "/cvmfs/a.sif"
    with pytest.raises(PoolError, match="There is no image /no/such"):
        find_pool("local").check_container("/no/such", SubmitOptions())
    for name in ("./b.sif", "two words", "UPPER"):
        with pytest.raises(UsageError, match="is not there, and no name of an image"):
            read_container(name, "--container", tmp_path)


def test_a_node_without_a_runtime_writes_a_receipt(tmp_path: Path) -> None:
    for program in (CONTAINER, LAUNCHER):
        shutil.copy(program, tmp_path)
    (tmp_path / "tools").mkdir()
    for name in ("sh", "uname", "date", "id", "sed", "tr", "mv", "rm", "env", "printf"):
        tool = shutil.which(name)
        assert tool
        (tmp_path / "tools" / name).symlink_to(tool)
    (tmp_path / "template").write_text('{"kind":"@KIND@","message":"@SAY@"}')
    told = subprocess.run(
        ["/bin/sh", "container.sh", "a b.sif", "launch.sh", "env.tar", "code.tgz", "template", "result", "x"],
        cwd=tmp_path, env={"PATH": str(tmp_path / "tools")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 85, told.stderr
    said = (tmp_path / "result").read_text()
    assert '"kind":"node"' in said
    assert "it has no apptainer, singularity, podman or docker, which a b.sif needs" in said


APPTAINER = """
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /dev dev
pivot_root . .
umount -l .
exec su flock -c 'cd /home/flock/job && exec sh container.sh /sandbox launch.sh "$@"' sh "$2" "$3" template result show.py
"""
"""User namespaces, which Apptainer needs, are refused in a root that was entered by chroot."""
SHOW = """
import pathlib, sys
import awkward, numpy
text = pathlib.Path("/etc/debian_version").read_text()
open("result", "w").write(f"{text.strip()} {numpy.__file__} {awkward.sum(numpy.arange(4))}")
"""


@pytest.mark.packing
def test_apptainer_as_an_ordinary_user(tmp_path: Path, archives: list[str], cache: Path) -> None:
    root = bare_root(cache.parent, "sid", "apptainer", "mount", "passwd", "tzdata")
    if not (root / "sandbox/bin/sh").exists():
        shutil.copytree(
            bare_root(cache.parent, "trixie"),
            root / "sandbox",
            symlinks=True,
            ignore=shutil.ignore_patterns("dev", "scratch"),
        )
        subprocess.run(["chroot", root, "useradd", "--create-home", "flock"], check=True)
    job = root / "home/flock/job"
    shutil.rmtree(job, ignore_errors=True)
    job.mkdir()
    for file in (CONTAINER, LAUNCHER, *map(Path, archives)):
        shutil.copy(file, job)
    (job / "template").write_text('{"kind":"@KIND@","message":"@SAY@"}')
    (job / "show.py").write_text(SHOW)
    subprocess.run(["chroot", root, "chown", "-R", "flock", "/home/flock/job"], check=True)
    names = [Path(archive).name for archive in archives]
    told = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", APPTAINER, "sh", root, *names],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert "container /sandbox, by apptainer" in told.stdout
    version, numpy, total = (job / "result").read_text().split()
    assert version.startswith("13.")
    assert numpy.startswith("/home/flock/job/eventflock-")
    assert total == "6"
