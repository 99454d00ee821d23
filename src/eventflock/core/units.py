"""Times and sizes as people write and read them."""

from __future__ import annotations

import math
import re

from eventflock.errors import UsageError

__all__ = ["parse_duration", "say_bytes", "say_duration"]

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}\s*(?:s|min|m|h|d)\s*)+")
_PART = re.compile(rf"{_NUMBER}\s*(s|min|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def parse_duration(text: str) -> float:
    """Read a time such as `20m`, `1h30m`, `45 s` or `90`, which are seconds.

    Raises
    ------
    UsageError
        It is none, or not more than zero.
    """
    plain = text.strip().lower()
    seconds = 0.0
    if re.fullmatch(_NUMBER, plain):
        seconds = float(plain)
    elif _DURATION.fullmatch(plain):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(plain))
    if not 0 < seconds < math.inf:
        raise UsageError(
            f"{text!r} is not a time, expected a number of s, m, h or d above zero.",
            remedy="As in 20m, 1h30m or 45s.",
        )
    return seconds


def say_duration(seconds: float) -> str:
    """Return a time with two or three digits, in the unit that suits it."""
    for unit, size, up_to in (("ms", 1e-3, 1.0), ("s", 1.0, 100.0), ("min", 60.0, 6000.0)):
        if seconds < up_to:
            return f"{_digits(seconds / size)} {unit}"
    hours = seconds / 3600
    return f"{_digits(hours)} h" if hours < 100 else f"{_digits(hours / 24)} days"


def say_bytes(size: float) -> str:
    """Return a number of bytes with two or three digits, in the unit that suits it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{_digits(size)} {unit}" if unit != "B" else f"{size:.0f} B"
        size /= 1000
    return f"{_digits(size)} TB"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")
