"""`eventflock lumis`: the luminosity sections of a result, as a golden JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eventflock.errors import UsageError, nearest
from eventflock.results.result import Result, load
from eventflock.usercode.luminosity import golden

__all__ = ["show"]


def show(path: Path, name: str, dataset: str) -> None:
    """Print the sections that the events of a result are of."""
    result = load(path)
    if dataset and dataset not in result:
        near = nearest(dataset, result.datasets) or f"there are {', '.join(result.datasets)}."
        raise UsageError(f"{path} has no dataset {dataset!r}; {near}")
    pairs: set[tuple[int, int]] = set()
    for one in [dataset] if dataset else result.datasets:
        pairs |= _pairs_of(result, one, name)
    print(json.dumps(golden(pairs)))
    if not result.complete:
        note = "Sections of missing events alone are not in it, others may lack some of theirs."
        sys.stderr.write(f"{result.label}. {note}\n")


def _pairs_of(result: Result, dataset: str, name: str) -> set[tuple[int, int]]:
    found = dict(_sets(result[dataset], ()))
    if name:
        found = {key: one for key, one in found.items() if name in {key[-1], "/".join(key)}}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise UsageError(
            f"The dataset {dataset!r} of {result.path} has no set of run and section"
            f"{f' called {name!r}' if name else ''}.",
            remedy='Return {"lumis": {(run, section), ...}}, or run with --lumis '
            "run,luminosityBlock.",
        )
    raise UsageError(
        f"There are several: {', '.join('/'.join(key) for key in found)}.",
        remedy="Name one with --result.",
    )


def _sets(values: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the sets of pairs of integers in a mapping, with their paths."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _sets(value, (*path, str(key)))
    elif isinstance(values, set) and all(map(_is_pair, values)):
        yield path, values


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and [type(one) for one in value] == [int, int]
