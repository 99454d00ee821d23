"""Environments that are asked for by their requirements, installed with uv (https://docs.astral.sh/uv)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.structs import digest, to_json
from eventflock.errors import EnvError, UsageError
from eventflock.packing.cache import Cache
from eventflock.packing.distributions import WORKER, local_source, normal
from eventflock.packing.stamps import digest_of

__all__ = [
    "Requirements",
    "install",
    "install_project",
    "read_requirements",
    "with_included",
    "worker_requirements",
]

_SCRIPT = re.compile(r"(?m)^# /// script\s*$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""As the specification of inline script metadata (PEP 723) has it."""


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be installed.

    Attributes
    ----------
    origin
        Who says so, for messages.
    lines
        As in a requirements file.
    python
        A version specifier such as `>=3.12`; empty for any.
    folder
        What relative paths in them are relative to.
    """

    origin: str
    lines: tuple[str, ...]
    python: str = ""
    folder: str = ""


def read_requirements(name: str, source: bytes, given: str) -> Requirements | None:
    """Find the requirements of an analysis: those given, or those in its file.

    Parameters
    ----------
    name
        Of the analysis file.
    source
        Its content.
    given
        What `--requirements` names: a requirements file, a `pylock.toml` or a `uv.lock`.

    Returns
    -------
    Requirements or None
        None where there are none, and the running environment counts.

    Raises
    ------
    EnvError
        They cannot be read.
    """
    if given:
        return _from_file(Path(given))
    found = list(_SCRIPT.finditer(source.decode(errors="replace")))
    if not found and re.search(r"(?m)^# /// script\s*$", source.decode(errors="replace")):
        raise EnvError(
            f"The script block of {name} is not closed, or has a line without '#'.",
            remedy="It ends with a line '# ///'.",
        )
    if not found:
        return None
    if len(found) > 1:
        raise EnvError(f"{name} has {len(found)} script blocks (PEP 723).", remedy="Keep one.")
    lines = found[0]["content"].splitlines()
    try:
        table = tomllib.loads("\n".join(line.removeprefix("#").removeprefix(" ") for line in lines))
    except tomllib.TOMLDecodeError as error:
        raise EnvError(f"The script block of {name} is not TOML: {error}.") from None
    lock = Path(f"{name}.lock")
    if lock.is_file():
        return Requirements(
            origin=str(lock), lines=_export(["--script", name]), python=_python(table)
        )
    if table.get("tool", {}).get("uv", {}).get("sources"):
        raise EnvError(
            f"The script block of {name} has [tool.uv.sources], which only a lock resolves.",
            remedy=f"Run: uv lock --script {name}",
        )
    wanted = table.get("dependencies", [])
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise EnvError(f"In the script block of {name}, 'dependencies' is not a list of strings.")
    return Requirements(
        origin=f"the script block of {name}", lines=tuple(wanted), python=_python(table)
    )


def _python(table: dict[str, Any]) -> str:
    return str(table.get("requires-python", ""))


def _from_file(path: Path) -> Requirements:
    if not path.is_file():
        raise EnvError(
            f"--requirements {path}: there is no such file.",
            remedy="Name a requirements.txt, a pylock.toml or a uv.lock.",
        )
    if path.name == "uv.lock":
        folder = str(path.parent.resolve())
        lines = _export(["--directory", folder])
        return Requirements(origin=str(path), lines=lines, folder=folder)
    # By its path, as it may refer to others beside it; by their content, so that edits count.
    contents = [f"# {digest(one.read_bytes())}" for one in with_included(path.resolve())]
    return Requirements(origin=str(path), lines=(*contents, f"-r {path.resolve()}"))


_INCLUDED = re.compile(r"\s*(?:-r|-c|--requirement|--constraint)(?:\s+|=\s*)(\S+)")


def with_included(path: Path) -> list[Path]:
    """Return a requirements file, and the files of this machine that it names, and so on."""
    found = [path]
    for file in found if path.is_file() else ():
        for line in file.read_text(errors="replace").splitlines():
            match = _INCLUDED.match(line)
            other = (file.parent / match[1]).resolve() if match and "://" not in match[1] else None
            if other is not None and other.is_file() and other not in found:
                found.append(other)
    return found


def _export(where: Sequence[str]) -> tuple[str, ...]:
    process = _uv(["export", "--frozen", "--no-hashes", "--no-dev", "--no-emit-project", *where])
    return tuple(
        line for line in process.splitlines() if line and not line.lstrip().startswith("#")
    )


def worker_requirements() -> tuple[str, ...]:
    """Return the requirements of eventflock's own worker, with the versions that this one needs."""
    from packaging.requirements import Requirement

    wanted = {normal(one) for one in (*WORKER, "backports.zstd", "packaging")}
    try:
        stated = metadata.requires("eventflock") or []
    except metadata.PackageNotFoundError:
        stated = []
    found = {normal(Requirement(one).name): one for one in stated if "extra ==" not in one}
    return tuple(found.get(one, one) for one in sorted(wanted))


def install(wanted: Requirements, python: str, cache: Cache) -> str:
    """Install requirements into an environment of their own, which is kept.

    Parameters
    ----------
    wanted
        The requirements; those of the worker are added.
    python
        One of `PYTHONS`.

    Returns
    -------
    str
        The interpreter of the environment.

    Raises
    ------
    EnvError
        With uv's own reason.
    """
    worker = worker_requirements()
    key = digest(
        to_json([wanted.lines, wanted.python, wanted.folder, worker, python, sys.version])
    )[:32]
    folder = cache.path / "environments" / key
    program = folder / "bin" / "python"
    with cache.working() as scratch, cache.lock(f"uv-{key}"):
        complete = folder / ".complete"
        if complete.exists() and complete.read_text() == digest_of(_local(folder)):
            return str(program)
        shutil.rmtree(folder, ignore_errors=True)
        listed = scratch / "requirements.txt"
        listed.write_text("\n".join([*wanted.lines, *worker, ""]))
        try:
            _uv(["venv", "--no-project", "--quiet", *_which_python(wanted, python), str(folder)])
            pip = ["pip", "install", "--quiet", "--python", str(program)]
            _uv([*pip, "-r", str(listed)], wanted.folder)
            local = [str(one) for one in _local(folder) if one.is_dir()]
            if local:  # uv's own cache looks at their pyproject.toml only
                _uv([*pip, "--no-deps", "--refresh", "--reinstall", *local])
        except EnvError as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = error.message.replace(str(listed), wanted.origin)
            error.message = f"The requirements of {wanted.origin} cannot be installed:\n{reason}"
            raise
        complete.write_text(digest_of(_local(folder)))
    return str(program)


def _local(folder: Path) -> list[Path]:
    """Return the folders and files of this machine that were installed into an environment."""
    sites = folder.glob("lib*/python*/site-packages")
    found = [
        local_source(distribution)
        for distribution in metadata.distributions(path=[str(site) for site in sites])
    ]
    return [path for path, _ in found if path is not None and path.exists()]


def _which_python(wanted: Requirements, python: str) -> list[str]:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    try:
        fits = SpecifierSet(wanted.python).contains(version, prereleases=True)
    except InvalidSpecifier:
        raise EnvError(
            f"requires-python in {wanted.origin} is {wanted.python!r}, which is no version "
            "specifier.",
            remedy='As in requires-python = ">=3.11"',
        ) from None
    if python == "standalone":
        minor = ".".join(map(str, sys.version_info[:2]))
        return ["--managed-python", "--python", minor if fits else wanted.python]
    base: Any = getattr(sys, "_base_executable", None) or sys.executable
    return ["--python", base if fits else wanted.python]


def install_project(folder: Path, target: Path, python: str) -> None:
    """Build and install a project of the user's, without its dependencies, into a folder.

    Raises
    ------
    EnvError
        It cannot be built; with the reason that uv or pip gives.
    """
    try:
        pip = ["pip", "install", "--quiet", "--python", python, "--target", str(target)]
        _uv([*pip, "--no-deps", "--refresh", str(folder)])
    except EnvError as error:
        error.message = f"The project {folder} cannot be installed:\n{error.message}"
        raise


def _uv(words: Sequence[str], folder: str = "") -> str:
    """Run uv in a folder, and return what it prints."""
    process = subprocess.run(
        [_find_uv(), *words], capture_output=True, text=True, check=False, cwd=folder or None
    )
    if process.returncode:
        reason = "\n".join(line for line in process.stderr.strip().splitlines() if line.strip())
        raise EnvError(
            reason or f"uv ended with exit status {process.returncode}.", remedy=_remedy(words)
        )
    return process.stdout


def _remedy(words: Sequence[str]) -> str:
    if "--managed-python" in words:
        return "Without --python standalone, the Python that runs now is packed."
    if "venv" in words:
        return "Install a Python that fits, or change what is required of it."
    return "Mend the requirements; 'uv pip compile FILE' shows the same."


def _find_uv() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if not found:
        raise UsageError(
            "uv is needed to install requirements, and is not here.",
            remedy="Install it: pip install uv. Or leave the requirements out: then the packages "
            "of this environment are packed.",
        )
    return found
