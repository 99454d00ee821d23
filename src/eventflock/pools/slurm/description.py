"""What sbatch gets: a pure function, so that it can be shown and tested."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import USUAL, JobDemands, JobNeeds
from eventflock.pools.slurm.settings import Settings

__all__ = ["COMMENT", "PATIENCE", "describe", "option_line", "times"]

COMMENT = "eventflock:"
"""What the comment of all jobs of a wave begins with; its identity follows."""
PATIENCE = 60.0
"""Seconds that a job has to end by itself when its time is over, before Slurm ends it."""
BODY = Path(__file__).with_name("job.sh")
_AMOUNT = re.compile(r"([0-9.]+)([KMGT]?)", re.IGNORECASE)
_MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu")


def times(amount: str, factor: float) -> str:
    """Multiply an amount of memory or disk, as sbatch understands it; 0 means all there is."""
    match = _AMOUNT.fullmatch(amount)
    if match is None or factor == 1:
        return amount
    return f"{math.ceil(float(match[1]) * factor)}{match[2]}"


def option_line(name: str, value: str) -> str:
    """Return a line of a batch script with one option of sbatch; no value is a flag."""
    if not value:
        return f"#SBATCH --{name}"
    text = value
    if not re.fullmatch(r"[\w.,:%+=@/&|*()\[\]!-]+", value):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        text = f'"{quoted}"'
    return f"#SBATCH --{name}={text}"


def describe(
    name: str,
    identity: str,
    environment: PackedEnvironment,
    needs: JobNeeds,
    settings: Settings,
    jobs: int,
    *,
    demands: JobDemands = USUAL,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Return the batch script of a wave, which is submitted from the wave's folder.

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
    jobs
        How many tasks the array has.
    demands
        How these jobs differ from the first try.
    variables
        More variables for the jobs.
    """
    options = _options(name, needs, settings, demands)
    fixed = {
        "array": f"0-{jobs - 1}",
        "comment": f"{COMMENT}{identity}",
        "output": "slurm-%a.log",
        "open-mode": "append",
        "export": "NIL",
    }
    lines = [option_line(key, value) for key, value in (options | fixed).items()]
    return "\n".join(["#!/bin/sh", *lines, *_assignments(environment, settings, variables or {})])


def _options(name: str, needs: JobNeeds, settings: Settings, demands: JobDemands) -> dict[str, str]:
    """Return what is asked for: what the user says wins, and grows with the demands."""
    options = {
        "job-name": re.sub(r"[^\w.-]", "-", name),
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": "1",
        "requeue": "",
    }
    if not any(one in settings.options for one in _MEMORY):
        options["mem"] = f"{needs.memory_mb}M"
    if needs.limit_seconds:
        options["time"] = str(math.ceil((needs.limit_seconds + PATIENCE) / 60))
    if "no-requeue" in settings.options:
        del options["requeue"]
    options |= settings.options
    for one in _MEMORY:
        if one in options:
            options[one] = times(options[one], demands.memory)
    if "tmp" in options:
        options["tmp"] = times(options["tmp"], demands.disk)
    avoid = [options["exclude"]] if options.get("exclude") else []
    if demands.avoid:
        options["exclude"] = ",".join([*avoid, *demands.avoid])
    return options


def _assignments(
    environment: PackedEnvironment, settings: Settings, variables: Mapping[str, str]
) -> list[str]:
    """Return what the fixed part of the script needs to know, and that part."""
    words = {
        "environment": environment.environment.name,
        "code": environment.code.name,
        "flags": " ".join(environment.flags),
        "container": environment.options.container,
        "bring": "cp -L" if settings.copy_inputs else "ln -s",
    }
    exported = {**variables, **settings.variables}
    return [
        *(f"{key}={shlex.quote(value)}" for key, value in words.items()),
        f'scratch="{settings.scratch}"',  # its variables are those of the node
        *(f"export {key}={shlex.quote(value)}" for key, value in exported.items()),
        BODY.read_text(encoding="utf-8"),
    ]
