"""What the user says about an HTCondor pool: in a profile, a TOML file, and the call.

A later one of these replaces what an earlier one says under the same name. What is left is checked,
and all that is wrong is said at once, before anything is submitted.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.options import SubmitOptions
from eventflock.core.structs import Frozen
from eventflock.errors import UsageError, nearest
from eventflock.events.credentials import Credential
from eventflock.pools.batch.site_file import find_table
from eventflock.pools.htcondor.names import normal_name
from eventflock.pools.htcondor.paths import PATHS, find_inputs, find_path
from eventflock.pools.htcondor.values import Line, check_text, command, shown
from eventflock.pools.htcondor.variables import with_variable

__all__ = ["Settings", "amend", "read_settings", "with_credentials"]

BUILT_IN = Path(__file__).with_name("profiles.toml")
TABLE = "htcondor"
INPUTS = "transfer_input_files"


class Settings(Frozen, frozen=True, omit_defaults=True):
    """What is to be set for all jobs of a run on HTCondor.

    Attributes
    ----------
    schedd, collector
        Where to submit, if not on this machine.
    spool
        The schedd does not share a disk with this machine.
    max_idle
        At most so many jobs wait in the queue at a time; 0 for all at once.
    common_files
        Whether the environment is sent once per node; None where it pays.
    inputs
        Files of the user that go to every job: absolute paths, or URLs.
    commands
        Submit commands, each with the text that stands right of '=' in a submit description.
        Known names are in lower case and attributes have '+', so that each is there once.
    """

    schedd: str = ""
    collector: str = ""
    spool: bool = False
    max_idle: int = 1000
    common_files: bool | None = None
    inputs: tuple[str, ...] = ()
    commands: dict[str, str] = {}


def read_settings(site: SubmitOptions, folder: Path) -> Settings:
    """Read all that is said about the pool, and check it.

    Parameters
    ----------
    site
        What the call says.
    folder
        Where the call is made: `eventflock.toml`, or `pyproject.toml` with a table
        `[tool.eventflock.htcondor]`, is looked for in it and the folders above.

    Raises
    ------
    UsageError
        A file is not TOML, a profile is not known, or HTCondor would not do what is asked for;
        all of it in one message.
    """
    folder = folder.absolute()
    collected = _Collected()
    table, file = find_table(TABLE, folder)
    own, rest = collected.split(table, _OWN, str(file))
    named = site.profile or own.get("profile", "")
    where = "--profile" if site.profile else str(file)
    if named:
        profiles, needed = _profile(named, where, own.get("profiles", {}), str(file), collected)
        own = profiles | own
    else:
        needed = ()
    collected.add(rest, str(file), file.parent)
    for one in site.submit:
        collected.add_text(one, folder)
    given = {"schedd": site.schedd, "collector": site.collector, "spool": site.spool}
    own |= {key: value for key, value in given.items() if value}
    collected.need(needed, named)
    inputs, commands = collected.finish()
    kept = {key: own[key] for key in _SETTINGS if key in own}
    return Settings(inputs=inputs, commands=commands, **kept)


def with_credentials(settings: Settings, found: Iterable[Credential]) -> Settings:
    """Send the credentials of the user with the jobs, unless the user has said how.

    A proxy goes by HTCondor's own command for it; a token is a file in the folder of the job, and
    `BEARER_TOKEN_FILE` names it there. One that has ended stays here: HTCondor would refuse all
    jobs with it, and perhaps no server asks for it.
    """
    commands, inputs = dict(settings.commands), list(settings.inputs)
    for one in (one for one in found if not one.has_ended):
        if one.kind == "proxy" and not {"x509userproxy", "use_x509userproxy"} & commands.keys():
            commands["x509userproxy"] = one.path
        own = {"scitokens_file", "use_oauth_services", "use_scitokens"}
        if one.kind == "token" and one.path and not own & commands.keys():
            variables = commands.get("environment", '""')
            if "BEARER_TOKEN" not in variables:
                inputs.append(one.path)
                name = Path(one.path).name
                commands["environment"] = with_variable(variables, "BEARER_TOKEN_FILE", name)
    return msgspec.structs.replace(settings, commands=commands, inputs=tuple(inputs))


def amend(settings: Settings, site: SubmitOptions, folder: Path) -> Settings:
    """Put what a later call says over the settings that a run has had so far.

    Parameters
    ----------
    site
        What the call says. Of the TOML file only a profile that it names is read: the rest has
        been said before.
    folder
        See `read_settings`.

    Raises
    ------
    UsageError
        See `read_settings`.
    """
    folder = folder.absolute()
    collected = _Collected()
    own: dict[str, Any] = {}
    needed: tuple[str, ...] = ()
    if site.profile:
        table, file = find_table(TABLE, folder)
        profiles = collected.split(table, _OWN, str(file))[0].get("profiles", {})
        own, needed = _profile(site.profile, "--profile", profiles, str(file), collected)
    for one in site.submit:
        collected.add_text(one, folder)
    earlier = {name.lower() for name in settings.commands}
    collected.need((one for one in needed if normal_name(one).lower() not in earlier), site.profile)
    inputs, commands = collected.finish()
    new = {name.lower() for name in commands}
    kept = {name: text for name, text in settings.commands.items() if name.lower() not in new}
    return msgspec.structs.replace(
        settings,
        inputs=inputs if collected.has(INPUTS) else settings.inputs,
        commands={**kept, **commands},
        **{key: own[key] for key in _SETTINGS if key in own},
    )


# --- where it stands -----------------------------------------------------------------------------


def _profile(
    name: str, where: str, own: Mapping[str, Any], file: str, collected: _Collected
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Add the commands of a profile; return its other settings, and the names that it needs."""
    built_in = tomllib.loads(BUILT_IN.read_text(encoding="utf-8"))
    profiles = {key.lower(): value for key, value in (built_in | dict(own)).items()}
    names = {key.lower() for key in own}
    found = profiles.get(name.lower())
    if found is None:
        near = nearest(name, profiles)
        collected.complain(
            f"{where}: there is no profile {name!r}{'; ' + near if near else '.'}",
            f"There are {', '.join(sorted(profiles))}; others can be written as tables "
            "[htcondor.profiles.NAME] in eventflock.toml.",
        )
        return {}, ()
    place = f"{file}, profile {name}" if name.lower() in names else f"profile {name}"
    settings, rest = collected.split(found, _OF_PROFILE, place)
    collected.add(rest, place, Path(file).parent)
    return settings, tuple(settings.pop("required", ()))


# --- what it says --------------------------------------------------------------------------------


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and not _is_bad(value)


def _is_bad(text: str) -> bool:
    try:
        check_text(text)
    except UsageError:
        return True
    return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


_SETTINGS = {
    "schedd": (_is_name, "the name of a schedd, in quotes"),
    "collector": (_is_name, "the address of a collector, in quotes"),
    "spool": (lambda value: isinstance(value, bool), "true or false"),
    "max_idle": (_is_count, "a whole number, 0 for no limit"),
    "common_files": (lambda value: isinstance(value, bool), "true or false"),
}
_OWN = _SETTINGS | {
    "profile": (_is_name, "the name of a profile, in quotes"),
    "profiles": (
        lambda value: (
            isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
        ),
        "tables [htcondor.profiles.NAME]",
    ),
}
_OF_PROFILE = _SETTINGS | {
    "required": (
        lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
        "a list of names, in quotes",
    ),
}
"""Keys that are ours, in the table and in a profile: what is a value, and how to say so."""


class _Collected:
    """The lines of all sources by name, and what is wrong with them."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._complaints: list[tuple[str, str]] = []

    def complain(self, message: str, remedy: str) -> None:
        """Keep what is wrong until all is read."""
        self._complaints.append((message, remedy))

    def split(
        self, table: Mapping[str, Any], known: Mapping[str, Any], where: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Part the keys that are ours, checked and in lower case, from submit commands."""
        own: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for key, value in table.items():
            if key.lower() not in known:
                rest[key] = value
                continue
            fits, expected = known[key.lower()]
            if fits(value):
                own[key.lower()] = value
            else:
                self.complain(f"{where}: {key} is {value!r}.", f"Expected {expected}.")
        return own, rest

    def add(self, table: Mapping[str, Any], where: str, folder: Path) -> None:
        """Add the submit commands of a table. `MY.NAME` without quotes is a table to TOML."""
        for key, value in table.items():
            if key.upper() == "MY" and isinstance(value, dict):
                for name, inner in value.items():
                    self._add(Line(f"MY.{name}", inner, where, folder))
            else:
                self._add(Line(key, value, where, folder))

    def add_text(self, text: str, folder: Path) -> None:
        """Add a submit command of the call."""
        name, equals, value = text.partition("=")
        line = Line(name, value, "--submit", folder)
        if equals:
            self._add(line)
        else:
            self.complain(f"--submit: {text!r} is not NAME=VALUE.", "For example request_cpus=2.")

    def _add(self, line: Line) -> None:
        try:
            name = normal_name(line.name)
        except UsageError as error:
            self.complain(f"{line.where}: {shown(line)}: {error.message}", error.remedy)
            return
        self._lines[name.lower()] = line._replace(name=name)

    def has(self, name: str) -> bool:
        """Check whether a command was said."""
        return name in self._lines

    def need(self, names: Iterable[str], profile: str) -> None:
        """Check that the commands which a profile leaves to the user are there."""
        for name in names:
            if normal_name(name).lower() not in self._lines:
                self.complain(
                    f"The profile {profile!r} needs {name}, which is not set.",
                    f'Say --submit \'{name}=VALUE\', or write "{name}" = "VALUE" in the table '
                    "[htcondor] of eventflock.toml.",
                )

    def finish(self) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the input files and all other commands, or say all that is wrong."""
        inputs: tuple[str, ...] = ()
        commands: dict[str, str] = {}
        for line in self._lines.values():
            try:
                if line.name == INPUTS:
                    inputs = find_inputs(line)
                else:
                    text = command(line)
                    commands[line.name] = find_path(line, text) if line.name in PATHS else text
            except UsageError as error:
                self.complain(f"{line.where}: {shown(line)}: {error.message}", error.remedy)
        if self._complaints:
            raise self._error()
        return inputs, commands

    def _error(self) -> UsageError:
        if len(self._complaints) == 1:
            message, remedy = self._complaints[0]
            return UsageError(message, remedy=remedy)
        lines = [f"{message} {remedy}".rstrip() for message, remedy in self._complaints]
        return UsageError(
            "\n  ".join([f"{len(lines)} settings for HTCondor are wrong:", *lines]),
            remedy="Nothing was submitted.",
        )
