"""The submit description of a wave: a pure function, so that it can be shown and tested."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eventflock.core.structs import Frozen
from eventflock.errors import UsageError
from eventflock.pools.htcondor.settings import Settings
from eventflock.worker.once import RESULT

__all__ = [
    "AT_ONCE",
    "USUAL",
    "Needs",
    "Wants",
    "check_folder",
    "describe",
    "is_made_late",
    "may_send_once",
    "not_on",
    "times",
]

FAILED_FOR_GOOD = 1
"""Exit status of a job that left a receipt of its own: another try would end alike."""
RETRIES = 1
"""For a node that cannot run it, and a process that died, while no client is there to decide."""
PATIENCE = 60.0
"""Seconds that a job has to end by itself when its time is over, before HTCondor ends it."""
LONG = 300.0
"""Seconds of a job for which it pays to send the environment once per node: with common files,
HTCondor 25.14 takes some seconds more to start each job."""
AT_ONCE = 20_000
"""A schedd takes no more at a time (MAX_JOBS_PER_SUBMISSION) that are not made late."""


_AMOUNT = re.compile(r"([0-9.]+)\s*([KMGT]?i?B?)", re.IGNORECASE)


class Needs(Frozen, frozen=True):
    """What is asked for on behalf of a job, unless the user asks for something else.

    Attributes
    ----------
    memory_mb, disk_mb
        In units of 2**20 bytes.
    seconds
        How long the job will take; 0 if that is not known.
    limit_seconds
        How long it may take; 0 for as long as the pool lets it.
    """

    memory_mb: int
    disk_mb: int
    seconds: float = 0.0
    limit_seconds: float = 0.0


class Wants(NamedTuple):
    """How other tries of a job differ: memory and disk, in times the usual, machines to avoid."""

    memory: float = 1.0
    disk: float = 1.0
    avoid: tuple[str, ...] = ()


USUAL = Wants()


def times(amount: str, factor: float) -> str:
    """Multiply an amount of memory or disk, as it stands in a submit description."""
    if factor == 1:
        return amount
    match = _AMOUNT.fullmatch(amount.strip())
    if match is None:
        return f"({amount}) * {factor:g}"
    number = float(match[1]) * factor
    return f"{number:g}{match[2]}" if match[2] else f"{math.ceil(number)}"


def not_on(hosts: Sequence[str]) -> str:
    """Write a clause of requirements that keeps jobs from machines, named as in `Name` of slots."""
    return " && ".join(f'substr(TARGET.Name, -{len(one) + 1}) =!= "@{one}"' for one in hosts)


def check_folder(path: Path) -> None:
    """Check that HTCondor can work in a folder.

    Raises
    ------
    UsageError
        Its name has what HTCondor would take for a macro of its own, or for a separator.
    """
    bad = next((one for one in ("$(", "$$", "\\") if one in str(path)), None)
    if bad is not None:
        raise UsageError(
            f"The run folder {path} has {bad!r} in its name, which HTCondor replaces by something "
            "else.",
            remedy="Choose another place with --out.",
        )


def is_made_late(settings: Settings) -> bool:
    """Tell whether HTCondor makes jobs as others end. Those that are sent off exist at once."""
    return settings.max_idle > 0 and not settings.spool


def may_send_once(settings: Settings, needs: Needs, jobs: int) -> bool:
    """Tell whether the environment should be sent once per node, where the pool can do so.

    Then all jobs are made at once, so it is not for more of them than may wait.
    """
    if settings.spool or settings.common_files is False:
        return False
    if jobs > min(settings.max_idle or AT_ONCE, AT_ONCE):
        return False
    return settings.common_files is True or needs.seconds >= LONG


def describe(
    name: str,
    identity: str,
    archives: tuple[str, str],
    glibc: str,
    needs: Needs,
    settings: Settings,
    *,
    common: bool = False,
    wants: Wants = USUAL,
) -> str:
    """Write the submit description of a wave. All paths in it are relative to the wave's folder.

    Parameters
    ----------
    name
        Of the run, for people who look at the queue.
    identity
        Of the wave.
    archives
        Base names of the archives of environment and code.
    glibc
        When the bundled glibc is used.
    needs
        What to ask for.
    settings
        What the user says; it wins over what is asked for here.
    common
        Send the archives once per node, not with each job. Then all jobs are made at once:
        HTCondor 25.14 makes none of them late that has common files.
    wants
        What these jobs need that others do not.

    Returns
    -------
    str
        In HTCondor's submit language, with its `queue` statement.
    """
    words = [
        *("--join", "--job", "$(job)", "--glibc", glibc, *archives, "template.json", RESULT),
        *("-m", "eventflock.worker.once", "jobs-$(shard).jsonl", RESULT, "$(line)"),
    ]
    inputs = ["template.json", *settings.inputs, "$(inputs)"]
    fixed = {
        "universe": "vanilla",
        "executable": "launch.sh",
        "arguments": f'"{" ".join(words)}"',
        "log": "events.log",
        "output": "job-$(job).log",
        "should_transfer_files": "YES",
        "when_to_transfer_output": "ON_EXIT",
        "transfer_input_files": ", ".join(inputs if common else [*archives, *inputs]),
        "transfer_output_files": RESULT,
        "transfer_output_remaps": f'"{RESULT} = job-$(job).zip"',
        "batch_name": "".join(one if one.isalnum() or one in "-_." else "-" for one in name),
        "request_cpus": "1",
        "request_memory": f"{needs.memory_mb} MB",
        "request_disk": f"{needs.disk_mb} MB",
        "max_retries": str(RETRIES),
        "retry_until": f"ExitCode =?= {FAILED_FOR_GOOD}",
        "+EventflockWave": f'"{identity}"',
    }
    if common:
        fixed["+CommonInputFiles"] = f'"{", ".join(archives)}"'
    elif is_made_late(settings):
        fixed["max_idle"] = str(settings.max_idle)
    if needs.limit_seconds:
        fixed["allowed_execute_duration"] = str(int(needs.limit_seconds + PATIENCE))
    fixed.update(settings.commands)
    _apply(wants, fixed)
    lines = [f"{key} = {value}" for key, value in fixed.items()]
    return "\n".join([*lines, "queue job, shard, line, inputs from items.txt", ""])


def _apply(wants: Wants, commands: dict[str, str]) -> None:
    """Change what other jobs ask for; what the user says grows, too."""
    spelt = {name.lower(): name for name in commands}
    for name, factor in (("request_memory", wants.memory), ("request_disk", wants.disk)):
        commands[spelt[name]] = times(commands[spelt[name]], factor)
    if wants.avoid:
        own = spelt.get("requirements", "requirements")
        clauses = [f"({commands[own]})"] if own in commands else []
        commands[own] = " && ".join([*clauses, not_on(wants.avoid)])
