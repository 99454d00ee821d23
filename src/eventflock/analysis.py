"""What an analysis is, finding one by name, freezing its code, and checking its parameters."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, overload

import msgspec

from eventflock.errors import AnalysisError, UsageError, nearest
from eventflock.model import AnalysisRef, digest
from eventflock.tracebacks import user_traceback

__all__ = ["Analysis", "Context", "analysis", "check_parameters", "freeze", "load", "locate"]

Function = Callable[..., Mapping[str, Any]]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chunk comes from: the optional second positional argument of an analysis.

    Attributes
    ----------
    dataset
        Name of the dataset.
    metadata
        What the fileset says about it.
    file, tree
        Path or URL, and name of the tree in it.
    start, stop
        The entries of the chunk, in the file's own counting.
    """

    dataset: str
    metadata: dict[str, Any]
    file: str
    tree: str
    start: int
    stop: int


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A keyword-only argument of an analysis."""

    name: str
    annotation: Any
    required: bool


class Analysis:
    """A function of a chunk of events, and what it says about itself.

    Calling it calls the function, so an analysis can be tried on any array of events.

    Parameters
    ----------
    function
        Takes the events (and optionally a `Context`), returns a mapping of results.
    tree
        Name of the tree; may be empty where the files have just one.
    columns
        The branches it may read; may be empty, then it may read all.

    Raises
    ------
    UsageError
        The function cannot be called in this way.
    """

    def __init__(self, function: Function, tree: str = "", columns: Sequence[str] = ()) -> None:
        if isinstance(columns, str):
            raise UsageError(
                f"columns={columns!r} is one string.", remedy=f"Write columns=[{columns!r}]."
            )
        self.function = function
        self.name = getattr(function, "__name__", "analysis")
        self.tree = tree
        self.columns = tuple(columns)
        self.__doc__ = function.__doc__
        self.__name__ = self.name
        self.__module__ = function.__module__
        self.wants_context, self.parameters = _signature(function, self.name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<analysis {self.name} of {self.__module__}>"

    def on_chunk(self, events: Any, context: Context, parameters: Mapping[str, Any]) -> Any:
        """Call the function as a worker does."""
        args = (events, context) if self.wants_context else (events,)
        return self.function(*args, **parameters)


@overload
def analysis(function: Function, /) -> Analysis: ...
@overload
def analysis(
    *, tree: str = ..., columns: Sequence[str] = ...
) -> Callable[[Function], Analysis]: ...


def analysis(
    function: Function | None = None, /, *, tree: str = "", columns: Sequence[str] = ()
) -> Analysis | Callable[[Function], Analysis]:
    """Mark a function as an analysis, with or without arguments.

    Parameters
    ----------
    tree
        Name of the tree, directories included; may be left out where the files have just one.
    columns
        The branches the function reads. Need not be given, as only touched branches are read;
        if it is, it is checked against every file before anything runs, and others are hidden.

    Examples
    --------
    >>> @analysis(tree="Events")
    ... def count(events, *, threshold: float = 30.0):
    ...     return {"n": len(events)}
    """
    if function is not None:
        return Analysis(function)
    return lambda wrapped: Analysis(wrapped, tree, columns)


def _signature(function: Function, name: str) -> tuple[bool, dict[str, Parameter]]:
    """Read the arguments: whether there is a context, and the parameters by name."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 -- an annotation that is not importable: take it as none
        hints = {}
    positional: list[str] = []
    parameters: dict[str, Parameter] = {}
    for one in inspect.signature(function).parameters.values():
        if one.kind is one.KEYWORD_ONLY:
            parameters[one.name] = Parameter(
                name=one.name,
                annotation=hints.get(one.name, Any),
                required=one.default is one.empty,
            )
        elif one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}:
            positional.append(one.name)
    if len(positional) not in {1, 2}:
        raise UsageError(
            f"The analysis {name!r} takes {len(positional)} positional arguments "
            f"({', '.join(positional) or 'none'}), expected (events) or (events, context).",
            remedy="Put a '*' before its parameters: def f(events, *, scale: float = 1.0).",
        )
    return len(positional) == 2, parameters


def check_parameters(
    found: Analysis, given: Mapping[str, Any], *, text: bool = False
) -> dict[str, Any]:
    """Convert the given parameters to the annotated types.

    Parameters
    ----------
    found
        The analysis.
    given
        Names and values.
    text
        Whether the values are text from a command line, to be read as the type demands.

    Raises
    ------
    UsageError
        A name that the analysis does not have, a value that does not fit, or one is missing.
    """
    for name in given:
        if name not in found.parameters:
            known = ", ".join(found.parameters) or "none"
            raise UsageError(
                f"The analysis {found.name!r} has no parameter {name!r}; "
                f"{nearest(name, found.parameters) or f'its parameters: {known}.'}",
                remedy="Parameters are the keyword-only arguments of the function.",
            )
    for parameter in found.parameters.values():
        if parameter.required and parameter.name not in given:
            raise UsageError(
                f"The analysis {found.name!r} needs the parameter {parameter.name!r}.",
                remedy=f"Give it as --param {parameter.name}=VALUE.",
            )
    return {
        name: _convert(found, found.parameters[name], value, text) for name, value in given.items()
    }


def _convert(found: Analysis, parameter: Parameter, value: Any, text: bool) -> Any:
    kind = parameter.annotation
    if not text:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise _wrong_type(found, parameter, value, error) from None
    if kind is Any:  # no annotation: a number, a list or a flag where it reads as one
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as first:
        try:
            return msgspec.json.decode(value, type=kind, strict=False)
        except msgspec.MsgspecError:
            raise _wrong_type(found, parameter, value, first) from None


def _wrong_type(found: Analysis, parameter: Parameter, value: Any, error: Exception) -> UsageError:
    kind = parameter.annotation
    name = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    return UsageError(
        f"The parameter {parameter.name!r} of {found.name!r} is {value!r}, expected {name} "
        f"({str(error)[:1].lower()}{str(error)[1:]}).",
        remedy=f"Give it as --param {parameter.name}=VALUE with a value of type {name}.",
    )


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
    path, _, name = target.partition(":") if ":" in target else (target, "", "")
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


def freeze(found: Analysis) -> tuple[AnalysisRef, bytes]:
    """Do for an analysis at hand, as in a notebook, what `locate` does for the name of one.

    One that lies in a file is found there again; one that was typed in, or made inside another
    function, is pickled by value with cloudpickle.

    Returns
    -------
    AnalysisRef
    bytes
        The source, or the pickle; empty for an installed module.
    """
    function = found.function
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    nested = "<locals>" in function.__qualname__
    if module is not None and file and not nested and getattr(module, found.name, None) is not None:
        if function.__module__ == "__main__" or "." not in function.__module__:
            ref, source = locate(f"{file}:{found.name}")
            return msgspec.structs.replace(ref, search=(*ref.search, *sys.path)), source
        ref = AnalysisRef(name=found.name, origin=function.__module__, search=tuple(sys.path))
        return ref, b""
    import cloudpickle

    data = cloudpickle.dumps(found)
    return AnalysisRef(
        name=found.name,
        file=f"{found.name}.pickle",
        sha256=digest(data),
        search=tuple(sys.path),
    ), data


def load(ref: AnalysisRef, folder: Path | None = None) -> Analysis:
    """Import the module of an analysis and give the analysis.

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
    for place in reversed(ref.search):  # as 'python path.py' does: its folder comes first
        if place not in sys.path:
            sys.path.insert(0, place)
    if ref.file.endswith(".pickle"):
        return _load_pickle(ref, folder)
    module = _import_file(ref, folder) if ref.file else _import_module(ref)
    return _pick(module, ref)


def _load_pickle(ref: AnalysisRef, folder: Path | None) -> Analysis:
    """Load a function that was typed into a notebook, frozen by cloudpickle in this run."""
    import cloudpickle

    data = ((folder or Path()) / ref.file).read_bytes()
    if digest(data) != ref.sha256:
        raise AnalysisError(f"{ref.file} in the run folder was changed.", remedy="Start a new run.")
    found = cloudpickle.loads(data)
    return found if isinstance(found, Analysis) else Analysis(found)


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
    name = f"eventflock_analysis_{ref.sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    shown = Path(ref.origin) if _is_same(Path(ref.origin), source) else copy
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(shown))
    if spec is None:
        raise AnalysisError(f"{shown} cannot be made a module.")
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(shown)
    sys.modules[name] = module
    with _import_errors(str(shown)):
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
def _import_errors(where: str) -> Iterator[None]:
    """Turn what importing the user's module raises into an error that shows their lines."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- the user's code may raise anything
        text = str(error) or type(error).__name__
        raise AnalysisError(
            f"Importing {where} raised {type(error).__name__}: {text}",
            remedy="Mend the file; 'python FILE' shows the same error.",
            traceback=user_traceback(error),
        ) from None


def _pick(module: ModuleType, ref: AnalysisRef) -> Analysis:
    found = {key: value for key, value in vars(module).items() if isinstance(value, Analysis)}
    if ref.name:
        value = getattr(module, ref.name, None)
        if isinstance(value, Analysis):
            return value
        if inspect.isfunction(value):
            return Analysis(value)
        near = nearest(ref.name, found) or f"it has {', '.join(found) or 'none'}."
        raise UsageError(
            f"There is no analysis {ref.name!r} in {ref.origin}; {near}",
            remedy="An analysis is a function marked with @eventflock.analysis.",
        )
    own = {key: value for key, value in found.items() if value.__module__ == module.__name__}
    chosen = own or found
    if len(chosen) == 1:
        return next(iter(chosen.values()))
    if not chosen:
        raise UsageError(
            f"{ref.origin} has no analysis.",
            remedy="Mark a function with @eventflock.analysis, or name one as path.py:name.",
        )
    raise UsageError(
        f"{ref.origin} has {len(chosen)} analyses: {', '.join(chosen)}.",
        remedy=f"Name one, as in {ref.origin}:{next(iter(chosen))}.",
    )
