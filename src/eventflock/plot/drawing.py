"""Drawing one picture: a histogram of one dimension, several overlaid, or a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventflock.plot.content import HUGE, Content, read_bins, read_content
from eventflock.plot.look import amount, drawable, dress, fit, mark, number_ticks, style
from eventflock.plot.pictures import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]


def draw(picture: Picture, *, log: bool = False, partial: str = "") -> Figure:
    """Draw one picture; the caller's matplotlib settings and pyplot figures stay as they are."""
    with style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        dataset, first = next(iter(picture.hists.items()))
        title = drawable(picture.title)
        if first.ndim == 1:
            note = _draw_1d(axes, picture, log=log)
        else:
            note = _draw_2d(axes, picture, log=log)
            title += f" ({drawable(dataset)})"
        fit(axes.set_title(title, pad=42 if partial else 14), 0.94)
        fit(axes.xaxis.label, 0.55 if note else 0.86)
        fit(axes.yaxis.label, 0.8)
        fit(figure.text(0.014, 0.018, note, size=12, color="#555555"), 0.4)
        if partial:
            mark(axes, partial, 0.19 if first.ndim == 1 else 0.45)
        return figure


def _draw_1d(axes: Axes, picture: Picture, *, log: bool) -> str:
    """Draw one histogram or several; returns what is to be said about it."""
    bins = read_bins(next(iter(picture.hists.values())), 0, picture.path)
    contents = [read_content(hist) for hist in picture.hists.values()]
    what = max((content.what for content in contents), key=len)
    axes.set_ylabel(drawable(what if what == "mean" else bins.count(what)))
    dress(axes.xaxis, bins)
    handles = [
        _draw_bins(axes, bins.edges, content, index, alone=len(contents) == 1)
        for index, content in enumerate(contents)
    ]
    room = 0.05
    if len(contents) > 1 or picture.others:  # the name of the only dataset would say nothing
        room += _legend(axes, handles, list(picture.hists))
    _set_range(axes, contents, room, log=log)
    under, over = sum(one.under for one in contents), sum(one.over for one in contents)
    notes = [bins.note] if bins.note else []
    if under or over:
        every = " (all datasets)" if len(contents) > 1 else ""
        notes.append(f"underflow {amount(under)}, overflow {amount(over)}{every}")
    if lost := sum(int(np.isnan(one.values).sum()) for one in contents if what != "mean"):
        notes.append(f"not finite: {lost} bins")
    return "; ".join(notes)


def _draw_bins(
    axes: Axes, edges: NDArray[np.float64], content: Content, index: int, *, alone: bool
) -> Any:
    """Draw one dataset; returns what stands for it in the legend."""
    color, line = f"C{index % 10}", ("-", "--", "-.", ":")[index // 10 % 4]
    half = np.diff(edges) / 2
    points = (edges[:-1] + half, content.values, content.errors)
    if content.what == "mean":
        marker = "osD^"[index // 10 % 4]
        return axes.errorbar(*points, half, fmt=marker, ms=5, lw=1.5, color=color)
    if content.errors is not None:
        axes.errorbar(*points, fmt="none", ecolor=color, elinewidth=1.2)
    if alone:
        return axes.stairs(content.values, edges, fill=True, fc=(color, 0.45), ec=color, lw=1.3)
    return axes.stairs(content.values, edges, ec=color, lw=1.9, ls=line)


def _legend(axes: Axes, handles: Sequence[Any], datasets: Sequence[str]) -> float:
    """Name the datasets; returns the share of the height that this takes."""
    shown = datasets[:24]
    columns = 1 if len(shown) <= 4 else 2 if len(shown) <= 12 else 3
    numbers = [str(index) for index in range(len(shown))]
    legend = axes.legend(handles[:24], numbers, loc="upper right", ncols=columns)
    for text, dataset in zip(legend.get_texts(), shown, strict=True):
        text.set_text(drawable(dataset, 60 // columns))  # late: matplotlib omits names like "_a"
    if len(datasets) > len(shown):
        legend.set_title(f"{len(shown)} of {len(datasets)} datasets")
    return 0.048 * (math.ceil(len(shown) / columns) + (len(datasets) > len(shown)))


def _set_range(axes: Axes, contents: Sequence[Content], room: float, *, log: bool) -> None:
    """Begin at zero where that makes sense, and leave room for the legend."""
    values = np.concatenate([content.values for content in contents])
    errors = np.concatenate(
        [one.values * 0 if one.errors is None else one.errors for one in contents]
    )
    errors, values = errors[np.isfinite(values)], values[np.isfinite(values)]
    above = values > 0
    if log and above.any():
        low = math.log10(values[above].min()) - 0.3
        high = max(math.log10((values + errors).max()), low + 1)
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(10**low, 10 ** min(low + (high - low) / (1 - room), 200.0))
        return
    low, high = (values - errors).min(initial=HUGE), (values + errors).max(initial=-HUGE)
    profile = contents[0].what == "mean"
    if not profile or len(values) == 0:
        low, high = min(low, 0.0), max(high, 0.0)
    span = high - low or (abs(high) if profile else 0.0) or 1.0
    foot = 0.08 * span if profile or low < 0 else 0.0
    axes.set_ylim(low - foot, low + span / (1 - room))
    number_ticks(axes.yaxis, ",")


def _draw_2d(axes: Axes, picture: Picture, *, log: bool) -> str:
    """Draw a map; returns what is to be said about it."""
    from matplotlib.colors import LogNorm, Normalize

    one = next(iter(picture.hists.values()))
    across, up = read_bins(one, 0, picture.path), read_bins(one, 1, picture.path)
    content = read_content(one)
    mean, log = content.what == "mean", log and bool(np.any(content.values > 0))
    drawn = (
        content.values > 0 if log else np.isfinite(content.values) if mean else content.values != 0
    )
    values = np.ma.masked_invalid(np.where(drawn, content.values, np.nan))
    low, high = (values.min(), values.max()) if values.count() else (0.0, 1.0)
    low = low if log or mean else min(low, 0.0)
    if not low < high:
        high = low * 10 if log else low + (abs(low) or 1.0)
    axes.grid(visible=False)
    if values.size:
        norm = LogNorm(low, high) if log else Normalize(low, high)
        mesh = axes.pcolormesh(across.edges, up.edges, values.T, norm=norm, rasterized=True)
        bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02)
        bar.set_label(content.what if mean else f"{content.what} per bin", loc="top")
        if not log:
            number_ticks(bar.ax.yaxis, ",")
    dress(axes.xaxis, across)
    dress(axes.yaxis, up)
    notes = {across.note, up.note} - {""}
    if content.over:
        notes.add(f"outside of the axes {amount(content.over)}")
    return "; ".join(sorted(notes))
