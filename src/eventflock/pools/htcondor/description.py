"""The submit description of a wave: a pure function, so that it can be shown and tested."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from eventflock.errors import UsageError
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import USUAL, JobDemands, JobNeeds
from eventflock.pools.htcondor.settings import Settings
from eventflock.worker.once import RESULT

__all__ = [
    "AT_ONCE",
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
    """Return a clause of requirements that keeps jobs from machines, by the `Name` of slots."""
    return " && ".join(f'substr(TARGET.Name, -{len(host) + 1}) =!= "@{host}"' for host in hosts)


def check_folder(path: Path) -> None:
    """Check that HTCondor can work in a folder.

    Raises
    ------
    UsageError
        HTCondor would read a part of its name as a macro, or as a separator.
    """
    bad = next((macro for macro in ("$(", "$$", "\\") if macro in str(path)), None)
    if bad is not None:
        raise UsageError(
            f"The run folder {path} has {bad!r} in its name, which HTCondor replaces by something "
            "else.",
            remedy="Choose another place with --out.",
        )


def is_made_late(settings: Settings) -> bool:
    """Check whether HTCondor makes jobs only as others end. Spooled jobs are made at once."""
    return settings.max_idle > 0 and not settings.spool


def may_send_once(settings: Settings, needs: JobNeeds, jobs: int) -> bool:
    """Check whether the environment should be sent once per node, where the pool can do so.

    Then all jobs are made at once: there must not be more of them than may wait.
    """
    if settings.spool or settings.common_files is False:
        return False
    if jobs > min(settings.max_idle or AT_ONCE, AT_ONCE):
        return False
    return settings.common_files is True or needs.seconds >= LONG


def describe(
    name: str,
    identity: str,
    environment: PackedEnvironment,
    needs: JobNeeds,
    settings: Settings,
    *,
    common: bool = False,
    demands: JobDemands = USUAL,
) -> str:
    """Return the submit description of a wave. Its paths are relative to the folder of the wave.

    Parameters
    ----------
    name
        Of the run, for people who look at the queue.
    identity
        Of the wave.
    environment
        What jobs bring along.
    needs
        What to ask for.
    settings
        What the user says; it wins over what is asked for here.
    common
        Send the archives once per node, not with each job. Then all jobs are made at once:
        HTCondor 25.14 makes none of them late that has common files.
    demands
        How these jobs differ from the first try.

    Returns
    -------
    str
        In HTCondor's submit language, with its `queue` statement.
    """
    archives = [archive.name for archive in environment.archives]
    words = [
        *("--join", "--job", "$(job)", *environment.flags, *archives[:2], "template.json", RESULT),
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
        "batch_name": re.sub(r"[^\w.-]", "-", name),
        "request_cpus": "1",
        "request_memory": f"{needs.memory_mb} MB",
        "request_disk": f"{needs.disk_mb} MB",
        "max_retries": str(RETRIES),
        "retry_until": f"ExitCode =?= {FAILED_FOR_GOOD}",
        "+EventflockWave": f'"{identity}"',
    }
    fixed |= _contained(environment.options.container)
    if common:
        fixed["+CommonInputFiles"] = f'"{", ".join(archives)}"'
    elif is_made_late(settings):
        fixed["max_idle"] = str(settings.max_idle)
    if needs.limit_seconds:
        fixed["allowed_execute_duration"] = str(int(needs.limit_seconds + PATIENCE))
    fixed.update(settings.commands)
    _apply(demands, fixed)
    lines = [f"{key} = {value}" for key, value in fixed.items()]
    return "\n".join([*lines, "queue job, shard, line, inputs from items.txt", ""])


def _contained(image: str) -> dict[str, str]:
    """Return what runs the jobs in an image; one that is a file is sent."""
    if not image:
        return {}
    there = {} if image.endswith(".sif") else {"transfer_container": "false"}
    return {"universe": "container", "container_image": image, **there}


def _apply(demands: JobDemands, commands: dict[str, str]) -> None:
    """Change what these jobs ask for. What the user asked for grows, too."""
    spelt = {name.lower(): name for name in commands}
    for name, factor in (("request_memory", demands.memory), ("request_disk", demands.disk)):
        commands[spelt[name]] = times(commands[spelt[name]], factor)
    if demands.avoid:
        own = spelt.get("requirements", "requirements")
        clauses = [f"({commands[own]})"] if own in commands else []
        commands[own] = " && ".join([*clauses, not_on(demands.avoid)])
