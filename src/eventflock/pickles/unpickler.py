"""Unpickling without trust: only constructors of numbers, arrays, mappings and histograms.

A pickle is a program: it calls what it names. This one may name what is in the table below, and
most of that stands for the real thing, with its own checks. pickle's version in Python is used, as
the one in C takes the memory that a few bytes ask for (https://docs.python.org/3/library/pickle.html).
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import re
import struct
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import boost_histogram._core as core
import boost_histogram.axis.transform
import numpy as np

from eventflock.errors import ResultError

__all__ = ["Column", "Core", "Wrapped", "unpickle"]

_DTYPE = re.compile(r"[<>|=]?(?:[iufcb]\d{1,2}|\?|[SU]\d{1,4})")
_REFUSED_CODES = (
    pickle.EXT1,
    pickle.EXT2,
    pickle.EXT4,
    pickle.PERSID,
    pickle.BINPERSID,
    pickle.NEXT_BUFFER,
    pickle.READONLY_BUFFER,
)
"""What comes from elsewhere; none of the known writers need them."""


class Dtype:
    """Stands for `numpy.dtype`."""

    def __init__(self, text: Any, *_: Any) -> None:
        text = text.decode("latin1") if isinstance(text, bytes) else text
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise ResultError(f"it has a NumPy array of {text!r}, which are not numbers")
        self._text = text.lstrip("<>|=")
        self._order = "="

    def set_state(self, state: Any) -> None:
        """Take the byte order; anything else would be a type that is not simple."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in {"<", ">", "|", "="}:
            raise ResultError("it has a NumPy type that is not simple")
        if any(state[2:5]):
            raise ResultError("it has a NumPy array with fields")
        self._order = state[1]

    @property
    def real(self) -> np.dtype[Any]:
        return np.dtype(self._order + self._text)


class SafeArray(np.ndarray[Any, Any]):
    """An array that takes the state of a pickled one only if that is numbers, and all are there."""

    def set_state(self, state: Any) -> np.ndarray[Any, Any]:
        """Return the array that a state describes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ResultError("it has a NumPy array that is described in an unknown way")
        _, shape, dtype, fortran, data = state
        return array_of(data, dtype, shape, "F" if fortran else "C")


def array_of(data: Any, dtype: Any, shape: Any, order: str = "C") -> np.ndarray[Any, Any]:
    """Make an array of exactly the bytes that are there."""
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(data, bytes | bytearray):
        raise ResultError("it has a NumPy array of objects")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not isinstance(dtype, Dtype) or not all(type(n) is int and n >= 0 for n in sizes):
        raise ResultError("it has a NumPy array that is described in an unknown way")
    real = dtype.real
    if math.prod(sizes) * real.itemsize != len(data):
        raise ResultError(f"it has a NumPy array of shape {sizes} with {len(data):,} bytes")
    made = np.frombuffer(bytes(data), real).reshape(sizes, order="F" if order == "F" else "C")
    return made.astype(real.newbyteorder("="))


def _reconstruct(kind: Any, shape: Any, _: Any) -> SafeArray:
    if kind is not SafeArray or shape != (0,):
        raise ResultError("it has a NumPy array of an unknown class")
    return np.ndarray.__new__(SafeArray, (0,), "b")


def _scalar(dtype: Any, data: Any) -> Any:
    return array_of(data, dtype, (1,))[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in {"latin1", "latin-1"}:
        raise ResultError("it has text in an unknown encoding")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stand for `bytes` as protocol 2 has it: with nothing in it."""
    return b""


class Wrapped:
    """Stands for a histogram of boost-histogram or hist, which holds one of the core."""

    state: Any = None

    def set_state(self, state: Any) -> None:
        """Take what describes it."""
        self.state = state[1] if isinstance(state, tuple) and len(state) == 2 else state


class Column(Wrapped):
    """Stands for an accumulator of coffea with one value."""


class _Dict(dict[Any, Any]):
    """Stands for a mapping that makes its own values."""

    def __init__(self, *_: Any) -> None:
        super().__init__()


class _List(list[Any]):
    """Stands for a list accumulator."""


def _set(values: Any = ()) -> set[Any]:
    return set(values)


def _restored(kind: Any, base: Any, state: Any) -> Any:
    """Stand for `copy_reg._reconstructor`, by which Python 2 made objects."""
    if kind not in {Wrapped, Column} or base is not object or state is not None:
        raise ResultError("it has an object of an unknown class")
    return kind()


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _reconstruct for module in _NUMPY},
    **{(module, "scalar"): _scalar for module in _NUMPY},
    **{(f"{one}.numeric", "_frombuffer"): array_of for one in ("numpy.core", "numpy._core")},
    ("numpy", "ndarray"): SafeArray,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _Dict,
    ("collections", "defaultdict"): _Dict,
    ("collections", "Counter"): collections.Counter,
    ("boost_histogram.histogram", "Histogram"): Wrapped,
    ("boost_histogram._internal.hist", "Histogram"): Wrapped,
    ("hist.hist", "Hist"): Wrapped,
    ("boost_histogram.axis.transform", "_internal_conversion"): (
        boost_histogram.axis.transform._internal_conversion
    ),
    ("copy_reg", "_reconstructor"): _restored,
    ("copyreg", "_reconstructor"): _restored,
    **{
        ("coffea.processor.accumulator", f"{name}_accumulator"): kind
        for name, kind in (
            ("dict", _Dict),
            ("defaultdict", _Dict),
            ("value", Column),
            ("column", Column),
            ("list", _List),
            ("set", _set),
        )
    },
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (int, float, complex, bool, object)
    },
    ("__builtin__", "long"): int,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
}
_TAKES = (int, float, str, dict, np.ndarray, bool, type(None))


class Core:
    """Stands for a histogram of boost-histogram's core, until it is described."""

    kind: ClassVar[Any]
    real: Any = None

    def set_state(self, state: Any) -> None:
        """Make the real one; what describes it must be simple."""
        known = boost_histogram.axis.transform._internal_conversion
        simple = isinstance(state, tuple) and all(
            isinstance(one, _TAKES) or one is known for one in state
        )
        if not simple:
            raise ResultError("it has a histogram that is described in an unknown way")
        real = self.kind.__new__(self.kind)
        real.__setstate__(state)
        self.real = real


_CORES = {
    name: type(name, (Core,), {"kind": kind})
    for name, kind in vars(core.hist).items()
    if name.startswith("any_")
}


class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    memo: dict[int, Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Any]] = {
        code: act
        for code, act in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in _REFUSED_CODES
    }

    def find_class(self, module: str, name: str) -> Any:
        if module == "boost_histogram._core.hist":
            found = _CORES.get(name)
        else:
            found = _ALLOWED.get((module, name))
        if found is None:
            raise ResultError(
                f"it wants {module}.{name}, and only numbers, arrays, mappings and histograms are "
                "read"
            )
        return found

    def load_build(self) -> None:
        """Describe an object, if it is one of ours or a histogram; never set attributes."""
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, SafeArray):
            # The memo has to have the array as well, where the empty one was.
            array = made.set_state(state)
            self.stack[-1] = array
            for key, value in self.memo.items():
                if value is made:
                    self.memo[key] = array
        elif isinstance(made, Dtype | Wrapped | Core):
            made.set_state(state)
        elif isinstance(made, dict | list) and not state:
            pass
        else:
            raise ResultError(f"it describes a {type(made).__name__} in an unknown way")

    def load_bytearray(self) -> None:
        """Read as many bytes as there are; pickle's own makes room for what is said first."""
        (size,) = struct.unpack("<Q", self.read(8))
        data = self.read(min(size, sys.maxsize))
        if len(data) != size:
            raise ResultError(f"it says that {size:,} bytes follow, and {len(data):,} do")
        self.append(bytearray(data))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray


def unpickle(data: bytes) -> Any:
    """Read a pickle of protocol 0 to 5, written by Python 2 or 3.

    Returns
    -------
    object
        Of numbers, texts, lists, mappings, arrays, and what stands for histograms (`Wrapped`).

    Raises
    ------
    ResultError
        It is damaged, or wants anything else, which it names; nothing of that was called.
    """
    loader: Callable[[], Any] = _Unpickler(io.BytesIO(data), encoding="latin1").load
    try:
        return loader()
    except (ResultError, MemoryError):
        raise
    except KeyError as error:
        raise ResultError(f"it has the unknown opcode {error}") from None
    except Exception as error:
        text = str(error) or "no message"
        raise ResultError(f"it is no pickle, or a damaged one ({text})") from error
