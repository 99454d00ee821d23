"""The frozen structs that everything else passes around. This module imports nothing of ours.

They are msgspec structs, so that what is written to disk and what crosses a pipe has one
definition and one check: an unknown field or a wrong type is an error when it is read.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any, TypeVar

import msgspec

__all__ = [
    "FORMAT",
    "GLIBC_MODES",
    "NO_UUID",
    "Acceptance",
    "AnalysisRef",
    "Assignment",
    "Counters",
    "Coverage",
    "Dataset",
    "Failure",
    "FileEntry",
    "Item",
    "Job",
    "JobLimits",
    "Manifest",
    "PackOptions",
    "Plan",
    "Range",
    "SubmitOptions",
    "digest",
    "from_json",
    "to_json",
]

T = TypeVar("T")

NO_UUID = "00000000-0000-0000-0000-000000000000"
"""What ROOT writes with its option `reproducible`: it identifies nothing."""

FORMAT = 1
"""Version of the plan and of the result file. It grows when an old reader would be misled."""


GLIBC_MODES = ("auto", "never", "always")
"""When the bundled glibc of a packed environment is used: where the node's is too old, or never,
or always."""


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the structs here: refuses fields it does not know."""


class FileEntry(Frozen, frozen=True, omit_defaults=True):
    """One file of a dataset, as it was when it was scanned.

    Attributes
    ----------
    path
        Absolute path or URL.
    tree
        Name of the TTree or RNTuple in it, directories included.
    uuid
        UUID that ROOT wrote into the file.
    size
        Size in bytes.
    entries
        Number of entries of the tree.
    entry_bytes
        Mean uncompressed bytes per entry over all branches, for choosing the chunk size.
    clusters
        Entry offsets at which all branches start a new basket, with 0 and `entries`.
        Needed for planning only, so a plan does not keep them.
    replicas
        Other paths or URLs of the same file, tried where this one cannot be read.
    """

    path: str
    tree: str
    uuid: str
    size: int
    entries: int
    entry_bytes: float = 0.0
    clusters: tuple[int, ...] = ()
    replicas: tuple[str, ...] = ()

    def place(self, replica: int) -> str:
        """Give where to read it: 0 for the planned path, or a replica if there are so many."""
        return self.replicas[replica - 1] if 0 < replica <= len(self.replicas) else self.path


class Dataset(Frozen, frozen=True, omit_defaults=True):
    """A named list of files with the same tree, and what the user says about it."""

    name: str
    files: tuple[FileEntry, ...]
    metadata: dict[str, Any] = {}


class Range(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Entries `[start, stop)` of one file, and where they are cut into chunks.

    Attributes
    ----------
    file
        Index of the file in its dataset (in an `Assignment`: in the assignment's files).
    start, stop
        First entry, and the one after the last.
    edges
        The chunk edges strictly between `start` and `stop`.
    """

    file: int
    start: int
    stop: int
    edges: tuple[int, ...] = ()

    def chunks(self) -> list[tuple[int, int]]:
        """Give the chunks as `(start, stop)`, in order."""
        cuts = (self.start, *self.edges, self.stop)
        return list(pairwise(cuts))


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """The ranges, all of one dataset, that one worker process does."""

    dataset: int
    ranges: tuple[Range, ...]

    @property
    def entries(self) -> int:
        """Number of entries in all ranges."""
        return sum(one.stop - one.start for one in self.ranges)


class AnalysisRef(Frozen, frozen=True, omit_defaults=True):
    """How a worker finds the analysis: the frozen code and the name in it.

    Attributes
    ----------
    name
        Name of the analysis in its module.
    origin
        What the user named: a path, or a module. Empty for one typed into a notebook.
    file
        File name of the frozen copy under `analysis/` in the run folder; empty for a module
        that is installed.
    sha256
        Of the source, so that a result says which code made it.
    search
        Folders that were on the module search path because of this analysis.
    helpers
        The user's own modules beside it that it imports, by path, with their SHA-256: a run is
        not continued with others.
    """

    name: str
    origin: str = ""
    file: str = ""
    sha256: str = ""
    search: tuple[str, ...] = ()
    helpers: dict[str, str] = {}


class Plan(Frozen, frozen=True):
    """All jobs of a run, frozen when the run is made."""

    format: int
    version: str
    created: str
    analysis: AnalysisRef
    parameters: dict[str, Any]
    datasets: tuple[Dataset, ...]
    jobs: tuple[Job, ...]

    @property
    def entries(self) -> int:
        """Number of entries in all jobs."""
        return sum(job.entries for job in self.jobs)


class JobLimits(Frozen, frozen=True, omit_defaults=True):
    """How carefully a job is done: what other tries of it have taught, and its limits.

    Attributes
    ----------
    isolate
        Find the smallest ranges that fail, and do all others, instead of failing as a whole.
    stall_seconds
        Give up after so long without any progress; 0 for never.
    limit_seconds
        Give up after so long in any case; 0 for never.
    replica
        Which replica of its files to read; 0 for the planned path.
    """

    isolate: bool = False
    stall_seconds: float = 0.0
    limit_seconds: float = 0.0
    replica: int = 0


class Assignment(Frozen, frozen=True, omit_defaults=True):
    """One job, or a piece of one, with all that a worker needs, so that the plan need not travel.

    Attributes
    ----------
    piece
        Which part of the job this is, as in `pieces`; empty for all of it.
    first
        Number of the first chunk in the tree along which results are added.
    """

    plan: str
    job: int
    dataset: str
    metadata: dict[str, Any]
    files: tuple[FileEntry, ...]
    ranges: tuple[Range, ...]
    analysis: AnalysisRef
    parameters: dict[str, Any]
    piece: str = ""
    first: int = 0
    limits: JobLimits = JobLimits()


class PackOptions(Frozen, frozen=True, omit_defaults=True):
    """What the user says about the environment that jobs bring along.

    Attributes
    ----------
    include
        Names of distributions, and paths (`--with`).
    requirements
        A requirements file, a `pylock.toml` or a `uv.lock`; empty for the running environment.
    everything
        The whole environment instead of what is imported.
    python
        `standalone` for a Python that uv manages, else empty.
    glibc
        When the bundled glibc is used: `auto`, `never` or `always`.
    """

    include: tuple[str, ...] = ()
    requirements: str = ""
    everything: bool = False
    python: str = ""
    glibc: str = "auto"

    def names(self) -> tuple[str, ...]:
        """Give the distributions that are named."""
        return tuple(one for one in self.include if not _is_path(one))

    def paths(self) -> tuple[str, ...]:
        """Give the paths that are named."""
        return tuple(one for one in self.include if _is_path(one))


def _is_path(text: str) -> bool:
    """Tell a path from the name of a distribution, as pip does: by a slash, or a dot before it."""
    return "/" in text or text.startswith((".", "~"))


class SubmitOptions(Frozen, frozen=True, omit_defaults=True):
    """What the user says about an HTCondor pool, beside what stands in `eventflock.toml`.

    Attributes
    ----------
    profile
        A named set of submit commands (`--profile`).
    submit
        Submit commands, each as `NAME=VALUE` (`--submit`).
    schedd, collector
        Where to submit, if not on this machine: the name of a schedd, and the collector it is
        known to.
    spool
        The schedd does not share a disk with this machine: files are sent there and fetched.
    """

    profile: str = ""
    submit: tuple[str, ...] = ()
    schedd: str = ""
    collector: str = ""
    spool: bool = False


class Acceptance(Frozen, frozen=True, omit_defaults=True):
    """When a result that is not complete is good enough.

    Attributes
    ----------
    fraction
        Of the planned events that must be in it.
    strict
        Events for which the analysis itself raised must not be missing at all.
    """

    fraction: float = 1.0
    strict: bool = True


class Coverage(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    gc=False,
    order=True,
    forbid_unknown_fields=True,
):
    """Entries `[start, stop)` of one tree of one file that a result contains."""

    dataset: str
    uuid: str
    tree: str
    path: str
    start: int
    stop: int


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
    """Why a job has no result, in words, and where.

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


class Item(Frozen, frozen=True, omit_defaults=True):
    """One entry of a result.

    Attributes
    ----------
    path
        The dataset's name and then the keys of the (nested) mapping.
    kind
        `histogram`, `array`, `skim`, `int`, `float` or `complex`.
    name
        Base name of the payload in the ZIP, for the first three.
    value
        The number as text, for the others: JSON has no infinities and no exact big integers.
    """

    path: tuple[str, ...]
    kind: str
    name: str = ""
    value: str = ""


class Payload(Frozen, frozen=True):
    """Size in bytes and SHA-256 of one member of the ZIP, uncompressed."""

    size: int
    sha256: str


class Manifest(Frozen, frozen=True):
    """What a result file says of itself.

    Attributes
    ----------
    status
        `done`, `partial` or `failed` for a job; `complete` or `partial` for a merged run.
    plan
        SHA-256 of the plan that it belongs to.
    job
        Number of the job; -1 for a merged run.
    piece
        Which part of the job it is; empty for all of it.
    planned
        Number of entries that the job or the run was to do.
    failures
        Of a job that is partial: why each range is missing.
    accepted
        Of a run that is partial: the fraction of its events that was said to be enough.
    """

    format: int
    status: str
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
    items: tuple[Item, ...] = ()
    payloads: dict[str, Payload] = {}


def to_json(value: Any) -> bytes:
    """Encode any of these structs; the same value gives the same bytes."""
    return msgspec.json.encode(value, order="deterministic")


def from_json(data: bytes, kind: type[T]) -> T:
    """Decode and check one of these structs.

    Raises
    ------
    msgspec.MsgspecError
        Not JSON, or not this struct.
    """
    return msgspec.json.decode(data, type=kind)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
