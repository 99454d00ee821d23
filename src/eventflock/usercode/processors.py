"""Processors of coffea as analyses: nothing in them has to be changed.

coffea need not be there to tell that something is no processor.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from eventflock.errors import UsageError
from eventflock.usercode.decorator import Analysis, Parameter, hints_of, parameter_of

__all__ = ["analysis_of", "has_postprocess", "inside", "is_processor"]

SCHEMA = "nanoaod"
"""What coffea's Runner takes if it is not told another."""


def is_processor(value: Any) -> bool:
    """Check whether something is a processor, or a class of them, that can be run."""
    kind = value if isinstance(value, type) else type(value)
    bases = ((one.__module__.partition(".")[0], one.__name__) for one in kind.__mro__[1:])
    return ("coffea", "ProcessorABC") in bases and not inspect.isabstract(kind)


def inside(returned: Any, dataset: str) -> Any:
    """Take what is under the name of the dataset, where that is all: coffea's users write it so."""
    if isinstance(returned, Mapping) and list(returned) == [dataset]:
        inner = returned[dataset]
        return inner if isinstance(inner, Mapping) else returned
    return returned


def has_postprocess(found: Analysis) -> bool:
    """Check whether a processor does something of its own with what all chunks together gave."""
    own = getattr(found.kind, "postprocess", None)
    return own is not None and not own.__module__.startswith("coffea.processor")


def analysis_of(processor: Any) -> Analysis:
    """Make an analysis of a processor, or of a class of processors.

    Parameters
    ----------
    processor
        An instance; or a class, whose constructor's arguments become the parameters.

    Returns
    -------
    Analysis
        With coffea's default schema. It makes a processor once per process and set of arguments.

    Raises
    ------
    UsageError
        Its constructor has arguments that cannot be given by name.
    """
    if not isinstance(processor, type):
        return _wrapped(type(processor), lambda: processor, {})
    known: dict[str, Any] = {}

    def made(**given: Any) -> Any:
        key = repr(sorted(given.items()))
        if key not in known:
            known.clear()
            known[key] = processor(**given)
        return known[key]

    return _wrapped(processor, made, _arguments(processor))


def _wrapped(
    kind: type[Any], made: Callable[..., Any], parameters: dict[str, Parameter]
) -> Analysis:
    def process(events: Any, **given: Any) -> Any:
        return made(**given).process(events)

    process.__name__, process.__module__ = kind.__name__, kind.__module__
    process.__doc__ = kind.__doc__
    found = Analysis(process, schema=SCHEMA)
    found.parameters = parameters
    found.made, found.kind = made, kind
    return found


def _arguments(kind: type[Any]) -> dict[str, Parameter]:
    if kind.__init__ is object.__init__:
        return {}
    _, *arguments = inspect.signature(kind.__init__).parameters.values()
    hints = hints_of(kind.__init__)
    found = {}
    for one in arguments:
        if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD}:
            continue
        if one.kind is one.POSITIONAL_ONLY:
            raise UsageError(
                f"{kind.__name__} has the argument {one.name!r}, which cannot be given by name.",
                remedy="Take out the '/' from its __init__.",
            )
        found[one.name] = parameter_of(one, hints)
    return found
