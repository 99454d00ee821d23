"""From names of files to a plan: what is asked of a pool before a run exists."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec

from eventflock._version import __version__
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import PLAN_FORMAT, AnalysisRef, Dataset, Plan, UnreadFile
from eventflock.core.observer import Observer
from eventflock.core.options import Options
from eventflock.core.units import say_duration
from eventflock.errors import ErrorKind, UsageError
from eventflock.events.credentials import find_credentials, needs_credentials
from eventflock.failures.codes import FailureCode
from eventflock.planning.credentials import credential_notes
from eventflock.planning.datasets import Assembled, assemble, check_entries, restrict
from eventflock.planning.expected import with_expected
from eventflock.planning.filesets import Fileset, expand
from eventflock.planning.forecast import MOST_JOBS, Measured, events_per_job, jobs_each
from eventflock.planning.parameters import everywhere, merged, with_own
from eventflock.planning.partition import Sizing, check_sizing, cut
from eventflock.planning.scanning import ask_patiently, expect, refuse_or_note, scan
from eventflock.pools.roles import Workers
from eventflock.usercode.parameters import store_parameters
from eventflock.worker.messages import (
    Describe,
    Described,
    DryCall,
    DryCalled,
    Failed,
    Reply,
)

__all__ = ["Prepared", "make_plan", "prepare"]

START_UP_SECONDS = 5.0
"""From the start of a packed job to its first event; on a quiet machine it is three."""


class Prepared(NamedTuple):
    """A plan, and what trials said if it was cut by time.

    Attributes
    ----------
    plan
        To be frozen.
    measured
        One for each dataset with jobs; empty if it was not cut by time.
    target_seconds
        Wall time that each job is to take: what was asked for, or longer to limit their number.
    """

    plan: Plan
    measured: tuple[Measured, ...] = ()
    target_seconds: float = 0.0


def prepare(
    workers: Workers,
    ref: AnalysisRef,
    source: bytes,
    files: Sequence[str | Fileset],
    options: Options,
    observer: Observer,
) -> Prepared:
    """Describe the analysis, scan the files, cut them into jobs, and try it on no events.

    If jobs are to take a certain time, it is tried on some events as well, and they are cut
    accordingly.

    Raises
    ------
    EventflockError
        Something about the call, the analysis or the files is wrong.
    """
    _check_target(options)
    with _frozen(ref, source) as folder:
        given = options.parameters
        ref = msgspec.structs.replace(ref, schema=options.schema)
        described = _describe(workers, ref, folder, options, merged(given))
        ref = msgspec.structs.replace(
            ref,
            name=described.name,
            helpers=described.helpers,
            working=str(Path.cwd()),
            schema=described.schema,
            postprocess=described.postprocess,
        )
        datasets, unread = _look_at(workers, files, described, options, observer)
        datasets = with_own(
            datasets,
            given,
            lambda own: _describe(workers, ref, folder, options, own).parameters,
        )
        parameters = everywhere(given, described.parameters)
        trial = _trial_plan(ref, parameters, datasets, options)
        asked = _try(workers, trial, folder, observer, clean=options.packing is not None)
        datasets = _with_branches(datasets, asked)
        if options.packing is None:  # else packing says it
            _note_written(asked, observer)
        opened = {file: sha for reply in asked.values() for file, sha in reply.opened.items()}
        ref = msgspec.structs.replace(ref, helpers={**ref.helpers, **opened})
        plan = make_plan(ref, parameters, datasets, options, unread)
        if options.target_seconds is None:
            return Prepared(plan)
        return _cut_by_time(workers, plan, datasets, options, folder, observer)


def _look_at(
    workers: Workers,
    files: Sequence[str | Fileset],
    described: Described,
    options: Options,
    observer: Observer,
) -> Assembled:
    """Find the files, and look at each."""
    named = expand(
        files,
        dataset=options.dataset,
        tree=options.tree,
        declared=described.tree,
        redirectors=options.redirectors,
    )
    named = with_expected(named, options.check, observer)
    if needs_credentials(file.path for file in named):
        for note in credential_notes(find_credentials()):
            observer.note(note)
    assembled = assemble(named, scan(workers, named, described, observer))
    refuse_or_note(assembled.unread, named, options, observer)
    check_entries(assembled.datasets)
    _note_empty(assembled.datasets, observer)
    return assembled


def _check_target(options: Options) -> None:
    target: Any = options.target_seconds
    if target is None:
        return
    if isinstance(target, bool) or not isinstance(target, int | float) or not 0 < target < math.inf:
        raise UsageError(
            f"--target-time is {target!r}, expected a number of seconds above zero.",
            remedy="As in --target-time 20m, or target_seconds=1200.",
        )
    for name, value in (("--jobs", options.jobs), ("--events-per-job", options.events_per_job)):
        if value is not None:
            raise UsageError(
                f"{name} {value} and --target-time {say_duration(target)} exclude each other.",
                remedy="Give one of them.",
            )


def _cut_by_time(
    workers: Workers,
    plan: Plan,
    datasets: Sequence[Dataset],
    options: Options,
    folder: str,
    observer: Observer,
) -> Prepared:
    """Measure the analysis, and cut the plan again so that its jobs take the time asked for."""
    from eventflock.planning.timing import measure

    asked = float(options.target_seconds or 0)
    sizing = _sizing(datasets, options)
    measured = measure(workers, plan, datasets, sizing, folder, observer)
    start_up = START_UP_SECONDS if options.packing is not None else 0.0
    counts, target = jobs_each(measured, asked, start_up)
    if target > asked:
        observer.note(
            f"Jobs of {say_duration(asked)} would be more than {MOST_JOBS:,}: they are cut to take "
            f"{say_duration(target)}. --jobs or --events-per-job makes as many as it says."
        )
    for one in measured:
        if one.event_seconds > target and events_per_job(one, target, start_up) == 1:
            observer.note(
                f"One event of {one.dataset!r} takes {say_duration(one.event_seconds)}, more than "
                f"the {say_duration(target)} of a job: each of its jobs has 1 event."
            )
    by_name = {one.dataset: count for one, count in zip(measured, counts, strict=True)}
    each = tuple(by_name.get(dataset.name, 0) for dataset in datasets)
    jobs = cut(datasets, msgspec.structs.replace(sizing, jobs_each=each))
    return Prepared(msgspec.structs.replace(plan, jobs=jobs), measured, target)


@contextlib.contextmanager
def _frozen(ref: AnalysisRef, source: bytes) -> Iterator[str]:
    """Yield the folder with the frozen code before there is a run folder, if one is needed."""
    if not ref.file or _is_there(ref, source):
        yield ""
        return
    with TemporaryDirectory(prefix="eventflock-") as folder:
        (Path(folder) / ref.file).write_bytes(source)
        yield folder


def _is_there(ref: AnalysisRef, source: bytes) -> bool:
    """Check whether the file of an analysis has what was frozen: some were never a file."""
    try:
        return Path(ref.origin).read_bytes() == source
    except OSError:
        return False


def _describe(
    workers: Workers,
    ref: AnalysisRef,
    folder: str,
    options: Options,
    parameters: Mapping[str, Any],
) -> Described:
    request = Describe(
        analysis=ref,
        folder=folder,
        parameters=store_parameters(parameters),
        text=options.text,
    )
    ((_, reply),) = workers.ask([request])
    return expect(reply, Described)


def _note_empty(datasets: Sequence[Dataset], observer: Observer) -> None:
    empty = [file.path for dataset in datasets for file in dataset.files if not file.entries]
    for path in empty[:5]:
        observer.note(f"{path} has no entries.")
    if len(empty) > 5:
        observer.note(f"{len(empty) - 5:,} more files have no entries.")


def _note_written(asked: Mapping[str, DryCalled], observer: Observer) -> None:
    names = sorted({name for reply in asked.values() for name in reply.written})
    if names:
        observer.note(
            f"The analysis writes {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}: each "
            "call writes it anew. In the result is only what the analysis returns."
        )


def make_plan(
    ref: AnalysisRef,
    parameters: dict[str, Any],
    datasets: Sequence[Dataset],
    options: Options,
    unread: tuple[UnreadFile, ...] = (),
) -> Plan:
    """Cut the datasets into jobs, as `options` say."""
    plan = _plan(ref, parameters, datasets, _sizing(datasets, options), options)
    return msgspec.structs.replace(plan, unread=unread)


def _trial_plan(
    ref: AnalysisRef, parameters: dict[str, Any], datasets: Sequence[Dataset], options: Options
) -> Plan:
    """Plan one entry of each dataset: that is all that a call with no events needs."""
    sizing = _sizing(datasets, options)
    check_sizing(sizing, len(datasets))
    start = sizing.entries[0] if sizing.entries else 0
    return _plan(ref, parameters, datasets, Sizing(entries=(start, start + 1)), options)


def _plan(
    ref: AnalysisRef,
    parameters: dict[str, Any],
    datasets: Sequence[Dataset],
    sizing: Sizing,
    options: Options,
) -> Plan:
    return Plan(
        format=PLAN_FORMAT,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        analysis=ref,
        parameters=parameters,
        datasets=tuple(_without_clusters(dataset) for dataset in datasets),
        jobs=cut(datasets, sizing),
        seed=_seed(options.seed),
        lumis=_lumis(options.lumis),
    )


def _seed(given: Any) -> int:
    if type(given) is not int or given < 0:
        raise UsageError(f"The seed is {given!r}, expected an integer from 0.")
    return given


def _lumis(given: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.split(",")) if given else ()
    if names and (len(names) != 2 or not all(names)):
        raise UsageError(
            f"--lumis is {given!r}, expected the names of two branches.",
            remedy="As in --lumis run,luminosityBlock.",
        )
    return names


def _sizing(datasets: Sequence[Dataset], options: Options) -> Sizing:
    return Sizing(
        jobs=options.jobs,
        events_per_job=options.events_per_job,
        entries=restrict(datasets, options.entries) if options.entries else None,
        chunk=options.chunk,
    )


def _without_clusters(dataset: Dataset) -> Dataset:
    files = tuple(msgspec.structs.replace(file, clusters=()) for file in dataset.files)
    return msgspec.structs.replace(dataset, files=files)


def _try(
    workers: Workers, plan: Plan, folder: str, observer: Observer, *, clean: bool
) -> dict[str, DryCalled]:
    """Call the analysis on no events of each dataset, to find early what would stop every job.

    Returns
    -------
    dict
        By the name of the dataset, what the analysis has asked for.
    """
    first = FrozenPlan(plan).first_assignments()
    requests = [DryCall(assignment=assignment, folder=folder, clean=clean) for assignment in first]
    answers = ask_patiently(workers.ask, [[request] for request in requests], observer)
    replies = [_dry_called(reply) for reply in answers]
    return {one.dataset: reply for one, reply in zip(first, replies, strict=True)}


def _dry_called(reply: Reply) -> DryCalled:
    """Return what a call has shown; nothing if its file cannot be read, as the jobs will say it."""
    if isinstance(reply, Failed):
        failure = reply.failure
        if failure.kind == ErrorKind.INPUT and failure.code != FailureCode.BRANCH:
            return DryCalled()
    return expect(reply, DryCalled)


def _with_branches(
    datasets: Sequence[Dataset], asked: Mapping[str, DryCalled]
) -> tuple[Dataset, ...]:
    """Note with each dataset what the analysis reads of it: sizes of chunks follow from that."""
    found = []
    for dataset in datasets:
        reply = asked.get(dataset.name, DryCalled())
        found.append(msgspec.structs.replace(dataset, branches=reply.branches, share=reply.share))
    return tuple(found)
