"""Looking at all files before a run: again where a server does not answer, and elsewhere.

What stays broken is no reason not to run: it is named, and the result is partial without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from eventflock.core.manifest import Failure
from eventflock.core.model import FileEntry, UnreadFile
from eventflock.core.observer import Observer, shown
from eventflock.core.options import Options
from eventflock.errors import EventflockError, UsageError, error_from, listed, plural
from eventflock.events.files import is_url
from eventflock.failures.codes import FailureCode
from eventflock.planning.datasets import unread_file
from eventflock.planning.filesets import NamedFile
from eventflock.planning.scan_cache import ScanCache
from eventflock.pools.roles import Workers
from eventflock.worker.messages import (
    Described,
    Failed,
    Reply,
    Scan,
    ScanMany,
    Scanned,
    ScannedMany,
)

__all__ = ["ask_patiently", "expect", "refuse_or_note", "scan"]

PAUSES = (1.0, 2.0, 4.0)
"""Seconds before a server is asked again that did not give a file."""
SHOWN = 10
CONNECTIONS = 32
"""So many far files each worker looks at, at the same time."""

T = TypeVar("T")
R = TypeVar("R")


def scan(
    workers: Workers, named: Sequence[NamedFile], described: Described, observer: Observer
) -> list[FileEntry | UnreadFile]:
    """Look at every file, at its replicas where it cannot be read, and once more after a pause.

    Returns
    -------
    list of FileEntry or UnreadFile
        In the order of `named`.
    """
    cache = ScanCache()

    def requests(file: NamedFile) -> list[Scan]:
        columns, second = described.columns, described.second
        return [
            cache.prepared(Scan(path=place, tree=file.tree, columns=columns, second=second))
            for place in (file.path, *file.replicas)
        ]

    def scans(several: Sequence[Scan]) -> Iterator[tuple[int, Reply]]:
        for index, reply in _scans(workers, several):
            if isinstance(reply, Scanned):
                cache.remember(several[index], reply)
            yield index, reply

    with shown(observer, "files", len(named)), closing(cache):
        asked = [requests(file) for file in named]
        replies = ask_patiently(scans, asked, observer, observer.update)
    return [_found(file, reply) for file, reply in zip(named, replies, strict=True)]


def _scans(workers: Workers, scans: Sequence[Scan]) -> Iterator[tuple[int, Reply]]:
    """Answer what is known, and ask for the others; for many far files at a time."""
    near: list[int] = []
    far: list[int] = []
    for index, one in enumerate(scans):
        if is_url(one.path):
            far.append(index)
        elif one.known is not None:
            yield index, Scanned(entry=one.known)
        else:
            near.append(index)
    each = max(min(CONNECTIONS, -(-len(far) // max(workers.count, 1))), 1)
    batches = [far[start : start + each] for start in range(0, len(far), each)]
    many = [ScanMany(scans=tuple(scans[n] for n in batch)) for batch in batches]
    for index, reply in workers.ask([*(scans[n] for n in near), *many]):
        if index < len(near):
            yield near[index], reply
            continue
        batch = batches[index - len(near)]
        if isinstance(reply, ScannedMany):
            yield from zip(batch, reply.replies, strict=True)
        else:
            yield from ((n, reply) for n in batch)


def ask_patiently(
    ask: Callable[[Sequence[R]], Iterable[tuple[int, Reply]]],
    asked: Sequence[Sequence[R]],
    observer: Observer,
    update: Callable[[int], object] = lambda _: None,
) -> list[Reply]:
    """Ask, and ask again for files that a server did not give: its trouble may pass.

    Parameters
    ----------
    ask
        Answers requests in any order, each answer with the number of its request.
    asked
        For each answer, the requests that may give it, the best first.
    update
        Receives the number of answers that are there.

    Returns
    -------
    list
        One answer for each; of failures, that of the first request.
    """
    replies: dict[int, Reply] = {}
    left = list(range(len(asked)))
    for pause in (*PAUSES, None):
        passing: set[int] = set()
        for choice in range(max(map(len, asked), default=0)):
            left = [number for number in left if choice < len(asked[number])]
            failed: list[int] = []
            for index, reply in ask([asked[number][choice] for number in left]):
                number = left[index]
                if not isinstance(reply, Failed):
                    replies[number] = reply
                else:
                    failed.append(number)
                    if choice == 0:
                        replies[number] = reply
                    if reply.failure.code == FailureCode.UNREACHABLE:
                        passing.add(number)
                update(len(replies))
            left = sorted(failed)
        left = sorted(number for number in passing if isinstance(replies[number], Failed))
        if not left or pause is None:
            break
        first = replies[left[0]]
        message = first.failure.message if isinstance(first, Failed) else ""
        others = f", and {plural(len(left) - 1, 'other')}" if len(left) > 1 else ""
        observer.note(f"{message}{others}: tried again in {pause:g} s")
        time.sleep(pause)
    return [replies[number] for number in range(len(asked))]


def expect(reply: Reply, kind: type[T]) -> T:
    """Return an answer of the kind that was asked for.

    Raises
    ------
    EventflockError
        The request failed.
    """
    if isinstance(reply, Failed):
        raise error_from(reply.failure)
    if not isinstance(reply, kind):
        raise EventflockError(f"A worker answered {type(reply).__name__} to another question.")
    return reply


def _found(file: NamedFile, reply: Reply) -> FileEntry | UnreadFile:
    if isinstance(reply, Failed):
        return unread_file(file, error_from(reply.failure))
    return expect(reply, Scanned).entry


def refuse_or_note(
    unread: Sequence[UnreadFile], named: Sequence[NamedFile], options: Options, observer: Observer
) -> None:
    """Refuse to run without some of the files, or say that the result will be without them.

    Raises
    ------
    EventflockError
        All files are unread, or the user asked for it; a name that was typed leads nowhere; or
        with a range, as entries cannot be counted through files that cannot be read.
    """
    if not unread:
        return
    wrong = [file for file in unread if file.code == FailureCode.BRANCH]
    typed = {file.path for file in named if file.typed and not is_url(file.path)}
    wrong += [file for file in unread if file.path in typed and file.code == FailureCode.GONE]
    if wrong:
        raise _wrong_files(wrong, len(named))
    if options.strict_files or len(unread) == len(named):
        raise _wrong_files(unread, len(named))
    if options.entries:
        error = _wrong_files(unread, len(named))
        raise UsageError(
            f"The range {options.entries!r} cannot be counted through files that cannot be read: "
            f"{error.message}",
            remedy="Leave out the range, or the file.",
        )
    what = "is left out" if len(unread) == 1 else "are left out"
    observer.note(
        f"{len(unread):,} of {plural(len(named), 'file')} {what}, so the result will be PARTIAL:\n"
        f"{_listed(unread)}"
    )


def _listed(unread: Sequence[UnreadFile]) -> str:
    return "\n".join(listed([file.message for file in unread], SHOWN))


def _wrong_files(unread: Sequence[UnreadFile], total: int) -> EventflockError:
    first = unread[0]
    message = first.message
    if len(unread) > 1:
        message = f"{len(unread):,} of {total:,} files cannot be used:\n{_listed(unread)}"
    return error_from(
        Failure(kind=first.kind, message=message, remedy=first.remedy, code=first.code)
    )
