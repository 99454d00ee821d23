"""Asking the interpreter that will be packed what it has loaded, in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from eventflock.core.model import AnalysisRef, Assignment, FileEntry, Range, first_events
from eventflock.core.options import JobLimits
from eventflock.core.structs import digest, from_json, to_json
from eventflock.errors import EnvError, error_from
from eventflock.packing.cache import Cache
from eventflock.packing.processes import run_alone
from eventflock.worker.shadow import make_shadow
from eventflock.worker.survey import Survey, SurveyRequest

__all__ = ["InterpreterProbe", "boot_modules", "make_reference", "shortened", "survey_both"]

_HERE = Path(__file__).parent
_SAMPLE_EVENTS = 100
ROW_SECONDS = 60.0
"""A row is tried for so long: what it loads, it has mostly loaded by then."""


class InterpreterProbe:
    """Runs programs of ours with an interpreter that may not have eventflock installed.

    Parameters
    ----------
    python
        The interpreter.
    scratch
        Folder for temporary files.
    """

    def __init__(self, python: str, scratch: Path) -> None:
        self.python = python
        self.scratch = scratch
        self._env = {**os.environ, "PYTHONHASHSEED": "0"}
        if python != sys.executable:
            self._env["PYTHONPATH"] = make_shadow(scratch)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `python WORDS` to its end."""
        return run_alone([self.python, "-P", *words], self._env)

    def survey(self, name: str, request: SurveyRequest) -> Survey:
        """Carry out a survey.

        Raises
        ------
        EnvError
            Its process died.
        """
        asked, answer = self.scratch / f"{name}.request", self.scratch / f"{name}.survey"
        asked.write_bytes(to_json(request))
        process = self.run("-m", "eventflock.worker.survey", str(asked), str(answer))
        if process.returncode or not answer.exists():
            raise EnvError(
                f"The trial of the analysis in {self.python} ended with exit status "
                f"{process.returncode}.",
                remedy="Its last words are above.",
                traceback=process.stderr.strip()[-4000:],
            )
        return from_json(answer.read_bytes(), Survey)


def survey_both(
    probe: InterpreterProbe, request: SurveyRequest, cache: Cache
) -> tuple[Survey, Survey]:
    """Survey the analysis, and beside it what every worker loads.

    Parameters
    ----------
    cache
        Keeps the small ROOT file for the latter.

    Raises
    ------
    EventflockError
        What stops the analysis.
    """
    with ThreadPoolExecutor(2) as threads:
        reference = threads.submit(_survey_reference, probe, cache)
        found = threads.submit(probe.survey, "analysis", request)
        survey = found.result()
        if survey.error is not None:
            raise error_from(survey.error)
        return survey, reference.result()


def _survey_reference(probe: InterpreterProbe, cache: Cache) -> Survey:
    trial = make_reference(probe, cache, probe.scratch / "reference")
    folder = str(probe.scratch / "reference")
    found = probe.survey(
        "reference", SurveyRequest(analysis=trial.analysis, folder=folder, trials=(trial,))
    )
    if found.error is not None:
        raise error_from(found.error)
    if found.failed:
        raise EnvError(f"The worker cannot be packed: {'; '.join(found.failed.values())}")
    return found


def make_reference(probe: InterpreterProbe, cache: Cache, folder: Path) -> Assignment:
    """Make the job that every environment must be able to do: its file, its code, its events.

    Parameters
    ----------
    cache
        Keeps the file.
    folder
        For the analysis.
    """
    with cache.lock("sample"):
        sample, entry = _sample(probe, cache.path / "sample.root")
    folder.mkdir(exist_ok=True)
    source = (_HERE / "reference.py").read_bytes()
    (folder / "reference.py").write_bytes(source)
    return Assignment(
        plan="",
        job=0,
        dataset="reference",
        metadata={},
        files=(msgspec.structs.replace(entry, path=str(sample)),),
        ranges=(Range(0, 0, entry.entries),),
        analysis=AnalysisRef(name="reference", file="reference.py", sha256=digest(source)),
        parameters={},
    )


def _sample(probe: InterpreterProbe, sample: Path) -> tuple[Path, FileEntry]:
    """Return the small ROOT file. Another process writes it, as jobs only read."""
    described = sample.with_suffix(".json")
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        entry = from_json(described.read_bytes(), FileEntry)
        if sample.stat().st_size == entry.size:
            return sample, entry
    made = probe.scratch / "sample.root"
    process = probe.run(str(_HERE / "make_sample.py"), str(made), str(_SAMPLE_EVENTS))
    if process.returncode:
        raise EnvError("No sample file can be written.", traceback=process.stderr[-4000:])
    made.replace(sample)
    made.with_suffix(".json").replace(described)
    return sample, from_json(described.read_bytes(), FileEntry)


def boot_modules(probe: InterpreterProbe, path: Sequence[str]) -> list[str]:
    """Find the files that are needed to unpack zstandard, and to find modules in the bundle."""
    process = probe.run("-S", "-s", str(_HERE / "list_boot.py"), str(_HERE), *path)
    if process.returncode:
        raise EnvError(
            "The archive could not be unpacked on a node: the interpreter has no zstandard.",
            remedy=f"Install it: {probe.python} -m pip install backports.zstd",
            traceback=process.stderr.strip()[-2000:],
        )
    return list(json.loads(process.stdout))


def shortened(assignment: Assignment, entries: int) -> Assignment:
    """Cut an assignment down to the first few entries of each tree of one file, or to one row."""
    if assignment.rows is not None:
        entries = 1
        limits = JobLimits(limit_seconds=ROW_SECONDS)
        assignment = msgspec.structs.replace(assignment, limits=limits)
    file = first_events(assignment.ranges).file
    first: dict[int, Range] = {}
    for one in assignment.ranges:
        if one.file == file:
            stop = min(one.stop, one.start + entries)
            first.setdefault(one.second, Range(file, one.start, stop, (), one.second))
    return msgspec.structs.replace(assignment, ranges=tuple(first.values()))
