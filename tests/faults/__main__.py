"""All of the fault suite: `python -m tests.faults`, which `make faults` calls.

EVENTFLOCK_FAULTS is how many faults are injected, 500 if it is not set; EVENTFLOCK_SEED begins the
random numbers. Where there can be an HTCondor pool, a part of the faults is injected there.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.condor import running_pool, why_not
from tests.faults.local import ground_here, run_local
from tests.faults.onpool import PoolGround, run_on_pool
from tests.faults.tally import Tally

ON_POOL: Final = 0.2
"""The part of the faults that are injected on a pool."""


def main() -> int:
    """Run all sequences that are possible here, and print the table."""
    faults = int(os.environ.get("EVENTFLOCK_FAULTS", "500"))
    seed = os.environ.get("EVENTFLOCK_SEED") or str(time.time_ns() % 10**6)
    print(f"EVENTFLOCK_SEED={seed} EVENTFLOCK_FAULTS={faults}", flush=True)
    started = time.monotonic()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="eventflock-faults-") as name:
        base = Path(name)
        base.chmod(0o755)  # the user of the pool has to see what is in it
        os.environ.setdefault("EVENTFLOCK_CACHE", str(base / "cache"))
        if why_not():
            tally.skipped["pool"] = why_not()
        else:
            with running_pool(base, "trixie") as client:
                chance = random.Random(f"{seed} pool")
                run_on_pool(
                    _calm(PoolGround(client, "faults")), tally, chance, int(faults * ON_POOL)
                )
        with ground_here(base / "local") as ground:
            run_local(ground, tally, random.Random(f"{seed} local"), faults - tally.total)
    print(tally.table())
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if tally.wrong else 0


def _calm(ground: PoolGround) -> PoolGround:
    ground.make_calm()
    return ground


if __name__ == "__main__":
    sys.exit(main())
