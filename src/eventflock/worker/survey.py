"""What an analysis needs: `python -m eventflock.worker.survey REQUEST REPLY`, two JSON files.

A fresh interpreter imports the analysis and tries it on a few events. What it then has loaded
is what has to be packed; nothing is guessed that can be seen.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.manifest import Failure
from eventflock.core.model import AnalysisRef, Assignment
from eventflock.core.structs import from_json, to_json
from eventflock.errors import EventflockError
from eventflock.rows.loaded import SURVEY, Loaded, libraries, modules
from eventflock.worker.shadow import SHADOW

__all__ = ["Interpreter", "Survey", "SurveyRequest"]


NOTHING = Loaded(modules={}, libraries=())


class SurveyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to look at.

    Attributes
    ----------
    analysis, folder
        As in `messages.Describe`.
    imports
        Modules to import besides.
    trials
        A few events of each dataset, to be run.
    """

    analysis: AnalysisRef | None = None
    folder: str = ""
    imports: tuple[str, ...] = ()
    trials: tuple[Assignment, ...] = ()


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """The Python that runs the survey, as far as packing it needs to know.

    Attributes
    ----------
    executable
        The program itself, behind virtual environments and symbolic links.
    stdlib, dynload
        Folders of the standard library, and of its extension modules.
    libdir
        `lib` or `lib64`, where the interpreter looks for its standard library.
    path
        The module search path without the current folder.
    markers
        The environment that markers of requirements are evaluated in (PEP 508).
    certificates
        Where its OpenSSL looks for certificates: a file and a folder.
    """

    version: str
    executable: str
    stdlib: str
    dynload: str
    libdir: str
    path: tuple[str, ...]
    markers: dict[str, str]
    certificates: tuple[str, str]


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes
    ----------
    modules
        From the names of the modules that are loaded to their files.
    libraries
        Native libraries that are mapped into the process.
    levels
        From files to the x86-64 level that they say they were compiled for.
    failed
        What could not be imported, with the reason; and a trial that failed.
    opened, written
        Data files that the trials opened, with their SHA-256, and files that they wrote.
    error
        Why the analysis itself could not be loaded.
    """

    python: Interpreter
    modules: dict[str, str]
    libraries: tuple[str, ...]
    levels: dict[str, int]
    failed: dict[str, str]
    opened: dict[str, str] = {}
    written: tuple[str, ...] = ()
    error: Failure | None = None


def survey(request: SurveyRequest) -> Survey:
    """Import, try, and look at what that has loaded."""
    from eventflock.core.manifest import Failure
    from eventflock.events.credentials import credential_files
    from eventflock.usercode.data_files import Opened, watch_opened
    from eventflock.usercode.programs import load_work
    from eventflock.worker.runner import Runner
    from eventflock.worker.service import Service  # noqa: F401 -- what a node imports

    for name in ("awkward", "boost_histogram", "cloudpickle", "uproot"):
        importlib.import_module(name)
    error = None
    failed: dict[str, str] = {}
    opened, ran = Opened(), NOTHING
    for name in request.imports:
        try:
            importlib.import_module(name)
        except BaseException as why:  # noqa: BLE001 -- whatever a module does when it is imported
            failed[name] = f"{type(why).__name__}: {why}"
    if request.analysis is not None:
        try:
            found = load_work(request.analysis, Path(request.folder) if request.folder else None)
            runner = Runner()
            inputs = [path for trial in request.trials for path in trial.inputs]
            with watch_opened([request.folder, *inputs, *credential_files()]) as opened:
                for trial in request.trials:
                    with tempfile.TemporaryDirectory(prefix="eventflock-") as scratch:
                        target = Path(scratch) / "trial.zip"
                        os.environ[SURVEY] = f"{scratch}/loaded"  # for a script of its own
                        manifest = runner.run(trial, lambda: found, target, lambda _: None)
                        ran = _loaded(Path(os.environ.pop(SURVEY)), inputs)
                    if manifest.error is not None:
                        failed[trial.dataset] = manifest.error.message
            opened.remove_created()
        except EventflockError as why:
            error = Failure.of(why)
    return Survey(
        python=_interpreter(),
        modules={**modules(), **ran.modules},
        libraries=tuple(sorted({*libraries(), *ran.libraries})),
        levels=_levels(),
        failed=failed,
        opened={**opened.read, **ran.opened},
        written=(*opened.written, *ran.written),
        error=error,
    )


def _loaded(file: Path, inputs: Sequence[str]) -> Loaded:
    """Read what a script has loaded, which ran in a process of its own."""
    try:
        found = from_json(file.read_bytes(), Loaded)
    except (OSError, msgspec.MsgspecError):
        return NOTHING
    opened = {path: sha256 for path, sha256 in found.opened.items() if path not in inputs}
    return msgspec.structs.replace(found, opened=opened)


def _interpreter() -> Interpreter:
    import ssl

    paths = ssl.get_default_verify_paths()
    base: Any = getattr(sys, "_base_executable", None) or sys.executable
    stdlib = Path(sysconfig.get_path("stdlib"))
    dynload = next((one for one in sys.path if Path(one).name == "lib-dynload"), "")
    return Interpreter(
        version=platform.python_version(),
        executable=str(Path(base).resolve()),
        stdlib=str(stdlib),
        dynload=dynload or str(stdlib / "lib-dynload"),
        libdir=sys.platlibdir,
        path=tuple(one for one in sys.path if one and Path(one).name != SHADOW),
        markers=_markers(),
        certificates=(paths.openssl_cafile, paths.openssl_capath),
    )


def _markers() -> dict[str, str]:
    from packaging.markers import default_environment

    return {key: str(value) for key, value in default_environment().items()}


def _levels() -> dict[str, int]:
    """Ask NumPy, whose wheels need more than the baseline: its files do not say so themselves."""
    import numpy as np

    core: Any = getattr(np, "_core", None) or np.core
    umath = core._multiarray_umath
    # X86_V2 and so on since NumPy 2.4; single features before.
    needs = {"X86_V2": 2, "SSE42": 2, "X86_V3": 3, "AVX2": 3, "X86_V4": 4, "AVX512_SKX": 4}
    baseline = getattr(umath, "__cpu_baseline__", ())
    level = max((needs.get(one, 1) for one in baseline), default=1)
    return {umath.__file__: level}


def main(request: str, reply: str) -> None:
    """Carry out the request of one file and write the answer to another."""
    found = survey(from_json(Path(request).read_bytes(), SurveyRequest))
    Path(reply).write_bytes(to_json(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)
