"""Saying before a run that a credential will not last."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from eventflock.core.units import say_duration
from eventflock.events.credentials import Credential

__all__ = ["credential_notes"]

SOON = 600.0
"""Seconds that a credential should last at least, where nothing is known of the run."""


def credential_notes(found: Sequence[Credential], seconds: float = 0.0) -> Iterable[str]:
    """Say which credentials have ended, or end soon; with a forecast, which end before the run.

    Parameters
    ----------
    seconds
        How long its jobs are expected to take at least; then what is said without is left out.
    """
    for one in found:
        if one.ends is None:
            continue
        left = one.ends - time.time()
        renew = "Renew it, as with voms-proxy-init." if one.kind == "proxy" else "Get another."
        if seconds:
            if SOON <= left < seconds:
                jobs = say_duration(seconds)
                yield f"The {one.name} ends in {say_duration(left)}, and jobs take {jobs}. {renew}"
        elif left <= 0:
            ago = say_duration(-left)
            yield f"The {one.name} has ended {ago} ago: servers will refuse it. {renew}"
        elif left < SOON:
            yield f"The {one.name} ends in {say_duration(left)}. {renew}"
