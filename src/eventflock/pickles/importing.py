"""Importing results that other programs pickled: read without trust, added up, labelled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from eventflock.core.atomic import MERGING
from eventflock.core.manifest import ImportedFile, Manifest
from eventflock.core.structs import digest_file
from eventflock.errors import AnalysisError, InputError, UsageError
from eventflock.pickles.label import IMPORTED
from eventflock.results.accumulate import Accumulator
from eventflock.results.format import write_result
from eventflock.results.reader import ResultFile
from eventflock.results.sandbox import SkimSandbox

__all__ = ["Imported", "import_pickles"]

PROGRAM = "eventflock.pickles.read_one"
SECONDS = 1200


class Imported(NamedTuple):
    """What was made: the merged result, and what was left out as it cannot be added up."""

    result: Path
    manifest: Manifest
    left_out: tuple[str, ...]


def import_pickles(files: Sequence[str | Path], out: str | Path, name: str = "hist") -> Imported:
    """Read pickled results, and add them up to one result.

    Parameters
    ----------
    files
        Pickles of histograms (hist, boost-histogram), of accumulators of coffea, of numbers and
        arrays, of mappings of these, and of mappings with `hist` and `bins`, as numpy.histogram
        gives them. Written by Python 2 or 3, also packed by gzip.
    out
        Folder for the result, which is not there yet.
    name
        For a result without a name, as a histogram that is the whole pickle.

    Raises
    ------
    InputError
        A file is not there, is damaged, or wants anything but these; nothing of it was run.
    UsageError
        The folder is there, or a file is named twice.
    AnalysisError
        The results of two files cannot be added.
    """
    paths = _checked(files)
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{out} is there already.", remedy="Choose another --out.")
    made = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        return _import(paths, target, name)
    except BaseException:
        if made:
            target.rmdir()
        raise


def _checked(files: Sequence[str | Path]) -> list[Path]:
    paths = [Path(os.path.realpath(one)) for one in files]
    if not paths:
        raise UsageError("No file is named.", remedy="Name pickles: a.pkl b.pkl")
    for number, (path, named) in enumerate(zip(paths, files, strict=True)):
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not there"
            raise InputError(f"The pickle {named} {what}.", remedy="Name files: 'out/*.pkl'.")
        if path in paths[:number]:
            raise UsageError(
                f"The pickle {named} is named twice: its events would be counted twice.",
                remedy="Name each once.",
            )
    return paths


def _import(paths: Sequence[Path], target: Path, name: str) -> Imported:
    left_out: dict[str, None] = {}
    imported = []
    with (
        tempfile.TemporaryDirectory(prefix=MERGING, dir=target) as folder,
        SkimSandbox() as sandbox,
    ):
        scratch = Path(folder)
        accumulator = Accumulator(scratch)
        for number, path in enumerate(paths):
            sha256 = digest_file(path)
            left_out.update(dict.fromkeys(_read(path, scratch / "one.zip", name)))
            with ResultFile(scratch / "one.zip") as one:
                for item, value in one.values(sandbox):
                    try:
                        accumulator.add_one(item.path, value, number)
                    except AnalysisError as error:
                        error.message = f"The pickle {path} does not fit: {error.message}"
                        raise
            size = path.stat().st_size
            imported.append(ImportedFile(path=str(path), size=size, sha256=sha256))
        manifest = msgspec.structs.replace(
            IMPORTED,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            imported=tuple(imported),
        )
        result = target / "result.zip"
        written = write_result(result, manifest, accumulator.finish())
    return Imported(result, written, tuple(left_out))


def _read(path: Path, target: Path, name: str) -> list[str]:
    """Have a process read a pickle; return what it left out."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", PROGRAM, str(path), str(target), name],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        why, left_out = json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        why, left_out = "it makes its reader crash", []
    if why:
        raise InputError(
            f"The pickle {path} cannot be imported: {why}.",
            remedy="Nothing of it was run. Leave it out, or write what it has in another form.",
        )
    return list(left_out)
