"""Weighted histograms by region of the detector."""

import awkward as ak
import numpy as np
from hist import Hist

import eventflock as ef


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def regions(events, *, edge: float = 1.2, weight: float = 0.5):
    pt = ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_pt"])) / 1000
    eta = ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_eta"]))
    where = np.where(abs(eta) < edge, "central", "forward")
    by_region = (
        Hist.new.Reg(60, 0, 600, name="pt", label=r"$p_\mathrm{T}$ [GeV]")
        .StrCat([], growth=True, name="region", label="region")
        .Weight()
    )
    plane = (
        Hist.new.Reg(40, 0, 400, name="pt", label=r"$p_\mathrm{T}$ [GeV]")
        .Reg(50, -5, 5, name="eta", label=r"$\eta$")
        .Double(label="jets in the plane")
    )
    central = abs(eta) < edge
    return {
        "pt_by_region": by_region.fill(pt, where, weight=weight),
        "plane": plane.fill(pt, eta),
        "central": {
            "pt": Hist.new.Reg(60, 0, 600, name="pt", label=r"$p_\mathrm{T}$ [GeV]")
            .Weight()
            .fill(pt[central], weight=weight),
            "jets": int(central.sum()),
        },
    }
