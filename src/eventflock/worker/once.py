"""One job, on a node: `python -m eventflock.worker.once JOB RESULT [LINE]`.

JOB is a JSON file, or one with many jobs, a line for each, of which LINE (from 0) is meant; RESULT
is the result file to be written. It is what `launch.sh` runs, in an interpreter that came with
the job; the user's code is in the folder `code` beside it.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from pathlib import Path

import msgspec

from eventflock.core.model import AnalysisRef, Assignment
from eventflock.core.structs import from_json
from eventflock.worker.node_layout import ANALYSIS, WORKING, place_of, unpacked_root

__all__ = ["RESULT", "OneJob", "link_data", "moved"]

RESULT = "result.zip"
"""Name of the result file in a job's own folder."""


class OneJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a node needs to know of its job.

    Attributes
    ----------
    assignment
        The job.
    environment
        Digest of the environment, for the receipt.
    inputs
        From planned paths to the names of the files that came with the job.
    """

    assignment: Assignment
    environment: str = ""
    inputs: dict[str, str] = {}


def moved(ref: AnalysisRef, folder: Path) -> AnalysisRef:
    """Return the reference to an analysis whose code was unpacked into `folder`.

    What it opens is then what was packed, also on the machine that packed it. Editable packages
    that lie beside it are packed elsewhere, and are no longer helpers.
    """
    helpers = {}
    for file, sha256 in ref.helpers.items():
        place = _unpacked(file, ref, folder)
        if place is not None:
            helpers[str(place)] = sha256
    origin = str(folder / ref.file) if ref.file else ref.origin
    return msgspec.structs.replace(ref, origin=origin, search=(str(folder),), helpers=helpers)


def _unpacked(file: str, ref: AnalysisRef, folder: Path) -> Path | None:
    """Find the copy of a file that came with the code."""
    name = place_of(Path(file), ref)
    if not name:
        return None
    place = folder.parent / Path(name).relative_to(Path(ANALYSIS).parent)
    return place if place.exists() else None


def link_data(ref: AnalysisRef, folder: Path, here: Path) -> None:
    """Make the data files that were packed available where they were in the working folder.

    Parameters
    ----------
    ref
        The analysis, as it was planned.
    folder
        Where its code was unpacked.
    here
        The folder in which it will run.
    """
    places = {folder.parent / Path(WORKING).name: Path()}
    if ref.working and ref.search and Path(ref.search[0]).is_relative_to(ref.working):
        places[folder] = Path(ref.search[0]).relative_to(ref.working)
    for place, inside in places.items():
        for file in place.rglob("*"):
            link = here / inside / file.relative_to(place)
            if file.is_file() and file.suffix not in {".py", ".pyc"} and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)


def main(job: str, result: str, line: str = "0") -> int:
    """Do the job.

    Returns
    -------
    int
        0 if it is done, 1 if the result file says why it is not.
    """
    from eventflock.usercode.programs import load_work
    from eventflock.worker.runner import Runner

    faulthandler.enable()
    given = from_json(Path(job).read_bytes().splitlines()[int(line)], OneJob)
    folder = unpacked_root() / ANALYSIS
    link_data(given.assignment.analysis, folder, Path.cwd())
    ref = moved(given.assignment.analysis, folder)
    runner = Runner(environment=given.environment, places=given.inputs)
    manifest = runner.run(
        given.assignment,
        lambda: load_work(ref, folder),
        Path(result),
        lambda _events: None,
        lambda _manifest: _leave(1),
    )
    return 0 if manifest.error is None else 1


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main(*sys.argv[1:]))
