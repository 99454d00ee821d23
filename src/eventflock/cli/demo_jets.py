"""The energies of all jets in one histogram."""

import awkward as ak
from hist import Hist

import eventflock as ef


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def jets(events, *, scale: float = 1000.0):
    energy = ak.flatten(events["jet_AntiKt10LCTopo_E"]) / scale
    axis = Hist.new.Reg(200, 0, 2000, name="E", label=r"offline $E^{\mathrm{jet}}$ [GeV]")
    return {"E": axis.Int64(label="Anti-Kt R=1.0 Topo Jet Energy Distribution").fill(energy)}
