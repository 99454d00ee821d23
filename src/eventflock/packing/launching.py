"""What a job takes with it to a node, and the command that starts it there."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from eventflock.core.manifest import Failure
from eventflock.core.model import Assignment, first_events
from eventflock.core.options import GLIBC_MODES, PYTHONS, SITE_PYTHON
from eventflock.core.structs import to_json
from eventflock.errors import UsageError
from eventflock.worker.node_layout import CONTAINER, LAUNCHER
from eventflock.worker.receipt import receipt_of

__all__ = [
    "NODE_PROGRAMS",
    "launch_command",
    "launch_flags",
    "receipt_template",
    "shared_template",
    "start_words",
]

NODE_PROGRAMS = (LAUNCHER, CONTAINER)
"""What a job needs beside the archives."""


def start_words(container: str) -> list[str]:
    """Return the words that start the launcher with `/bin/sh`, in a container if there is one.

    `NODE_PROGRAMS` are in the working folder.

    Parameters
    ----------
    container
        See `PackOptions`.
    """
    return [*([CONTAINER.name, container] if container else []), LAUNCHER.name]


def launch_command(
    environment: str,
    code: str,
    template: str,
    result: str,
    *words: str,
    flags: Sequence[str] = (),
) -> list[str]:
    """Return the command that runs `python WORDS` in the packed environment.

    Parameters
    ----------
    environment, code
        The archives, as the node sees them.
    template
        The receipt to fill in if the program leaves none.
    result
        The file that the program is to write.
    words
        Arguments of Python.
    flags
        See `launch_flags`.
    """
    return [*flags, environment, code, template, result, *words]


def launch_flags(
    glibc: str = "auto", node_cache: str = "", python: str = "", *, setup: bool = True
) -> list[str]:
    """Return the options of the launcher.

    Parameters
    ----------
    glibc
        One of `GLIBC_MODES`.
    node_cache
        A folder of the node, `auto`, or empty: see `PackOptions`.
    python
        One of `PYTHONS`.
    setup
        Whether the set-up of the site's software is sourced, if there is one.

    Raises
    ------
    UsageError
        No such mode, folder or Python.
    """
    if glibc not in GLIBC_MODES:
        raise UsageError(
            f"--glibc is {glibc!r}, expected one of {', '.join(GLIBC_MODES)}.",
            remedy="Leave it out: the bundled glibc is used where the node's is too old.",
        )
    if python not in PYTHONS:
        raise UsageError(
            f"--python is {python!r}, expected 'standalone' or 'site'.",
            remedy="Leave it out to pack the Python that runs eventflock.",
        )
    if node_cache not in {"", "auto"} and not re.fullmatch(r"/[\w/.@%+-]+", node_cache):
        raise UsageError(
            f"--node-cache is {node_cache!r}, expected 'auto' or an absolute path without blanks.",
            remedy="As in --node-cache /scratch/eventflock",
        )
    cache = ["--cache", node_cache] if node_cache else []
    site = ["--python", "site"] if python == SITE_PYTHON else []
    return ["--glibc", glibc, *cache, *site, *([] if setup else ["--no-setup"])]


def receipt_template(assignment: Assignment, environment: str) -> bytes:
    """Write the receipt of a job that never began, with places that the launcher fills in."""
    first = first_events(assignment.ranges)
    where = Failure(
        kind="@KIND@",
        message="@SAY@",
        code="@CODE@",
        host="@HOST@",
        path=assignment.files[first.file].path,
        start=first.start,
        stop=first.stop,
    )
    return to_json(receipt_of(assignment, where, environment, "@HOST@", "@STARTED@"))


def shared_template(assignment: Assignment, environment: str) -> bytes:
    """Write one receipt for all jobs of a run: the launcher fills in the number of the job, too."""
    where = Failure(kind="@KIND@", message="@SAY@", code="@CODE@", host="@HOST@")
    receipt = receipt_of(assignment, where, environment, "@HOST@", "@STARTED@")
    receipt = msgspec.structs.replace(receipt, planned=0, piece="@PIECE@")
    return to_json({**msgspec.to_builtins(receipt), "job": "@JOB@"})
