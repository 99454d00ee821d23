"""Types of results that users do not have already: flags that say how they add up, and columns."""

from __future__ import annotations

import math
import sys
from typing import Any

import msgspec

from eventflock.core.manifest import KeyPath
from eventflock.errors import AnalysisError

__all__ = ["AllOf", "AnyOf", "Column", "element", "insert", "unwrapped"]


class AnyOf(msgspec.Struct, frozen=True):
    """A flag of a chunk; in the result, whether any chunk has it.

    Attributes
    ----------
    value
        The flag.

    Examples
    --------
    >>> AnyOf(value=True)
    AnyOf(value=True)
    """

    value: bool

    def __bool__(self) -> bool:
        return bool(self.value)


class AllOf(msgspec.Struct, frozen=True):
    """A flag of a chunk; in the result, whether all chunks have it.

    Attributes
    ----------
    value
        The flag.
    """

    value: bool

    def __bool__(self) -> bool:
        return bool(self.value)


class Column:
    """Arrays that are put one after the other, as coffea's `column_accumulator` is.

    Parameters
    ----------
    parts
        The arrays, which agree in all but their first axis.
    """

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def whole(self) -> Any:
        """Return all of it as one array."""
        if len(self.parts) > 1:
            import numpy as np  # results are opened without it, too

            self.parts = [np.concatenate(self.parts)]
        return self.parts[0]

    def shape(self) -> tuple[int, ...]:
        """Return what all parts have in common: the axes after the first."""
        return tuple(self.parts[0].shape[1:])


def unwrapped(value: Any) -> Any:
    """Return what an accumulator of coffea holds, and any other value as it is.

    Its mappings, sets and lists are Python's own, with other names (coffea.processor.accumulator).
    A cut-flow is a mapping of `nevonecut`, `nevcutflow` and, with weights, `wgtevonecut` and
    `wgtevcutflow`, each of labels to numbers; coffea need not be there.
    """
    kind = type(value)
    if kind.__module__ == "coffea.analysis_tools" and kind.__name__ in {"Cutflow", "NminusOne"}:
        return _yields(value.result())
    if not kind.__module__.startswith("coffea.processor"):
        return value
    if kind.__name__ == "column_accumulator":
        import numpy as np

        return Column([np.asarray(value.value)])
    return value.value if kind.__name__ == "value_accumulator" else value


def _yields(found: Any) -> dict[str, dict[str, Any]]:
    """Return the numbers of events that are in the result of a cut-flow, without its masks."""
    named = {field: getattr(found, field) for field in found._fields}
    return {
        field: dict(zip(found.labels, values, strict=True))
        for field, values in named.items()
        if field.startswith(("nev", "wgtev")) and values is not None
    }


def element(name: str, value: Any) -> Any:
    """Return an element of a set as it is kept: numbers, text, None, and tuples of these.

    Raises
    ------
    AnalysisError
        It is something else.
    """
    numpy = sys.modules.get("numpy")  # without it, there are no numbers of its types
    if numpy is not None and isinstance(value, numpy.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return math.nan if math.isnan(value) else float(value)  # one object: else none is equal
    if isinstance(value, tuple):
        return tuple(element(name, one) for one in value)
    raise AnalysisError(
        f"The set {name} has the element {str(value)[:60]!r}, a {type(value).__name__}.",
        remedy="Use numbers, text, and tuples of these.",
    )


def insert(values: dict[Any, Any], path: KeyPath, value: Any) -> None:
    """Put a value to its place in nested mappings."""
    for key in path[:-1]:
        values = values.setdefault(key, {})
    values[path[-1]] = value
