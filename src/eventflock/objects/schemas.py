"""Which schema turns branches into objects: coffea's by short names, any other by its place."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from eventflock.errors import UsageError, nearest

__all__ = ["SCHEMAS", "find_schema"]

SCHEMAS = {
    "base": "BaseSchema",
    "delphes": "DelphesSchema",
    "edm4hep": "EDM4HEPSchema",
    "fcc": "FCCSchema",
    "nanoaod": "NanoAODSchema",
    "pdune": "PDUNESchema",
    "pfnanoaod": "PFNanoAODSchema",
    "physlite": "PHYSLITESchema",
    "scouting": "ScoutingNanoAODSchema",
    "treemaker": "TreeMakerSchema",
}
"""Short names, and the classes in `coffea.nanoevents`."""


def find_schema(name: str) -> type[Any]:
    """Return a schema class.

    Parameters
    ----------
    name
        One of `SCHEMAS`, or `package.module:Name`.

    Raises
    ------
    UsageError
        There is none of this name, or coffea is not installed.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        attribute, module = SCHEMAS.get(name.lower(), ""), "coffea.nanoevents"
    if not attribute:
        raise UsageError(
            f"There is no schema {name!r}; {nearest(name.lower(), SCHEMAS) or _known()}",
            remedy="Or name a class: schema='package.module:Name'.",
        )
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "coffea":
            raise UsageError(
                f"The schema {name!r} cannot be imported: {error}.", remedy="Check its name."
            ) from None
        raise UsageError(
            f"The schema {name!r} needs coffea, which is not installed.",
            remedy="pip install 'eventflock[coffea]'",
        ) from None
    from coffea.nanoevents import BaseSchema

    if not isinstance(found, type) or not issubclass(found, BaseSchema):
        raise UsageError(
            f"{name!r} is {found!r}, not a class that derives from coffea's BaseSchema.",
            remedy=f"{_known()[0].upper()}{_known()[1:]}",
        )
    return found


def _known() -> str:
    return f"there are {', '.join(SCHEMAS)}."
