"""What was injected, and what came of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.faults.verdict import Verdict

__all__ = ["Tally"]


@dataclass
class Tally:
    """Counts of all sequences so far.

    Attributes
    ----------
    injected, lost, doubled
        By kind of fault. Events that are lost or doubled count for every kind since the verdict
        before, as nobody knows which it was.
    same, labelled
        Verdicts: the bits of the undisturbed run, or a partial result that names what it lacks.
    wrong
        What must not be, in words.
    skipped
        Kinds that cannot be injected here, and why.
    """

    injected: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    same: int = 0
    labelled: int = 0
    wrong: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    _recent: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, times: int = 1) -> None:
        """Note faults that were injected."""
        self.injected[kind] += times
        self._recent[kind] += times

    def judge(self, verdict: Verdict, where: str) -> None:
        """Take in what came of all faults since the last time."""
        for kind in +self._recent:
            self.lost[kind] += verdict.lost
            self.doubled[kind] += verdict.doubled
        self.same += verdict.complete and not verdict.wrong
        self.labelled += not verdict.complete and not verdict.wrong
        after = ", ".join(f"{number} {kind}" for kind, number in self._recent.items())
        self.wrong += [f"{where}, after {after}: {one}" for one in verdict.wrong]
        self._recent.clear()

    @property
    def total(self) -> int:
        """All faults."""
        return self.injected.total()

    def table(self) -> str:
        """Return the table, a line for each kind."""
        rows = [
            (kind, self.injected[kind], self.lost[kind], self.doubled[kind])
            for kind in sorted(self.injected)
        ]
        # An event that is lost once would count for many kinds: the sum is that of the verdicts.
        rows.append(("all", self.total, max(self.lost.values(), default=0), self._most()))
        lines = [f"{'fault':<34} {'injected':>8} {'events lost':>12} {'events doubled':>15}"]
        lines += [f"{a:<34} {b:>8,} {c:>12,} {d:>15,}" for a, b, c, d in rows]
        lines += [f"{kind:<34}  not here: {why}" for kind, why in sorted(self.skipped.items())]
        lines.append(
            f"{self.same + self.labelled:,} verdicts: {self.same:,} with the bits of the undisturbed "
            f"run, {self.labelled:,} partial, labelled and with exactly the missing ranges named; "
            f"{len(self.wrong):,} wrong"
        )
        return "\n".join([*lines, *self.wrong])

    def _most(self) -> int:
        return max(self.doubled.values(), default=0)
