"""A Python that a site offers, as a view on CVMFS does: a copy of the one that runs the tests."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_OF_THE_SYSTEM = re.compile(r"(libc|libm|libdl|libpthread|librt|libutil|ld-linux.*)\.so\..*")


def make_python(folder: Path) -> None:
    """Copy interpreter, standard library, and the libraries that they need, to be found in `lib`."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    program = Path(sys.base_prefix) / f"bin/python{VERSION}"
    shutil.copy(program, folder / "bin/python3")
    left = shutil.ignore_patterns(
        "test", "__pycache__", "site-packages", "dist-packages", "config-*"
    )
    standard = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(standard, folder / f"lib/python{VERSION}", ignore=left, dirs_exist_ok=True)
    binaries = [program, *standard.glob("lib-dynload/*.so")]
    told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False)
    for name, path in set(re.findall(r"(\S+) => (/\S+)", told.stdout)):
        if not _OF_THE_SYSTEM.fullmatch(name):
            shutil.copy(path, folder / "lib" / name)
