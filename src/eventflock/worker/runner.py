"""Doing one job: read its ranges chunk by chunk, call the analysis, add up, write one file.

Whatever happens in Python ends in a result file: a job that failed leaves a receipt that says
where and why. Only a process that dies leaves none.
"""

from __future__ import annotations

import contextlib
import platform
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from eventflock._version import __version__
from eventflock.analysis import Analysis, Context, restore_parameters, store_parameters
from eventflock.errors import AnalysisError, EventflockError, InputError, nearest
from eventflock.model import FORMAT, Assignment, Counters, Coverage, Failure, Manifest, Range
from eventflock.reading import TreeReader
from eventflock.results.accumulate import Accumulator, Earlier
from eventflock.results.format import write_result
from eventflock.tracebacks import raised_in, user_traceback

__all__ = ["Runner", "failure_of", "unexpected"]

Report = Callable[[int], None]
IGNORED = signal.SIG_IGN


class _ChunkError(Exception):
    """An error with the chunk in which it came up."""

    def __init__(self, error: EventflockError, path: str, start: int, stop: int) -> None:
        super().__init__(str(error))
        self.failure = failure_of(error, path, start, stop)


def failure_of(error: EventflockError, path: str = "", start: int = 0, stop: int = 0) -> Failure:
    """Give an error in the form in which it travels."""
    return Failure(
        kind=error.kind,
        message=error.message[:4000],
        remedy=error.remedy,
        traceback=error.traceback[-40_000:],
        path=path,
        start=start,
        stop=stop,
    )


class Runner:
    """Does jobs, one after the other, in this process.

    It keeps the last file open, as the next job often continues in it, and remembers which
    objects the analysis returned last, as an object that is returned again has events twice.

    Parameters
    ----------
    environment
        Digest of the packed environment that this process runs in, for the result files.
    places
        From planned paths to where the files are, for those that are elsewhere here.
    """

    def __init__(self, environment: str = "", places: Mapping[str, str] | None = None) -> None:
        self._environment = environment
        self._places = places or {}
        self._reader: TreeReader | None = None
        self._earlier = Earlier()

    def run(
        self,
        assignment: Assignment,
        load: Callable[[], Analysis],
        target: Path,
        report: Report,
    ) -> Manifest:
        """Do one job and write its result file, which may say that it failed.

        Parameters
        ----------
        assignment
            The job.
        load
            Gives the analysis; if it raises, that is in the receipt as well.
        target
            Where the result file goes.
        report
            Called after every chunk with its number of events.

        Returns
        -------
        Manifest
            As written; its status is `done` or `failed`.
        """
        clock = _Clock()
        with tempfile.TemporaryDirectory(prefix="eventflock-") as scratch:
            accumulator = Accumulator(Path(scratch), self._earlier)
            tally = _Tally()
            try:
                analysis = load()
                assignment = _with_parameters(assignment, analysis)
                for part in assignment.ranges:
                    self._do_range(assignment, part, analysis, accumulator, tally, report)
                finished = accumulator.finish().items()
                values = {(assignment.dataset, *path): value for path, value in finished}
                manifest = _manifest(assignment, self._environment, "done", tally, clock, None)
                return write_result(target, manifest, values)
            except _ChunkError as error:
                failure = error.failure
            except EventflockError as error:
                failure = failure_of(error)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it becomes a receipt
                failure = failure_of(unexpected(error))
        self.close()
        manifest = _manifest(assignment, self._environment, "failed", tally, clock, failure)
        return write_result(target, manifest, {})

    def trial(self, assignment: Assignment, analysis: Analysis) -> None:
        """Call the analysis on no events, and raise what would stop every job as well.

        An analysis may well fail on no events and be right on some, so only what cannot depend
        on their number counts: a branch that is not there, and a result of a wrong kind.
        """
        assignment = _with_parameters(assignment, analysis)
        entry = assignment.files[0]
        reader = TreeReader(entry, analysis.columns)
        try:
            events = reader.chunk(0, 0)
            context = _context(assignment, entry.path, entry.tree, 0, 0)
            try:
                returned = analysis.on_chunk(events, context, assignment.parameters)
            except BaseException as error:  # noqa: BLE001 -- the user's code may raise anything
                _raise_if_interrupted(error)
                missing = _missing_branch(error, events, entry.path, entry.tree, analysis.columns)
                if missing is not None:
                    raise missing from None
                return
            early = isinstance(returned, Mapping) and not returned
            if returned is not None and not early:  # to return early for no events is fine
                with tempfile.TemporaryDirectory(prefix="eventflock-") as scratch:
                    Accumulator(Path(scratch)).add(returned)
        finally:
            reader.close()

    def _do_range(
        self,
        assignment: Assignment,
        part: Range,
        analysis: Analysis,
        accumulator: Accumulator,
        tally: _Tally,
        report: Report,
    ) -> None:
        entry = assignment.files[part.file]
        with _located(entry.path, part.start, part.stop):
            reader = self._open(entry, analysis)
        done = part.start
        for start, stop in part.chunks():
            with _located(entry.path, start, stop):
                events = reader.chunk(start, stop)
                if start != done or len(events) != stop - start:
                    raise InputError(f"{entry.path} gave {len(events):,} entries at {start:,}.")
                context = _context(assignment, entry.path, entry.tree, start, stop)
                returned = _call(analysis, events, context, assignment.parameters)
                accumulator.add(returned)
            del events, returned
            done = stop
            tally.chunk(reader, stop - start)
            report(stop - start)
        # What was done, not what was planned: the two are compared when results are merged.
        tally.coverage.append(
            Coverage(
                dataset=assignment.dataset,
                uuid=entry.uuid,
                tree=entry.tree,
                path=entry.path,
                start=part.start,
                stop=done,
            )
        )

    def _open(self, entry: Any, analysis: Analysis) -> TreeReader:
        if self._reader is None or self._reader.entry != entry:
            self.close()
            place = self._places.get(entry.path, entry.path)
            self._reader = TreeReader(entry, analysis.columns, place)
        return self._reader

    def close(self) -> None:
        """Close the file that is open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _with_parameters(assignment: Assignment, analysis: Analysis) -> Assignment:
    """Give parameters the types that the analysis wants, which JSON may not have."""
    parameters = restore_parameters(analysis, assignment.parameters)
    return msgspec.structs.replace(assignment, parameters=parameters)


class _Tally:
    """What a job has done so far."""

    def __init__(self) -> None:
        self.events = 0
        self.chunks = 0
        self.bytes_read = 0
        self.branches: set[str] = set()
        self.coverage: list[Coverage] = []

    def chunk(self, reader: TreeReader, events: int) -> None:
        self.events += events
        self.chunks += 1
        bytes_read, branches = reader.done()
        self.bytes_read += bytes_read
        self.branches |= branches


class _Clock:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def counters(self, tally: _Tally) -> Counters:
        return Counters(
            events=tally.events,
            chunks=tally.chunks,
            bytes_read=tally.bytes_read,
            wall_seconds=round(time.monotonic() - self._wall, 6),
            cpu_seconds=round(time.process_time() - self._cpu, 6),
            peak_memory=_peak_memory(),
        )


def _peak_memory() -> int:
    """Largest resident set in bytes. `ru_maxrss` would count the parent's, before exec, as well."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _located(path: str, start: int, stop: int) -> Iterator[None]:
    try:
        yield
    except EventflockError as error:
        raise _ChunkError(error, path, start, stop) from error


def _context(assignment: Assignment, path: str, tree: str, start: int, stop: int) -> Context:
    return Context(
        dataset=assignment.dataset,
        metadata=assignment.metadata,
        file=path,
        tree=tree,
        start=start,
        stop=stop,
    )


def _call(analysis: Analysis, events: Any, context: Context, parameters: dict[str, Any]) -> Any:
    """Call the user's function, and tell its own errors from those of reading the events."""
    try:
        return analysis.on_chunk(events, context, parameters)
    except EventflockError:
        raise
    except BaseException as error:
        _raise_if_interrupted(error)
        missing = _missing_branch(error, events, context.file, context.tree, analysis.columns)
        if missing is not None:
            raise missing from None
        if raised_in(error, ("uproot.", "fsspec.")):
            raise InputError(
                f"{context.file}: entries {context.start:,} to {context.stop:,} of "
                f"{context.tree!r} cannot be read: {type(error).__name__}: {_line(error)}",
                remedy="The file may be damaged: copy it again, or leave it out.",
                traceback=user_traceback(error),
            ) from error
        raise AnalysisError(
            f"The analysis {analysis.name!r} raised {type(error).__name__}: {_line(error)}",
            traceback=user_traceback(error),
        ) from error


def _raise_if_interrupted(error: BaseException) -> None:
    """Pass on Ctrl-C. A worker process does not hear it, so there the analysis itself raised."""
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not IGNORED:
        raise error


def unexpected(error: BaseException) -> EventflockError:
    """Give what nobody thought of as an error that can be reported."""
    return EventflockError(
        f"The worker failed with {type(error).__name__}: {_line(error)}",
        remedy="Resume the run; if it stays, this is a bug of eventflock: please report it.",
        traceback="".join(traceback.format_exception(error)).rstrip(),
    )


def _line(error: BaseException) -> str:
    try:
        text = str(error).strip()
    except Exception:  # noqa: BLE001 -- the exception is the user's own, and may be broken
        text = ""
    return text.splitlines()[0] if text else "(no message)"


def _missing_branch(
    error: BaseException, events: Any, path: str, tree: str, columns: tuple[str, ...]
) -> InputError | None:
    """Recognise that the analysis asked the events for a branch that they do not have."""
    name = _field_asked_for(error, events)
    if name is None or name in events.fields:
        return None
    near = nearest(name, events.fields)
    return InputError(
        f"There is no branch {name!r} in the tree {tree!r} of {path}{'; ' + near if near else '.'}",
        remedy=f"'eventflock inspect {path}' lists the branches, and which are readable."
        + (" The analysis declares columns=[...]: others are hidden." if columns else ""),
        traceback=user_traceback(error),
    )


def _field_asked_for(error: BaseException, events: Any) -> str | None:
    """Read the field's name out of awkward's message, if it speaks of a record like the events."""
    if not isinstance(error, LookupError | AttributeError):
        return None
    text = str(error)
    quoted = text.split("'")
    if len(quoted) < 3:
        return None
    if f"no field '{quoted[1]}' in record with {len(events.fields)} fields" in text:
        return quoted[1]
    if isinstance(error, AttributeError) and "no field named" in text:
        return quoted[1] if getattr(error, "obj", events) is events else None
    return None


def _manifest(
    assignment: Assignment,
    environment: str,
    status: str,
    tally: _Tally,
    clock: _Clock,
    error: Failure | None,
) -> Manifest:
    return Manifest(
        format=FORMAT,
        status=status,
        plan=assignment.plan,
        job=assignment.job,
        planned=sum(part.stop - part.start for part in assignment.ranges),
        analysis=assignment.analysis,
        parameters=store_parameters(assignment.parameters),
        coverage=() if error else tuple(tally.coverage),
        counters=clock.counters(tally),
        branches=tuple(sorted(tally.branches)),
        hosts=(socket.gethostname(),),
        started=clock.started,
        software=software(),
        environment=environment,
        error=error,
    )


def software() -> dict[str, str]:
    """Versions of what made a result: of the packages that are imported, not of all installed."""
    found = {"eventflock": __version__, "python": platform.python_version()}
    for name in ("awkward", "boost_histogram", "hist", "numpy", "uproot", "scipy", "pyarrow"):
        if name in sys.modules:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
    return found
