"""Reads, fills and returns: what every analysis does."""

import awkward as ak
import boost_histogram as bh

import eventflock as ef


@ef.analysis
def reference(events):
    histogram = bh.Histogram(bh.axis.Regular(10, 0, 1000))
    histogram.fill(ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_E"])) / 1000)
    return {"E": histogram, "events": len(events)}
