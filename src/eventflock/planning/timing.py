"""Measuring an analysis on a few events of each dataset, before its jobs are cut.

A trial is a small job, done by one worker of this machine after the other: first a single
event, then more and more until they take long enough to be timed well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import Dataset, Plan
from eventflock.core.observer import Observer
from eventflock.core.units import say_duration
from eventflock.errors import AnalysisError, EventflockError, InputError, error_from, plural
from eventflock.planning.forecast import Measured
from eventflock.planning.partition import CHUNK_BYTES, Sizing, cut, span_of
from eventflock.pools.roles import Workers
from eventflock.results.reader import read_manifest
from eventflock.worker.messages import Failed, Run

__all__ = ["TimingStep", "fit", "measure"]

LONG_ENOUGH = 2.0
"""Seconds of the last trial of a dataset."""
ALL_LONG = 60.0
"""Seconds of the last trials of all datasets: where there are many, each has less."""
PATIENCE = 10
"""Growing ends after this many times as long, though most of the time may be a fixed one."""
FEW, MANY = 200, 1_000
"""Second trial. With fewer events than the latter, an analysis may raise that is right on more
(the maximum of nothing), and jobs may never have so few."""
GROWTH = 5
LEAST_SHARE = 0.1
"""At least this share of the time of the largest trial is that of its events, not fixed."""
NOTES = 5
NOISE = 2 * 2**20
"""Bytes by which the memory of a process may differ for no reason."""


class TimingStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial took.

    Attributes
    ----------
    events, files, chunks, largest
        Number of events, of files and of chunks, and the events in the largest chunk.
    seconds, cpu_seconds
        Wall time and CPU time.
    memory
        Peak of the resident set, in bytes.
    output, rows
        Bytes of the result file, and how many of these are rows of skims.
    """

    events: int
    files: int
    chunks: int
    largest: int
    seconds: float
    cpu_seconds: float = 0.0
    memory: int = 0
    output: int = 0
    rows: int = 0


def measure(
    workers: Workers,
    plan: Plan,
    datasets: Sequence[Dataset],
    sizing: Sizing,
    folder: str,
    observer: Observer,
) -> tuple[Measured, ...]:
    """Try the analysis on a few events of each dataset.

    Parameters
    ----------
    workers
        Of this machine.
    plan
        For the analysis and its parameters; its jobs do not matter.
    datasets
        Those of the plan, with the clusters of their files.
    sizing
        Which entries are to be done, and the size of chunks.
    folder
        With the frozen code, if there is one.
    observer
        Receives what was found.

    Returns
    -------
    tuple of Measured
        One for each dataset with entries to be done, in their order.

    Raises
    ------
    AnalysisError, InputError
        A trial failed, as jobs would. Other failures, such as a full memory, end the growing of
        trials, and are raised only if there was no trial before.
    """
    spans = [span_of(dataset, sizing) for dataset in datasets]
    todo = [index for index, (start, stop) in enumerate(spans) if stop > start]
    long = min(LONG_ENOUGH, ALL_LONG / max(len(todo), 1))
    found = []
    observer.note(f"trial     a few events of {plural(len(todo), 'dataset')} on this machine")
    for index in todo:
        with TemporaryDirectory(prefix="eventflock-") as scratch:
            trial = _TimingRun(workers, plan, datasets[index], index, sizing, folder, Path(scratch))
            found.append(_measure_one(trial, spans[index], long, observer))
    for one in found[:NOTES]:
        observer.note(
            f"trial     {one.dataset}: {plural(one.tried, 'event')}, "
            f"{say_duration(one.event_seconds * 1e6)} for a million more"
        )
    return tuple(found)


class _TimingRun:
    """Does parts of one dataset as small jobs."""

    def __init__(
        self,
        workers: Workers,
        plan: Plan,
        dataset: Dataset,
        index: int,
        sizing: Sizing,
        folder: str,
        scratch: Path,
    ) -> None:
        self.dataset = dataset
        self.chunk = sizing.chunk
        self._workers, self._plan, self._index = workers, plan, index
        self._folder, self._scratch = folder, scratch

    def __call__(self, start: int, stop: int, *, fresh: bool = True) -> TimingStep:
        """Do entries `[start, stop)` of the line of files, and say what they took.

        Unless it is `fresh`, the file that the last one left open stays so.
        """
        sizing = Sizing(entries=(start, stop), jobs=1, chunk=self.chunk)
        (job,) = cut([self.dataset], sizing)
        job = msgspec.structs.replace(job, dataset=self._index)
        plan = msgspec.structs.replace(self._plan, jobs=(job,))
        result = self._scratch / "result.zip"
        request = Run(
            assignment=FrozenPlan(plan).assignment(0),
            folder=self._folder,
            result=str(result),
            log=str(self._scratch / "trial.log"),
            fresh=fresh,
        )
        for _, reply in self._workers.ask([request]):
            if isinstance(reply, Failed):
                raise error_from(reply.failure)
        manifest = read_manifest(result)
        skims = {f"{item.name}.parquet" for item in manifest.items if item.kind == "skim"}
        counters = manifest.counters
        return TimingStep(
            events=counters.events,
            files=len(job.ranges),
            chunks=counters.chunks,
            largest=max(b - a for part in job.ranges for a, b in part.chunks()),
            seconds=counters.wall_seconds,
            cpu_seconds=counters.cpu_seconds,
            memory=counters.peak_memory,
            output=result.stat().st_size,
            rows=sum(one.size for name, one in manifest.payloads.items() if name in skims),
        )


def _measure_one(
    trial: _TimingRun, span: tuple[int, int], long: float, observer: Observer
) -> Measured:
    start, entries = span[0], span[1] - span[0]
    first = _attempt(trial, start, 1, entries)  # with what it imports and keeps
    single = _attempt(trial, start, 1, entries)
    first_seconds = file_seconds = 0.0
    if first is not None and single is not None:
        again = trial(start, start + 1, fresh=False)
        first_seconds = max(first.seconds - single.seconds, 0.0)
        file_seconds = max(single.seconds - again.seconds, 0.0)
    steps = _grow(trial, span, long, single, observer)
    elsewhere = _look_elsewhere(trial, span, steps[-1].events, observer)
    files = trial.dataset.files
    ranges = cut([trial.dataset], Sizing(entries=span, jobs=1, chunk=trial.chunk))[0].ranges
    return fit(
        Measured(
            dataset=trial.dataset.name,
            entries=entries,
            file=entries / len(ranges),
            chunk=entries / sum(len(part.edges) + 1 for part in ranges),
            first_seconds=first_seconds,
            file_seconds=file_seconds,
        ),
        steps,
        elsewhere,
        sum(file.entries * file.entry_bytes for file in files) / sum(one.entries for one in files),
    )


def _grow(
    trial: _TimingRun,
    span: tuple[int, int],
    long: float,
    single: TimingStep | None,
    observer: Observer,
) -> list[TimingStep]:
    """Try more and more events from the beginning, until they take long enough."""
    start, entries = span[0], span[1] - span[0]
    steps = [] if single is None else [single]
    step, size = single, 1
    spent = sum(one.seconds for one in steps)
    while size < entries and not (steps and _is_enough(steps, spent, long)):
        size = min(_larger(size, step, steps[:1], long), entries)
        try:
            step = _attempt(trial, start, size, entries)
        except EventflockError as error:
            if not steps or _is_of_jobs(error):
                raise
            observer.note(f"A trial with {plural(size, 'event')} failed: {error.message}")
            break
        if step is not None:
            steps.append(step)
            spent += step.seconds
    return steps


def _look_elsewhere(
    trial: _TimingRun, span: tuple[int, int], size: int, observer: Observer
) -> list[TimingStep]:
    """Try as many events in the middle and at the end, unless most of the entries were seen."""
    start, stop = span
    entries = stop - start
    places = [start + (entries - size) // 2] * (entries >= 3 * size)
    places += [stop - size] * (entries >= 2 * size)
    found = []
    for place in places:
        try:
            step = _attempt(trial, place, size, entries)
        except EventflockError as error:
            if _is_of_jobs(error):
                raise
            observer.note(f"A trial with {plural(size, 'event')} failed: {error.message}")
            break
        if step is not None:
            found.append(step)
    return found


def _is_of_jobs(error: EventflockError) -> bool:
    """Check whether jobs would fail as well, or only this machine, such as with a full memory."""
    return isinstance(error, AnalysisError | InputError)


def _attempt(trial: _TimingRun, start: int, size: int, entries: int) -> TimingStep | None:
    """Try some events. That the analysis raises on few of many says nothing about its jobs."""
    try:
        return trial(start, start + size)
    except AnalysisError:
        if size < min(MANY, entries):
            return None
        raise


def _is_enough(steps: Sequence[TimingStep], spent: float, long: float) -> bool:
    """Check whether the last trial took long, and not just because every trial does."""
    seconds = steps[-1].seconds
    return seconds >= long and (seconds > 1.5 * steps[0].seconds or spent > PATIENCE * long)


def _larger(size: int, step: TimingStep | None, first: Sequence[TimingStep], long: float) -> int:
    """Return the number of events of the next trial."""
    if step is None:
        return FEW if size < FEW else MANY
    seconds = max(step.seconds, 1e-6)
    if size < FEW and seconds * FEW / size < long:
        return FEW
    if all(seconds < 1.5 * one.seconds for one in first):  # most of it is not that of events
        return 2 * GROWTH * size
    return max(size + 1, int(size * min(max(1.25 * long / seconds, 2), GROWTH)))


# --- from trials to a model --------------------------------------------------------------------


def fit(
    plain: Measured,
    steps: Sequence[TimingStep],
    elsewhere: Sequence[TimingStep] = (),
    event_bytes: float = math.inf,
) -> Measured:
    """Find the straight lines through the trials of one dataset.

    Parameters
    ----------
    plain
        What is known already: about the dataset, and the seconds for opening a file.
    steps
        Growing trials of its beginning, at least one.
    elsewhere
        Trials of other places, of the size of the last.
    event_bytes
        Of all branches, uncompressed.
    """
    opened = [_without_opening(step, plain.file_seconds) for step in (*steps, *elsewhere)]
    chunk_seconds, event_seconds = _times(opened[: len(steps)], opened[len(steps) :])
    last, everywhere = [steps[-1], *elsewhere], [*steps, *elsewhere]
    seconds = max(sum(one.seconds for one in last), 1e-6)
    small = steps[0]
    rows = _mean(_slope(small.events, small.rows, one.events, one.rows) for one in last)
    rows = max(rows, 0.0)
    footers = max(small.rows - rows * small.events, 0.0)
    return msgspec.structs.replace(
        plain,
        tried=steps[-1].events,
        chunk_seconds=chunk_seconds,
        event_seconds=event_seconds,
        cpu_share=sum(one.cpu_seconds for one in last) / seconds,
        memory=min(one.memory for one in everywhere),
        event_memory=_event_memory(everywhere, plain.chunk, event_bytes),
        output=math.ceil(max(one.output - one.rows for one in everywhere) + footers),
        event_output=rows,
    )


def _without_opening(step: TimingStep, file_seconds: float) -> TimingStep:
    seconds = max(step.seconds - step.files * file_seconds, 1e-6)
    return msgspec.structs.replace(step, seconds=seconds)


def _times(steps: Sequence[TimingStep], elsewhere: Sequence[TimingStep]) -> tuple[float, float]:
    """Return the seconds for each chunk and for each event, the latter never zero.

    Both follow from a small trial and the largest. A small trial that was held up by something
    would make the fixed part too large, so the one that gives the smallest counts.
    """
    last = steps[-1]
    mean = max(last.seconds, 1e-6) / last.events
    small = [step for step in steps[:-1] if step.events * 10 <= last.events] or list(steps[:1])
    slopes = [
        (one.chunks * last.seconds - last.chunks * one.seconds) / determinant
        for one in small
        if (determinant := one.chunks * last.events - last.chunks * one.events) > 0
    ]
    per_event = min(max([*slopes, LEAST_SHARE * mean]), mean) if slopes else mean
    per_chunk = max((last.seconds - per_event * last.events) / last.chunks, 0.0)
    rates = [(one.seconds - per_chunk * one.chunks) / one.events for one in (last, *elsewhere)]
    return per_chunk, max(_mean(rates), LEAST_SHARE * mean)


def _mean(numbers: Iterable[float]) -> float:
    """Return the mean; the module `statistics` would take its time to import."""
    found = list(numbers)
    return sum(found) / len(found)


def _slope(x: int, y: int, further: int, higher: int) -> float:
    """Return the slope from one point to a further one; from nothing, if it is not further."""
    return (higher - y) / (further - x) if further > x else higher / further


def _event_memory(steps: Sequence[TimingStep], chunk: float, event_bytes: float) -> float:
    """Return the bytes for each event of a chunk, so that no large trial is above the line.

    A line through small trials says little about a large chunk. There, noise must not become
    gigabytes, and reading the branches takes memory that no small trial has shown.
    """
    reading = min(event_bytes, CHUNK_BYTES / chunk)
    small = min(steps, key=lambda one: one.memory)
    widest = max(one.largest for one in steps)
    found = reading if widest * 10 <= chunk else 0.0
    for step in steps:
        further, more = step.largest - small.largest, step.memory - small.memory
        if further > 0 and step.largest * 10 >= widest:
            found = max(found, min(more / further, 3 * reading), (more - NOISE) / further)
    return found
