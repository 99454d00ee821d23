"""The job that HTCondor would make of a submit description, as far as its demands on slots go.

The bindings do not show it before it is in a queue. What the configuration of a pool adds, and what
slots demand of jobs, is left out: so what is found here to fit no slot, fits none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eventflock.pools.batch.needs import JobNeeds

__all__ = ["likely_job"]

_AMOUNT = re.compile(r"([0-9.]+)\s*([KMGT]?)B?", re.IGNORECASE)
_KIB = {"K": 1, "M": 2**10, "G": 2**20, "T": 2**30}


def likely_job(commands: Mapping[str, str], needs: JobNeeds) -> Any:
    """Return the ClassAd of a job.

    Parameters
    ----------
    commands
        Of the user.
    needs
        What is asked for where they say nothing.
    """
    from classad2 import ClassAd, ExprTree

    said = {name.lower(): value for name, value in commands.items()}
    asked = {
        "cpus": said.get("request_cpus", "1"),
        "memory": _amount(said.get("request_memory", f"{needs.memory_mb} MB"), "M", "M"),
        "disk": _amount(said.get("request_disk", f"{needs.disk_mb} MB"), "K", "K"),
    }
    more = {name[8:]: value for name, value in said.items() if name.startswith("request_")}
    asked = {**more, **asked}
    ad = ClassAd()
    clauses = [f"({said['requirements']})"] if "requirements" in said else []
    for name, value in asked.items():
        ad[f"Request{name}"] = ExprTree(value)
        clauses.append(f"(TARGET.{name} >= Request{name})")
    for name, value in commands.items():
        if name.startswith("+"):
            ad[name[1:]] = ExprTree(value)
    ad["Requirements"] = ExprTree(" && ".join(clauses))
    return ad


def _amount(text: str, unit: str, target: str) -> str:
    """Convert an amount of memory or disk from its unit, or a given one; an expression stays."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        return text
    return str(int(float(found[1]) * _KIB[(found[2] or unit).upper()] / _KIB[target]))
