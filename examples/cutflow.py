"""How many events pass one cut after the other, and a mean per slice of the run."""

import awkward as ak
import numpy as np

import eventflock as ef

CUTS = ("all", "two jets", "hard", "central")


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def cutflow(events, context, *, hard: float = 200.0):
    pt = events["jet_AntiKt10LCTopo_pt"] / 1000
    two = ak.num(pt) >= 2
    leading = ak.fill_none(ak.firsts(pt), 0.0)
    central = ak.fill_none(abs(ak.firsts(events["jet_AntiKt10LCTopo_eta"])) < 1.0, value=False)
    passed = [len(events), ak.sum(two), ak.sum(two & (leading > hard))]
    passed.append(ak.sum(two & (leading > hard) & central))
    scale = context.metadata.get("cross_section", 1.0)
    return {
        "passed": dict(zip(CUTS, (int(one) for one in passed), strict=True)),
        "expected": np.array(passed) * scale,
    }


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def multiplicity(events):
    return {"jets": np.bincount(ak.to_numpy(events["jet_AntiKt10LCTopo_n"]), minlength=30)}
