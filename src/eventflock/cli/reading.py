"""Reading what the options say into values of the library, with an error that names the option."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eventflock.core.options import (
    Acceptance,
    JobLimits,
    Options,
    PackOptions,
    SubmitOptions,
)
from eventflock.errors import UsageError
from eventflock.packing.launching import launch_flags
from eventflock.packing.site_software import read_container, read_setup
from eventflock.planning.mapping import RowSizing
from eventflock.pools.names import BATCH_SYSTEMS, DEFAULT, batch_hint

__all__ = [
    "check_pool",
    "packing_for",
    "read_acceptance",
    "read_codes",
    "read_limits",
    "read_options",
    "read_packing",
    "read_parameters",
    "read_size",
    "read_sizing",
    "read_target",
    "split_analyses",
]


def read_parameters(given: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE`; a name that is given twice has the last value."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {text!r} is not NAME=VALUE.", remedy="As in --param scale=1")
        found[name.strip()] = value
    return found


def split_analyses(
    analysis: str, files: Sequence[str], *, needed: bool = False
) -> tuple[list[str], list[str]]:
    """Tell further analyses from files: those that come first and end in `.py` or `.py:NAME`."""
    more = list(itertools.takewhile(re.compile(r"[^=]+\.py(:\w+)?").fullmatch, files))
    rest = list(files[len(more) :])
    if needed and not rest:
        raise UsageError(
            f"There are no files after {' '.join([analysis, *more])}.",
            remedy="Name the ROOT files, as in: eventflock run jets.py data.root",
        )
    return [analysis, *more], rest


def read_packing(
    include: Sequence[str],
    exclude: Sequence[str],
    requirements: str,
    everything: bool,
    python: str,
    glibc: str,
    node_cache: str = "",
    setup: str = "",
    container: str = "",
) -> PackOptions:
    """Check what is said about the packed environment."""
    launch_flags(glibc, node_cache, python)  # says what is wrong
    return PackOptions(
        # A file is meant as that; a folder might be the name of a package, so it needs a slash.
        include=tuple(f"./{name}" if Path(name).is_file() else name for name in include),
        exclude=tuple(exclude),
        requirements=requirements,
        everything=everything,
        python=python,
        glibc=glibc,
        node_cache=node_cache,
        setup=read_setup(setup, "--setup"),
        container=read_container(container, "--container", Path.cwd()),
    )


def packing_for(pool: str, packed: bool, packing: PackOptions) -> PackOptions | None:
    """Return how the environment is packed; None where jobs use what is installed here."""
    if pool in BATCH_SYSTEMS:
        return packing
    packed = packed or bool(packing.container)
    if not packed and packing != PackOptions():
        raise UsageError(
            "--with, --without, --requirements, --everything, --python, --glibc, --node-cache, "
            "--setup and --container are for jobs that bring their environment along, and these "
            "use what is installed here.",
            remedy=f"Add --packed, or {batch_hint()}.",
        )
    if packed and pool != DEFAULT:
        raise UsageError(
            f"--packed goes with --pool {DEFAULT}, not with --pool {pool}.",
            remedy="Leave out one of them.",
        )
    return packing if packed else None


def check_pool(pool: str, submission: SubmitOptions, *, detach: bool, dry_run: bool) -> None:
    """Check that options for a batch system come with a batch system."""
    if pool in BATCH_SYSTEMS:
        return
    given = {
        "--profile": submission.profile,
        "--submit": submission.submit,
        "--schedd": submission.schedd,
        "--collector": submission.collector,
        "--spool": submission.spool,
        "--detach": detach,
        "--dry-run": dry_run,
    }
    names = [name for name, value in given.items() if value]
    if names:
        verb = "go" if len(names) > 1 else "goes"
        raise UsageError(
            f"{', '.join(names)} {verb} with {batch_hint()}, not with --pool {pool}.",
            remedy=f"Add {batch_hint()}.",
        )


def read_target(text: str) -> float | None:
    """Read the time that a job should take."""
    if not text:
        return None
    from eventflock.planning.forecast import parse_duration

    return parse_duration(text)


def read_acceptance(fraction: float, strict: bool, files: float = 1.0) -> Acceptance:
    """Read when a partial result is good enough."""
    if fraction == 1 and not strict:
        raise UsageError(
            "--no-strict says what --accept may accept.", remedy="As in --accept 0.999 --no-strict"
        )
    if not fraction <= 1:  # not a number, either
        raise UsageError(
            f"--accept is {fraction}, expected a fraction of the events.", remedy="As in 0.999"
        )
    return Acceptance(fraction=fraction, files=files, strict=strict)


def read_limits(stall: str, time_limit: str) -> JobLimits:
    """Read the limits of a job."""
    from eventflock.core.units import parse_duration

    return JobLimits(
        stall_seconds=0.0 if stall.strip() == "0" else parse_duration(stall),
        limit_seconds=parse_duration(time_limit) if time_limit.strip() not in {"", "0"} else 0.0,
    )


def read_options(given: dict[str, Any], packed: bool, **more: Any) -> Options:
    """Read the options that all commands which start a run have in common.

    Parameters
    ----------
    given
        As click gives them; what stays is passed on as it is.
    packed
        Whether jobs on this machine bring their environment.
    more
        Other fields of the options.
    """
    take = given.pop
    packing = read_packing(
        *(
            take(name)
            for name in (
                *("include", "exclude", "requirements", "everything", "python", "glibc"),
                *("node_cache", "setup", "container"),
            )
        )
    )
    names = ("profile", "submit", "schedd", "collector", "spool")
    submission = SubmitOptions(**{name: take(name) for name in names})
    check_pool(given["pool"], submission, detach=given["detach"], dry_run=take("dry_run"))
    return Options(
        packing=packing_for(given["pool"], packed, packing),
        submission=submission,
        limits=read_limits(take("stall"), take("time_limit")),
        acceptance=read_acceptance(take("accept"), take("strict"), take("accept_files")),
        **given,
        **more,
    )


def read_codes(text: str) -> tuple[int, ...]:
    """Read exit codes, with commas between them."""
    try:
        codes = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        codes = ()
    if not codes or not all(0 <= code <= 255 for code in codes):
        raise UsageError(
            f"--ok-codes is {text!r}, expected numbers from 0 to 255 with commas.",
            remedy="As in --ok-codes 0,3.",
        )
    return codes


def read_size(text: str) -> int:
    """Read a number of bytes such as `500MB`."""
    match = re.fullmatch(r"([0-9.]+)\s*([kMGT]?)i?B?", text.strip(), re.IGNORECASE)
    powers = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
    try:
        size = int(float(match[1]) * 1000 ** powers[match[2].lower()]) if match else 0
    except ValueError:
        size = 0
    if size <= 0:
        raise UsageError(
            f"--output-limit is {text!r}, expected a size above zero.", remedy="As in 500MB or 2GB."
        )
    return size


def read_sizing(group: int | None, target_time: str, rows: str) -> RowSizing:
    """Read how rows are cut into jobs."""
    if group is not None and group < 1:
        raise UsageError(
            f"--group is {group}, expected a number above zero.", remedy="As in --group 100."
        )
    if group is not None and target_time:
        raise UsageError(
            f"--group {group} and --target-time {target_time} exclude each other.",
            remedy="Give one of them.",
        )
    return RowSizing(group=group, target_seconds=read_target(target_time), rows=rows)
