"""What is read out of a histogram: its axes as they are drawn, and what is in the bins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eventflock.core.edges import edges_of

if TYPE_CHECKING:
    from hist import BaseHist

    AnyHist: TypeAlias = BaseHist[Any]

__all__ = ["HUGE", "Bins", "Content", "are_alike", "read_bins", "read_content"]

HUGE = 1e150
"""The ranges and ticks of matplotlib overflow not far beyond."""


@dataclass(frozen=True)
class Bins:
    """An axis as it is drawn: finite edges, and names of the bins if they are categories."""

    label: str
    edges: NDArray[np.float64]
    names: list[str] | None = None
    whole: bool = False
    log: bool = False
    note: str = ""

    def count(self, what: str) -> str:
        """Return what is counted, and in how much of the axis."""
        widths = np.diff(self.edges)
        if self.names is not None or self.whole or len(widths) == 0:
            return what
        if not np.allclose(widths, widths[0], rtol=1e-6, atol=0):
            return f"{what} per bin"
        unit = re.search(r"\[([^\[\]]+)\]\s*$", self.label)
        return f"{what} / {widths[0]:.4g} {unit[1]}" if unit else what


def read_bins(one: AnyHist, index: int, path: str) -> Bins:
    """Read one axis; the path stands in for a label that the user did not give."""
    from hist import axis as kinds

    axis: Any = one.axes[index]
    label = str(axis.label or "")
    if re.fullmatch(r"(Axis \d+)?", label):  # what hist says where the user gave no label
        label = path
    edges = np.asarray(edges_of(axis), dtype=float)
    if isinstance(axis, kinds.Boolean):
        return Bins(label, edges, [str(bool(value)) for value in axis])
    if isinstance(axis, kinds.StrCategory | kinds.IntCategory):
        return Bins(label, edges, [str(value) for value in axis])
    if isinstance(axis, kinds.Integer):  # a number belongs below the middle of its bin
        return Bins(label, edges - 0.5, whole=True)
    log = getattr(axis, "transform", None) == kinds.transform.log
    inner = edges[np.isfinite(edges)]
    note = "" if len(inner) == len(edges) else "an outer bin reaches to infinity"
    # Such a bin is drawn as wide as its neighbour.
    width = np.diff(inner) if len(inner) > 1 else np.ones(1)
    inner = inner if len(inner) else np.zeros(1)
    edges = edges.clip(inner[0] - width[0], inner[-1] + width[-1]).clip(-HUGE, HUGE)
    return Bins(label, edges, log=log, note=note)


def are_alike(hists: Sequence[AnyHist]) -> bool:
    """Check whether histograms can be overlaid; a single one always can."""
    if len(hists) > 1 and any(one.ndim != 1 or one.kind != hists[0].kind for one in hists):
        return False
    first, *others = [read_bins(hist, 0, "") for hist in hists]
    same = [
        other.names == first.names and np.array_equal(other.edges, first.edges) for other in others
    ]
    return all(same)


@dataclass(frozen=True)
class Content:
    """What is in the bins, with NaN where there is nothing to draw."""

    what: str
    values: NDArray[np.float64]
    errors: NDArray[np.float64] | None
    under: float
    over: float


def read_content(one: AnyHist) -> Content:
    """Read the bins of a histogram, and what lies outside of its axes."""
    with np.errstate(all="ignore"):
        values = np.array(one.values(), dtype=float)
        variances = one.variances() if one.view().dtype.names else None
        if str(one.kind) == "MEAN":
            what, flow = "mean", np.array(one.counts(flow=True), dtype=float)
            values[~(one.counts() > 0)] = np.nan
        else:
            weighted = variances is not None or np.any(values != np.floor(values))
            what = "weighted entries" if weighted else "entries"
            flow = np.array(one.values(flow=True), dtype=float)
        values = np.where(np.isfinite(values), values.clip(-HUGE, HUGE), np.nan)
        values[np.abs(values) < 1 / HUGE] = 0
        errors = None
        if variances is not None:
            errors = np.sqrt(np.nan_to_num(variances, posinf=0, neginf=0).clip(0, HUGE))
        first = [int(axis.traits.underflow) for axis in one.axes]
        inside = tuple(slice(at, at + len(axis)) for at, axis in zip(first, one.axes, strict=True))
        under = float(flow[0]) if one.ndim == 1 and first[0] else 0.0
        flow[inside] = 0  # before the sum: a small overflow would drown in large contents
        return Content(what, values, errors, under, float(flow.sum()) - under)
