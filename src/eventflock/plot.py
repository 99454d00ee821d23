"""Pictures of results: one for each histogram, datasets overlaid, partial ones marked as such."""

from __future__ import annotations

import io
import logging
import math
import os
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eventflock.errors import UsageError, nearest

if TYPE_CHECKING:
    from hist import BaseHist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    AnyHist: TypeAlias = BaseHist[Any]

__all__ = ["FORMATS", "Picture", "arrange", "draw", "plot_results"]

# Dates and versions are left out, so that equal pictures are equal bytes.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
FORMATS = tuple(_METADATA)

_NO_TITLES: Mapping[str, str] = MappingProxyType({})
_RED = "#c8102e"
_HUGE = 1e150  # the ranges and ticks of matplotlib overflow not far beyond
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


@dataclass(frozen=True)
class Picture:
    """What one picture shows: one histogram, or the same one of several datasets.

    Attributes
    ----------
    name
        The file name without its ending.
    title
        What is written above the frame.
    path
        The keys that lead to the histogram; they stand in for a missing axis label.
    hists
        The histograms by dataset; of equal axes if there are several.
    """

    name: str
    title: str
    path: str
    hists: Mapping[str, AnyHist]


def plot_results(
    results: Mapping[str, Mapping[str, Any]],
    folder: Path,
    *,
    log: bool = False,
    formats: Sequence[str] = ("png",),
    partial: str = "",
    titles: Mapping[str, str] = _NO_TITLES,
) -> list[Path]:
    """Draw every histogram of one or two dimensions and write the pictures.

    Parameters
    ----------
    results
        For each dataset a mapping, nested as you like; only its histograms are drawn.
    folder
        Where the pictures go; made if it is not there.
    log
        Logarithmic contents, where any are above zero.
    formats
        Of `FORMATS`; each picture is written in all of them.
    partial
        Why the result is incomplete, written plainly into each picture; empty if it is complete.
    titles
        Titles by histogram (``"muon/pt"`` or ``"pt"``), instead of the histogram's own.

    Returns
    -------
    list of Path
        The files written, in order.
    """
    formats = [formats] if isinstance(formats, str) else list(dict.fromkeys(formats))
    for form in formats:
        if form not in FORMATS:
            message = f"pictures cannot be written as {form!r}, only as {', '.join(FORMATS)}"
            raise UsageError(message, remedy=nearest(form, FORMATS))
    written = []
    for picture in arrange(results, titles):
        figure = draw(picture, log=log, partial=partial)
        for form in formats:
            buffer = io.BytesIO()
            with _style():
                figure.savefig(buffer, format=form, metadata=_METADATA[form])
            path = Path(folder) / f"{picture.name}.{form}"
            _write(path, buffer.getvalue())
            written.append(path)
    return written


def arrange(
    results: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str] = _NO_TITLES
) -> list[Picture]:
    """Decide which histograms share a picture, and give each picture a file name of its own."""
    found: dict[tuple[str, ...], dict[str, AnyHist]] = {}
    for dataset, values in results.items():
        for path, one in _histograms(values):
            found.setdefault(path, {})[str(dataset)] = one
    pictures: list[Picture] = []
    taken: set[str] = set()
    for path, hists in found.items():
        joined = "/".join(path) or "histogram"
        given = titles.get(joined) or titles.get(joined.rpartition("/")[2])
        alike = _are_alike(list(hists.values()))
        for shown in [hists] if alike else [{name: one} for name, one in hists.items()]:
            dataset, one = next(iter(shown.items()))
            name = _file_name(path if alike else (*path, dataset), taken)
            title = given or getattr(one, "label", "") or getattr(one, "name", "") or joined
            pictures.append(Picture(name, str(title), joined, shown))
    return pictures


def draw(picture: Picture, *, log: bool = False, partial: str = "") -> Figure:
    """Draw one picture; the caller's matplotlib settings and pyplot figures stay as they are."""
    with _style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        dataset, first = next(iter(picture.hists.items()))
        title = _text(picture.title)
        if first.ndim == 1:
            note = _draw_1d(axes, picture, log=log)
        else:
            note = _draw_2d(axes, picture, log=log)
            title += f" ({_text(dataset)})"
        _fit(axes.set_title(title, pad=42 if partial else 14), 0.94)
        _fit(axes.xaxis.label, 0.55 if note else 0.86)
        _fit(axes.yaxis.label, 0.8)
        _fit(figure.text(0.014, 0.018, note, size=12, color="#555555"), 0.4)
        if partial:
            _mark(axes, partial, 0.19 if first.ndim == 1 else 0.45)
        return figure


def _histograms(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Find the histograms that can be drawn, each with the keys that lead to it."""
    from hist import BaseHist

    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _histograms(value, (*path, str(key)))
    elif isinstance(values, BaseHist) and values.ndim in (1, 2):
        yield from [(path, values)] if np.ndim(values.values()) == values.ndim else []


def _are_alike(hists: Sequence[AnyHist]) -> bool:
    """Say whether histograms can be overlaid; a single one always can."""
    if len(hists) > 1 and any(one.ndim != 1 or one.kind != hists[0].kind for one in hists):
        return False
    first, *others = [_bins(one, 0, "") for one in hists]
    same = [one.names == first.names and np.array_equal(one.edges, first.edges) for one in others]
    return all(same)


@dataclass(frozen=True)
class _Bins:
    """An axis as it is drawn: finite edges, and names of the bins if they are categories."""

    label: str
    edges: NDArray[np.float64]
    names: list[str] | None = None
    whole: bool = False
    log: bool = False
    note: str = ""

    def count(self, what: str) -> str:
        """Say what is counted, and in how much of the axis."""
        widths = np.diff(self.edges)
        if self.names is not None or self.whole or len(widths) == 0:
            return what
        if not np.allclose(widths, widths[0], rtol=1e-6, atol=0):
            return f"{what} per bin"
        unit = re.search(r"\[([^\[\]]+)\]\s*$", self.label)
        return f"{what} / {widths[0]:.4g} {unit[1]}" if unit else what


def _bins(one: AnyHist, index: int, path: str) -> _Bins:
    from hist import axis as kinds

    axis: Any = one.axes[index]
    label = str(axis.label or "")
    if re.fullmatch(r"(Axis \d+)?", label):  # what hist says where the user gave no label
        label = path
    edges = np.asarray(axis.edges, dtype=float)
    if isinstance(axis, kinds.Boolean):
        return _Bins(label, edges, [str(bool(value)) for value in axis])
    if isinstance(axis, kinds.StrCategory | kinds.IntCategory):
        return _Bins(label, edges, [str(value) for value in axis])
    if isinstance(axis, kinds.Integer):  # a number belongs below the middle of its bin
        return _Bins(label, edges - 0.5, whole=True)
    log = getattr(axis, "transform", None) == kinds.transform.log
    inner = edges[np.isfinite(edges)]
    note = "" if len(inner) == len(edges) else "an outer bin reaches to infinity"
    # Such a bin is drawn as wide as its neighbour.
    width = np.diff(inner) if len(inner) > 1 else np.ones(1)
    inner = inner if len(inner) else np.zeros(1)
    edges = edges.clip(inner[0] - width[0], inner[-1] + width[-1]).clip(-_HUGE, _HUGE)
    return _Bins(label, edges, log=log, note=note)


@dataclass(frozen=True)
class _Content:
    """What is in the bins, with NaN where there is nothing to draw."""

    what: str
    values: NDArray[np.float64]
    errors: NDArray[np.float64] | None
    under: float
    over: float


def _content(one: AnyHist) -> _Content:
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
        values = np.where(np.isfinite(values), values.clip(-_HUGE, _HUGE), np.nan)
        values[np.abs(values) < 1 / _HUGE] = 0
        errors = None
        if variances is not None:
            errors = np.sqrt(np.nan_to_num(variances, posinf=0, neginf=0).clip(0, _HUGE))
        first = [int(axis.traits.underflow) for axis in one.axes]
        inside = tuple(slice(at, at + len(axis)) for at, axis in zip(first, one.axes, strict=True))
        under = float(flow[0]) if one.ndim == 1 and first[0] else 0.0
        flow[inside] = 0  # before the sum: a small overflow would drown in large contents
        return _Content(what, values, errors, under, float(flow.sum()) - under)


def _draw_1d(axes: Axes, picture: Picture, *, log: bool) -> str:
    """Draw one histogram or several; returns what is to be said about it."""
    bins = _bins(next(iter(picture.hists.values())), 0, picture.path)
    contents = [_content(one) for one in picture.hists.values()]
    what = max((content.what for content in contents), key=len)
    axes.set_ylabel(_text(what if what == "mean" else bins.count(what)))
    _dress(axes.xaxis, bins)
    handles = [
        _draw_bins(axes, bins.edges, content, index, alone=len(contents) == 1)
        for index, content in enumerate(contents)
    ]
    room = _legend(axes, handles, list(picture.hists))
    _set_range(axes, contents, room, log=log)
    under, over = sum(one.under for one in contents), sum(one.over for one in contents)
    notes = [bins.note] if bins.note else []
    if under or over:
        every = " (all datasets)" if len(contents) > 1 else ""
        notes.append(f"underflow {_amount(under)}, overflow {_amount(over)}{every}")
    if lost := sum(int(np.isnan(one.values).sum()) for one in contents if what != "mean"):
        notes.append(f"not finite: {lost} bins")
    return "; ".join(notes)


def _draw_bins(
    axes: Axes, edges: NDArray[np.float64], content: _Content, index: int, *, alone: bool
) -> Any:
    """Draw one dataset; returns what stands for it in the legend."""
    color, style = f"C{index % 10}", ("-", "--", "-.", ":")[index // 10 % 4]
    half = np.diff(edges) / 2
    points = (edges[:-1] + half, content.values, content.errors)
    if content.what == "mean":
        marker = "osD^"[index // 10 % 4]
        return axes.errorbar(*points, half, fmt=marker, ms=5, lw=1.5, color=color)
    if content.errors is not None:
        axes.errorbar(*points, fmt="none", ecolor=color, elinewidth=1.2)
    if alone:
        return axes.stairs(content.values, edges, fill=True, fc=(color, 0.45), ec=color, lw=1.3)
    return axes.stairs(content.values, edges, ec=color, lw=1.9, ls=style)


def _legend(axes: Axes, handles: Sequence[Any], datasets: Sequence[str]) -> float:
    """Name the datasets; returns the share of the height that this takes."""
    shown = datasets[:24]
    columns = 1 if len(shown) <= 4 else 2 if len(shown) <= 12 else 3
    numbers = [str(index) for index in range(len(shown))]
    legend = axes.legend(handles[:24], numbers, loc="upper right", ncols=columns)
    for text, dataset in zip(legend.get_texts(), shown, strict=True):
        text.set_text(_text(dataset, 60 // columns))  # late: matplotlib omits names like "_a"
    if len(datasets) > len(shown):
        legend.set_title(f"{len(shown)} of {len(datasets)} datasets")
    return 0.05 + 0.048 * (math.ceil(len(shown) / columns) + (len(datasets) > len(shown)))


def _set_range(axes: Axes, contents: Sequence[_Content], room: float, *, log: bool) -> None:
    """Begin at zero where that makes sense, and leave room for the legend."""
    values = np.concatenate([one.values for one in contents])
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
    low, high = (values - errors).min(initial=_HUGE), (values + errors).max(initial=-_HUGE)
    profile = contents[0].what == "mean"
    if not profile or len(values) == 0:
        low, high = min(low, 0.0), max(high, 0.0)
    span = high - low or (abs(high) if profile else 0.0) or 1.0
    foot = 0.08 * span if profile or low < 0 else 0.0
    axes.set_ylim(low - foot, low + span / (1 - room))
    _number_ticks(axes.yaxis, ",")


def _draw_2d(axes: Axes, picture: Picture, *, log: bool) -> str:
    """Draw a map; returns what is to be said about it."""
    from matplotlib.colors import LogNorm, Normalize

    one = next(iter(picture.hists.values()))
    across, up = _bins(one, 0, picture.path), _bins(one, 1, picture.path)
    content = _content(one)
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
            _number_ticks(bar.ax.yaxis, ",")
    _dress(axes.xaxis, across)
    _dress(axes.yaxis, up)
    notes = {across.note, up.note} - {""}
    if content.over:
        notes.add(f"outside of the axes {_amount(content.over)}")
    return "; ".join(sorted(notes))


def _dress(axis: Any, bins: _Bins) -> None:
    """Give an axis its label, its range and its ticks."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    name, axes = axis.axis_name, axis.axes
    axes.set(**{f"{name}label": _text(bins.label)})
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
        _number_ticks(axis, "")


def _name_ticks(axis: Any, names: Sequence[str]) -> None:
    step = math.ceil(len(names) / 40)
    shown = [_text(name, 24) for name in names[::step]]
    few = len(shown) <= 16
    axis.set_ticks(np.arange(len(names))[::step] + 0.5, labels=shown)
    axis.set_tick_params(which="major", length=0, labelsize=16 if few else 11)
    if axis.axis_name == "x" and sum(map(len, shown)) + 2 * len(shown) > 64:
        turn = {"rotation": 35, "va": "top"} if few else {"rotation": 90, "va": "center"}
        for label in axis.get_ticklabels():
            label.set(ha="right", rotation_mode="anchor", **turn)


def _number_ticks(axis: Any, comma: str) -> None:
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


def _mark(axes: Axes, partial: str, alpha: float) -> None:
    """Say above the frame, and all over it, that the result is incomplete."""
    look: dict[str, Any] = {"color": _RED, "weight": "bold", "ha": "center"}
    look["transform"] = axes.transAxes
    _fit(axes.text(0.5, 1.016, _text(partial), size=17, va="bottom", **look), 0.78)
    look |= {"alpha": alpha, "rotation": 32, "zorder": 10, "in_layout": False}
    axes.text(0.5, 0.5, "PARTIAL", size=118, va="center", **look)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value == np.floor(value) and abs(value) < 1e15 else f"{value:.4g}"


def _fit(text: Text, share: float) -> None:
    """Make a text smaller where it is longer than its share of the figure."""
    figure: Any = text.figure
    box = text.get_window_extent(figure.canvas.get_renderer())
    upright = text.get_rotation() == 90
    length = box.height if upright else box.width
    room = share * (figure.bbox.height if upright else figure.bbox.width)
    if length > room:
        text.set_fontsize(text.get_fontsize() * room / length)


def _text(text: str, limit: int = 140) -> str:
    """Give what matplotlib can draw: sound LaTeX as it is, anything else as plain characters."""
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


@contextmanager
def _style() -> Iterator[None]:
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


def _file_name(parts: Sequence[str], taken: set[str]) -> str:
    """Make a name that stays in its folder and that no other picture has."""
    text = unicodedata.normalize("NFKC", "-".join(parts))
    text = re.sub(r"[^\w.+=-]+", "_", text).strip("._-")
    stem = text.encode(errors="ignore")[:160].decode(errors="ignore") or "histogram"
    name, count = stem, 1
    while name.casefold() in taken:  # some file systems do not tell "pt" from "PT"
        count += 1
        name = f"{stem}-{count}"
    taken.add(name.casefold())
    return name


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"the picture {str(path)!r} cannot be written: {error.strerror or error}",
            remedy="Choose another folder, or make room or get the right to write there.",
        ) from error
