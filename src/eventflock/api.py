"""What a notebook or a script calls: the same run as on the command line, with exceptions.

`__all__` is the one list of the public names; `import eventflock` offers them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, Unpack

from eventflock.core.observer import Observer
from eventflock.core.options import JobLimits, PackOptions, SubmitOptions
from eventflock.core.task import Row
from eventflock.errors import EventflockError, UsageError
from eventflock.notebook.observer import observer_here
from eventflock.planning.filesets import Fileset
from eventflock.planning.mapping import RowSizing
from eventflock.pools.roles import Stopped
from eventflock.results.kinds import AllOf, AnyOf
from eventflock.results.result import Result, load
from eventflock.runs import lifecycle
from eventflock.runs.diagnosis import Explanation, explain
from eventflock.runs.keywords import (
    AcceptOptions,
    MapOptions,
    ResumeOptions,
    RunOptions,
    read_options,
)
from eventflock.runs.mapping import map_items
from eventflock.runs.outcome import Outcome
from eventflock.runs.status import Status, status_of
from eventflock.runs.work import EventsWork
from eventflock.usercode.context import Context
from eventflock.usercode.decorator import Analysis, analysis
from eventflock.usercode.loading import IMPORTING
from eventflock.usercode.together import Target, together

__all__ = [
    "AcceptOptions",
    "AllOf",
    "Analysis",
    "AnyOf",
    "Context",
    "EventflockError",
    "JobLimits",
    "MapOptions",
    "PackOptions",
    "Result",
    "ResumeOptions",
    "Row",
    "RunOptions",
    "SubmitOptions",
    "analysis",
    "import_pickles",
    "load",
    "map",
    "merge",
    "publish",
    "resume",
    "run",
    "status",
    "stop",
    "submit",
    "together",
    "watch",
    "why",
]


Files: TypeAlias = str | Path | Fileset | Sequence[str | Path | Fileset]
"""Names of files, or filesets themselves."""


def run(
    analysis: Target,
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
        A function marked with `analysis`, or its name as on the command line; or a list of these,
        whose results are found under their names: see `together`.
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
    analysis: Target,
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
    analysis: Target,
    files: Files,
    parameters: Mapping[str, Any] | None,
    observer: Observer | None,
    options: RunOptions,
) -> Outcome:
    _check_not_importing()
    several = [files] if isinstance(files, str | Path | Mapping) else list(files)
    names = [name if isinstance(name, Mapping) else str(name) for name in several]
    chosen = read_options(options, parameters or {})
    return lifecycle.execute(EventsWork(analysis, names), chosen, observer or observer_here())


def _check_not_importing() -> None:
    if os.environ.get(IMPORTING):
        raise UsageError(
            "A run was started while the analysis was imported for another run.",
            remedy="Put the call under: if __name__ == '__main__':",
        )


def map(  # noqa: A001 -- it is what Python's own does, elsewhere
    function: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    reduce: Callable[[Any, Any], Any] | None = None,
    group: int | None = None,
    target_seconds: float | None = None,
    observer: Observer | None = None,
    **options: Unpack[MapOptions],
) -> Any:
    """Call a function for each of some items, on a pool.

    Parameters
    ----------
    function
        Takes an item, and returns its result. It may be typed into a notebook.
    items
        Plain values: numbers, text, lists, tuples, mappings, NumPy arrays and histograms, nested
        anyhow. So are the results.
    reduce
        Takes two results and returns one: they are folded in the order of the items.
    group, target_seconds
        Items for each job, by default one; or the time that a job should take, by a trial of the
        first item.
    observer
        See `run`.
    **options
        See `MapOptions`. A run that is there already as `out`, of the same function and items, is
        resumed.

    Returns
    -------
    list
        The results, in the order of the items; with `reduce`, one result.

    Raises
    ------
    EventflockError
        Of the class that says what went wrong. What was done is kept in the run folder, where
        `resume` goes on.

    Examples
    --------
    >>> ef.map(fit, [100, 125, 200], pool="htcondor")  # doctest: +SKIP
    """
    _check_not_importing()
    sizing = RowSizing(group=group, target_seconds=target_seconds)
    chosen = read_options(options, {})
    outcome = map_items(function, list(items), sizing, chosen, observer or observer_here())
    values = _result(outcome).returned()
    return list(values) if reduce is None else functools.reduce(reduce, values)


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
    chosen = read_options({"pool": "", **options}, {})
    return _result(lifecycle.resume(Path(path), chosen, observer or observer_here()))


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
    chosen = read_options(options, {})
    return _result(lifecycle.watch(Path(path), chosen, observer or observer_here()))


def merge(path: str | Path, out: str | Path) -> Result:
    """Merge what a run has so far into another folder, and open it.

    Parameters
    ----------
    path
        The run folder. A process may work on it, and it may belong to somebody else.
    out
        A folder for the merged result.

    Raises
    ------
    EventflockError
        There is no result yet, or the folder cannot be written.
    """
    from eventflock.runs.looking import merge_so_far

    return load(merge_so_far(Path(path), Path(out)).result)


def publish(path: str | Path, url: str, *, name: str = "") -> dict[str, str]:
    """Copy result, plots and files of a run to a place where others see them.

    Parameters
    ----------
    path
        The run folder.
    url
        A folder, `root://HOST//PATH`, `https://HOST/PATH` (WebDAV), `s3://BUCKET/PATH` or
        `ssh://HOST/PATH`. Each file gets its name there when its copy was read back and compared.
    name
        The name of the run there; by default that of its folder.

    Returns
    -------
    dict
        Addresses: `page`, `result`, and `index`, which lists all runs that are published there.

    Raises
    ------
    EventflockError
        There is no result, another run has that name there, or it cannot be written.
    """
    from eventflock.publishing.publish import publish as publish_run

    return publish_run(Path(path), url, name=name)


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
