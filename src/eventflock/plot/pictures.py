"""Which histograms share a picture, and what each picture is called."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from eventflock.plot.content import are_alike

if TYPE_CHECKING:
    from eventflock.plot.content import AnyHist

__all__ = ["NO_TITLES", "Picture", "arrange"]

NO_TITLES: Mapping[str, str] = MappingProxyType({})
"""Every histogram keeps its own title."""


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
    others
        Whether there are datasets that this picture does not show.
    """

    name: str
    title: str
    path: str
    hists: Mapping[str, AnyHist]
    others: bool = False


def arrange(
    results: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str] = NO_TITLES
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
        alike = are_alike(list(hists.values()))
        for shown in [hists] if alike else [{name: one} for name, one in hists.items()]:
            dataset, one = next(iter(shown.items()))
            name = _file_name(path if alike else (*path, dataset), taken)
            title = given or getattr(one, "label", "") or getattr(one, "name", "") or joined
            others = len(shown) < len(results)
            pictures.append(Picture(name, str(title), joined, shown, others))
    return pictures


def _histograms(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Find the histograms that can be drawn, each with the keys that lead to it."""
    from hist import BaseHist

    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _histograms(value, (*path, str(key)))
    elif isinstance(values, BaseHist) and values.ndim in (1, 2):
        yield from [(path, values)] if np.ndim(values.values()) == values.ndim else []


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
