"""The histogram of `bare_met.py`, as an analysis."""

import boost_histogram as bh

import eventflock as ef


@ef.analysis(tree="Events")
def met(events):
    hist = bh.Histogram(bh.axis.Regular(200, 0, 400), storage=bh.storage.Int64())
    return {"MET": hist.fill(events.MET_pt)}
