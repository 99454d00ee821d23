"""What an analysis is: the decorator, and what it says about a function."""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import msgspec

from eventflock.errors import AnalysisError, UsageError
from eventflock.usercode.context import Context
from eventflock.usercode.seeding import seed_globals

__all__ = ["Analysis", "Parameter", "analysis", "hints_of", "parameter_of"]

Function = Callable[..., Mapping[str, Any]]


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
    made, kind
        Gives the processor of coffea that this calls, for values of the parameters, and its class;
        None for a function.

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
    schema
        What makes objects of branches; empty for the branches themselves.

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
        schema: str = "",
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
        self.schema = schema
        self.__doc__ = function.__doc__
        self.__name__ = self.name
        self.__module__ = function.__module__
        self.wants_context, self.parameters = _signature(function, self.name)
        self.second: dict[str, Analysis] = {}
        self.made: Callable[..., Any] | None = None
        self.kind: type[Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<analysis {self.name} of {self.__module__}>"

    def on_chunk(self, events: Any, context: Context, parameters: Mapping[str, Any]) -> Any:
        """Call the function as a worker does."""
        args = (events, context) if self.wants_context else (events,)
        own = {name: value for name, value in parameters.items() if name in self.parameters}
        seed_globals(context.seed)
        return self.function(*args, **own)

    def also(
        self, *, tree: str, columns: Sequence[str] = (), schema: str = ""
    ) -> Callable[[Function], Function]:
        """Mark a function that reads a second tree of the same files, also once each.

        What it returns is in the result under its name. It may have parameters of the same names
        as the analysis.

        Parameters
        ----------
        tree, columns, schema
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
            self.add_second(Analysis(function, tree, columns, schema=schema))
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

    def seen_as(self, schema: str) -> Analysis:
        """Return this analysis with another schema; itself if there is none, or it has that."""
        if schema in {"", self.schema}:
            return self
        other = copy.copy(self)
        other.schema = schema
        return other

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
    *, tree: str = ..., columns: Sequence[str] = ..., data: Sequence[str] = ..., schema: str = ...
) -> Callable[[Function], Analysis]: ...


def analysis(
    function: Function | None = None,
    /,
    *,
    tree: str = "",
    columns: Sequence[str] = (),
    data: Sequence[str] = (),
    schema: str = "",
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
    schema
        Makes objects of branches, as in `events.Jet.pt`: `nanoaod`, `physlite`, `delphes`,
        `edm4hep`, `fcc`, `treemaker`, `base`, or a class as `package.module:Name`. It needs coffea.

    Examples
    --------
    >>> @analysis(tree="Events")
    ... def count(events, *, threshold: float = 30.0):
    ...     return {"n": len(events)}
    """
    if function is not None:
        return Analysis(function)
    return lambda wrapped: Analysis(wrapped, tree, columns, data, schema)


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function; none if one of them cannot be imported."""
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 -- it may be anything
        return {}


def parameter_of(found: inspect.Parameter, hints: Mapping[str, Any]) -> Parameter:
    """Make a parameter of an argument."""
    return Parameter(
        name=found.name,
        annotation=hints.get(found.name, Any),
        required=found.default is found.empty,
    )


def _signature(function: Function, name: str) -> tuple[bool, dict[str, Parameter]]:
    """Read the arguments: whether there is a context, and the parameters by name."""
    hints = hints_of(function)
    positional: list[str] = []
    parameters: dict[str, Parameter] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            parameters[parameter.name] = parameter_of(parameter, hints)
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
