"""What an analysis is: the decorator, the context, and its parameters."""

from __future__ import annotations

import dis
import inspect
import math
import tempfile
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import msgspec

from eventflock.errors import AnalysisError, UsageError, nearest

__all__ = [
    "Analysis",
    "Context",
    "analysis",
    "check_parameters",
    "restore_parameters",
    "store_parameters",
]

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
    keeper: Callable[[str], Path] | None = None
    """Takes files to keep; where nobody does, they are written to a temporary folder."""

    def keep(self, name: str) -> Path:
        """Return where to write a file that is to be kept: a picture, a ROOT file, a table.

        It comes back with the result of the job, is in the folder `kept` of the run under the
        dataset, the file and the entries it was written for, and is listed in `result.kept`.

        Parameters
        ----------
        name
            Of the file, without folders; each only once for a chunk.

        Raises
        ------
        AnalysisError
            It is not such a name.

        Examples
        --------
        >>> figure.savefig(context.keep("odd.png"))  # doctest: +SKIP
        """
        if self.keeper is None:
            return Path(tempfile.mkdtemp(prefix="eventflock-")) / name
        return self.keeper(name)


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A keyword-only argument of an analysis."""

    name: str
    annotation: Any
    required: bool


class Analysis:
    """A function of a chunk of events, and what it says about itself.

    Calling it calls the function, so an analysis can be tried on any array of events.

    Attributes
    ----------
    second
        By name, what `also` has added: functions of other trees of the same files.

    Parameters
    ----------
    function
        Takes the events (and optionally a `Context`), returns a mapping of results.
    tree
        Name of the tree; may be empty where the files have just one.
    columns
        The branches it may read; may be empty, then it may read all.
    data
        Files and folders that it opens; may be empty.

    Raises
    ------
    UsageError
        The function cannot be called in this way.
    """

    def __init__(
        self,
        function: Function,
        tree: str = "",
        columns: Sequence[str] = (),
        data: Sequence[str] = (),
    ) -> None:
        for name, value in (("columns", columns), ("data", data)):
            if isinstance(value, str):
                raise UsageError(
                    f"{name}={value!r} is one string.", remedy=f"Write {name}=[{value!r}]."
                )
        self.function = function
        self.name = getattr(function, "__name__", "analysis")
        self.tree = tree
        self.columns = tuple(columns)
        self.data = tuple(map(str, data))
        self.__doc__ = function.__doc__
        self.__name__ = self.name
        self.__module__ = function.__module__
        self.wants_context, self.parameters = _signature(function, self.name)
        self.second: dict[str, Analysis] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<analysis {self.name} of {self.__module__}>"

    def on_chunk(self, events: Any, context: Context, parameters: Mapping[str, Any]) -> Any:
        """Call the function as a worker does."""
        args = (events, context) if self.wants_context else (events,)
        own = {name: value for name, value in parameters.items() if name in self.parameters}
        return _of_dataset(self.function(*args, **own), context.dataset)

    def also(self, *, tree: str, columns: Sequence[str] = ()) -> Callable[[Function], Function]:
        """Mark a function that reads a second tree of the same files, also once each.

        What it returns is in the result under its name. It may have parameters of the same names
        as the analysis.

        Parameters
        ----------
        tree, columns
            See `analysis`.

        Raises
        ------
        UsageError
            The tree is read already, or the function cannot be called in this way.

        Examples
        --------
        >>> @jets.also(tree="Runs")
        ... def runs(runs):
        ...     return {"sumw": float(ak.sum(runs["genEventSumw"]))}

        After that, `result["runs", "sumw"]` is the sum over the tree `Runs` of all files.
        """

        def add(function: Function) -> Function:
            self.add_second(Analysis(function, tree, columns))
            return function

        return add

    def add_second(self, found: Analysis) -> None:
        """Do what `also` does, for an analysis of a second tree."""
        trees = {self.tree: self.name} | {one.tree: one.name for one in self.second.values()}
        if not found.tree or found.tree in trees:
            why = f"is read by {trees[found.tree]!r}" if found.tree in trees else "has no name"
            raise UsageError(
                f"{found.name!r} reads the tree {found.tree!r}, which {why}.",
                remedy=f'Name another tree: @{self.name}.also(tree="Runs").',
            )
        if found.name in self.second:
            raise UsageError(
                f"Two functions {found.name!r} read second trees.", remedy="Name them differently."
            )
        unknown = [name for name in found.parameters if name not in self.parameters]
        if unknown:
            raise UsageError(
                f"{found.name!r} has the parameter {unknown[0]!r}, which {self.name!r} does not "
                "have.",
                remedy=f"Add it to {self.name!r} as well: they are given together.",
            )
        self.second[found.name] = found

    def of_tree(self, name: str) -> Analysis:
        """Return the function of the second tree with this name; itself for an empty name."""
        return self.second[name] if name else self

    def named(self, part: Analysis, returned: Any) -> Any:
        """Put what a function of one of the trees has returned to its place in the result.

        Raises
        ------
        AnalysisError
            Two of them use the same name.
        """
        if part is not self:
            return {part.name: returned}
        both = self.second.keys() & (returned.keys() if isinstance(returned, Mapping) else ())
        if both:
            raise AnalysisError(
                f"The analysis {self.name!r} returned {min(both)!r}, which is also the name of "
                "the function for a second tree.",
                remedy="Name one of them differently.",
            )
        return returned


@overload
def analysis(function: Function, /) -> Analysis: ...
@overload
def analysis(
    *, tree: str = ..., columns: Sequence[str] = ..., data: Sequence[str] = ...
) -> Callable[[Function], Analysis]: ...


def analysis(
    function: Function | None = None,
    /,
    *,
    tree: str = "",
    columns: Sequence[str] = (),
    data: Sequence[str] = (),
) -> Analysis | Callable[[Function], Analysis]:
    """Mark a function as an analysis, with or without arguments.

    Parameters
    ----------
    tree
        Name of the tree, directories included; may be left out where the files have just one.
    columns
        The branches the function reads. Need not be given, as only touched branches are read;
        if it is, it is checked against every file before anything runs, and others are hidden.
    data
        Files, folders and patterns that the function opens, relative to the folder of its file or
        to the working folder. Need not be given for those that it opens when it is imported, or
        called with no events.

    Examples
    --------
    >>> @analysis(tree="Events")
    ... def count(events, *, threshold: float = 30.0):
    ...     return {"n": len(events)}
    """
    if function is not None:
        return Analysis(function)
    return lambda wrapped: Analysis(wrapped, tree, columns, data)


def _of_dataset(returned: Any, dataset: str) -> Any:
    """Take what is under the name of the dataset, where that is all: coffea's users write it so."""
    if isinstance(returned, Mapping) and list(returned) == [dataset]:
        inner = returned[dataset]
        return inner if isinstance(inner, Mapping) else returned
    return returned


def _returns(function: Function) -> bool:
    """Check whether any of the ways out of a function gives something back."""
    code = getattr(function, "__code__", None)
    if code is None:
        return True
    before = None
    for step in dis.get_instructions(code):
        if step.opname in {"RETURN_VALUE", "RETURN_CONST"}:
            given = before if step.opname == "RETURN_VALUE" else step
            if given is None or given.argval is not None or "CONST" not in given.opname:
                return True
        before = step
    # One that only raises has nothing to return either, and says why.
    return not any(step.opname.startswith("RETURN_") for step in dis.get_instructions(code))


def _signature(function: Function, name: str) -> tuple[bool, dict[str, Parameter]]:
    """Read the arguments: whether there is a context, and the parameters by name."""
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 -- an annotation that is not importable: take it as none
        hints = {}
    positional: list[str] = []
    parameters: dict[str, Parameter] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            parameters[parameter.name] = Parameter(
                name=parameter.name,
                annotation=hints.get(parameter.name, Any),
                required=parameter.default is parameter.empty,
            )
        elif parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            if parameter.default is not parameter.empty:
                raise UsageError(
                    f"The analysis {name!r} has the positional argument {parameter.name!r} with a "
                    "default value; parameters are keyword-only.",
                    remedy=f"Put a '*' before it: def {name}(events, *, {parameter.name}=...).",
                )
            positional.append(parameter.name)
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

    Returns
    -------
    dict
        In a form that JSON can hold; `restore_parameters` makes the types again.

    Raises
    ------
    UsageError
        A name that the analysis does not have, a value that does not fit, or one is missing.
    """
    if not found.wants_context and not _returns(found.function):  # others may keep files only
        raise UsageError(
            f"The analysis {found.name!r} never returns anything.",
            remedy='End it with: return {"name": histogram}.',
        )
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
    return store_parameters(
        {
            name: _convert(found, found.parameters[name], value, text)
            for name, value in given.items()
        }
    )


def store_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters in a form that JSON can hold, infinities as text."""
    return {name: _storable(msgspec.to_builtins(value)) for name, value in values.items()}


def _storable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _storable(one) for key, one in value.items()}
    return [_storable(one) for one in value] if isinstance(value, list | tuple) else value


def restore_parameters(found: Analysis, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Convert stored parameters to the types of their annotations again."""
    return {
        name: msgspec.convert(value, found.parameters[name].annotation, strict=False)
        for name, value in stored.items()
    }


def _convert(found: Analysis, parameter: Parameter, value: Any, text: bool) -> Any:
    kind = parameter.annotation
    if not text:
        infinite = isinstance(value, str) and value in {"inf", "-inf", "nan"}
        try:
            return msgspec.convert(value, kind, strict=not infinite)
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
