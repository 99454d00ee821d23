"""Pictures: what is drawn, what is written, and that nothing odd in a histogram stops it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hist
import numpy as np
import pytest
from hist import Hist
from matplotlib import image, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from eventflock import plot
from eventflock.errors import UsageError
from eventflock.plot import arrange, draw, look, plot_results

AnyHist = hist.BaseHist[Any]
PARTIAL = "PARTIAL: 8,000 of 10,000 events (80.0 %)"
LABEL = r"offline $E^{\mathrm{jet}}$ [GeV]"


def spectrum(scale: float = 110, bins: int = 20, label: str = "", name: str = "") -> AnyHist:
    axis = hist.axis.Regular(bins, 0, 2000, label=LABEL)
    one: AnyHist = Hist(axis, label=label or None, name=name or None)
    one.fill(20 + np.random.default_rng(1).gamma(1.2, scale, 5000))
    return one


def filled(*axes: Any, of: Sequence[Any] = (), storage: Any = None) -> AnyHist:
    one: AnyHist = Hist(*axes, storage=storage or hist.storage.Double())
    if of:
        one.fill(*of)
    return one


def counted(axis: Any, values: Any = None, storage: Any = None) -> AnyHist:
    one: AnyHist = Hist(axis, storage=storage or hist.storage.Double())
    if values is not None:
        one.view()[...] = values
    return one


def figures(results: Mapping[str, Any], **options: Any) -> list[Figure]:
    return [draw(one, **options) for one in arrange(results)]


def axes_of(one: AnyHist, **options: Any) -> Axes:
    (figure,) = figures({"mc": {"h": one}}, **options)
    return figure.axes[0]


def rendered(figure: Figure) -> Figure:
    """Draw to the end; small, and without the layout and small ticks, because that is faster."""
    figure.set_dpi(40)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            assert np.isfinite(axis.get_minorticklocs()).all()
        axes.minorticks_off()
    with look.style():
        figure.canvas.draw()
    return figure


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a few bytes for each picture, where only the files are looked at."""
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **options: file.write(b"picture"))


def words(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def notes(axes: Axes) -> str:
    return " ".join(text.get_text() for text in axes.get_figure().texts)  # type: ignore[union-attr]


def pixels(path: Path) -> NDArray[np.float64]:
    return np.asarray(image.imread(path), dtype=float)


def test_one_spectrum(tmp_path: Path) -> None:
    one = spectrum(bins=200, label="Jet energy")
    (path,) = plot_results({"mc": {"jet": {"E": one}}}, tmp_path / "new" / "plots")
    assert path == tmp_path / "new" / "plots" / "jet-E.png"
    picture = pixels(path)
    assert picture.shape[:2] == (1200, 1600)
    blue = (picture[..., 2] > 0.8) & (picture[..., 0] < 0.75)
    assert blue.mean() > 0.02  # the filled histogram
    axes = axes_of(one)
    assert axes.get_xlabel() == LABEL
    assert axes.get_ylabel() == "entries / 10 GeV"
    assert axes.get_title() == "Jet energy"
    assert axes.get_xlim() == (0, 2000)
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 1.05 * one.values().max()
    assert words(axes) == []
    assert not list(path.parent.glob(".*"))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    few = hist.axis.Integer(0, 3, label=LABEL)
    results = {name: {"E": filled(few, of=[[0, 1, 1]])} for name in ("a", "$b$")}
    for folder in ("1", "2"):
        plot_results(results, tmp_path / folder, formats=plot.FORMATS)
    for form in plot.FORMATS:
        first, second = ((tmp_path / folder / f"E.{form}").read_bytes() for folder in "12")
        assert first == second
        assert b"atplotlib version" not in first


def test_formats_are_written_in_order(tmp_path: Path) -> None:
    written = plot_results(
        {"mc": {"E": counted(hist.axis.Boolean())}}, tmp_path, formats=["svg", "png", "svg"]
    )
    assert [path.name for path in written] == ["E.svg", "E.png"]
    assert written[0].read_text().startswith("<?xml")


@pytest.mark.parametrize("form", ["bmp2", "PNGG", "", "../x"])
def test_an_unknown_format_is_refused_before_anything_is_drawn(tmp_path: Path, form: str) -> None:
    with pytest.raises(UsageError, match="png, pdf, svg") as caught:
        plot_results({"mc": {"E": spectrum()}}, tmp_path / "plots", formats=("png", form))
    assert repr(form) in str(caught.value)
    assert not (tmp_path / "plots").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, unrendered: None) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written") as caught:
        plot_results({"mc": {"E": spectrum()}}, tmp_path / "file" / "plots")
    assert str(tmp_path / "file") in str(caught.value)
    (tmp_path / "E.png").mkdir()
    with pytest.raises(UsageError, match=r"E\.png"):
        plot_results({"mc": {"E": spectrum()}}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["E.png", "file"]


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_partial_picture_shows_it(tmp_path: Path, dimensions: int) -> None:
    axis = hist.axis.Integer(0, 10)
    one = filled(*[axis] * dimensions, of=[[0] * 50] * dimensions)
    results = {"mc": {"h": one}}
    (whole,) = plot_results(results, tmp_path / "whole")
    (part,) = plot_results(results, tmp_path / "part", partial=PARTIAL)
    reds = []
    for path in (whole, part):
        red, green, blue = np.moveaxis(pixels(path)[..., :3], -1, 0)
        reds.append(float(((red > green + 0.06) & (red > blue + 0.04)).mean()))
    assert reds[1] > reds[0] + 0.02
    (figure,) = figures(results, partial=PARTIAL)
    assert [text.get_text() for text in figure.axes[0].texts] == [PARTIAL, "PARTIAL"]


def test_equal_axes_are_overlaid_with_a_legend() -> None:
    names = ["ttbar", "_hidden", "Z → ee", "$H$", "50 % of $"]
    results = {name: {"E": spectrum(50 + 90 * i)} for i, name in enumerate(names)}
    (figure,) = figures(results)
    axes = figure.axes[0]
    assert words(axes) == ["ttbar", "_hidden", "Z → ee", "$H$", r"50 % of \$"]
    assert len(axes.patches) == 5
    assert not any(patch.get_fill() for patch in axes.patches)
    assert len({patch.get_edgecolor() for patch in axes.patches}) == 5
    assert "(all datasets)" in notes(axes)


def test_only_where_there_are_several_datasets_is_one_named() -> None:
    one, other = spectrum(), spectrum(bins=100)
    assert words(axes_of(one)) == []
    for results in ({"a": {"E": one}, "b": {"E": other}}, {"a": {"E": one}, "b": {"F": one}}):
        assert [words(figure.axes[0]) for figure in figures(results)] == [["a"], ["b"]]


def test_very_many_datasets_are_told_apart() -> None:
    (figure,) = figures({f"d{i}": {"E": spectrum(40 + i)} for i in range(30)})
    rendered(figure)
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert len({(p.get_edgecolor(), p.get_linestyle()) for p in axes.patches}) == 30
    assert legend is not None
    assert legend.get_title().get_text() == "24 of 30 datasets"
    frame = axes.transData.inverted().transform(legend.get_window_extent())
    assert frame[0, 1] > max(patch.get_data().values.max() for patch in axes.patches)  # type: ignore[attr-defined]


def test_different_axes_get_a_picture_each(tmp_path: Path, unrendered: None) -> None:
    results = {"a": {"E": spectrum()}, "b/c": {"E": spectrum(bins=100)}}
    written = plot_results(results, tmp_path)
    assert [path.name for path in written] == ["E-a.png", "E-b_c.png"]
    kinds = {"a": {"h": spectrum()}, "b": {"h": counted(hist.axis.Regular(20, 0, 2000))}}
    assert [one.name for one in arrange(kinds)] == ["h"]
    kinds["b"]["h"] = counted(hist.axis.Regular(20, 0, 2000), storage=hist.storage.Mean())
    assert [one.name for one in arrange(kinds)] == ["h-a", "h-b"]
    growing = {
        dataset: {"c": filled(hist.axis.StrCategory([], growth=True), of=[[dataset]])}
        for dataset in ("x", "y")
    }
    assert [one.name for one in arrange(growing)] == ["c-x", "c-y"]


def test_only_histograms_of_one_or_two_dimensions_are_drawn(tmp_path: Path) -> None:
    axis = hist.axis.Boolean()
    values = {
        "count": 7,
        "array": np.ones(3),
        "text": "x",
        "none": None,
        "cube": Hist(axis, axis, axis),
        "deep": {"deeper": {"map": Hist(axis, axis)}},
        "named": hist.NamedHist(hist.axis.Boolean(name="b")),
    }
    if hasattr(hist.storage, "MultiCell"):
        values["cells"] = Hist(hist.axis.Regular(3, 0, 1), storage=hist.storage.MultiCell(2))
    assert [one.name for one in arrange({"mc": values})] == ["deep-deeper-map", "named"]
    assert plot_results({"mc": {"count": 7}, "empty": {}}, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_file_names_stay_in_the_folder_and_never_clash(tmp_path: Path, unrendered: None) -> None:
    one = counted(hist.axis.Boolean())
    names = ["../../etc/x", "..", "", "a b", "a_b", "a/b", "A B", "Masse_µ", "x" * 400, "a_b-2"]
    keys: dict[Any, Any] = dict.fromkeys(names, one)
    keys |= {"n": {"o": one}, "n-o": one, 3: one, "\ud800": one, ".hidden": one}
    made = [picture.name for picture in arrange({"mc": keys})]
    assert len({name.casefold() for name in made}) == len(keys)
    assert made[:7] == ["etc_x", "histogram", "histogram-2", "a_b", "a_b-2", "a_b-3", "A_B-4"]
    assert "n-o" in made
    assert "n-o-2" in made
    written = plot_results({"mc": {"../x": one, "x": one}}, tmp_path / "plots")
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        "plots/x.png",
        "plots/x-2.png",
    ]


def test_titles_and_labels_fall_back() -> None:
    plain = counted(hist.axis.Regular(3, 0, 1))
    (one,) = arrange({"mc": {"muon": {"pt": plain}}})
    assert one.title == "muon/pt"
    assert draw(one).axes[0].get_xlabel() == "muon/pt"
    assert axes_of(counted(hist.axis.Regular(3, 0, 1, name="pt"))).get_xlabel() == "pt"
    assert axes_of(counted(hist.axis.Regular(3, 0, 1, label="$p$"))).get_xlabel() == "$p$"
    assert axes_of(spectrum(name="own")).get_title() == "own"
    for key in ("muon/pt", "pt"):
        (one,) = arrange({"mc": {"muon": {"pt": plain}}}, {key: "Given"})
        assert one.title == "Given"


@pytest.mark.parametrize(
    ("axis", "what"),
    [
        (hist.axis.Regular(4, 0, 1, label="x [GeV$^2$]"), "entries / 0.25 GeV$^2$"),
        (hist.axis.Regular(4, 0, 1, label="x"), "entries"),
        (hist.axis.Variable([0, 1, 5], label="x [GeV]"), "entries per bin"),
        (hist.axis.Integer(0, 5, label="n [1]"), "entries"),
        (hist.axis.StrCategory(["a"], label="c [GeV]"), "entries"),
    ],
)
def test_the_vertical_label_says_what_is_counted(axis: Any, what: str) -> None:
    assert axes_of(counted(axis)).get_ylabel() == what


def test_weights_are_named_and_have_errors() -> None:
    one = counted(hist.axis.Regular(4, 0, 1), storage=hist.storage.Weight())
    one.fill([0.1, 0.1, 0.6], weight=[0.5, 0.5, 2])
    axes = axes_of(one)
    assert axes.get_ylabel() == "weighted entries"
    (errors,) = axes.collections
    ends = [path.vertices[:, 1] for path in errors.get_paths()]  # type: ignore[index]
    assert np.allclose(ends[0], [1 - 0.5**0.5, 1 + 0.5**0.5])
    assert axes.get_ylim()[1] > 4
    assert not axes_of(spectrum()).collections
    assert axes_of(counted(hist.axis.Boolean(), [0.5, 1])).get_ylabel() == "weighted entries"


@pytest.mark.parametrize("storage", [hist.storage.Mean(), hist.storage.WeightedMean()])
def test_a_profile_shows_the_means_of_the_filled_bins(storage: Any) -> None:
    one = counted(hist.axis.Regular(3, 0, 3), storage=storage)
    one.fill([0.5, 0.5, 2.5, 2.5, 9], sample=[100, 104, 110, 110, 7])
    axes = axes_of(one)
    assert axes.get_ylabel() == "mean"
    (points,) = [line for line in axes.lines if line.get_marker() == "o"]
    heights = np.asarray(points.get_ydata(), dtype=float)
    assert np.array_equal(heights[[0, 2]], [102, 110])
    assert np.isnan(heights[1])
    assert axes.get_ylim()[0] > 90
    assert "overflow 1" in notes(axes)


def test_what_is_outside_is_noted() -> None:
    one = filled(hist.axis.Regular(3, 0, 3), of=[[-1, -1, 0.5, 7, 7, 7]])
    assert notes(axes_of(one)) == "underflow 2, overflow 3"
    assert notes(axes_of(filled(hist.axis.Regular(3, 0, 3), of=[[1]]))).strip() == ""
    two = filled(hist.axis.Regular(3, 0, 3), hist.axis.Boolean(), of=[[-1, 1, 4], [True] * 3])
    assert notes(axes_of(two)) == "outside of the axes 2"
    open_ended = hist.axis.Variable([-np.inf, 0, 1, np.inf])
    assert notes(axes_of(counted(open_ended))) == "an outer bin reaches to infinity"
    assert axes_of(counted(open_ended)).get_xlim() == (-1, 2)


@pytest.mark.parametrize(
    ("axis", "shown"),
    [
        (
            hist.axis.StrCategory(["e", "$\\mu$", "τ_{", "$\\nu_{"]),
            ["e", "$\\mu$", "τ_{", r"\$\nu_{"],
        ),
        (hist.axis.IntCategory([11, -13]), ["11", "-13"]),
        (hist.axis.Boolean(), ["False", "True"]),
    ],
)
def test_categories_name_the_ticks(axis: Any, shown: list[str]) -> None:
    axes = axes_of(counted(axis))
    assert [label.get_text() for label in axes.get_xticklabels()] == shown
    (figure,) = figures({"mc": {"h": Hist(hist.axis.Regular(2, 0, 1), axis)}})
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == shown


def test_long_and_many_categories_are_turned_and_thinned() -> None:
    long = hist.axis.StrCategory([f"a rather long category {i}" for i in range(8)])
    labels = axes_of(counted(long)).get_xticklabels()
    assert {label.get_rotation() for label in labels} == {35}
    many = hist.axis.IntCategory(range(500))
    assert 20 < len(axes_of(counted(many)).get_xticklabels()) <= 40


def test_whole_numbers_stand_below_the_middle_of_their_bins() -> None:
    axes = axes_of(counted(hist.axis.Integer(0, 5), [1, 2, 3, 4, 5]))
    assert axes.get_xlim() == (-0.5, 4.5)
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_an_axis_of_logarithmic_bins_is_logarithmic() -> None:
    axis = hist.axis.Regular(10, 1, 1000, transform=hist.axis.transform.log)
    assert axes_of(counted(axis, 1)).get_xscale() == "log"


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1, 10, 1000], "log"),
        ([0, 5, -3], "log"),
        ([0, 0, 0], "linear"),
        ([-1, -2, 0], "linear"),
        ([np.nan, np.inf, 0], "linear"),
        ([np.nan, np.inf, 4], "log"),
        ([1e-320, 1e-300, 0], "linear"),
        ([1e-100, 1, 1e308], "log"),
    ],
)
def test_log_needs_something_above_zero(values: list[float], scale: str) -> None:
    one = counted(hist.axis.Regular(3, 0, 1), values)
    (figure,) = figures({"mc": {"h": one}}, log=True)
    assert rendered(figure).axes[0].get_yscale() == scale
    assert axes_of(one).get_yscale() == "linear"
    two = filled(hist.axis.Regular(3, 0, 1), hist.axis.Regular(1, 0, 1))
    two.view()[:, 0] = values
    norm = axes_of(two, log=True).collections[0].norm
    assert type(norm).__name__ == ("LogNorm" if scale == "log" else "Normalize")


def test_a_map_masks_what_is_empty_and_has_a_colour_bar() -> None:
    across, up = hist.axis.Regular(3, 0, 1, label="x"), hist.axis.Regular(2, 0, 1, label="$y$")
    one = filled(across, up, of=[[0.1, 0.1, 0.9], [0.1, 0.1, 0.9]])
    (figure,) = figures({"data": {"map": one}})
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "$y$")
    assert bar.get_ylabel() == "entries per bin"
    assert axes.get_title() == "map (data)"
    shown: Any = axes.collections[0].get_array()
    assert shown.count() == 2
    assert [p.name for p in arrange({"a": {"m": one}, "b": {"m": one}})] == ["m-a", "m-b"]


ODD_TEXTS = [
    "$E_{",
    "a_b^c {x} 100 % # & ~",
    "$",
    "$$",
    "$ $",
    "\\",
    r"$\nosuchthing$",
    r"$\frac{1}$ [GeV]",
    "电子 é µ 😀 \u202e",
    "tab\tnew\nline\0",
    "\ud800",
    "x" * 5000,
    "$" + "x" * 290 + "$",
    "$" + r"\sqrt{" * 60 + "x" + "}" * 60 + "$",
    r"$\hspace{999999}$",
    "$x^{" * 30 + "}" * 30 + "$",
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_no_text_stops_a_picture(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    one = spectrum(bins=10, label=text)
    one.axes[0].label = text
    figure = draw(arrange({text: {text: one}, "other": {}})[0], partial=text)
    assert words(figure.axes[0])
    with look.style():  # the texts alone, which is faster than the whole figure
        for label in figure.findobj(Text):
            label.draw(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    assert not capfd.readouterr().err


@pytest.mark.parametrize("text", ["W" * 500, "$" + "W" * 60 + "$", "a rather long title " * 7])
def test_long_texts_are_made_to_fit(text: str) -> None:
    one = spectrum(label=text)
    one.axes[0].label = text
    (figure,) = figures({"mc": {"h": one}}, partial=text)
    axes = figure.axes[0]
    for label in (axes.title, axes.xaxis.label, axes.texts[0]):
        assert label.get_window_extent().width < figure.bbox.width


def test_broken_latex_is_shown_as_it_was_written() -> None:
    assert look.drawable("$E_{") == r"\$E_{"
    assert look.drawable("$E_{$ [GeV]") == r"\$E_{\$ [GeV]"
    assert look.drawable("$E$ a_b") == "$E$ a_b"


@pytest.mark.parametrize(
    "one",
    [
        counted(hist.axis.Regular(10, 0, 1)),
        counted(hist.axis.Regular(1, 0, 1), 3),
        counted(hist.axis.Regular(3, 0, 1), [np.nan, np.inf, -np.inf]),
        counted(hist.axis.Regular(2, 0, 1), [1e308, -1e308]),
        counted(hist.axis.Regular(2, 0, 1), [np.nan, 1], hist.storage.Double()),
        counted(hist.axis.Regular(2, 1, 1 + 1e-12), 1),
        counted(hist.axis.Regular(2, -1e308, 1e307), 1),
        counted(hist.axis.Variable([-np.inf, np.inf]), 1),
        counted(hist.axis.Variable([-np.inf, 0, np.inf]), 1),
        counted(hist.axis.StrCategory([], growth=True)),
        counted(hist.axis.IntCategory([], growth=True), storage=hist.storage.Weight()),
        counted(hist.axis.StrCategory([], growth=True), storage=hist.storage.Mean()),
        counted(hist.axis.Regular(5, 0, 1), storage=hist.storage.Mean()),
        counted(hist.axis.Regular(5, 0, 1), storage=hist.storage.WeightedMean()),
        counted(hist.axis.Regular(5, 0, 1), 2**62, hist.storage.Int64()),
        counted(hist.axis.Regular(5, 0, 1), storage=hist.storage.Unlimited()),
        counted(hist.axis.Regular(5, 0, 1), storage=hist.storage.AtomicInt64()),
        counted(hist.axis.Regular(5, 0, 6.3, circular=True)),
        counted(hist.axis.Regular(5000, 0, 1), np.arange(5000) % 7),
        Hist(hist.axis.StrCategory([], growth=True), hist.axis.Regular(2, 0, 1)),
        Hist(hist.axis.StrCategory([], growth=True), hist.axis.IntCategory([], growth=True)),
        Hist(hist.axis.Regular(5, 0, 1), hist.axis.Boolean(), storage=hist.storage.Mean()),
        Hist(hist.axis.Regular(300, 0, 1), hist.axis.Regular(300, 0, 1)),
    ],
)
def test_no_content_stops_a_picture(one: AnyHist) -> None:
    (figure,) = figures({"mc": {"h": one}})
    for axes in (rendered(figure).axes[0], axes_of(one, log=True)):
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()


def test_bins_that_are_not_finite_are_counted() -> None:
    assert notes(axes_of(counted(hist.axis.Boolean(), [np.nan, 1]))) == "not finite: 1 bins"


@pytest.mark.parametrize(
    ("top", "tick"),
    [
        (5000, "2,000"),
        (0.5, "0.2"),
        (5e9, r"$\mathdefault{2\times10^{9}}$"),
        (-50, "\N{MINUS SIGN}20"),
    ],
)
def test_ticks_are_plain_numbers(top: float, tick: str) -> None:
    axes = axes_of(counted(hist.axis.Boolean(), [0, top]))
    assert tick in [label.get_text() for label in axes.get_yticklabels()]


def test_the_settings_of_the_caller_stay(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    before = dict(rcParams)
    plot_results({"mc": {"E": counted(hist.axis.Boolean())}}, tmp_path)
    assert dict(rcParams) == before
    assert plt.get_fignums() == []


def test_settings_of_the_caller_do_not_change_the_picture(tmp_path: Path) -> None:
    results = {"mc": {"E": counted(hist.axis.Boolean())}}
    (first,) = plot_results(results, tmp_path / "1")
    rcParams["axes.titlesize"], old = 5, rcParams["axes.titlesize"]
    try:
        (second,) = plot_results(results, tmp_path / "2")
    finally:
        rcParams["axes.titlesize"] = old
    assert first.read_bytes() == second.read_bytes()


def test_importing_is_cheap() -> None:
    code = "import sys, eventflock.plot; print({'matplotlib', 'mplhep', 'hist'} & set(sys.modules))"
    source = str(Path(plot.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
