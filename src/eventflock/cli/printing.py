"""Printing what programs read."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["print_json"]


def print_json(value: Any) -> None:
    """Print one JSON object."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
