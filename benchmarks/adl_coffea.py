"""One query of `adl_queries.py` as a coffea processor, as its users write it.

Usage: python adl_coffea.py QUERY WORKERS COUNTS.npy FILES...
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from coffea import processor
from coffea.nanoevents import BaseSchema

import adl_queries


class Query(processor.ProcessorABC):  # type: ignore[misc]
    """Fills the histogram of one query."""

    def __init__(self, name: str) -> None:
        self.name = name

    def process(self, events: Any) -> dict[str, Any]:
        """Fill it from a chunk."""
        return {"h": adl_queries.QUERIES[self.name](events)}

    def postprocess(self, accumulator: Any) -> None:
        """Leave the sum as it is."""


def main(query: str, workers: int, out: str, paths: list[str]) -> None:
    if workers == 1:
        executor = processor.IterativeExecutor(status=False)
    else:
        executor = processor.FuturesExecutor(workers=workers, status=False)
    run = processor.Runner(executor=executor, schema=BaseSchema)
    found = run({"d": {"files": dict.fromkeys(paths, "Events")}}, Query(query))
    np.save(out, found["h"].view(flow=True))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:])
