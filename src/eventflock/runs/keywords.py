"""The keywords of the calls from Python, and the options of the library that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from eventflock.core.options import (
    Acceptance,
    Expected,
    JobLimits,
    Options,
    PackOptions,
    SubmitOptions,
)
from eventflock.errors import UsageError

__all__ = ["AcceptOptions", "MapOptions", "ResumeOptions", "RunOptions", "read_options"]


class AcceptOptions(TypedDict, total=False):
    """When a result that is not complete is good enough.

    Attributes
    ----------
    accept, accept_files
        The fractions of the events, and of the files, that are enough.
    strict
        Events for which the analysis raised must not be missing at all.
    """

    accept: float
    accept_files: float
    strict: bool


class ResumeOptions(AcceptOptions, total=False):
    """The options of `resume`, as on the command line. All may be left out.

    Attributes
    ----------
    pool, workers
        See `RunOptions`; by default the pool that the run had before.
    submit, profile
        Submit commands of HTCondor, each as `NAME=VALUE`, and a named set of them. They replace
        earlier ones of the same names.
    """

    pool: str
    workers: int | None
    submit: Sequence[str]
    profile: str


class RunOptions(AcceptOptions, total=False):
    """The options of `run` and `submit`, as on the command line. All may be left out.

    Attributes
    ----------
    pool
        Where jobs run: `local`, `inline` or `htcondor`.
    workers
        Number of worker processes on this machine; by default all usable cores.
    jobs, events_per_job, chunk
        Number of jobs; or exact number of events per job; exact number of events per call.
    target_seconds
        Wall time that a job should take. A trial on this machine decides how many events that is.
    entries
        `"START:STOP"`: only these entries, counted through the files of each dataset.
    seed
        Of random numbers, which are the same for the same seed, files and chunks.
    tree, dataset
        Names for the files that do not say.
    lumis
        `"run,luminosityBlock"`: two branches, whose pairs in the events become the result `lumis`.
    schema
        What makes objects of branches, instead of what the analysis says: see `analysis`.
    out
        The run folder; by default `runs/NAME-001`, `-002`, ...
    strict_files
        Refuse to run if a file cannot be read, instead of leaving it out.
    redirectors
        Where files are looked for that cannot be read where they are named: `["root://host"]`.
    check
        The numbers of entries that files should have: a JSON file, or what would be in it.
    limits
        When a job that hangs or takes too long is given up.
    packing
        Pack the environment and send it with each job, instead of using what is installed.
    submission
        How jobs are submitted to a batch system.
    detach
        Submit, and do not wait; only for `submit`, which sets it.
    """

    pool: str
    workers: int | None
    jobs: int | None
    events_per_job: int | None
    chunk: int | None
    target_seconds: float | None
    entries: str
    seed: int
    tree: str
    dataset: str
    schema: str
    lumis: str
    out: str | Path | None
    strict_files: bool
    redirectors: Sequence[str]
    check: Expected
    limits: JobLimits
    packing: PackOptions | None
    submission: SubmitOptions
    detach: bool


class MapOptions(AcceptOptions, total=False):
    """The options of `map`, as on the command line. All may be left out.

    Attributes
    ----------
    pool, workers, out, limits, packing, submission
        See `RunOptions`.
    """

    pool: str
    workers: int | None
    out: str | Path | None
    limits: JobLimits
    packing: PackOptions | None
    submission: SubmitOptions


def read_options(options: Mapping[str, Any], parameters: Mapping[str, Any]) -> Options:
    """Make the options of the library of those of a call, which mypy may not have seen."""
    given: dict[str, Any] = dict(options)
    if isinstance(given.get("out"), str):
        given["out"] = Path(given["out"])
    if "submit" in given or "profile" in given:
        commands = tuple(given.pop("submit", ()))
        given["submission"] = SubmitOptions(profile=given.pop("profile", ""), submit=commands)
    try:
        acceptance = Acceptance(
            fraction=given.pop("accept", 1.0),
            files=given.pop("accept_files", 1.0),
            strict=given.pop("strict", True),
        )
        plain = {name: _plain(value) for name, value in parameters.items()}
        return Options(parameters=plain, acceptance=acceptance, **given)
    except TypeError as error:
        raise UsageError(f"A run cannot be started like this: {error}.") from None


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays as Python's, and refuse what is no plain value."""
    if isinstance(value, float):
        return float(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"a parameter is a {kind}: give numbers, text, or lists") from None
