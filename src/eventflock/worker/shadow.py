"""Letting an interpreter that has no eventflock installed run workers of this one."""

from __future__ import annotations

from pathlib import Path

from eventflock._version import PACKAGE

__all__ = ["SHADOW", "make_shadow"]

SHADOW = "eventflock-ours"
"""Name of the folder by which it finds the package."""


def make_shadow(folder: Path) -> str:
    """Make a folder for PYTHONPATH with only our package in it, not what is installed beside it.

    Parameters
    ----------
    folder
        Where to make it; it goes with this one.
    """
    shadow = folder / SHADOW
    shadow.mkdir()
    (shadow / "eventflock").symlink_to(PACKAGE.resolve())
    return str(shadow)
