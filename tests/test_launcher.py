"""The launcher's handshake, with archives that say little but demand a lot."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from eventflock.worker.node_layout import DIED, LAUNCHER, UNSUITABLE

SHELLS = [
    one for one in ("/bin/sh", "/bin/dash", "/bin/bash", "/bin/busybox") if Path(one).exists()
]
TEMPLATE = '{"kind":"@KIND@","message":"@SAY@","host":"@HOST@","started":"@STARTED@"}'


def tar(path: Path, mode: str, **members: str) -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, text in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


def job(folder: Path, demands: str, code: str = "") -> None:
    tar(folder / "env.tar", "w", demands=demands)
    tar(folder / "code.tar.gz", "w:gz", code__demands=code)
    (folder / "template.json").write_text(TEMPLATE)
    shutil.copy(LAUNCHER, folder)


def launch(folder: Path, shell: str, *first: str, **env: str) -> tuple[int, dict[str, str]]:
    words = [*first, "env.tar", "code.tar.gz", "template.json", "result", "-c", "pass"]
    start = [shell, "sh"] if shell.endswith("busybox") else [shell]
    told = subprocess.run(
        [*start, "launch.sh", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "result").exists(), told.stdout + told.stderr
    found: dict[str, str] = json.loads((folder / "result").read_text())
    assert "@" not in "".join(found.values())
    assert "Traceback" not in told.stderr
    return told.returncode, found


GOOD = "program libexec/python3\nloader /nowhere/ld.so\nbundled glibc/ld.so\nunpacked 1000\n"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("demands", "code", "sentence"),
    [
        ("machine vax\n" + GOOD, "", f"needs vax, it is {os.uname().machine}"),
        (GOOD + "unpacked 9000000000000000\n", "", "MB free"),
        (GOOD, "machine vax\n", "needs vax"),
        ("", "", "env.tar cannot be unpacked: tar and gzip are needed"),
        (GOOD, "", "boot.tgz cannot be unpacked"),
    ],
)
def test_an_unsuitable_node_says_why(
    tmp_path: Path, shell: str, demands: str, code: str, sentence: str
) -> None:
    job(tmp_path, demands.replace("unpacked 1000\n", "") if "9000" in demands else demands, code)
    status, receipt = launch(tmp_path, shell)
    assert status == UNSUITABLE
    assert receipt["kind"] == "node"
    assert sentence in receipt["message"]
    assert receipt["message"].startswith(f"The node {os.uname().nodename} cannot run this: ")
    assert not list(tmp_path.glob("eventflock-*"))


@pytest.mark.parametrize("shell", SHELLS)
def test_glibc_that_is_switched_off(tmp_path: Path, shell: str) -> None:
    job(tmp_path, GOOD + "glibc 9.31 native/libnew.so\n", "glibc 2.5 code/packages/x.so\n")
    status, receipt = launch(tmp_path, shell, "--glibc", "never")
    assert status == UNSUITABLE
    assert "needs GLIBC_9.31 (native/libnew.so), it has" in receipt["message"]
    assert "the bundled glibc is switched off" in receipt["message"]


def test_cpu_level(tmp_path: Path) -> None:
    """On a machine without all of it; elsewhere there is nothing to refuse."""
    if os.uname().machine != "x86_64":
        pytest.skip("levels are of x86-64")
    flags = Path("/proc/cpuinfo").read_text()
    if "avx512vl" in flags and "avx512dq" in flags:
        job(tmp_path, GOOD + "level 5 packages/numpy/core.so\n")  # a level of the future
    else:
        job(tmp_path, GOOD + "level 4 packages/numpy/core.so\n")
    status, receipt = launch(tmp_path, "/bin/sh")
    assert status == UNSUITABLE
    assert "(packages/numpy/core.so), it is v" in receipt["message"]


def test_a_damaged_archive_is_told_from_a_good_one(tmp_path: Path) -> None:
    job(tmp_path, GOOD)
    (tmp_path / "env.tar").rename(tmp_path / f"env-{'0' * 32}.tar")
    words = [f"env-{'0' * 32}.tar", "code.tar.gz", "template.json", "result", "-c", "pass"]
    told = subprocess.run(["/bin/sh", "launch.sh", *words], cwd=tmp_path, env={}, check=False)
    assert told.returncode == UNSUITABLE
    assert "was damaged on its way here" in (tmp_path / "result").read_text()


def test_no_archive(tmp_path: Path) -> None:
    job(tmp_path, GOOD)
    (tmp_path / "code.tar.gz").unlink()
    status, receipt = launch(tmp_path, "/bin/sh")
    assert status == UNSUITABLE
    assert "code.tar.gz is not there" in receipt["message"]


@pytest.mark.packing
@pytest.mark.parametrize(
    ("ending", "sentence"),
    [
        ("os._exit(3)", "ended with exit status 3"),
        ("os.kill(os.getpid(), 9)", "was killed by signal 9 (often: out of memory)"),
        ("os.abort()", "was killed by signal 6"),
    ],
)
def test_a_program_that_dies_has_a_receipt(
    archives: list[str], tmp_path: Path, ending: str, sentence: str
) -> None:
    (tmp_path / "template.json").write_text(TEMPLATE)
    words = [*archives, "template.json", "result", "-c", f"import os; {ending}"]
    told = subprocess.run(
        ["/bin/sh", str(LAUNCHER), *words], cwd=tmp_path, env={}, capture_output=True, check=False
    )
    assert told.returncode == DIED
    receipt = json.loads((tmp_path / "result").read_text())
    assert receipt["kind"] == "pool"
    assert sentence in receipt["message"]
    assert not list(tmp_path.glob("eventflock-*"))


@pytest.mark.packing
def test_the_users_own_python_does_not_get_in(archives: list[str], tmp_path: Path) -> None:
    """What the tutorial warns of: packages in $HOME/.local would win."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("numpy", "sitecustomize", "usercustomize", "awkward"):
        (trap / f"{name}.py").write_text("raise SystemExit('the trap')")
    tag = f"python{os.sys.version_info[0]}.{os.sys.version_info[1]}"  # type: ignore[attr-defined]
    local = tmp_path / "home/.local/lib" / tag / "site-packages"
    shutil.copytree(trap, local)
    (tmp_path / "template.json").write_text(TEMPLATE)
    code = "import numpy, os; open('result', 'w').write(numpy.__file__ + ' ' + os.environ['HOME'])"
    env = {
        "PYTHONPATH": str(trap),
        "PYTHONHOME": str(trap),
        "PYTHONSTARTUP": "x",
        "PYTHONOPTIMIZE": "2",
        "HOME": str(tmp_path / "home"),
        "LD_LIBRARY_PATH": str(trap),
        "PATH": os.environ["PATH"],
    }
    words = [*archives, "template.json", "result", "-c", code]
    told = subprocess.run(
        ["/bin/sh", str(LAUNCHER), *words],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    where, home = (tmp_path / "result").read_text().split()
    assert where.startswith(f"{tmp_path}/eventflock-")
    assert home == str(tmp_path / "home")


@pytest.mark.packing
def test_strange_folder_names_and_signals(archives: list[str], tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s a $(test) "job"'
    folder.mkdir()
    (folder / "template.json").write_text(TEMPLATE)
    code = "import time; open('began', 'w').write('x'); time.sleep(100)"
    words = [*archives, "template.json", "result", "-c", code]
    process = subprocess.Popen(["/bin/sh", str(LAUNCHER), *words], cwd=folder, env={})
    while not (folder / "began").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == DIED
    assert "was killed by signal 15" in (folder / "result").read_text()
    assert not list(folder.glob("eventflock-*"))


@pytest.mark.packing
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("group", [True, False])
def test_told_to_stop_while_it_unpacks(
    archives: list[str], tmp_path: Path, shell: str, group: bool
) -> None:
    """It is no fault of the node, and nothing stays behind."""
    (tmp_path / "template.json").write_text(TEMPLATE)
    words = [*archives, "template.json", "result", "-c", "import time; time.sleep(100)"]
    start = [shell, "sh"] if shell.endswith("busybox") else [shell]
    process = subprocess.Popen(
        [*start, str(LAUNCHER), *words], cwd=tmp_path, env={}, start_new_session=True
    )
    while not list(tmp_path.glob("eventflock-*/native")):
        assert process.poll() is None
        time.sleep(0.005)
    if group:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == DIED
    receipt = json.loads((tmp_path / "result").read_text())
    assert receipt["kind"] == "pool"
    assert ("SIGTERM" if group else "SIGUSR1") in receipt["message"]
    assert not list(tmp_path.glob("eventflock-*"))


@pytest.mark.packing
@pytest.mark.parametrize("whose", ["htcondor", "another job", "nobody"])
def test_only_what_htcondor_removes_is_left(
    archives: list[str], tmp_path: Path, whose: str
) -> None:
    folder = tmp_path / "inner" if whose == "another job" else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "template.json").write_text(TEMPLATE)
    if whose != "nobody":
        (tmp_path / ".job.ad").touch()
    words = [*archives, "template.json", "result", "-c", "open('result', 'w').write('done')"]
    env = {"_CONDOR_SCRATCH_DIR": str(tmp_path)}
    told = subprocess.run(["/bin/sh", str(LAUNCHER), *words], cwd=folder, env=env, check=False)
    assert told.returncode == 0
    assert bool(list(tmp_path.glob("eventflock-*"))) == (whose == "htcondor")


@pytest.mark.packing
def test_scratch_that_cannot_be_used(archives: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "c:olon"
    folder.mkdir()
    (folder / "template.json").write_text(TEMPLATE)
    words = [*archives, "template.json", "result", "-c", "open('result', 'w').write('done')"]
    told = subprocess.run(
        ["/bin/sh", str(LAUNCHER), *words],
        cwd=folder, env={"TMPDIR": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert "unpacking in /tmp" in told.stdout

    if os.geteuid() != 0:
        pytest.skip("a file system without programs is mounted, which needs root")
    for option in ("noexec", "size=1m"):  # there is a better folder
        other = tmp_path / option
        other.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(other)], check=True)
        try:
            (folder / "result").unlink()
            told = subprocess.run(
                ["/bin/sh", str(LAUNCHER), *words],
                cwd=folder, env={"_CONDOR_SCRATCH_DIR": str(other)},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert told.returncode == 0, told.stderr
            assert "unpacking in /tmp" in told.stdout
            assert not list(other.iterdir())
        finally:
            subprocess.run(["umount", str(other)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a root without programs needs root")
def test_where_no_program_can_be_run_that_is_said(tmp_path: Path) -> None:
    """In a root of its own, in which the only folders that can be written are noexec."""
    job(tmp_path, GOOD)
    words = ["env.tar", "code.tar.gz", "template.json", "result", "-c", "pass"]
    inner = 'mount -t tmpfs -o noexec t /mnt; cp -r "$0"/* /mnt; mount --move /mnt /tmp; '
    inner += 'cd /tmp; /bin/sh launch.sh "$@"; cat result'
    told = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", inner, str(tmp_path), *words],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "programs cannot be run in /tmp" in told.stdout, told.stderr


@pytest.mark.packing
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_without_room_for_more_files_is_said(archives: list[str], tmp_path: Path) -> None:
    """Its free bytes say nothing; the receipt is on the same disk, and is written all the same."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900m,nr_inodes=90", "t", small], check=True)
    try:
        job(small, GOOD)
        for source, name in zip(archives, ("env.tar", "code.tar.gz"), strict=True):
            shutil.copy(source, small / name)
        status, receipt = launch(small, "/bin/sh", TMPDIR=str(small))
        assert status == UNSUITABLE
        assert "cannot be unpacked in" in receipt["message"]
        assert "No space left on device" in receipt["message"]
        assert not list(small.glob("eventflock-*"))
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_checksum_program_that_does_not_run_is_no_damage(tmp_path: Path) -> None:
    job(tmp_path, GOOD)
    digest = "0" * 32
    (tmp_path / "env.tar").rename(tmp_path / f"env-{digest}.tar")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sha256sum").write_text("#!/bin/sh\nexit 126\n")
    (tools / "sha256sum").chmod(0o755)
    words = [f"env-{digest}.tar", "code.tar.gz", "template.json", "result", "-c", "pass"]
    for path, said in (
        (f"{tools}:{os.environ['PATH']}", "boot.tgz"),
        (os.environ["PATH"], "damaged"),
    ):
        subprocess.run(
            ["/bin/sh", "launch.sh", *words], cwd=tmp_path, env={"PATH": path}, check=False,
            capture_output=True,
        )  # fmt: skip
        assert said in json.loads((tmp_path / "result").read_text())["message"]
