"""Proving an environment from the inside: `python -m eventflock.worker.prove REQUEST RESULT`.

Runs in the packed interpreter, started by the launcher as a job would be.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pkgutil
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.manifest import Failure
from eventflock.core.model import AnalysisRef, Assignment
from eventflock.core.structs import from_json, to_json
from eventflock.errors import EventflockError
from eventflock.usercode.decorator import Analysis
from eventflock.usercode.programs import RowWork, load_work
from eventflock.worker.node_layout import ANALYSIS, unpacked_root
from eventflock.worker.once import link_data, moved

__all__ = ["Imported", "Proof", "ProofRequest"]

SITE = "EVENTFLOCK_SITE"
"""The launcher writes here what the set-up of the site put into PYTHONPATH."""


class ProofRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be proven.

    Attributes
    ----------
    modules
        To be imported; from names to the versions that they should have, empty for any.
    analysis
        To be loaded.
    trials
        Chunks to be run, each with the folder its analysis is in; empty for the user's code.
    """

    modules: dict[str, str] = {}
    analysis: AnalysisRef | None = None
    trials: tuple[tuple[Assignment, str], ...] = ()


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """How importing one module went."""

    name: str
    file: str = ""
    version: str = ""
    seconds: float = 0.0
    error: str = ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes
    ----------
    root
        The folder that the archive was unpacked into.
    began, first_event
        Seconds since 1970: when this program began, and when the first chunk had been run.
    python, program
        The version of the interpreter, and the file.
    error
        Why the analysis could not be loaded, or a chunk not be run.
    site
        The packages that the set-up of the site offers, if there is one; `file` is from where a job
        imports each.
    root_program, root_version
        ROOT's own program, if the set-up offers one.
    root_module
        From where a job imports ROOT; empty if it cannot.
    """

    root: str
    python: str
    program: str = ""
    libc: str
    began: float
    imported: tuple[Imported, ...]
    first_event: float = 0.0
    events: int = 0
    error: Failure | None = None
    site: tuple[Imported, ...] | None = None
    root_program: str = ""
    root_version: str = ""
    root_module: str = ""


def prove(request: ProofRequest) -> Proof:
    """Run chunks, load the analysis, import modules: the first as a job would, in this order."""
    from eventflock.core.manifest import Failure
    from eventflock.worker.runner import Runner

    began = time.time()
    root = unpacked_root()
    error: Failure | None = None
    events, first = 0, 0.0
    try:
        for trial, folder in request.trials:
            place = Path(folder) if folder else root / ANALYSIS
            link_data(trial.analysis, place, Path.cwd())
            analysis = load_work(moved(trial.analysis, place), place)
            with tempfile.TemporaryDirectory(prefix="eventflock-") as scratch:
                manifest = Runner().run(
                    trial, partial(_given, analysis), Path(scratch) / "z", _ignore
                )
            error = error or manifest.error
            events += manifest.counters.events
            first = first or time.time()
        if request.analysis is not None:
            load_work(moved(request.analysis, root / ANALYSIS), root / ANALYSIS)
    except EventflockError as why:
        error = Failure.of(why)
    return Proof(
        root=str(root),
        python=platform.python_version(),
        program=sys.executable,
        libc=os.confstr("CS_GNU_LIBC_VERSION") or "",
        began=began,
        imported=tuple(_import(name) for name in request.modules),
        first_event=first,
        events=events,
        error=error,
        **(_site() if SITE in os.environ else {}),
    )


def _site() -> dict[str, Any]:
    """Say what a job sees of the site's software."""
    return {"site": tuple(_of_site()), **_root()}


def _of_site() -> Iterator[Imported]:
    """Yield the packages that the set-up of the site offers."""
    folders = [one for one in os.environ.get(SITE, "").split(":") if one and Path(one).is_dir()]
    versions = {}
    for one in metadata.distributions(path=folders):
        with contextlib.suppress(Exception):  # what is written there need not be right
            versions[one.metadata["Name"].replace("-", "_").lower()] = one.version
    for module in pkgutil.iter_modules(folders):
        seen = _origin(module.name)
        yield Imported(name=module.name, file=seen, version=versions.get(module.name.lower(), ""))


def _origin(name: str) -> str:
    """Return the file from which a module would be imported; empty if there is none."""
    with contextlib.suppress(Exception):
        spec = importlib.util.find_spec(name)
        return str(spec.origin or "") if spec is not None else ""
    return ""


def _root() -> dict[str, str]:
    """Say which ROOT a job sees, as a program and as a module."""
    program = shutil.which("root") or shutil.which("root-config") or ""
    version = ""
    config = shutil.which("root-config")
    if config is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(
                [config, "--version"], capture_output=True, text=True, timeout=60, check=False
            )
            version = told.stdout.strip()
    return {
        "root_program": program,
        "root_version": version,
        "root_module": _origin("ROOT"),
    }


def _given(analysis: Analysis | RowWork) -> Analysis | RowWork:
    """Return what was loaded before."""
    return analysis


def _ignore(_events: int) -> None:
    """Take no notice of progress."""


def _import(name: str) -> Imported:
    started = time.perf_counter()
    try:
        module: Any = importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 -- whatever a module does when it is imported
        return Imported(name=name, error=f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - started
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [])), "")
    return Imported(name=name, file=str(file), version=_version(name, module), seconds=seconds)


def _version(name: str, module: Any) -> str:
    """Return the version of a module; what is odd about it is no reason to fail."""
    with contextlib.suppress(Exception):
        return str.__str__(metadata.version(name))
    with contextlib.suppress(Exception):
        return str.__str__(vars(module)["__version__"])  # a plain one: torch has a class for it
    return ""


def main(request: str, result: str) -> None:
    """Carry out the request of one file and write the answer to another."""
    found = prove(from_json(Path(request).read_bytes(), ProofRequest))
    Path(result).write_bytes(to_json(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)
