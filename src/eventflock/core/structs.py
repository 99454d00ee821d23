"""The base of all frozen structs, and their one form in JSON.

They are msgspec structs, so that what is written to disk and what crosses a pipe has one
definition and one check: an unknown field or a wrong type is an error when it is read.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

__all__ = [
    "Frozen",
    "digest",
    "digest_file",
    "from_json",
    "is_intact",
    "to_json",
]


T = TypeVar("T")


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the structs here: refuses fields it does not know."""


def to_json(value: Any) -> bytes:
    """Encode any of these structs; the same value gives the same bytes."""
    return msgspec.json.encode(value, order="deterministic")


def from_json(data: bytes, kind: type[T]) -> T:
    """Decode and check one of these structs.

    Raises
    ------
    msgspec.MsgspecError
        Not JSON, or not this struct.
    """
    return msgspec.json.decode(data, type=kind)


def digest(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    import hashlib  # takes 3 ms, which a worker that starts can do without

    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of what is in a file, in hexadecimal.

    Raises
    ------
    OSError
        It cannot be read.
    """
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_intact(path: Path, size: int, sha256: str) -> bool:
    """Check whether a file is there with this size and content."""
    with contextlib.suppress(OSError):
        return path.stat().st_size == size and digest_file(path) == sha256
    return False
