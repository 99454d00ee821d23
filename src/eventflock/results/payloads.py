"""Checks of single payloads: nothing is allocated for a size that is only claimed."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import msgspec
import numpy as np
import uhi.io

from eventflock.core.edges import edges_of
from eventflock.errors import ResultError

__all__ = ["ARRAY_KEYS", "check_npy", "described", "sum_of_deltas", "to_histogram"]


_NPY = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|\x02\x00....)"
    rb"\{'descr': '([<>|=]?[iufcb]\d{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19},?)?)\),? *\} *\n",
    re.DOTALL,
)
"""All that comes before the numbers. NumPy's own reader has Python parse it, which costs a lot of
memory for a header made for that."""


def check_npy(data: bytes) -> Any:
    """Read an `.npy` file whose header must agree with its length.

    Returns
    -------
    np.ndarray
        Of numbers, in the shape that the header says.

    Raises
    ------
    ResultError
        Another type than numbers, or another length than the header says.
    """
    found = _NPY.match(data, 0, _HEADER_MAX)
    if found is None:
        raise ResultError("An array has an unknown header, or not numbers.")
    start = 10 if data[6] == 1 else 12
    if start + int.from_bytes(data[8:start], "little") != found.end():
        raise ResultError("An array has a header of another length than it says.")
    dtype = np.dtype(found[1].decode())
    shape = tuple(int(word) for word in found[3].split(b",") if word.strip())
    if math.prod(shape) * dtype.itemsize != len(data) - found.end():
        raise ResultError(f"An array of shape {shape} ({dtype}) has {len(data)} bytes.")
    if dtype.kind == "b" and max(data[found.end() :], default=0) > 1:
        raise ResultError("An array of flags has others than true and false.")
    order: Literal["F", "C"] = "F" if found[2] == b"True" else "C"
    array = np.frombuffer(data, dtype, offset=found.end()).reshape(shape, order=order)
    return array.copy(order)  # for itself, not as a part of what was read


class _Axis(msgspec.Struct):
    """The fields of a UHI axis on which its length depends."""

    type: Literal["regular", "variable", "category_str", "category_int", "boolean"]
    bins: int = 0
    edges: Any = ()
    categories: tuple[Any, ...] = ()
    underflow: bool = False
    overflow: bool = False
    flow: bool = False

    def length(self) -> int:
        match self.type:
            case "regular":
                return self.bins + self.underflow + self.overflow
            case "variable":
                return len(self.edges) - 1 + self.underflow + self.overflow
            case "boolean":
                return 2
        return len(self.categories) + self.flow


class _Storage(msgspec.Struct):
    type: Literal["int", "double", "weighted", "mean", "weighted_mean"]


class _Histogram(msgspec.Struct):
    uhi_schema: Literal[1]
    axes: list[_Axis]
    storage: _Storage
    metadata: dict[str, Any] = {}
    writer_info: dict[str, dict[str, Any]] = {}


ARRAY_KEYS = frozenset(uhi.io.ARRAY_KEYS)
"""Fields of storages and axes whose arrays lie beside the JSON."""
_ARRAYS = {
    "int": ("values",),
    "double": ("values",),
    "weighted": ("values", "variances"),
    "mean": ("counts", "values", "variances"),
    "weighted_mean": ("sum_of_weights", "sum_of_weights_squared", "values", "variances"),
}


_OWN_METADATA = {"name", "label"}
_AXES_MAX = 32
_HEADER_MAX = 2**12
_EMPTY_MAX = 2**27
"""Bins that a histogram without categories would have with one: no array vouches for them."""
_DELTA_FIELDS = ("_sum_of_deltas_squared", "_sum_of_weighted_deltas_squared")


def described(histogram: Any) -> Any:
    """Return what the UHI serialization says of a histogram, with the right edges."""
    found: dict[str, Any] = histogram._to_uhi_()
    for axis, one in zip(histogram.axes, found["axes"], strict=True):
        if one["type"] == "variable" and one["circular"]:
            one["edges"] = edges_of(axis)
    return found


def sum_of_deltas(histogram: Any) -> Any:
    """Return the sums of squared deltas of a profile (Mean, WeightedMean), flow bins included.

    Returns
    -------
    np.ndarray or None
        None for a histogram that is no profile.
    """
    view = histogram.view(flow=True)
    for field in _DELTA_FIELDS:
        if field in (view.dtype.names or ()):
            return np.asarray(view[field])
    return None


def to_histogram(data: dict[str, Any], deltas: Any = None) -> Any:
    """Make a histogram from its UHI form, after checking axes against the arrays that are there.

    Parameters
    ----------
    data
        As `uhi.io.zip.read` gives it.
    deltas
        Of a profile, see `sum_of_deltas`; without them, one entry has no spread.

    Returns
    -------
    hist.Hist

    Raises
    ------
    ResultError
        The arrays do not have the shape that the axes say.
    msgspec.ValidationError
        It is not in the UHI form.
    """
    import boost_histogram as bh
    from hist import Hist  # workers only write, and need not have it

    checked = msgspec.convert(data, _Histogram)
    shape = tuple(axis.length() for axis in checked.axes)
    for name in _ARRAYS[checked.storage.type]:
        array = data["storage"].get(name)
        if not isinstance(array, np.ndarray) or array.shape != shape or array.itemsize != 8:
            got = getattr(array, "shape", "no array")
            raise ResultError(f"A histogram's {name} are {got}, its axes say {shape}.")
    if 0 in shape and math.prod(one or 1 for one in shape) > _EMPTY_MAX:
        raise ResultError(f"A histogram without a bin has axes of {shape}.")
    _check_axes(data["axes"])
    if any(hasattr(Hist, name) and name not in _OWN_METADATA for name in checked.metadata):
        raise ResultError("A histogram's metadata would replace its methods.")
    made = Hist(bh.serialization.from_uhi(data))
    _restore_deltas(made, deltas)
    return made


class Templates:
    """Histograms that were checked once, to be filled with the arrays of others of the same kind.

    The results of a hundred thousand jobs describe their histograms with the same JSON. To check it
    and to make them from it takes ten times as long as to read their arrays.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Any, dict[str, tuple[str, np.dtype[Any]]]]] = {}
        self._size = 0

    def remember(self, described: bytes, names: dict[str, str], made: Any) -> None:
        """Keep a histogram that was made of a description.

        Parameters
        ----------
        described
            The JSON.
        names
            Where the arrays of its storage are, by the field of its view; empty for all in one.
        """
        self._size += len(described)
        if self._size < _TEMPLATES_MAX:
            view = made.view(flow=True)
            kinds = {field: (view[field] if field else view).dtype for field in names}
            self._known[described] = (
                made.copy(deep=False),
                {field: (name, kinds[field]) for field, name in names.items()},
            )

    def arrays(self, described: bytes) -> dict[str, str]:
        """Return the names of the arrays that this description needs; empty if it is not known."""
        known = self._known.get(described)
        return {} if known is None else {field: name for field, (name, _) in known[1].items()}

    def fill(self, described: bytes, arrays: dict[str, Any]) -> Any:
        """Make a histogram of a known description; None if the arrays are of other types."""
        template, fields = self._known[described]
        made = template.copy(deep=False)
        view = made.view(flow=True)
        for field, (_, dtype) in fields.items():
            if arrays[field].dtype != dtype or arrays[field].shape != view.shape:
                return None
        for field, array in arrays.items():
            if field:
                view[field] = array
            else:
                view[...] = array
        return made


_TEMPLATES_MAX = 2**24
"""Bytes of JSON of all histograms that are kept."""


def fields_of(storage: dict[str, Any]) -> dict[str, str]:
    """Return the fields of a view, and the keys of a UHI storage that have them.

    Empty for profiles, whose variances are stored as sums, and for what is no storage.
    """
    match storage.get("type"):
        case "int" | "double":
            return {"": "values"}
        case "weighted":
            return {"value": "values", "variance": "variances"}
    return {}


def _check_axes(axes: list[dict[str, Any]]) -> None:
    """Check that what the writer says of axes beside UHI makes them no longer, and no other."""
    import boost_histogram as bh

    if len(axes) > _AXES_MAX:
        raise ResultError(f"A histogram has {len(axes)} axes.")
    for axis in axes:
        info = axis.get("writer_info", {}).get("boost-histogram", {})
        if info.get("orig_type") and axis["type"] != "regular":
            raise ResultError("A histogram's axis has two types.")
        if info.get("transform") and (
            axis["type"] != "variable" or info.get("bins") != len(axis["edges"]) - 1
        ):
            raise ResultError("A histogram's transformed axis disagrees with its edges.")
        metadata = axis.get("metadata", {})
        if any(hasattr(bh.axis.Axis, name) and name not in _OWN_METADATA for name in metadata):
            raise ResultError("The metadata of a histogram's axis would replace its methods.")


def _restore_deltas(histogram: Any, deltas: Any) -> None:
    there = sum_of_deltas(histogram)
    if there is None:
        return
    if deltas is None:
        there[np.isnan(there)] = 0.0
    elif deltas.shape != there.shape:
        raise ResultError(f"A profile has deltas of shape {deltas.shape}, not {there.shape}.")
    else:
        there[...] = deltas
