"""Unpacking an environment into a folder that nodes see, so that jobs use it in place."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from eventflock.errors import EnvError, UsageError
from eventflock.packing.launching import launch_flags
from eventflock.packing.proving import Place, launch

__all__ = ["unpack_to"]

PROGRAM = "open('done', 'w').write('done')"


def unpack_to(archives: Sequence[Path], folder: Path) -> Path:
    """Unpack an environment, as the launcher of a job does that keeps it for others.

    Parameters
    ----------
    archives
        Of the environment, of the code, and layers.
    folder
        On CVMFS, or on a disk that nodes see; it is made if it is not there.

    Returns
    -------
    Path
        The tree, which nobody can write; it is there at once, or not at all.

    Raises
    ------
    UsageError
        The folder cannot be made, or jobs could not name it.
    EnvError
        It cannot be unpacked there.
    """
    folder = folder.expanduser().absolute()
    launch_flags(node_cache=str(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--to {folder} cannot be made: {error.strerror}.", remedy="Name another folder."
        ) from None
    tree = folder / archives[0].name.removesuffix(".tar")
    with tempfile.TemporaryDirectory(prefix="eventflock-unpack-") as name:
        place = Place(folder=Path(name), inside=name)
        words = ["-c", PROGRAM]
        flags = launch_flags(node_cache=str(folder), setup=False)
        told, _ = launch(place, archives, words, "done", flags)
    if told.returncode or not (tree / "whole").is_file():
        said = [line for line in told.stdout.splitlines() if line.startswith("cache ")]
        raise EnvError(
            f"It cannot be unpacked in {folder}: {(said or told.stderr.splitlines() or ['?'])[-1]}",
            remedy="Is there room, and does the folder belong to you?",
        )
    return tree
