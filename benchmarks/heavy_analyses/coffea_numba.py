# /// script
# dependencies = ["coffea", "numba", "vector", "hist"]
# ///
"""coffea, with functions that numba compiles."""

import awkward as ak
import numba as nb
from coffea.analysis_tools import PackedSelection
from hist import Hist

import eventflock as ef


@nb.njit
def total(x):
    s = 0.0
    for v in x:
        s += v
    return s


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def jets(events):
    e = ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_E"])).astype("float64")
    s = PackedSelection()
    s.add("hard", e > 5e5)
    return {
        "sum": float(total(e)),
        "n": int(s.all("hard").sum()),
        "h": Hist.new.Reg(10, 0, 1e6).Int64().fill(e),
    }
