"""eventflock: a Python analysis over every event of ROOT files, exactly once, on many cores.

>>> import eventflock as ef
>>> @ef.analysis(tree="Events")
... def jets(events, *, scale: float = 1.0): ...
>>> result = ef.run(jets, "data.root")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflock._version import __version__

# `run`, `analysis`, `status` and `why` are also names of modules. They are imported here at once,
# as loading a module later would put it in the place of the function. All are light.
from eventflock.analysis import Analysis, Context, analysis
from eventflock.api import resume, run, status, stop, submit, watch, why
from eventflock.errors import EventflockError

if TYPE_CHECKING:
    from eventflock.results.result import Result, load

__all__ = [
    "Analysis",
    "Context",
    "EventflockError",
    "Result",
    "__version__",
    "analysis",
    "load",
    "resume",
    "run",
    "status",
    "stop",
    "submit",
    "watch",
    "why",
]


def __getattr__(name: str) -> Any:
    if name not in {"Result", "load"}:
        raise AttributeError(f"module 'eventflock' has no attribute {name!r}")
    from eventflock.results import result  # NumPy and hist are needed only to open results

    return getattr(result, name)


def __dir__() -> list[str]:
    return __all__
