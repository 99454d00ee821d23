"""What a result file says of itself: coverage, counters, failures, and the list of its results."""

from __future__ import annotations

import re
import socket
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from eventflock.core.model import NO_UUID, AnalysisRef, FileEntry, Range, UnreadFile
from eventflock.core.states import ResultStatus
from eventflock.core.structs import Frozen, digest, to_json
from eventflock.core.task import Row

if TYPE_CHECKING:
    from eventflock.errors import EventflockError

__all__ = [
    "Counters",
    "Coverage",
    "Failure",
    "ImportedFile",
    "Item",
    "KeptFile",
    "KeyPath",
    "Manifest",
    "Payload",
]


class Coverage(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    gc=False,
    order=True,
    forbid_unknown_fields=True,
):
    """Entries `[start, stop)` of one tree of one file that a result contains.

    Attributes
    ----------
    second
        Whether this is not the tree with the events.
    """

    dataset: str
    uuid: str
    tree: str
    path: str
    start: int
    stop: int
    second: bool = False

    @classmethod
    def of(cls, dataset: str, entry: FileEntry, part: Range) -> Coverage:
        """Return the coverage by a range of a file."""
        return cls(
            dataset=dataset,
            uuid=entry.identity,
            tree=entry.tree_of(part),
            path=entry.path,
            start=part.start,
            stop=part.stop,
            second=part.second > 0,
        )

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells the tree from all others: dataset, file, and name."""
        return (self.dataset, self.uuid if self.uuid != NO_UUID else self.path, self.tree)

    def followed_by(self, other: Coverage) -> Coverage | None:
        """Return both as one, if the other continues this, and no path is lost by that."""
        if (self.stop, self.path, self.key) != (other.start, other.path, other.key):
            return None
        return msgspec.structs.replace(self, stop=other.stop)


class Counters(Frozen, frozen=True):
    """What a job, or a whole run, did. `bytes_read` are bytes requested from the files."""

    events: int = 0
    chunks: int = 0
    bytes_read: int = 0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Largest resident set of the process, in bytes."""
    waiting_seconds: float = 0.0
    """Of the wall time, those in which the process did not compute: it waited for input."""


class Failure(Frozen, frozen=True, omit_defaults=True):
    """Why a job has no result, in a sentence, and where it failed.

    Attributes
    ----------
    kind
        As of the errors in `errors`.
    code
        What a pool knows of a job that left no receipt, such as `hold:memory` or `signal:SIGKILL`.
    host
        Where it happened.
    """

    kind: str
    message: str
    remedy: str = ""
    traceback: str = ""
    path: str = ""
    start: int = 0
    stop: int = 0
    code: str = ""
    host: str = ""

    @classmethod
    def of(cls, error: EventflockError, path: str = "", start: int = 0, stop: int = 0) -> Failure:
        """Return an error of this process in the form that travels in receipts."""
        return cls(
            kind=error.kind,
            message=error.message[:4000],
            remedy=error.remedy,
            traceback=error.traceback[-40_000:],
            path=path,
            start=start,
            stop=stop,
            code=error.code,
            host=socket.gethostname(),
        )


KeyPath = tuple[str | int, ...]
"""The dataset's name and then the keys of the (nested) mapping of results."""


class Item(Frozen, frozen=True, omit_defaults=True):
    """One entry of a result.

    Attributes
    ----------
    path
        Its place.
    kind
        `histogram`, `array`, `column`, `skim`, `set`, `list`; `int`, `float`, `complex`, `text`,
        `any`, `all`; or `mapping`, an empty one.
    name
        Base name of the payload in the ZIP, for the first six.
    value
        The number as text, or the text, for the others: JSON has no infinities and no exact big
        integers.
    """

    path: KeyPath
    kind: str
    name: str = ""
    value: str = ""


class Payload(Frozen, frozen=True):
    """Size in bytes and SHA-256 of one member of the ZIP, uncompressed."""

    size: int
    sha256: str


class ImportedFile(Frozen, frozen=True):
    """A file of another program that a result was made of."""

    path: str
    size: int
    sha256: str


class KeptFile(Frozen, frozen=True, omit_defaults=True):
    """A file that an analysis wrote for a chunk, and keeps.

    Attributes
    ----------
    name
        As the analysis calls it.
    of
        The entries that it was written for.
    job, piece, member
        The result file that has it, and its name in the ZIP.
    """

    name: str
    of: Coverage
    size: int
    sha256: str
    job: int
    member: str
    piece: str = ""

    @property
    def place(self) -> str:
        """Where it is in the folder `kept` of a run; no two files of a run have the same."""
        stem = _slug(PurePosixPath(self.of.path).stem)
        tree = digest(to_json(self.of.key))[:8]
        entries = f"{self.of.start:09d}-{self.of.stop:09d}"
        return f"{_slug(self.of.dataset)}/{stem}-{tree}/{entries}/{self.name}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:60] or "_"


class Manifest(Frozen, frozen=True):
    """What a result file says of itself.

    Attributes
    ----------
    status
        See `ResultStatus`: `complete` is for a merged run only, `done` for a job.
    plan
        SHA-256 of the plan that it belongs to.
    job
        Number of the job; -1 for a merged run.
    piece
        Which part of the job it is; empty for all of it.
    planned
        Number of events that the job or the run was to do.
    failures
        Of a job that is partial: why each range is missing.
    accepted, accepted_files
        Of a run that is partial: the fractions of its events and files that were said to be enough.
    unread
        Of a run: the files that could not be read, which `planned` does not count.
    metadata
        Of a run: what its filesets say about the datasets.
    kept
        Files that the analysis wrote and keeps; those of a run lie beside its result.
    rows
        How each row ended, where jobs do rows instead of events; those of a run lie beside it.
    imported
        Of an imported result: the files that it was made of.
    seed
        Of random numbers.
    keyed
        Whether the analysis returned everything under the name of the dataset, as processors of
        coffea do. Here that name stands for the dataset itself.
    checked
        Of a run: the number of files whose number of entries a catalogue confirmed.
    """

    format: int
    status: ResultStatus
    plan: str
    job: int
    planned: int
    analysis: AnalysisRef
    parameters: dict[str, Any]
    coverage: tuple[Coverage, ...] = ()
    missing: tuple[Coverage, ...] = ()
    counters: Counters = Counters()
    branches: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    started: str = ""
    software: dict[str, str] = {}
    environment: str = ""
    error: Failure | None = None
    piece: str = ""
    failures: tuple[Failure, ...] = ()
    accepted: float = 0.0
    accepted_files: float = 0.0
    unread: tuple[UnreadFile, ...] = ()
    metadata: dict[str, dict[str, Any]] = {}
    checked: int = 0
    seed: int = 0
    keyed: bool = False
    kept: tuple[KeptFile, ...] = ()
    imported: tuple[ImportedFile, ...] = ()
    rows: tuple[Row, ...] = ()
    items: tuple[Item, ...] = ()
    payloads: dict[str, Payload] = {}
