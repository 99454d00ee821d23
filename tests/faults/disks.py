"""Small disks, which can be filled to the last byte."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["fill", "small_disk", "why_no_disks"]

SIZE: Final = "24m"


def why_no_disks() -> str:
    """Explain why there can be no small disk here; empty if there can."""
    return "" if os.geteuid() == 0 else "mounting a small disk needs root"


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small disk in memory; without root it is an ordinary folder."""
    folder.mkdir(parents=True)
    if why_no_disks():
        yield folder
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Fill a small disk to the last byte, and give the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler
