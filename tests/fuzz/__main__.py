"""Hunt in many mutations: `python -m tests.fuzz [--count N] [--seed S]`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.hunt import Hunt
from tests.fuzz.mutations import choose


def main() -> int:
    """Hunt, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    asked = parser.parse_args()
    print(f"{asked.count:,} mutations, --seed {asked.seed}", flush=True)
    rng = random.Random(asked.seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Hunt(Path(folder)) as hunt:
        for done in range(1, asked.count + 1):
            kind, number = choose(rng), rng.randrange(2**64)
            if what := hunt.try_one(kind, number):
                print(f"finding in {kind} {number}: {what}", flush=True)
            if done % 10_000 == 0:
                print(f"{done:,} after {time.monotonic() - begun:,.0f} s", flush=True)
    print(table(hunt))
    return 1 if hunt.findings else 0


def table(hunt: Hunt) -> str:
    """Return the counts by kind of mutation."""
    columns = ("all", "refused", "read", "findings")
    lines = [
        f"{'mutation':10}"
        + "".join(f"{one:>10}" for one in columns)
        + "   seconds  most memory (MB)"
    ]
    for kind, counts in hunt.counts.items():
        numbers = "".join(f"{counts[one]:10,}" for one in columns)
        numbers += f"{counts['microseconds'] / 1e6:10,.0f}"
        lines.append(f"{kind:10}{numbers}{counts['memory'] / 1e6:18,.0f}")
    total = "".join(
        f"{sum(count[column] for count in hunt.counts.values()):10,}" for column in columns
    )
    return "\n".join([*lines, f"{'together':10}{total}"])


if __name__ == "__main__":
    sys.exit(main())
