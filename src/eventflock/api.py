"""What a notebook or a script calls: the same run as on the command line, with exceptions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from eventflock.analysis import Analysis
from eventflock.errors import UsageError
from eventflock.finding import IMPORTING
from eventflock.model import Acceptance, Site
from eventflock.observe import Observer
from eventflock.options import Options
from eventflock.outcome import Outcome
from eventflock.pools import HTCONDOR
from eventflock.results.result import Result, load
from eventflock.run import execute
from eventflock.run import resume as resume_run
from eventflock.run import watch as watch_run
from eventflock.status import Status, status_of
from eventflock.why import Explanation
from eventflock.why import why as explain

if TYPE_CHECKING:
    from eventflock.dispatch import Stopped

__all__ = ["resume", "run", "status", "stop", "submit", "watch", "why"]


def run(
    analysis: Analysis | str | Path,
    files: str | Path | Sequence[str | Path],
    *,
    parameters: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Result:
    """Run an analysis over all events of the files.

    Parameters
    ----------
    analysis
        A function marked with `analysis`, or its name as on the command line.
    files
        One or more of what the command line takes: paths, globs, folders, URLs, `@list.txt`,
        `NAME=path`, `fileset.json`.
    parameters
        Keyword-only arguments of the analysis.
    observer
        Hears how it goes on.
    **options
        As on the command line, see `eventflock.run.Options`: `pool`, `workers`, `jobs`,
        `events_per_job`, `entries`, `chunk`, `tree`, `dataset`, `out`; and `accept`, the fraction
        of the events that is enough (with `strict`, not for those where the analysis raised).

    Returns
    -------
    Result
        Complete. It is in the run folder as well.

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
    files: str | Path | Sequence[str | Path],
    *,
    parameters: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Path:
    """Submit the jobs of a run to an HTCondor pool, and do not wait for them.

    Parameters
    ----------
    analysis, files, parameters, observer, **options
        See `run`.

    Returns
    -------
    Path
        The run folder, for `status`, `watch`, `resume`, `stop` and `why`.

    Raises
    ------
    EventflockError
        Nothing was submitted.
    """
    options = {"pool": HTCONDOR, **options, "detach": True}
    return _execute(analysis, files, parameters, observer, options).run.path


def _execute(
    analysis: Analysis | str | Path,
    files: str | Path | Sequence[str | Path],
    parameters: Mapping[str, Any] | None,
    observer: Observer | None,
    options: dict[str, Any],
) -> Outcome:
    if os.environ.get(IMPORTING):
        raise UsageError(
            "A run was started while the analysis was imported for another run.",
            remedy="Put the call under: if __name__ == '__main__':",
        )
    names = [files] if isinstance(files, str | Path) else list(files)
    if isinstance(options.get("out"), str):
        options["out"] = Path(options["out"])
    try:
        accept = Acceptance(fraction=options.pop("accept", 1.0), strict=options.pop("strict", True))
        plain = {name: _plain(value) for name, value in (parameters or {}).items()}
        chosen = Options(parameters=plain, acceptance=accept, **options)
    except TypeError as error:
        raise UsageError(f"A run cannot be started like this: {error}.") from None
    target = str(analysis) if isinstance(analysis, Path) else analysis
    return execute(target, [str(one) for one in names], chosen, observer or Observer())


def _plain(value: Any) -> Any:
    """Give NumPy's numbers and arrays as Python's, and refuse what is no plain value."""
    if isinstance(value, float):
        return float(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"a parameter is a {kind}: give numbers, text, or lists") from None


def resume(
    path: str | Path,
    *,
    pool: str = "",
    workers: int | None = None,
    accept: float = 1.0,
    strict: bool = True,
    submit: Sequence[str] = (),
    profile: str = "",
    observer: Observer | None = None,
) -> Result:
    """Go on with a run: do the jobs that have no verified result, and merge.

    Parameters
    ----------
    path
        The run folder.
    pool, workers, accept, strict, observer
        See `run`; by default the pool that the run has had.
    submit, profile
        Submit commands of HTCondor, each as `NAME=VALUE`, and a named set of them. They replace
        what was said before under the same names.

    Raises
    ------
    EventflockError
        See `run`.
    """
    accepted = Acceptance(fraction=accept, strict=strict)
    site = Site(profile=profile, submit=tuple(submit))
    options = Options(pool=pool, workers=workers, site=site, acceptance=accepted)
    return _result(resume_run(Path(path), options, observer or Observer()))


def watch(
    path: str | Path,
    *,
    accept: float = 1.0,
    strict: bool = True,
    observer: Observer | None = None,
) -> Result:
    """Follow a run to its end, whichever process works on it, and merge; nothing is submitted.

    Parameters
    ----------
    path
        The run folder.
    accept, strict, observer
        See `run`.

    Raises
    ------
    EventflockError
        See `run`.
    """
    options = Options(acceptance=Acceptance(fraction=accept, strict=strict))
    return _result(watch_run(Path(path), options, observer or Observer()))


def status(path: str | Path) -> Status:
    """Find out where a run stands, from its folder, and from the queue if it has jobs there."""
    return status_of(Path(path))


def why(path: str | Path) -> Explanation:
    """Find out what failed in a run and why, most events first."""
    return explain(Path(path))


def stop(path: str | Path) -> Stopped:
    """Remove the jobs of a run from HTCondor's queue; what is done is kept, and `resume` goes on.

    Raises
    ------
    UsageError
        The run has no jobs in a queue.
    PoolError
        HTCondor cannot be reached.
    """
    from eventflock.dispatch import stop as stop_run

    return stop_run(Path(path))


def _result(outcome: Outcome) -> Result:
    error = outcome.error()
    if error is not None:
        raise error
    return load(outcome.run.path)
