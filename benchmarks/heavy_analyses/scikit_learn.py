# /// script
# dependencies = ["scikit-learn", "hist"]
# ///
"""A forest of scikit-learn, whose joblib starts helper processes."""

import awkward as ak
import numpy as np
from sklearn.ensemble import RandomForestClassifier

import eventflock as ef


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def forest(events):
    if len(events) == 0:
        return {"score": 0.0, "n": 0}
    e = ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_E"]))[:500].astype("float64")
    x, y = e[:, None], e > np.median(e)
    forest = RandomForestClassifier(20, random_state=1, n_jobs=2).fit(x, y)
    return {"score": float(forest.score(x, y)), "n": len(e)}
