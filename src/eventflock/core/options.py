"""What can be said about a run, on the command line or in a call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.model import Acceptance, JobLimits, PackOptions, SubmitOptions

__all__ = ["STALL_SECONDS", "Options"]

STALL_SECONDS = 600.0
"""A job without any progress for so long gives up, unless the user says otherwise."""


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
    tree, dataset
        Names for the files that do not say themselves.
    out
        The run folder; chosen if it is None.
    target_seconds
        Wall time that a job should take, by which jobs are cut where no number is given: trials
        on this machine decide how many events that are.
    detach
        Submit, and do not wait.
    submission
        About the HTCondor pool.
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
    tree: str = ""
    dataset: str = ""
    out: Path | None = None
    detach: bool = False
    submission: SubmitOptions = SubmitOptions()
    packing: PackOptions | None = None
    limits: JobLimits = JobLimits(stall_seconds=STALL_SECONDS)
    acceptance: Acceptance = Acceptance()
