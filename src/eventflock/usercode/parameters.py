"""Parameters of an analysis: given, stored in a plan, and as the analysis wants them."""

from __future__ import annotations

import dis
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from eventflock.errors import UsageError, nearest
from eventflock.usercode.decorator import Analysis, Parameter

__all__ = ["check_parameters", "restore_parameters", "store_parameters"]


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


def _returns(function: Callable[..., Any]) -> bool:
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
