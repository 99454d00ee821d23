"""Plain values as JSON, for what goes to a node and comes back: no pickle is needed, or read.

What JSON has not is a mapping with one key that begins with `$`: arrays (`.npy` in base64),
histograms (UHI), tuples, complex numbers, infinities, and mappings with other keys than text.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from typing import Any

from eventflock.errors import AnalysisError, ResultError

__all__ = ["decode", "encode"]

DEPTH_MAX = 60


def encode(value: Any, what: str = "value") -> str:
    """Return a value as JSON.

    Parameters
    ----------
    value
        Numbers, text, booleans, None, lists, tuples, mappings, NumPy arrays of numbers or booleans,
        and histograms, nested anyhow.
    what
        What it is, for an error.

    Raises
    ------
    AnalysisError
        There is anything else in it.
    """
    return json.dumps(_packed(value, what, 0), allow_nan=False, separators=(",", ":"))


def _packed(value: Any, what: str, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise AnalysisError(
            f"The {what} is nested more than {DEPTH_MAX} deep.",
            remedy="Check that nothing contains itself.",
        )
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "shape", 0) == ():
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, complex):
        return {"$complex": repr(complex(value))}
    if isinstance(value, list):
        return [_packed(one, f"{what}[{n}]", depth + 1) for n, one in enumerate(value)]
    if isinstance(value, tuple):
        return {"$tuple": [_packed(one, f"{what}[{n}]", depth + 1) for n, one in enumerate(value)]}
    if isinstance(value, Mapping):
        return _packed_mapping(value, what, depth)
    if hasattr(value, "_to_uhi_"):
        return _packed_histogram(value, what, depth)
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        return _packed_array(value, what)
    raise AnalysisError(
        f"The {what} is a {type(value).__name__}, which is no plain value.",
        remedy="Use numbers, text, lists, tuples, mappings, NumPy arrays and histograms.",
    )


def _packed_mapping(value: Mapping[Any, Any], what: str, depth: int) -> Any:
    plain = all(isinstance(key, str) and not key.startswith("$") for key in value)
    pairs = [(key, _packed(one, f"{what}[{key!r}]", depth + 1)) for key, one in value.items()]
    if plain:
        return {str(key): one for key, one in pairs}
    return {
        "$mapping": [[_packed(key, f"key of the {what}", depth + 1), one] for key, one in pairs]
    }


def _packed_array(value: Any, what: str) -> Any:
    import numpy as np

    if type(value) is not np.ndarray or value.dtype.kind not in "biufc":
        raise AnalysisError(
            f"The {what} is a {type(value).__name__} of {value.dtype}, not an array of numbers.",
            remedy="Give it as a list, or as an array of numbers.",
        )
    is_flags = value.dtype.kind == "b"
    file = io.BytesIO()
    np.save(file, value.view(np.uint8) if is_flags else value, allow_pickle=False)
    return {"$flags" if is_flags else "$array": base64.b64encode(file.getvalue()).decode()}


def _packed_histogram(value: Any, what: str, depth: int) -> Any:
    from eventflock.results.payloads import described, sum_of_deltas

    parts = {"uhi": described(value), "deltas": sum_of_deltas(value)}
    return {"$histogram": _packed(parts, what, depth + 1)}


def decode(text: str | bytes) -> Any:
    """Return the value that `encode` has written, from whoever: it is checked.

    Returns
    -------
    Any
        Histograms as `hist.Hist`.

    Raises
    ------
    ResultError
        It is not what `encode` writes.
    """
    try:
        return _unpacked(json.loads(text), 0)
    except ResultError:
        raise
    except Exception as error:  # noqa: BLE001 -- whatever uhi makes of a text that was changed
        raise ResultError(
            f"A value is damaged: {type(error).__name__}: {error}", remedy="Do its row again."
        ) from None


def _unpacked(value: Any, depth: int) -> Any:
    if depth > 2 * DEPTH_MAX:
        raise ResultError("A value is nested too deeply.")
    if isinstance(value, list):
        return [_unpacked(one, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    kind = next(iter(value), "")
    if not kind.startswith("$"):
        return {key: _unpacked(one, depth + 1) for key, one in value.items()}
    (inner,) = value.values()
    match kind:
        case "$float":
            return float(inner)
        case "$complex":
            return complex(inner)
        case "$tuple":
            return tuple(_unpacked(one, depth + 1) for one in inner)
        case "$mapping":
            return {_unpacked(key, depth): _unpacked(one, depth + 1) for key, one in inner}
        case "$array" | "$flags":
            return _array(inner, is_flags=kind == "$flags")
        case "$histogram":
            return _histogram(_unpacked(inner, depth + 1))
    raise ResultError(f"A value has the unknown kind {kind!r}.")


def _array(text: str, *, is_flags: bool) -> Any:
    from eventflock.results.payloads import check_npy

    found = check_npy(base64.b64decode(text, validate=True))
    return found.astype(bool) if is_flags else found


def _histogram(parts: Any) -> Any:
    from eventflock.results.payloads import to_histogram

    return to_histogram(parts["uhi"], parts["deltas"])
