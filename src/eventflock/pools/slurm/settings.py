"""What the user says about Slurm: in a profile, a TOML file, and the call.

A later one of these replaces what an earlier one says under the same name. Options are those of
sbatch by their long names; sbatch itself judges them (`check` of `system` asks it before anything
is packed), but for those that eventflock needs for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.options import SubmitOptions
from eventflock.core.structs import Frozen
from eventflock.errors import UsageError, nearest
from eventflock.pools.batch.site_file import find_table
from eventflock.pools.batch.variables import checked

__all__ = ["KNOWN", "Settings", "amend", "read_settings"]

TABLE = "slurm"


class Settings(Frozen, frozen=True, omit_defaults=True):
    """What is to be set for all jobs of a run on Slurm.

    Attributes
    ----------
    options
        Of sbatch, by their long names; an empty value is a flag.
    variables
        For the environment of the jobs.
    max_jobs
        At most so many jobs of the user are in the queue at a time; 0 for what Slurm takes.
    scratch
        A folder of the nodes, in which jobs work; variables of the node may be in it. By default
        that of Slurm, or else of the node.
    copy_inputs
        Copy ROOT files to the scratch folder before they are read, instead of reading them where
        they are.
    """

    options: dict[str, str] = {}
    variables: dict[str, str] = {}
    max_jobs: int = 0
    scratch: str = ""
    copy_inputs: bool = False


_OURS = {
    "array": "eventflock makes the array of its jobs",
    "chdir": "jobs start in the folder of the run",
    "clusters": "jobs go to the cluster on which eventflock is started",
    "comment": "by it eventflock finds its jobs again",
    "error": "what jobs print is kept with the run",
    "export": "jobs get no variables of this shell; write them in [slurm.environment]",
    "export-file": "write variables in [slurm.environment]",
    "hold": "use 'scontrol hold' afterwards",
    "input": "jobs have no standard input",
    "open-mode": "what jobs print is kept with the run",
    "output": "what jobs print is kept with the run",
    "parsable": "eventflock reads what sbatch prints",
    "test-only": "use --dry-run",
    "wait": "leave out --detach",
    "wrap": "eventflock writes the script",
    "ntasks": "each job is one process; use cpus-per-task",
    "nodes": "each job is one process; use nodelist or constraint to choose nodes",
}
KNOWN = (
    *("account", "begin", "constraint", "cores-per-socket", "cpus-per-task", "dependency"),
    *("exclude", "exclusive", "gpus", "gres", "job-name", "licenses", "mail-type", "mail-user"),
    *("mem", "mem-per-cpu", "nice", "no-requeue", "nodelist", "partition", "prefer", "priority"),
    *("qos", "requeue", "reservation", "signal", "time", "time-min", "tmp", "wckey"),
)
"""For suggestions only: sbatch knows more."""
_SHORT = {"A": "account", "p": "partition", "t": "time", "q": "qos", "C": "constraint"}
_SHORT |= {"c": "cpus-per-task", "w": "nodelist", "x": "exclude", "J": "job-name"}


def _is_scratch(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[\w/.${}@%+-]*", value))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_SETTINGS = {
    "max_jobs": (_is_count, "a whole number, 0 for what Slurm takes"),
    "scratch": (_is_scratch, 'a folder of the nodes, such as "/scratch/$USER"'),
    "copy_inputs": (lambda value: isinstance(value, bool), "true or false"),
}
PROFILE, PROFILES, VARIABLES = "profile", "profiles", "environment"


def read_settings(site: SubmitOptions, folder: Path) -> Settings:
    """Read all that is said about Slurm, and check it.

    Parameters
    ----------
    site
        What the call says.
    folder
        Where the call is made: `eventflock.toml`, or `pyproject.toml` with a table
        `[tool.eventflock.slurm]`, is looked for in it and the folders above.

    Raises
    ------
    UsageError
        A file is not TOML, a profile is not known, or an option is not the user's to choose.
    """
    table, file = find_table(TABLE, folder.absolute())
    own = {key: value for key, value in table.items() if key not in {PROFILE, PROFILES}}
    name = site.profile or table.get(PROFILE, "")
    lines = _profile(name, table, str(file)) if name else {}
    settings = _with_table(_with_table(Settings(), lines, f"profile {name}"), own, str(file))
    return _with_call(settings, site)


def amend(settings: Settings, site: SubmitOptions, folder: Path) -> Settings:
    """Put what a later call says over the settings that a run has had so far."""
    if site.profile:
        table, file = find_table(TABLE, folder.absolute())
        lines = _profile(site.profile, table, str(file))
        settings = _with_table(settings, lines, f"profile {site.profile}")
    return _with_call(settings, site)


def _profile(name: str, table: Mapping[str, Any], file: str) -> Mapping[str, Any]:
    profiles = table.get(PROFILES, {})
    if isinstance(profiles, dict) and isinstance(profiles.get(name), dict):
        found: Mapping[str, Any] = profiles[name]
        return found
    there = f"it has {', '.join(profiles)}" if isinstance(profiles, dict) and profiles else "none"
    raise UsageError(
        f"{file} has no profile {name!r} for Slurm{'' if there == 'none' else f'; {there}'}.",
        remedy=f"Write a table [slurm.profiles.{name}] with options of sbatch.",
    )


def _with_table(settings: Settings, table: Mapping[str, Any], where: str) -> Settings:
    """Put the lines of a table over the settings."""
    options, changed = dict(settings.options), {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if key in _SETTINGS:
            fits, expected = _SETTINGS[key]
            if not fits(value):
                raise UsageError(f"{where}: {key} is {value!r}.", remedy=f"Expected {expected}.")
            changed[key] = value
        elif key == VARIABLES:
            if not isinstance(value, dict):
                raise UsageError(
                    f"{where}: {VARIABLES} is {value!r}, expected a table.",
                    remedy=f'Write [slurm.{VARIABLES}] and below it NAME = "VALUE".',
                )
            changed["variables"] = {**settings.variables, **checked(value)}
        elif value is False:
            options.pop(name, None)
        else:
            options[_name(name, where)] = _text(name, "" if value is True else value, where)
    return msgspec.structs.replace(settings, options=options, **changed)


def _with_call(settings: Settings, site: SubmitOptions) -> Settings:
    """Put what the call says over the settings."""
    for given, option in (
        ("schedd", "--schedd"),
        ("collector", "--collector"),
        ("spool", "--spool"),
    ):
        if getattr(site, given):
            raise UsageError(
                f"{option} is for HTCondor, and this is Slurm.",
                remedy="Leave it out: jobs go to the cluster on which eventflock is started.",
            )
    options = dict(settings.options)
    for one in site.submit:
        name, _, value = one.partition("=")
        options[_name(name.strip().lstrip("-"), "--submit")] = _text(
            name, value.strip(), "--submit"
        )
    return msgspec.structs.replace(settings, options=options)


def _name(name: str, where: str) -> str:
    """Check the name of an option of sbatch."""
    name = _SHORT.get(name) or name.lower().replace("_", "-")
    if name in _OURS:
        raise UsageError(f"{where}: {name} cannot be set: {_OURS[name]}.", remedy="Leave it out.")
    if name.startswith(("+", "request-")):
        like = {"request-memory": "mem=4G", "request-cpus": "cpus-per-task=2"}
        raise UsageError(
            f"{where}: {name} is a submit command of HTCondor, and this is Slurm.",
            remedy=f"Use an option of sbatch, such as {like.get(name, 'partition=NAME')}.",
        )
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        near = nearest(name, KNOWN)
        raise UsageError(
            f"{where}: {name!r} is no option of sbatch.",
            remedy=near or "For example --submit partition=short --submit time=2:00:00.",
        )
    return name


def _text(name: str, value: Any, where: str) -> str:
    """Return the value of an option as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(
            f"{where}: {name} is {value!r}, expected a text or a number.",
            remedy=f'Write {name} = "VALUE".',
        )
    text = str(value)
    if not text.isprintable():
        raise UsageError(
            f"{where}: {name} is {text!r}, expected one line of text.", remedy="Write it plainly."
        )
    return text
