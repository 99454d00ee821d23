"""The look of a picture: its style, the ticks of its axes, marks, and text that always fits."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from eventflock.plot.content import Bins

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

__all__ = ["amount", "drawable", "dress", "fit", "mark", "number_ticks", "style"]

_RED = "#c8102e"
# fmt: off
_STYLE: dict[str, Any] = {
    "figure.figsize": (10, 7.5), "figure.dpi": 160, "svg.hashsalt": "eventflock",
    "figure.constrained_layout.h_pad": 0.12, "figure.constrained_layout.w_pad": 0.12,
    "font.family": ["TeX Gyre Heros", "DejaVu Sans"], "mathtext.fallback": "stixsans",
    "axes.titlesize": 23, "axes.labelsize": 21, "axes.labelpad": 8, "axes.linewidth": 1.2,
    "axes.grid": True, "axes.axisbelow": True, "axes.unicode_minus": True,
    "grid.color": "#c4c4c4", "grid.linestyle": (0, (1, 2)), "grid.linewidth": 0.9,
    "legend.fontsize": 15, "legend.frameon": True, "legend.framealpha": 0.85,
    "legend.edgecolor": "none", "legend.borderpad": 0.5,
    **{f"{axis}tick.{key}": value for axis in "xy" for key, value in {
        "labelsize": 16, "major.size": 9, "minor.size": 4.5, "major.pad": 7}.items()},
}
# fmt: on


@contextmanager
def style() -> Iterator[None]:
    """Use our look, silent about glyphs that no font has; all is put back afterwards."""
    import matplotlib.style
    import mplhep

    logger = logging.getLogger("matplotlib")
    level = logger.level
    look = [mplhep.style.ATLAS1, _STYLE]
    with warnings.catch_warnings(), matplotlib.style.context(look, after_reset=True):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def dress(axis: Any, bins: Bins) -> None:
    """Set the label, the range and the ticks of an axis."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    name, axes = axis.axis_name, axis.axes
    axes.set(**{f"{name}label": drawable(bins.label)})
    if len(bins.edges) < 2:
        axis.set_ticks([])
        axes.text(0.5, 0.5, "no bins", transform=axes.transAxes, ha="center", size=21)
        return
    if bins.log:
        axes.set(**{f"{name}scale": "log"})
    axes.set(**{f"{name}lim": (bins.edges[0], bins.edges[-1])})
    if bins.whole:
        axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    if bins.whole or bins.names is not None:
        axis.set_minor_locator(NullLocator())
    if bins.names is not None:
        _name_ticks(axis, bins.names)
    elif not bins.log:
        number_ticks(axis, "")


def _name_ticks(axis: Any, names: Sequence[str]) -> None:
    step = math.ceil(len(names) / 40)
    shown = [drawable(name, 24) for name in names[::step]]
    few = len(shown) <= 16
    axis.set_ticks(np.arange(len(names))[::step] + 0.5, labels=shown)
    axis.set_tick_params(which="major", length=0, labelsize=16 if few else 11)
    if axis.axis_name == "x" and sum(map(len, shown)) + 2 * len(shown) > 64:
        turn = {"rotation": 35, "va": "top"} if few else {"rotation": 90, "va": "center"}
        for label in axis.get_ticklabels():
            label.set(ha="right", rotation_mode="anchor", **turn)


def number_ticks(axis: Any, comma: str) -> None:
    """Write plain numbers, and powers of ten where they are very large or small."""

    def text(value: float, _position: object) -> str:
        low, high = axis.get_view_interval()
        size = max(abs(low), abs(high))
        if abs(value) < 1e-9 * size:
            return "0"
        if 1e-3 <= size < 1e7:
            return f"{value:{comma}.10g}".replace("-", "\N{MINUS SIGN}")
        power = math.floor(math.log10(size))
        return rf"$\mathdefault{{{value / 10.0**power:.8g}\times10^{{{power}}}}}$"

    axis.set_major_formatter(text)


def mark(axes: Axes, partial: str, alpha: float) -> None:
    """Write above the frame what the result is, and all over it if it is incomplete."""
    imported = partial.startswith("IMPORTED")
    look: dict[str, Any] = {"color": "0.4" if imported else _RED, "weight": "bold", "ha": "center"}
    look["transform"] = axes.transAxes
    fit(axes.text(0.5, 1.016, drawable(partial), size=17, va="bottom", **look), 0.78)
    if imported:
        return
    look |= {"alpha": alpha, "rotation": 32, "zorder": 10, "in_layout": False}
    axes.text(0.5, 0.5, "PARTIAL", size=118, va="center", **look)


def amount(value: float) -> str:
    """Write a content in full where it is whole, shortened where it is not."""
    return f"{value:,.0f}" if value == np.floor(value) and abs(value) < 1e15 else f"{value:.4g}"


def fit(text: Text, share: float) -> None:
    """Make a text smaller where it is longer than its share of the figure."""
    figure: Any = text.figure
    box = text.get_window_extent(figure.canvas.get_renderer())
    upright = text.get_rotation() == 90
    length = box.height if upright else box.width
    room = share * (figure.bbox.height if upright else figure.bbox.width)
    if length > room:
        text.set_fontsize(text.get_fontsize() * room / length)


def drawable(text: str, limit: int = 140) -> str:
    """Return what matplotlib can draw: sound LaTeX as it is, anything else as plain characters."""
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    dollars = text.count("$") - text.count(r"\$")
    if dollars and dollars % 2 == 0 and len(text) < 300 and _is_sound(text):
        return text
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text.replace(r"\$", "$").replace("$", r"\$")


def _is_sound(text: str) -> bool:
    from matplotlib.mathtext import MathTextParser

    try:
        parsed = MathTextParser("path").parse(text)
    except (ValueError, RuntimeError, LookupError, TypeError, AttributeError):
        return False
    return bool(parsed.width < 1200 and parsed.height < 120)
