# /// script
# dependencies = ["xgboost"]
# ///
"""Trees of xgboost."""

import awkward as ak
import xgboost as xgb

import eventflock as ef


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def jets(events):
    if len(events) == 0:
        return {"sum": 0.0}
    e = ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_E"]))[:500].astype("float64")
    model = xgb.train({"max_depth": 2, "nthread": 2}, xgb.DMatrix(e[:, None], label=e > 4e5), 5)
    return {"sum": float(model.predict(xgb.DMatrix(e[:, None])).astype("float64").sum())}
