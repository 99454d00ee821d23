"""A short fault suite on this machine; `make faults` is the long one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.local import ground_here, run_local
from tests.faults.tally import Tally

pytestmark = pytest.mark.slow

FAULTS = 24


@pytest.mark.timeout(300)
def test_no_event_is_lost_or_doubled_and_no_partial_result_goes_unlabelled(tmp_path: Path) -> None:
    seed = os.environ.get("EVENTFLOCK_SEED", "2014")
    tally = Tally()
    with ground_here(tmp_path / "faults") as ground:
        run_local(ground, tally, random.Random(f"{seed} short"), FAULTS)
    print(f"EVENTFLOCK_SEED={seed}\n{tally.table()}")
    assert not tally.wrong
    assert tally.total >= FAULTS
    assert tally.same > 3
