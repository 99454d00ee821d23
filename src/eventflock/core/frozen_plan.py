"""A plan that does not change any more, with its digest, and what follows from both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from eventflock.core.halving import JobPart, part_of, piece_of
from eventflock.core.manifest import Coverage
from eventflock.core.model import Assignment, Plan, Range
from eventflock.core.task import Table

__all__ = ["FrozenPlan"]


class FrozenPlan(NamedTuple):
    """A plan and its SHA-256, by which result files say to which plan they belong.

    Attributes
    ----------
    plan
        The plan.
    digest
        SHA-256 of the file that holds it; empty for a plan that is still being made.
    """

    plan: Plan
    digest: str = ""

    @property
    def entries(self) -> int:
        """Number of entries in all jobs."""
        return self.plan.entries

    @property
    def job_count(self) -> int:
        """Number of jobs."""
        return len(self.plan.jobs)

    def part(self, job: int, piece: str = "") -> JobPart:
        """Return the ranges of a job, or of a piece of it."""
        return part_of(self.plan.jobs[job], piece)

    def dataset_name(self, job: int) -> str:
        """Return the name of the dataset that a job belongs to."""
        return self.plan.datasets[self.plan.jobs[job].dataset].name

    def assignment(self, job: int, piece: str = "") -> Assignment:
        """Return all that a worker needs for a job, or for a piece of it, and nothing else."""
        planned = self.plan.jobs[job]
        dataset = self.plan.datasets[planned.dataset]
        whole = Assignment(
            plan=self.digest,
            job=job,
            dataset=dataset.name,
            metadata=dataset.metadata,
            files=tuple(dataset.files[part.file] for part in planned.ranges),
            ranges=tuple(
                msgspec.structs.replace(part, file=index)
                for index, part in enumerate(planned.ranges)
            ),
            analysis=self.plan.analysis,
            parameters={**self.plan.parameters, **dataset.parameters},
            branches=dataset.branches,
            rows=self._rows(planned.ranges),
            seed=self.plan.seed,
            lumis=self.plan.lumis,
        )
        return piece_of(whole, planned, piece) if piece else whole

    def _rows(self, ranges: Sequence[Range]) -> Table | None:
        plan = self.plan
        if plan.table is None or plan.analysis.task is None:
            return None
        numbers = range(ranges[0].start, ranges[-1].stop)
        return plan.table.part(numbers, plan.analysis.task, plan.analysis.working)

    def first_assignments(self) -> list[Assignment]:
        """Return the first job of each dataset, to try the analysis on."""
        first: dict[int, int] = {}
        for number, job in enumerate(self.plan.jobs):
            first.setdefault(job.dataset, number)
        return [self.assignment(number) for number in first.values()]

    def coverage(self, job: int, piece: str = "") -> tuple[Coverage, ...]:
        """Return what the result of a job, or of a piece of it, must contain, range by range."""
        dataset = self.plan.datasets[self.plan.jobs[job].dataset]
        return tuple(
            Coverage.of(dataset.name, dataset.files[part.file], part)
            for part in self.part(job, piece).ranges
        )

    def planned_coverage(self) -> Iterator[Coverage]:
        """Yield all planned ranges, in the order of the plan."""
        for job in range(self.job_count):
            yield from self.coverage(job)
