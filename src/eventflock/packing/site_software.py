"""The shell that sets up the site's software on a node: a file, lines, or a view of LCG."""

from __future__ import annotations

import re
from pathlib import Path

from eventflock.errors import UsageError

__all__ = ["read_setup"]


def read_setup(name: str, where: str, folder: Path = Path()) -> str:
    """Read what is sourced on a node before Python starts.

    Parameters
    ----------
    name
        A shell file; several lines, which are the shell itself; or `lcg:` and the name of a view.
    where
        Who says so, for messages.
    folder
        In which the file is.

    Raises
    ------
    UsageError
        There is no such file, it is empty, or this is no view.
    """
    if not name or "\n" in name.strip():
        return name
    if name.startswith("lcg:"):
        view = name.removeprefix("lcg:").strip("/")
        if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", view):
            raise UsageError(
                f"{where} {name!r} is no view.",
                remedy="As in lcg:LCG_107/x86_64-el9-gcc13-opt",
            )
        return f". /cvmfs/sft.cern.ch/lcg/views/{view}/setup.sh\n"
    try:
        text = (folder / name.strip()).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(
            f"{where} {name} cannot be read: {why}.",
            remedy="Name a shell file, or a view as lcg:LCG_107/x86_64-el9-gcc13-opt.",
        ) from None
    if not text.strip():
        raise UsageError(f"{where} {name} is empty.", remedy="Leave it out.")
    return text
