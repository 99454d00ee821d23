"""The bin edges of a histogram's axis."""

from __future__ import annotations

from typing import Any

__all__ = ["edges_of"]


def edges_of(axis: Any) -> Any:
    """Return the edges of an axis of boost-histogram or hist, as an array.

    Of a circular axis with edges of its own, `axis.edges` is wrong but for the first two and the
    last (boost-histogram 1.8): it takes the bins for equally wide. The axis itself fills the right
    bins; its state has the right edges.
    """
    if type(axis).__name__ != "Variable" or not axis.traits.circular:
        return axis.edges
    return axis._ax.__getstate__()[1]
