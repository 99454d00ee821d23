"""What jobs ask a batch system for: a pure function of the plan and of a forecast."""

from __future__ import annotations

import msgspec

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import Plan
from eventflock.core.options import JobLimits
from eventflock.core.task import Table
from eventflock.events.credentials import needs_credentials
from eventflock.events.files import is_url
from eventflock.packing.environment import TransferSizes
from eventflock.planning.forecast import Forecast
from eventflock.pools.batch.needs import JobNeeds

__all__ = ["job_needs"]

MEMORY_MB = 2048
"""Asked for where nothing was measured."""
MIB = 2**20
LIMIT_TIMES = 6.0
LIMIT_LEAST = 3600.0
"""A job may take so many times the forecast, and at least so many seconds."""


def job_needs(
    plan: Plan, sent: TransferSizes, expected: Forecast | None, limits: JobLimits
) -> JobNeeds:
    """Decide what jobs ask for, from a forecast or from what is known without one.

    Parameters
    ----------
    plan
        For the sizes of its files.
    sent
        What is sent with every job.
    expected
        The forecast, if there is one.
    limits
        What the user says; it wins.
    """
    if expected is not None:
        needs = JobNeeds(
            memory_mb=expected.request_memory_mb,
            disk_mb=expected.request_disk_mb,
            seconds=expected.job_seconds,
            limit_seconds=max(LIMIT_TIMES * expected.job_seconds, LIMIT_LEAST),
        )
    else:
        needs = JobNeeds(memory_mb=MEMORY_MB, disk_mb=_disk_mb(plan, sent))
    if limits.limit_seconds:
        rows = max(job.entries for job in plan.jobs) if plan.table is not None else 1
        needs = msgspec.structs.replace(needs, limit_seconds=rows * limits.limit_seconds)
    paths = [place for one in plan.datasets for file in one.files for place in file.places]
    if plan.table is not None:
        paths += [value for row in plan.table.rows for value in row]
    return msgspec.structs.replace(needs, credentials=needs_credentials(paths))


def _disk_mb(plan: Plan, sent: TransferSizes) -> int:
    """Return room for the archives, what they unpack to, and the inputs of the largest job."""
    archives = sent.environment_bytes + sent.unpacked_bytes + 2 * sent.code_bytes
    largest = 0
    if plan.table is not None:
        frozen = FrozenPlan(plan)
        parts = (frozen.assignment(job).rows or Table() for job in range(len(plan.jobs)))
        # Once as they come, and once in the folder of a row.
        largest = max(2 * sum(size for size, _ in part.inputs.values()) for part in parts)
    for job in plan.jobs:
        files = plan.datasets[job.dataset].files
        sizes = {part.file: files[part.file].size for part in job.ranges}
        local = (size for file, size in sizes.items() if not is_url(files[file].path))
        largest = max(largest, sum(local))
    return int((archives + largest) * 1.2 / MIB) + 500
