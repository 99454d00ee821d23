"""The shell that sets up the site's software on a node, and the packages that it offers."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from eventflock.errors import UsageError

__all__ = ["read_container", "read_setup", "site_folders"]


_ASKS = """
. "$SETUP" > /dev/null 2>&1 || exit 1
exec python3 -c 'import sys; print("\\n".join(sys.path))'
"""
_SECONDS = 120
"""A set-up from CVMFS may have to be fetched first."""


def site_folders(setup: str, scratch: Path) -> list[Path]:
    """List the folders in which the Python of a site looks for packages, if it is here as well.

    Parameters
    ----------
    setup
        The shell that sets it up; without any, it is not known which Python it is.
    scratch
        Folder for a file.
    """
    if not setup:
        return []
    file = scratch / "site.sh"
    file.write_text(setup)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        told = subprocess.run(
            ["bash", "-c", _ASKS],
            env={**plain, "SETUP": str(file)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    folders = [Path(line).resolve() for line in told.stdout.splitlines() if line]
    return [folder for folder in folders if not told.returncode and folder.is_dir()]


def read_setup(name: str, where: str, folder: Path = Path()) -> str:
    """Read what is sourced on a node before Python starts.

    Parameters
    ----------
    name
        A shell file; several lines, which are the shell itself; or `lcg:` and the name of a view.
    where
        Who says so, for messages.
    folder
        In which the file is.

    Raises
    ------
    UsageError
        There is no such file, it is empty, or this is no view.
    """
    if not name or "\n" in name.strip():
        return name
    if name.startswith("lcg:"):
        view = name.removeprefix("lcg:").strip("/")
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", view):
            raise UsageError(
                f"{where} {name!r} is no view.",
                remedy="As in lcg:LCG_107/x86_64-el9-gcc13-opt",
            )
        return f". /cvmfs/sft.cern.ch/lcg/views/{view}/setup.sh\n"
    try:
        text = (folder / name.strip()).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(
            f"{where} {name} cannot be read: {why}.",
            remedy="Name a shell file, or a view as lcg:LCG_107/x86_64-el9-gcc13-opt.",
        ) from None
    if not text.strip():
        raise UsageError(f"{where} {name} is empty.", remedy="Leave it out.")
    return text


def read_container(name: str, where: str, folder: Path) -> str:
    """Read the name of an image; that of a file or folder is made absolute.

    What is absolute need not be there: nodes may have it.

    Raises
    ------
    UsageError
        There is no such file, or this is no name.
    """
    place = folder / Path(name).expanduser()
    if not name or re.match(r"[a-z0-9+]+://\S+$|/\S+$", name):
        return name
    if place.exists() and ("/" in name or name.endswith(".sif")):
        return str(place.resolve())
    if name.startswith((".", "~")) or not re.fullmatch(r"[a-z0-9][\w./:@-]*", name):
        raise UsageError(
            f"{where} {name!r} is not there, and no name of an image.",
            remedy="Name a .sif file, a folder, or an image as docker://debian:13.",
        )
    return name
