"""What a plan is made of: datasets, files, ranges of entries, jobs, and what a worker is given."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from eventflock.core.options import JobLimits
from eventflock.core.structs import Frozen
from eventflock.core.task import Table, Task

__all__ = [
    "FORMAT",
    "FORMATS",
    "NO_UUID",
    "PLAN_FORMAT",
    "PLAN_FORMATS",
    "AnalysisRef",
    "Assignment",
    "Dataset",
    "FileEntry",
    "Job",
    "Plan",
    "Range",
    "SecondTree",
    "UnreadFile",
    "WantedTree",
    "first_events",
]


NO_UUID = "00000000-0000-0000-0000-000000000000"
"""What ROOT writes with its option `reproducible`: it identifies nothing."""


FORMAT = 4
"""Version of the result file; 2 has second trees, unread files and metadata, 3 has kept files;
4 has sets, lists, columns, flags, texts, empty mappings, and integers as names."""
FORMATS = (1, 2, 3, FORMAT)
"""The versions that can be read."""
PLAN_FORMAT = 4
"""Version of the plan; 2 says of datasets which branches the analysis asks for, 3 may have rows,
4 has a seed."""
PLAN_FORMATS = (1, 2, 3, PLAN_FORMAT)
"""The versions that can be read."""


class SecondTree(Frozen, frozen=True):
    """Another tree of a file that a run reads, such as `Runs` beside `Events`.

    Attributes
    ----------
    name
        Of the function that reads it, and of its results.
    tree
        Name of the tree, directories included.
    entries
        Number of its entries.
    """

    name: str
    tree: str
    entries: int


class WantedTree(Frozen, frozen=True):
    """A second tree that an analysis reads: name of the function, tree, and its only columns."""

    name: str
    tree: str
    columns: tuple[str, ...] = ()


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
    steps
        The entries that are asked for, as `(start, stop)` in order; empty for all of them.
    twin
        Whether another file of the dataset has the same UUID, and is not the same: one of them was
        copied, and changed after that.
    modified
        When the file was changed last, in nanoseconds since 1970; only of files on this machine
        without a UUID, as nothing else tells them from files written anew.
    second
        Its other trees that are read.
    checked
        Whether a catalogue says the same number of entries.
    """

    path: str
    tree: str
    uuid: str
    size: int
    entries: int
    entry_bytes: float = 0.0
    clusters: tuple[int, ...] = ()
    replicas: tuple[str, ...] = ()
    steps: tuple[tuple[int, int], ...] = ()
    modified: int = 0
    twin: bool = False
    second: tuple[SecondTree, ...] = ()
    checked: bool = False

    @property
    def identity(self) -> str:
        """What tells this file from all others of its dataset, where it has a UUID."""
        return f"{self.uuid}/{self.size}/{self.entries}" if self.twin else self.uuid

    @property
    def asked(self) -> tuple[tuple[int, int], ...]:
        """The entries that are asked for, as `(start, stop)` in order."""
        return self.steps or ((0, self.entries),)

    def tree_of(self, part: Range) -> str:
        """Return the name of the tree that a range is of."""
        return self.second[part.second - 1].tree if part.second else self.tree

    def of_tree(self, number: int) -> FileEntry:
        """Return the file as one whose events are in its n-th second tree; 0 for itself."""
        if not number:
            return self
        tree = self.second[number - 1]
        changes = {"tree": tree.tree, "entries": tree.entries, "steps": (), "second": ()}
        return msgspec.structs.replace(self, **changes)

    @property
    def places(self) -> tuple[str, ...]:
        """The planned path and its replicas."""
        return (self.path, *self.replicas)

    def place(self, replica: int) -> str:
        """Return where to read it: 0 for the planned path, or a replica if there are so many."""
        return self.replicas[replica - 1] if 0 < replica <= len(self.replicas) else self.path


class UnreadFile(Frozen, frozen=True, omit_defaults=True):
    """A file that was asked for and is not in the plan: nobody knows what is in it.

    Attributes
    ----------
    dataset, path
        As the user named it.
    kind, message, remedy, code
        Why it could not be read, as in `Failure`.
    tree
        Empty if the user did not say.
    replicas, steps
        See `FileEntry`.
    expected
        How many entries it should have, if that was said.
    """

    dataset: str
    path: str
    kind: str
    message: str
    tree: str = ""
    remedy: str = ""
    code: str = ""
    replicas: tuple[str, ...] = ()
    steps: tuple[tuple[int, int], ...] = ()
    expected: int | None = None


class Dataset(Frozen, frozen=True, omit_defaults=True):
    """A named list of files with the same tree, and what the user says about it.

    Attributes
    ----------
    branches
        The branches that the analysis asks for, as far as a call with no events shows.
    share
        Their share of the uncompressed bytes: the sizes of chunks and jobs follow from it. A branch
        that is asked for later makes a chunk larger than it should be, and no event is wrong.
    parameters
        Of the analysis, for this dataset alone; they win over those of the plan.
    """

    name: str
    files: tuple[FileEntry, ...]
    metadata: dict[str, Any] = {}
    branches: tuple[str, ...] = ()
    share: float = 1.0
    parameters: dict[str, Any] = {}


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
    second
        0 for entries of the tree with the events, n for those of the n-th second tree of the file.
    """

    file: int
    start: int
    stop: int
    edges: tuple[int, ...] = ()
    second: int = 0

    @property
    def events(self) -> int:
        """Number of events; entries of second trees are none."""
        return 0 if self.second else self.stop - self.start

    def chunks(self) -> list[tuple[int, int]]:
        """Return the chunks as `(start, stop)`, in order."""
        cuts = (self.start, *self.edges, self.stop)
        return list(pairwise(cuts))


def first_events(ranges: Sequence[Range]) -> Range:
    """Return the first range with events; the first of all if there are only second trees."""
    return next((part for part in ranges if part.events), ranges[0])


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """The ranges, all of one dataset, that one worker process does."""

    dataset: int
    ranges: tuple[Range, ...]

    @property
    def entries(self) -> int:
        """Number of events in all ranges."""
        return sum(part.events for part in self.ranges)


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
        The user's own modules beside it that it imports, and the data files that it opens, by
        path, with their SHA-256: a run is not continued with others.
    working
        The working folder when the run was made: what the analysis opens by names relative to it
        is there for a job under the same names.
    task
        What is done for each row of a table, where this is no analysis of events.
    schema
        What makes objects of branches for it, if anything does.
    postprocess
        Whether it has something to do with the merged result, as processors of coffea may.
    """

    name: str
    origin: str = ""
    file: str = ""
    sha256: str = ""
    search: tuple[str, ...] = ()
    helpers: dict[str, str] = {}
    working: str = ""
    task: Task | None = None
    schema: str = ""
    postprocess: bool = False


class Plan(Frozen, frozen=True):
    """All jobs of a run, frozen when the run is made.

    Attributes
    ----------
    unread
        Files that could not be read: without them, no result is complete.
    table
        The rows, where jobs do rows instead of events.
    seed
        Of random numbers.
    lumis
        The branches with run and luminosity section, if these are collected.
    """

    format: int
    version: str
    created: str
    analysis: AnalysisRef
    parameters: dict[str, Any]
    datasets: tuple[Dataset, ...]
    jobs: tuple[Job, ...]
    unread: tuple[UnreadFile, ...] = ()
    table: Table | None = None
    seed: int = 0
    lumis: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        """What an entry is called."""
        return "event" if self.table is None else "row"

    @property
    def files(self) -> int:
        """Number of files that were asked for, those that cannot be read included."""
        return sum(len(dataset.files) for dataset in self.datasets) + len(self.unread)

    @property
    def entries(self) -> int:
        """Number of entries in all jobs."""
        return sum(job.entries for job in self.jobs)


class Assignment(Frozen, frozen=True, omit_defaults=True):
    """One job, or a piece of one, with all that a worker needs, so that the plan need not travel.

    Attributes
    ----------
    piece
        Which part of the job this is, as in `pieces`; empty for all of it.
    first
        Number of the first chunk in the tree along which results are added.
    branches
        Those that the analysis is known to ask for.
    rows
        Of a job that does rows instead of events.
    seed, lumis
        Of the run.
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
    branches: tuple[str, ...] = ()
    rows: Table | None = None
    seed: int = 0
    lumis: tuple[str, ...] = ()

    @property
    def inputs(self) -> list[str]:
        """The files that it reads, local paths and URLs: where it runs, it needs them."""
        if self.rows is not None:
            return list(self.rows.inputs)
        return [file.place(self.limits.replica) for file in self.files]
