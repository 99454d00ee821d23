"""The jet-energy histogram without eventflock, as a good physicist would write it.

Usage: python bare.py COUNTS.npy FILES...
"""

from __future__ import annotations

import sys

import awkward as ak
import boost_histogram as bh
import numpy as np
import uproot

TREE = "TTbar_14TeV_MU80/mytree"
BRANCH = "jet_AntiKt10LCTopo_E"


def main(out: str, paths: list[str]) -> None:
    hist = bh.Histogram(bh.axis.Regular(200, 0, 2000), storage=bh.storage.Int64())
    for events in uproot.iterate(dict.fromkeys(paths, TREE), [BRANCH]):
        hist.fill(ak.to_numpy(ak.flatten(events[BRANCH])) / 1000)
    np.save(out, hist.view(flow=True))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
