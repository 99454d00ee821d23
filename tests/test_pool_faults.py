"""A short fault suite on a real pool; `make faults` is the long one."""

from __future__ import annotations

import os
import random

import pytest

from tests.condor import Client
from tests.faults.onpool import PoolGround, run_on_pool
from tests.faults.tally import Tally

FAULTS = 24


@pytest.mark.pool
@pytest.mark.timeout(900)
def test_no_event_is_lost_or_doubled_on_a_pool(client: Client) -> None:
    seed = os.environ.get("EVENTFLOCK_SEED", "2014")
    ground = PoolGround(client, "faults")
    ground.make_calm()
    tally = Tally()
    run_on_pool(ground, tally, random.Random(f"{seed} pool"), FAULTS)
    print(f"EVENTFLOCK_SEED={seed}\n{tally.table()}")
    assert not tally.wrong
    assert tally.total >= FAULTS
    assert tally.same > 0
