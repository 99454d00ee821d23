"""The table of pools: their names, and the module of each. A new pool is one line here."""

from __future__ import annotations

__all__ = ["BATCH_SYSTEMS", "DEFAULT", "NAMES", "ON_THIS_MACHINE", "batch_hint"]

DEFAULT = "local"
ON_THIS_MACHINE = {
    DEFAULT: "eventflock.pools.local",
    "inline": "eventflock.pools.inline",
}
BATCH_SYSTEMS = {
    "htcondor": "eventflock.pools.htcondor.system",
    "slurm": "eventflock.pools.slurm.system",
}
"""Each module has its pool as `POOL`. A run on a batch system has a file `NAME.json`."""
NAMES = (*ON_THIS_MACHINE, *BATCH_SYSTEMS)


def batch_hint() -> str:
    """Return the options that choose a batch system, for remedies of errors."""
    return " or ".join(f"--pool {name}" for name in BATCH_SYSTEMS)
