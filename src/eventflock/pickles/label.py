"""What an imported result says of itself, while it is made and in the end."""

from __future__ import annotations

from eventflock._version import __version__
from eventflock.core.manifest import Manifest
from eventflock.core.model import FORMAT, AnalysisRef
from eventflock.core.states import ResultStatus

__all__ = ["IMPORTED"]

IMPORTED = Manifest(
    format=FORMAT,
    status=ResultStatus.IMPORTED,
    plan="",
    job=-1,
    planned=0,
    analysis=AnalysisRef(name="imported"),
    parameters={},
    software={"eventflock": __version__},
)
"""Nothing is known of the events in it."""
