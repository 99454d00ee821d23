"""Run an analysis from Python, and use its result."""

import sys

import awkward as ak
from hist import Hist

import eventflock as ef


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def masses(events, *, scale: float = 1000.0):
    mass = ak.flatten(events["jet_AntiKt10LCTopo_m"]) / scale
    return {"m": Hist.new.Reg(50, 0, 250, name="m", label="jet mass [GeV]").Int64().fill(mass)}


# The workers import this file too: without this line, they would start runs themselves.
if __name__ == "__main__":
    result = ef.run(masses, sys.argv[1:], jobs=4)
    print(result)
    print("jets:", result["m"].sum(flow=True), "complete:", result.complete)
    print("read:", result.provenance["branches"], result.provenance["counters"])
