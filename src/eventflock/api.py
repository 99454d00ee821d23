"""What a notebook or a script calls: the same run as on the command line, with exceptions.

`__all__` is the one list of the public names; `import eventflock` offers them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack

import msgspec

from eventflock.core.observer import Observer
from eventflock.core.options import (
    Acceptance,
    Expected,
    JobLimits,
    Options,
    PackOptions,
    SubmitOptions,
)
from eventflock.errors import EventflockError, UsageError
from eventflock.planning.filesets import Fileset
from eventflock.pools.roles import Stopped
from eventflock.results.result import Result, load
from eventflock.runs import lifecycle
from eventflock.runs.diagnosis import Explanation, explain
from eventflock.runs.outcome import Outcome
from eventflock.runs.status import Status, status_of
from eventflock.usercode.decorator import Analysis, Context, analysis
from eventflock.usercode.loading import IMPORTING

__all__ = [
    "AcceptOptions",
    "Analysis",
    "Context",
    "EventflockError",
    "JobLimits",
    "PackOptions",
    "Result",
    "ResumeOptions",
    "RunOptions",
    "SubmitOptions",
    "analysis",
    "import_pickles",
    "load",
    "resume",
    "run",
    "status",
    "stop",
    "submit",
    "watch",
    "why",
]


Files: TypeAlias = str | Path | Fileset | Sequence[str | Path | Fileset]
"""Names of files, or filesets themselves."""


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
    tree, dataset
        Names for the files that do not say.
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
    tree: str
    dataset: str
    out: str | Path | None
    strict_files: bool
    redirectors: Sequence[str]
    check: Expected
    limits: JobLimits
    packing: PackOptions | None
    submission: SubmitOptions
    detach: bool


def run(
    analysis: Analysis | str | Path,
    files: Files,
    *,
    parameters: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    **options: Unpack[RunOptions],
) -> Result:
    """Run an analysis over all events of the files.

    Parameters
    ----------
    analysis
        A function marked with `analysis`, or its name as on the command line.
    files
        One or more of what the command line takes: paths, globs, folders, URLs, `@list.txt`,
        `NAME=path`, `fileset.json`; or a fileset itself, a mapping as coffea has it.
    parameters
        Keyword-only arguments of the analysis.
    observer
        Receives the progress of the run.
    **options
        See `RunOptions`.

    Returns
    -------
    Result
        Complete, or accepted with `accept`. It is in the run folder as well.

    Raises
    ------
    EventflockError
        Of the class that says what went wrong. What was done is kept in the run folder; a
        partial result can be opened from there with `load`.
    """
    if options.get("detach"):
        raise UsageError(
            "run() waits for the result, which is not there with detach=True.",
            remedy="Call submit() instead, and watch() later.",
        )
    return _result(_execute(analysis, files, parameters, observer, options))


def submit(
    analysis: Analysis | str | Path,
    files: Files,
    *,
    parameters: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Submit the jobs of a run to a batch system, and do not wait for them.

    Parameters
    ----------
    analysis, files, parameters, observer, **options
        See `run`; the default for `pool` is `htcondor` here.

    Returns
    -------
    Path
        The run folder, for `status`, `watch`, `resume`, `stop` and `why`.

    Raises
    ------
    EventflockError
        Nothing was submitted.
    """
    chosen: RunOptions = {"pool": "htcondor", **options, "detach": True}
    return _execute(analysis, files, parameters, observer, chosen).run.path


def _execute(
    analysis: Analysis | str | Path,
    files: Files,
    parameters: Mapping[str, Any] | None,
    observer: Observer | None,
    options: RunOptions,
) -> Outcome:
    if os.environ.get(IMPORTING):
        raise UsageError(
            "A run was started while the analysis was imported for another run.",
            remedy="Put the call under: if __name__ == '__main__':",
        )
    several = [files] if isinstance(files, str | Path | Mapping) else list(files)
    names = [name if isinstance(name, Mapping) else str(name) for name in several]
    target = str(analysis) if isinstance(analysis, Path) else analysis
    chosen = _read_options(options, parameters or {})
    return lifecycle.execute(target, names, chosen, observer or Observer())


def _read_options(options: Mapping[str, Any], parameters: Mapping[str, Any]) -> Options:
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


def import_pickles(files: Sequence[str | Path], out: str | Path, *, name: str = "hist") -> Result:
    """Add up results that other programs pickled, without running what is in them.

    Parameters
    ----------
    files
        Pickles of histograms (hist, boost-histogram), of coffea's accumulators, of numbers and
        arrays, of mappings of these, and of mappings with `hist` and `bins`, as numpy.histogram
        gives them; of Python 2 or 3, also packed by gzip.
    out
        Folder for the result, which is not there yet.
    name
        For what has no name in its pickle.

    Returns
    -------
    Result
        Labelled as imported: nothing is known of the events in it.

    Raises
    ------
    EventflockError
        A file is not there, is damaged, or wants anything else, which is named; or two do not fit.
    """
    from eventflock.pickles import importing

    return load(importing.import_pickles(files, out, name).result)


def resume(
    path: str | Path, *, observer: Observer | None = None, **options: Unpack[ResumeOptions]
) -> Result:
    """Resume a run: do the jobs that have no verified result, and merge.

    Files that could not be read before are looked at again.

    Parameters
    ----------
    path
        The run folder.
    observer
        See `run`.
    **options
        See `ResumeOptions`.

    Raises
    ------
    EventflockError
        See `run`.
    """
    chosen = _read_options({"pool": "", **options}, {})
    return _result(lifecycle.resume(Path(path), chosen, observer or Observer()))


def watch(
    path: str | Path, *, observer: Observer | None = None, **options: Unpack[AcceptOptions]
) -> Result:
    """Follow a run to its end, whichever process works on it, and merge; submit nothing.

    Parameters
    ----------
    path
        The run folder.
    observer
        See `run`.
    **options
        See `AcceptOptions`.

    Raises
    ------
    EventflockError
        See `run`.
    """
    chosen = _read_options(options, {})
    return _result(lifecycle.watch(Path(path), chosen, observer or Observer()))


def status(path: str | Path) -> Status:
    """Return the status of a run, read from its folder, and from the queue if it has jobs there.

    Raises
    ------
    UsageError
        This is not a run folder.
    ResultError
        The plan is damaged.
    """
    return status_of(Path(path))


def why(path: str | Path) -> Explanation:
    """Return what failed in a run and why, most events first.

    Raises
    ------
    UsageError
        This is not a run folder.
    ResultError
        The plan is damaged.
    """
    return explain(Path(path))


def stop(path: str | Path) -> Stopped:
    """Remove the jobs of a run from the queue. What is done is kept, and `resume` continues.

    Raises
    ------
    UsageError
        The run has no jobs in a queue.
    PoolError
        The batch system cannot be reached.
    """
    return lifecycle.stop(Path(path))


def _result(outcome: Outcome) -> Result:
    error = outcome.error()
    if error is not None:
        raise error
    return load(outcome.run.path)
