"""Parameters of the analysis: those of all datasets, and those of one, as `ttbar:scale=1.1`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from eventflock.core.model import Dataset
from eventflock.errors import UsageError, nearest

__all__ = ["everywhere", "merged", "with_own"]

Check = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Converts parameters to the types that the analysis wants."""


def _split(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Tell parameters for all datasets from those for one; names of datasets may have colons."""
    common: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    for key, value in given.items():
        dataset, colon, name = key.rpartition(":")
        if colon:
            own.setdefault(dataset, {})[name] = value
        else:
            common[key] = value
    return common, own


def merged(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return some value for each parameter, to check that the analysis has it."""
    common, own = _split(given)
    return {name: value for each in own.values() for name, value in each.items()} | common


def everywhere(given: Mapping[str, Any], checked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked values of those that are for all datasets."""
    common, _ = _split(given)
    return {name: value for name, value in checked.items() if name in common}


def with_own(
    datasets: Sequence[Dataset], given: Mapping[str, Any], check: Check
) -> tuple[Dataset, ...]:
    """Add to each dataset the parameters that are for it alone.

    Raises
    ------
    UsageError
        There is no such dataset, or a value is missing or does not fit.
    """
    common, own = _split(given)
    names = [dataset.name for dataset in datasets]
    for name in own:
        if name not in names:
            known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise UsageError(
                f"There is a parameter for the dataset {name!r}, and no such dataset; "
                f"{nearest(name, names) or f'there are: {known}.'}",
                remedy="Give it as --param DATASET:NAME=VALUE.",
            )
    if not own:
        return tuple(datasets)
    found = []
    for dataset in datasets:
        mine = own.get(dataset.name, {})
        checked = check({**common, **mine})
        values = {name: value for name, value in checked.items() if name in mine}
        found.append(msgspec.structs.replace(dataset, parameters=values))
    return tuple(found)
