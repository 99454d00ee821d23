# /// script
# dependencies = ["tensorflow-cpu"]
# ///
"""tensorflow on a CPU."""

import awkward as ak
import tensorflow as tf

import eventflock as ef


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def jets(events):
    x = tf.constant(ak.to_numpy(ak.flatten(events["jet_AntiKt10LCTopo_E"])).astype("float32"))
    return {"sum": float(tf.reduce_sum(tf.math.log1p(x))), "n": int(x.shape[0])}
