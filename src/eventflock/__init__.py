"""eventflock: a Python analysis over every event of ROOT files, exactly once, on many cores.

>>> import eventflock as ef
>>> @ef.analysis(tree="Events")
... def jets(events, *, scale: float = 1.0): ...
>>> result = ef.run(jets, "data.root")  # doctest: +SKIP

The public names are those of `eventflock.api.__all__`. Each is imported when it is used (PEP 562):
a worker needs few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflock._version import __version__ as __version__

if TYPE_CHECKING:
    from eventflock.api import *  # noqa: F403 -- type checkers see the one list

_USED_IN_WORKERS = {
    "AllOf": "eventflock.results.kinds",
    "Analysis": "eventflock.usercode.decorator",
    "AnyOf": "eventflock.results.kinds",
    "Context": "eventflock.usercode.context",
    "EventflockError": "eventflock.errors",
    "analysis": "eventflock.usercode.decorator",
    "together": "eventflock.usercode.together",
}
"""Where a worker finds these names: `eventflock.api` would load what only the client needs."""


def __getattr__(name: str) -> Any:
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'eventflock' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_USED_IN_WORKERS.get(name, "eventflock.api"))
    if name != "__all__" and name not in _USED_IN_WORKERS and name not in module.__all__:
        raise AttributeError(f"module 'eventflock' has no attribute {name!r}")
    return getattr(module, name)


def __dir__() -> list[str]:
    from eventflock.api import __all__ as public

    return [*public, "__version__"]
