"""One histogram of a NanoAOD-like file without eventflock; it names the branch that it reads.

Usage: python bare_met.py COUNTS.npy FILES...
"""

from __future__ import annotations

import sys

import boost_histogram as bh
import numpy as np
import uproot


def main(out: str, paths: list[str]) -> None:
    hist = bh.Histogram(bh.axis.Regular(200, 0, 400), storage=bh.storage.Int64())
    for events in uproot.iterate(dict.fromkeys(paths, "Events"), ["MET_pt"], library="np"):
        hist.fill(events["MET_pt"])
    np.save(out, hist.view(flow=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
