"""Finding an analysis by its name, freezing its code, and importing it again in a worker."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from eventflock._version import PACKAGE
from eventflock.core.model import AnalysisRef
from eventflock.core.stamp import stamp_of
from eventflock.core.structs import digest, digest_file
from eventflock.core.tracebacks import user_traceback
from eventflock.errors import AnalysisError, UsageError, nearest
from eventflock.usercode.decorator import Analysis
from eventflock.usercode.processors import analysis_of, is_processor

__all__ = [
    "FROZEN",
    "IMPORTING",
    "check_helpers",
    "freeze",
    "freeze_object",
    "helpers_of",
    "load",
    "load_function",
    "locate",
    "pick",
]

IMPORTING = "EVENTFLOCK_IMPORTING"
"""Set in the environment while the file of an analysis is imported."""
FROZEN = "eventflock_analysis_"
"""How the modules are called that frozen copies of analysis files are imported as."""
_STANDARD = (sysconfig.get_path("stdlib"), str(PACKAGE))


def locate(target: str) -> tuple[AnalysisRef, bytes]:
    """Find the source of `path.py`, `path.py:name` or `package.module:name`, without running it.

    Returns
    -------
    AnalysisRef
        With an empty name where none was given.
    bytes
        The source; empty for a module, which stays where it is installed.

    Raises
    ------
    UsageError
        There is no such file, or the text names neither a file nor a module.
    """
    path, _, name = (target, "", "") if Path(target).is_file() else target.rpartition(":")
    if not path:
        path, name = target, ""
    if path.endswith(".py") or Path(path).is_file():
        file = Path(path)
        if not file.is_file():
            beside = file.parent.glob("*.py") if file.parent.is_dir() else []
            near = nearest(file.name, (one.name for one in beside))
            raise UsageError(
                f"There is no analysis file {path!r}{'; ' + near if near else '.'}",
                remedy="Name it as path.py, path.py:name or package.module:name.",
            )
        source = file.read_bytes()
        full = file.resolve()
        ref = AnalysisRef(
            name=name,
            origin=str(full),
            file=full.name,
            sha256=digest(source),
            search=(str(full.parent),),
        )
        return ref, source
    if all(part.isidentifier() for part in path.split(".")):
        return AnalysisRef(name=name, origin=path, search=(str(Path.cwd()),)), b""
    raise UsageError(
        f"{target!r} is not an analysis.",
        remedy="Name it as path.py, path.py:name or package.module:name.",
    )


def freeze(found: Any) -> tuple[AnalysisRef, bytes]:
    """Do for an analysis or processor at hand, as in a notebook, what `locate` does for its name.

    One that lies in a file is found there again; one that was typed in, or made inside another
    function, is pickled by value with cloudpickle.

    Returns
    -------
    AnalysisRef
    bytes
        The source, or the pickle; empty for an installed module.
    """
    if isinstance(found, Analysis):
        return freeze_object(found, found.name, found.function.__module__)
    kind = found if isinstance(found, type) else type(found)
    return freeze_object(found, kind.__name__, kind.__module__)


def freeze_object(found: object, name: str, module_name: str) -> tuple[AnalysisRef, bytes]:
    """Freeze what is called by a name in a module: see `freeze`."""
    module = sys.modules.get(module_name)
    file = getattr(module, "__file__", None)
    names = [key for key, value in vars(module).items() if value is found] if module else []
    if file and names:
        in_package = "." in module_name or hasattr(module, "__path__")
        if module_name == "__main__" or not in_package:
            ref, source = locate(f"{file}:{names[0]}")
            return msgspec.structs.replace(ref, search=(*ref.search, *sys.path)), source
        ref = AnalysisRef(name=names[0], origin=module_name, search=tuple(sys.path))
        return ref, b""
    import cloudpickle

    try:
        data = cloudpickle.dumps(found)
    except Exception as error:
        used = _unsendable(found)
        raise UsageError(
            f"{name!r}{f' uses {used}, and' if used else ''} cannot be sent to a worker: {error}.",
            remedy="Write it into a file, or leave out what it refers to outside itself.",
        ) from error
    return AnalysisRef(
        name=name,
        file=f"{name}.pickle",
        sha256=digest(data),
        search=tuple(sys.path),
    ), data


def _unsendable(found: object) -> str:
    """Name the global that a function of a notebook uses, and that cannot be pickled."""
    import cloudpickle

    function = found.function if isinstance(found, Analysis) else found
    used = inspect.getclosurevars(function) if inspect.isfunction(function) else None
    for name, value in {**used.globals, **used.nonlocals}.items() if used else ():
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001 -- each type has its own
            deeper = _unsendable(value)
            return f"{name!r}, which uses {deeper}" if deeper else repr(name)
    return ""


def load(ref: AnalysisRef, folder: Path | None = None) -> Analysis:
    """Import the module of an analysis and return the analysis.

    Parameters
    ----------
    ref
        From `locate`, or from a plan.
    folder
        Where the frozen copies are (`analysis/` of a run); without it, the origin is read.

    Raises
    ------
    UsageError
        There is no such module or name in it, or several analyses to choose from.
    AnalysisError
        Importing the module raised, or its source is not the one that was frozen.
    """
    _search(ref)
    if ref.file.endswith(".pickle"):
        found = _load_pickle(ref, folder)
        if is_processor(found):
            found = analysis_of(found)
        return (found if isinstance(found, Analysis) else Analysis(found)).seen_as(ref.schema)
    module = _import_file(ref, folder) if ref.file else _import_module(ref)
    analysis = pick(module, ref.name, ref.origin)
    check_helpers(ref)
    return analysis.seen_as(ref.schema)


def load_function(ref: AnalysisRef, folder: Path | None = None) -> Callable[[Any], Any]:
    """Do for a plain function what `load` does for an analysis."""
    _search(ref)
    if ref.file.endswith(".pickle"):
        found = _load_pickle(ref, folder)
    else:
        module = _import_file(ref, folder) if ref.file else _import_module(ref)
        found = getattr(module, ref.name, None)
        check_helpers(ref)
    if not callable(found):
        raise UsageError(
            f"There is no function {ref.name!r} in {ref.origin}.",
            remedy="Name one that is defined at the top of its file.",
        )
    function: Callable[[Any], Any] = found
    return function


def _search(ref: AnalysisRef) -> None:
    """Search for modules as 'python path.py' does: its folder comes first."""
    for place in reversed(ref.search):
        if place not in sys.path:
            sys.path.insert(0, place)


def check_helpers(ref: AnalysisRef, *, data_only: bool = False) -> None:
    """Check that the modules and data files which an analysis uses are those of its run.

    Parameters
    ----------
    data_only
        Check the data files only.

    Raises
    ------
    AnalysisError
        One has changed, or is gone.
    """
    for file, sha256 in ref.helpers.items():
        imported = file.endswith(".py")
        stamp = stamp_of(file)
        if (imported and data_only) or _known.get(file) == (sha256, stamp):
            continue
        if not stamp or digest_file(Path(file)) != sha256:
            verb = "imports" if imported else "opens"
            raise AnalysisError(
                f"{file}, which the analysis {verb}, changed since the run was made.",
                remedy="Put back what it was to resume, or start a new run.",
            )
        _known[file] = sha256, stamp


_known: dict[str, tuple[str, tuple[int, ...]]] = {}
"""Files that were right, and their times then: a digest is not computed for each job."""


def helpers_of(ref: AnalysisRef) -> dict[str, str]:
    """Find the modules that lie in the folders of an analysis, once it has been imported.

    Returns
    -------
    dict
        From their paths to the SHA-256 of their sources. What is installed does not count.
    """
    found = {}
    folders = tuple(f"{Path(one).resolve()}/" for one in ref.search[:1])
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        ours = file.endswith(".py") and file.startswith(folders) and file != ref.origin
        if ours and "site-packages" not in file and not file.startswith(_STANDARD):
            found[file] = digest(Path(file).read_bytes())
    return found


def _load_pickle(ref: AnalysisRef, folder: Path | None) -> Any:
    """Load a function that was typed into a notebook, frozen by cloudpickle in this run."""
    import cloudpickle

    data = ((folder or Path()) / ref.file).read_bytes()
    if digest(data) != ref.sha256:
        raise AnalysisError(f"{ref.file} in the run folder was changed.", remedy="Start a new run.")
    return cloudpickle.loads(data)


def _import_file(ref: AnalysisRef, folder: Path | None) -> ModuleType:
    """Run the frozen copy under the path of its origin, which is what a traceback should say."""
    copy = folder / ref.file if folder else Path(ref.origin)
    try:
        source = copy.read_bytes()
    except OSError as error:
        raise AnalysisError(
            f"The analysis {copy} cannot be read: {error.strerror}.",
            remedy="The frozen copy belongs to the run folder; start a new run.",
        ) from None
    if digest(source) != ref.sha256:
        raise AnalysisError(
            f"{copy} changed since the run was made.",
            remedy="Put back what it was to resume, or start a new run.",
        )
    name = f"{FROZEN}{ref.sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    shown = Path(ref.origin) if _is_same(Path(ref.origin), source) else copy
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(shown))
    if spec is None:
        raise AnalysisError(f"{shown} cannot be made a module.")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(shown)
    sys.modules[name] = module
    with _import_errors(str(shown)), _importing():
        try:
            # The user's own file, on the user's own account: this is what they asked to run.
            exec(compile(source, str(shown), "exec"), module.__dict__)  # noqa: S102
        except BaseException:
            del sys.modules[name]
            raise
    return module


def _is_same(path: Path, source: bytes) -> bool:
    try:
        return path.read_bytes() == source
    except OSError:
        return False


def _import_module(ref: AnalysisRef) -> ModuleType:
    with _import_errors(ref.origin):
        try:
            return importlib.import_module(ref.origin)
        except ModuleNotFoundError as error:
            if error.name and (ref.origin + ".").startswith(error.name + "."):
                raise UsageError(
                    f"There is no module {ref.origin!r}.",
                    remedy="Name the analysis as path.py, path.py:name or package.module:name.",
                ) from None
            raise


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Mark that user code is being imported, so that it does not start runs itself."""
    before = os.environ.get(IMPORTING)
    os.environ[IMPORTING] = "1"
    try:
        yield
    finally:
        os.environ.pop(IMPORTING)
        if before is not None:
            os.environ[IMPORTING] = before


@contextlib.contextmanager
def _import_errors(where: str) -> Iterator[None]:
    """Turn what importing the user's module raises into an error that shows their lines."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- the user's code may raise anything
        text = str(error) or type(error).__name__
        remedy = "Mend the file; 'python FILE' shows the same error."
        if "attempted relative import" in text:
            package = f"{Path(where).parent.name}.{Path(where).stem}"
            remedy = f"It is a part of a package: name it {package}, from the folder above that."
        elif isinstance(error, ModuleNotFoundError):
            remedy = "Install it; where requirements are given, name it in the requirements."
        raise AnalysisError(
            f"Importing {where} raised {type(error).__name__}: {text}",
            remedy=remedy,
            traceback=user_traceback(error),
        ) from None


def pick(module: ModuleType, name: str = "", origin: str = "") -> Analysis:
    """Return the analysis of a module, by its name or as the only one.

    Parameters
    ----------
    origin
        What the user calls the module.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    origin = origin or module.__name__
    found = {key: value for key, value in vars(module).items() if isinstance(value, Analysis)}
    if name:
        value = getattr(module, name, None)
        if isinstance(value, Analysis):
            return value
        if inspect.isfunction(value):
            return Analysis(value)
        if is_processor(value):
            return analysis_of(value)
        near = nearest(name, found) or f"it has {', '.join(found) or 'none'}."
        raise UsageError(
            f"There is no analysis {name!r} in {origin}; {near}",
            remedy="An analysis is a function marked with @eventflock.analysis.",
        )
    own = {key: value for key, value in found.items() if value.__module__ == module.__name__}
    chosen = (
        own
        or found
        or {
            key: analysis_of(value)
            for key, value in vars(module).items()
            if is_processor(value)
            and isinstance(value, type)
            and value.__module__ == module.__name__
        }
    )
    if len(chosen) == 1:
        return next(iter(chosen.values()))
    if not chosen:
        raise UsageError(
            f"{origin} has no analysis.",
            remedy="Mark a function with @eventflock.analysis, or name one as path.py:name. "
            "Processors of coffea need no mark.",
        )
    raise UsageError(
        f"{origin} has {len(chosen)} analyses: {', '.join(chosen)}.",
        remedy=f"Name one, as in {origin}:{next(iter(chosen))}.",
    )
