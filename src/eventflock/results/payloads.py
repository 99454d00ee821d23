"""Checks of single payloads: nothing is allocated for a size that is only claimed."""

from __future__ import annotations

import io
import math
from typing import Any, Literal

import msgspec
import numpy as np

from eventflock.errors import ResultError

__all__ = ["check_npy", "sum_of_deltas", "to_histogram"]


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
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise ResultError(f"An array has the unknown format {version}.")
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = read[version](file)
    if dtype.kind not in "iufc" or dtype.fields is not None:
        raise ResultError(f"An array has the type {dtype}, expected numbers.")
    if (
        any(one < 0 for one in shape)
        or math.prod(shape) * dtype.itemsize != len(data) - file.tell()
    ):
        raise ResultError(f"An array of shape {shape} ({dtype}) has {len(data)} bytes.")
    return np.load(io.BytesIO(data), allow_pickle=False)


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


_ARRAYS = {
    "int": ("values",),
    "double": ("values",),
    "weighted": ("values", "variances"),
    "mean": ("counts", "values", "variances"),
    "weighted_mean": ("sum_of_weights", "sum_of_weights_squared", "values", "variances"),
}


_OWN_METADATA = {"name", "label"}
_DELTA_FIELDS = ("_sum_of_deltas_squared", "_sum_of_weighted_deltas_squared")


def sum_of_deltas(histogram: Any) -> Any:
    """Give the sums of squared deltas of a profile (Mean, WeightedMean), flow bins included.

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
        if not isinstance(array, np.ndarray) or array.shape != shape:
            got = getattr(array, "shape", "no array")
            raise ResultError(f"A histogram's {name} are {got}, its axes say {shape}.")
    for axis in data["axes"]:
        info = axis.get("writer_info", {}).get("boost-histogram", {})
        if info.get("transform") and info.get("bins") != len(axis["edges"]) - 1:
            raise ResultError("A histogram's transformed axis disagrees with its edges.")
    if any(hasattr(Hist, name) and name not in _OWN_METADATA for name in checked.metadata):
        raise ResultError("A histogram's metadata would replace its methods.")
    made = Hist(bh.serialization.from_uhi(data))
    _restore_deltas(made, deltas)
    return made


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
