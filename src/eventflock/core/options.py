"""What can be said about a run, on the command line or in a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from eventflock.core.structs import Frozen

__all__ = [
    "GLIBC_MODES",
    "IDLE",
    "LOOKS",
    "PYTHONS",
    "SITE_PYTHON",
    "STALL_SECONDS",
    "Acceptance",
    "Expected",
    "JobLimits",
    "Options",
    "PackOptions",
    "SubmitOptions",
]

STALL_SECONDS = 600.0
"""A job without any progress for so long gives up, unless the user says otherwise."""
IDLE = 0.002
"""Of the time: what computes less than this, and finishes nothing, makes no progress."""
LOOKS = 20
"""How often it is looked whether a limit has passed, before it can have."""


Expected: TypeAlias = str | Path | Mapping[str, Any] | Sequence[Any]
"""Numbers of entries: a JSON file, or what would be in it."""
GLIBC_MODES = ("auto", "never", "always")
"""When the bundled glibc of a packed environment is used: where the node's is too old, or never,
or always."""
SITE_PYTHON = "site"
PYTHONS = ("", "standalone", SITE_PYTHON)
"""Whose Python runs the jobs: the one that packs, one that uv manages, or the node's own."""


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


class PackOptions(Frozen, frozen=True, omit_defaults=True):
    """What the user says about the environment that jobs bring along.

    Attributes
    ----------
    include
        Names of distributions, and paths (`--with`).
    exclude
        Names of distributions that are left out although something needs them (`--without`).
    requirements
        A requirements file, a `pylock.toml` or a `uv.lock`; empty for the running environment.
    everything
        The whole environment instead of what is imported.
    python
        `standalone` to pack a Python that uv manages, `site` to run the node's own with the packed
        packages before its own, else empty.
    glibc
        When the bundled glibc is used: `auto`, `never` or `always`.
    node_cache
        A folder of nodes in which the environment is kept unpacked for other jobs; `auto` for one
        of the launcher's choice, empty for none.
    setup
        Shell that is sourced on a node before Python starts: it sets up the site's software.
    container
        An image in which jobs run: a file, a folder, or a name as `docker://debian:13`.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    requirements: str = ""
    everything: bool = False
    python: str = ""
    glibc: str = "auto"
    node_cache: str = ""
    setup: str = ""
    container: str = ""

    def names(self) -> tuple[str, ...]:
        """Return the distributions that are named."""
        return tuple(name for name in self.include if not _is_path(name))

    def paths(self) -> tuple[str, ...]:
        """Return the paths that are named."""
        return tuple(name for name in self.include if _is_path(name))


def _is_path(text: str) -> bool:
    """Check whether this is a path, not the name of a distribution, by the rule of pip."""
    return "/" in text or text.startswith((".", "~"))


class SubmitOptions(Frozen, frozen=True, omit_defaults=True):
    """What the user says about a batch system, beside what stands in `eventflock.toml`.

    Attributes
    ----------
    profile
        A named set of them (`--profile`).
    submit
        Submit commands of HTCondor, or options of sbatch, each as `NAME=VALUE` (`--submit`).
    schedd, collector
        For HTCondor, where to submit, if not on this machine: the name of a schedd, and the
        collector it is known to.
    spool
        For HTCondor: the schedd shares no disk with this machine, files are sent and fetched.
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
    files
        Of the files that must have been read.
    strict
        Events for which the analysis itself raised must not be missing at all.
    """

    fraction: float = 1.0
    files: float = 1.0
    strict: bool = True


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said about a run beside the analysis and the files.

    Attributes
    ----------
    pool, workers
        Where jobs run, and in how many processes.
    jobs, events_per_job, chunk
        See `plan.Sizing`.
    entries
        `START:STOP`, in each dataset's files laid end to end.
    parameters
        Of the analysis; as text where `text` is set.
    seed
        Of random numbers.
    tree, dataset
        Names for the files that do not say themselves.
    lumis
        Branches with run and luminosity section that are collected, as `run,luminosityBlock`.
    schema
        What makes objects of branches, instead of what the analysis says.
    strict_files
        Refuse to run if a file cannot be read, instead of leaving it out.
    redirectors
        Where files are looked for that cannot be read where they are named, such as
        `root://host`.
    check
        The numbers of entries that files should have: a JSON file, or what would be in it.
    out
        The run folder; chosen if it is None.
    target_seconds
        Wall time that a job should take, by which jobs are cut where no number is given: trials
        on this machine decide how many events that are.
    detach
        Submit, and do not wait.
    submission
        About the batch system.
    limits
        Limits of jobs that hang or take too long.
    acceptance
        When a result that is not complete is good enough.
    packing
        Ship a packed environment with each job, made as it says; None to use what is installed.
    """

    pool: str = "local"
    workers: int | None = None
    jobs: int | None = None
    events_per_job: int | None = None
    target_seconds: float | None = None
    entries: str = ""
    chunk: int | None = None
    parameters: Mapping[str, Any] = {}
    text: bool = False
    seed: int = 0
    tree: str = ""
    dataset: str = ""
    schema: str = ""
    lumis: str = ""
    strict_files: bool = False
    redirectors: tuple[str, ...] = ()
    check: Expected = ""
    out: Path | None = None
    detach: bool = False
    submission: SubmitOptions = SubmitOptions()
    packing: PackOptions | None = None
    limits: JobLimits = JobLimits(stall_seconds=STALL_SECONDS)
    acceptance: Acceptance = Acceptance()
