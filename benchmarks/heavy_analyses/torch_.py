# /// script
# dependencies = ["torch"]
# ///
"""torch as PyPI has it, built for CUDA."""

import awkward as ak
import torch

import eventflock as ef


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def jets(events):
    x = torch.tensor(ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_E"])).astype("float32"))
    with torch.no_grad():
        m = torch.nn.Linear(1, 1)
        torch.nn.init.ones_(m.weight)
        torch.nn.init.zeros_(m.bias)
        y = m(x[:, None]).sum()
    return {"sum": float(y), "n": len(events)}
