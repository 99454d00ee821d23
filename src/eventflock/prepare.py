"""From names of files to a plan: what is asked of a pool before a run exists."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

from eventflock._version import __version__
from eventflock.analysis import store_parameters
from eventflock.dataset import NamedFile, assemble, expand, restrict
from eventflock.errors import EventflockError, error_from
from eventflock.model import FORMAT, AnalysisRef, Assignment, Dataset, Failure, FileEntry, Plan
from eventflock.observe import Observer, shown
from eventflock.options import Options
from eventflock.plan import Sizing, assignment_of, cut
from eventflock.pools import Pool
from eventflock.worker.messages import (
    Describe,
    Described,
    Failed,
    Reply,
    Request,
    Scan,
    Scanned,
    Trial,
)

__all__ = ["make_plan", "prepare", "trials_of"]

T = TypeVar("T")


def prepare(
    pool: Pool,
    ref: AnalysisRef,
    source: bytes,
    files: Sequence[str],
    options: Options,
    observer: Observer,
) -> Plan:
    """Describe the analysis, scan the files, cut them into jobs, and try it on no events.

    Raises
    ------
    EventflockError
        Something about the call, the analysis or the files is wrong.
    """
    with _frozen(ref, source) as folder:
        described = _describe(pool, ref, folder, options)
        ref = msgspec.structs.replace(ref, name=described.name, helpers=described.helpers)
        named = expand(files, dataset=options.dataset, tree=options.tree or described.tree)
        datasets = assemble(named, _scan(pool, named, described.columns, observer))
        _note_empty(datasets, observer)
        plan = make_plan(ref, described.parameters, datasets, options)
        _try(pool, plan, folder)
    return plan


def trials_of(plan: Plan, plan_digest: str = "") -> list[Assignment]:
    """Give the first job of each dataset."""
    first: dict[int, int] = {}
    for job, one in enumerate(plan.jobs):
        first.setdefault(one.dataset, job)
    return [assignment_of(plan, plan_digest, job) for job in first.values()]


@contextlib.contextmanager
def _frozen(ref: AnalysisRef, source: bytes) -> Iterator[str]:
    """Give the folder with the frozen code before there is a run folder, if one is needed."""
    if not ref.file.endswith(".pickle"):
        yield ""
        return
    with TemporaryDirectory(prefix="eventflock-") as folder:
        (Path(folder) / ref.file).write_bytes(source)
        yield folder


def _describe(pool: Pool, ref: AnalysisRef, folder: str, options: Options) -> Described:
    request = Describe(
        analysis=ref,
        folder=folder,
        parameters=store_parameters(options.parameters),
        text=options.text,
    )
    (described,) = _answers(pool, [request], Described)
    return described


def _answers(pool: Pool, requests: Sequence[Request], kind: type[T]) -> list[T]:
    """Ask, and raise the first thing that is wrong."""
    found: dict[int, T] = {}
    for index, reply in pool.ask(requests):
        found[index] = _expect(reply, kind)
    return [found[index] for index in range(len(requests))]


def _expect(reply: Reply, kind: type[T]) -> T:
    if isinstance(reply, Failed):
        raise error_from(reply.failure)
    if not isinstance(reply, kind):
        raise EventflockError(f"A worker answered {type(reply).__name__} to another question.")
    return reply


def _scan(
    pool: Pool, named: Sequence[NamedFile], columns: tuple[str, ...], observer: Observer
) -> list[FileEntry]:
    """Look at every file, and report all that are wrong at once."""
    requests = [Scan(path=one.path, tree=one.tree, columns=columns) for one in named]
    found: dict[int, FileEntry] = {}
    wrong: dict[int, Failure] = {}
    with shown(observer, "files", len(named)):
        for index, reply in pool.ask(requests):
            if isinstance(reply, Failed):
                wrong[index] = reply.failure
            else:
                found[index] = _expect(reply, Scanned).entry
            observer.update(len(found) + len(wrong))
    if wrong:
        raise _wrong_files([wrong[index] for index in sorted(wrong)], len(named))
    return [found[index] for index in range(len(named))]


def _wrong_files(failures: Sequence[Failure], total: int) -> EventflockError:
    first = error_from(failures[0])
    if len(failures) == 1:
        return first
    lines = [f"  {one.message}" for one in failures[:10]]
    if len(failures) > 10:
        lines.append(f"  and {len(failures) - 10:,} more")
    return type(first)(
        f"{len(failures):,} of {total:,} files cannot be used:\n" + "\n".join(lines),
        remedy=first.remedy,
    )


def _note_empty(datasets: Sequence[Dataset], observer: Observer) -> None:
    empty = [file.path for one in datasets for file in one.files if not file.entries]
    for path in empty[:5]:
        observer.note(f"{path} has no entries.")
    if len(empty) > 5:
        observer.note(f"{len(empty) - 5:,} more files have no entries.")


def make_plan(
    ref: AnalysisRef, parameters: dict[str, Any], datasets: Sequence[Dataset], options: Options
) -> Plan:
    """Cut the datasets into jobs, as `options` say."""
    sizing = Sizing(
        jobs=options.jobs,
        events_per_job=options.events_per_job,
        entries=restrict(datasets, options.entries) if options.entries else None,
        chunk=options.chunk,
    )
    return Plan(
        format=FORMAT,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        analysis=ref,
        parameters=parameters,
        datasets=tuple(_without_clusters(one) for one in datasets),
        jobs=cut(datasets, sizing),
    )


def _without_clusters(dataset: Dataset) -> Dataset:
    files = tuple(msgspec.structs.replace(one, clusters=()) for one in dataset.files)
    return msgspec.structs.replace(dataset, files=files)


def _try(pool: Pool, plan: Plan, folder: str) -> None:
    """Call the analysis on no events of each dataset, to find early what would stop every job."""
    requests: list[Request] = [Trial(assignment=one, folder=folder) for one in trials_of(plan)]
    for _, reply in pool.ask(requests):
        if isinstance(reply, Failed):
            raise error_from(reply.failure)
