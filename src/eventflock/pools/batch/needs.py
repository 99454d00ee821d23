"""What a job asks a batch system for."""

from __future__ import annotations

from typing import NamedTuple

from eventflock.core.structs import Frozen

__all__ = ["USUAL", "JobDemands", "JobNeeds"]


class JobNeeds(Frozen, frozen=True):
    """What jobs of a run ask for, unless the user asks for something else.

    Attributes
    ----------
    memory_mb, disk_mb
        In units of 2**20 bytes.
    seconds
        How long a job is expected to take; 0 if that is not known.
    limit_seconds
        How long a job may take; 0 for as long as the pool allows.
    credentials
        Whether files are at servers that may ask for a proxy or a token.
    """

    memory_mb: int
    disk_mb: int
    seconds: float = 0.0
    limit_seconds: float = 0.0
    credentials: bool = False


class JobDemands(NamedTuple):
    """How another try of a job differs from the first.

    Attributes
    ----------
    memory, disk
        Factors on what is usually asked for.
    avoid
        Machines on which the job must not run.
    """

    memory: float = 1.0
    disk: float = 1.0
    avoid: tuple[str, ...] = ()


USUAL = JobDemands()
