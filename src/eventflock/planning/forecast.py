"""Jobs of the right size, and what a run will take: pure functions of what trials measured.

The model is made of straight lines: a job takes a time for each file, for each chunk and for each
event, a fixed memory and some for each event of its largest chunk, a fixed output and the rows
of skims of each event. `timing` finds these numbers, on this machine.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from eventflock.core.manifest import Manifest
from eventflock.core.model import Job, Plan
from eventflock.core.structs import Frozen
from eventflock.core.units import parse_duration, say_bytes, say_duration
from eventflock.errors import plural
from eventflock.events.files import is_url
from eventflock.packing.environment import TransferSizes

__all__ = [
    "MOST_JOBS",
    "Fact",
    "Forecast",
    "Measured",
    "compare",
    "describe_forecast",
    "events_per_job",
    "facts",
    "forecast",
    "jobs_each",
    "parse_duration",
]

MOST_JOBS = 100_000
"""More jobs than this in a run are made only if the user asks for their number."""
MIB = 2**20
MEMORY_STEP = 128
"""Memory is asked for in steps of this many MB, so that jobs fit into equal slots."""


class Measured(Frozen, frozen=True, omit_defaults=True):
    """What trials on one dataset say about its jobs.

    Attributes
    ----------
    dataset, entries
        Name of the dataset, and how many entries of it are to be done.
    file, chunk
        Mean number of events in a file, and in a chunk of a large job.
    tried
        Events of the largest trial.
    file_seconds, chunk_seconds, event_seconds
        Wall time for opening a file, for each chunk, and for each event.
    first_seconds
        What the first call in a process takes in addition.
    cpu_share
        CPU time for each second of wall time.
    memory, event_memory
        Bytes of a process, and those for each event of its largest chunk.
    output, event_output
        Bytes of a result file, and those for each event (rows of skims).
    """

    dataset: str
    entries: int
    file: float
    chunk: float
    tried: int = 0
    file_seconds: float = 0.0
    chunk_seconds: float = 0.0
    event_seconds: float = 0.0
    first_seconds: float = 0.0
    cpu_share: float = 1.0
    memory: int = 0
    event_memory: float = 0.0
    output: int = 0
    event_output: float = 0.0


class Forecast(Frozen, frozen=True, omit_defaults=True):
    """What a run is expected to take.

    Attributes
    ----------
    target_seconds
        Wall time that a job was to take.
    jobs, events
        Of the plan.
    job_seconds, longest_seconds
        Wall time of a job, the mean and the longest, counted as results do: from the import of
        the analysis to the result file.
    cpu_seconds
        CPU time of all jobs.
    memory_bytes
        Peak in a job, without a margin.
    request_memory_mb, request_disk_mb
        To ask of a batch system, with a margin, in units of 2**20 bytes.
    bytes_to_send, bytes_to_bring
        To all jobs together, and back from them.
    """

    target_seconds: float
    jobs: int
    events: int
    job_seconds: float
    longest_seconds: float
    cpu_seconds: float
    memory_bytes: int
    request_memory_mb: int
    request_disk_mb: int
    bytes_to_send: int = msgspec.field(default=0, name="bytes_to_ship")  # as files call it
    bytes_to_bring: int = 0


class Fact(Frozen, frozen=True, omit_defaults=True):
    """What the jobs that are done took; see `Forecast`."""

    jobs: int = 0
    jobs_planned: int = 0
    events: int = 0
    job_seconds: float = 0.0
    longest_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    bytes_to_bring: int = 0


# --- how many jobs -----------------------------------------------------------------------------


def events_per_job(measured: Measured, target_seconds: float, start_up_seconds: float = 0.0) -> int:
    """Return the number of events that a job can do in a time, at least one.

    At least half of the time is that of the events: where starting takes most of it, jobs take
    longer than the target rather than doing almost nothing.

    Parameters
    ----------
    measured
        What trials on the dataset said.
    target_seconds
        Wall time of a job.
    start_up_seconds
        How much of it passes before the first event.
    """

    def seconds(events: int) -> float:
        """Return what more than the least takes, when `events` are done."""
        return (
            events * measured.event_seconds
            + max(events / measured.chunk - 1, 0) * measured.chunk_seconds
            + max(events / measured.file - 1, 0) * measured.file_seconds
        )

    least = start_up_seconds + measured.file_seconds + measured.chunk_seconds
    room = max(target_seconds - least, target_seconds / 2)
    return max(bisect_right(range(1, measured.entries + 1), room, key=seconds), 1)


def jobs_each(
    measured: Sequence[Measured],
    target_seconds: float,
    start_up_seconds: float = 0.0,
    most: int = MOST_JOBS,
) -> tuple[tuple[int, ...], float]:
    """Return the number of jobs for each dataset, so that each job takes about the target.

    Parameters
    ----------
    measured, target_seconds, start_up_seconds
        See `events_per_job`; the first call in a process counts as starting if anything does.
    most
        How many jobs there may be, unless there are more datasets.

    Returns
    -------
    tuple of int
        In the order of `measured`, from 1 to the number of entries.
    float
        The target: longer than the one that was given if that makes too many jobs.
    """

    def counts(target: float) -> tuple[int, ...]:
        found = []
        for measurement in measured:
            start_up = start_up_seconds + measurement.first_seconds * (start_up_seconds > 0)
            events = events_per_job(measurement, target, start_up)
            found.append(
                min(max(-(-measurement.entries // events), 1), max(measurement.entries, 1))
            )
        return tuple(found)

    found = counts(target_seconds)
    while sum(found) > max(most, len(measured)):
        target_seconds *= max(sum(found) / max(most, len(measured)), 1.01)
        found = counts(target_seconds)
    return found, target_seconds


# --- before and after --------------------------------------------------------------------------


class _Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What one job is expected to take; `inputs` are the bytes of its files on this machine."""

    seconds: float
    cpu_seconds: float
    memory: float
    output: float
    inputs: int


def _expect(plan: Plan, job: Job, measured: Measured, fresh: bool) -> _Expected:
    cuts = [edge for part in job.ranges for edge in part.chunks()]
    seconds = (
        len(job.ranges) * measured.file_seconds
        + len(cuts) * measured.chunk_seconds
        + job.entries * measured.event_seconds
        + measured.first_seconds * fresh
    )
    files = plan.datasets[job.dataset].files
    local = {part.file for part in job.ranges if not is_url(files[part.file].path)}
    return _Expected(
        seconds=seconds,
        cpu_seconds=seconds * measured.cpu_share,
        memory=measured.memory + measured.event_memory * max(stop - start for start, stop in cuts),
        output=measured.output + measured.event_output * job.entries,
        inputs=sum(max(files[index].size, 0) for index in local),
    )


def forecast(
    plan: Plan,
    measured: Sequence[Measured],
    target_seconds: float,
    sent: TransferSizes | None = None,
) -> Forecast:
    """Forecast what a run of a plan will take.

    Parameters
    ----------
    plan
        Its jobs, as they are cut now.
    measured
        Of each dataset that has jobs.
    target_seconds
        Wall time that a job was to take.
    sent
        What travels to every job; None where jobs run in workers of this machine.
    """
    by_name = {measurement.dataset: measurement for measurement in measured}
    fresh_processes = sent is not None
    jobs = [
        _expect(plan, job, by_name[plan.datasets[job.dataset].name], fresh_processes)
        for job in plan.jobs
    ]
    sent = sent or TransferSizes(inputs=False)
    archives = sent.environment_bytes + sent.code_bytes
    inputs = [one.inputs * sent.inputs for one in jobs]
    memory = max((one.memory for one in jobs), default=0.0)
    # A skim is written once beside the result file, and once into it.
    largest = max(
        (there + 2 * one.output for one, there in zip(jobs, inputs, strict=True)), default=0.0
    )
    disk = 1.2 * (sent.unpacked_bytes + archives + largest) / MIB + 100
    seconds = [one.seconds for one in jobs]
    return Forecast(
        target_seconds=target_seconds,
        jobs=len(jobs),
        events=plan.entries,
        job_seconds=sum(seconds) / max(len(jobs), 1),
        longest_seconds=max(seconds, default=0.0),
        cpu_seconds=sum(one.cpu_seconds for one in jobs),
        memory_bytes=math.ceil(memory),
        request_memory_mb=memory_to_ask(memory),
        request_disk_mb=math.ceil(disk),
        bytes_to_send=len(jobs) * archives + sum(inputs),
        bytes_to_bring=math.ceil(sum(one.output for one in jobs)),
    )


def memory_to_ask(peak: float) -> int:
    """Return what to ask of a batch system for a peak in bytes: with a margin, in 2**20 bytes."""
    return math.ceil((1.3 * peak / MIB + 200) / MEMORY_STEP) * MEMORY_STEP


def facts(plan: Plan, done: Iterable[tuple[Manifest, int]]) -> Fact:
    """Return what the jobs that are done took.

    Parameters
    ----------
    plan
        Of the run.
    done
        The manifest of each result, and the size of its file in bytes.
    """
    results = list(done)
    counters = [manifest.counters for manifest, _ in results]
    seconds = [counter.wall_seconds for counter in counters]
    return Fact(
        jobs=len(results),
        jobs_planned=len(plan.jobs),
        events=sum(one.events for one in counters),
        job_seconds=sum(seconds) / max(len(results), 1),
        longest_seconds=max(seconds, default=0.0),
        cpu_seconds=sum(one.cpu_seconds for one in counters),
        memory_bytes=max((one.peak_memory for one in counters), default=0),
        bytes_to_bring=sum(size for _, size in results),
    )


def compare(expected: Forecast, fact: Fact) -> list[tuple[str, str, str]]:
    """Put forecast and fact side by side, as rows of what, forecast, and fact."""

    def time(one: Forecast | Fact) -> str:
        longest = say_duration(one.longest_seconds)
        return f"{say_duration(one.job_seconds)}, at most {longest}"

    jobs = f"{fact.jobs:,}" + (f" of {fact.jobs_planned:,}" * (fact.jobs < fact.jobs_planned))
    rows = [("jobs", f"{expected.jobs:,}", jobs)]
    if not fact.jobs:
        return rows
    so_far = " so far" * (fact.jobs < fact.jobs_planned)
    memory = (
        f"{_mb(expected.memory_bytes):,} MB, {expected.request_memory_mb:,} MB asked for",
        f"{_mb(fact.memory_bytes):,} MB",
    )
    totals = [
        ("CPU time", say_duration(expected.cpu_seconds), say_duration(fact.cpu_seconds)),
        ("results", say_bytes(expected.bytes_to_bring), say_bytes(fact.bytes_to_bring)),
    ]
    return [
        *rows,
        ("time of a job", time(expected), time(fact)),
        ("memory of a job", *memory),
        *((what, before, after + so_far) for what, before, after in totals),
    ]


def describe_forecast(expected: Forecast) -> str:
    """Describe a forecast in one line."""
    seconds, cpu = say_duration(expected.job_seconds), say_duration(expected.cpu_seconds)
    parts = [f"{plural(expected.jobs, 'job')} of about {seconds}, {cpu} of CPU time"]
    bring = say_bytes(expected.bytes_to_bring)
    if expected.bytes_to_send:
        parts.append(f"{say_bytes(expected.bytes_to_send)} to send, {bring} to bring back")
        parts.append(
            f"asks for {expected.request_memory_mb:,} MB memory, "
            f"{expected.request_disk_mb:,} MB disk"
        )
    else:
        parts.append(f"{_mb(expected.memory_bytes):,} MB of memory in each, {bring} of results")
    return "forecast  " + "; ".join(parts)


def _mb(size: int) -> int:
    return math.ceil(size / MIB)
