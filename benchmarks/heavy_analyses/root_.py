# /// script
# dependencies = ["root"]
# ///
"""PyROOT: C++ that cling compiles, RDataFrame, and a fit."""

import awkward as ak
import numpy as np
import ROOT

import eventflock as ef

ROOT.gInterpreter.Declare("""
#include <vector>
#include <filesystem>
#include <regex>
#include <thread>
#include <unistd.h>
#include <sys/stat.h>
#include <pthread.h>
#include <TLorentzVector.h>
double heavy(double e) { TLorentzVector v(0, 0, e, e); return v.E() / 1000; }
""")


@ef.analysis(tree="TTbar_14TeV_MU80/mytree")
def rdf(events):
    if len(events) == 0:
        return {"sum": 0.0, "n": 0, "mean": 0.0}
    e = np.asarray(ak.flatten(events["jet_AntiKt10LCTopo_E"]), dtype="float64")
    frame = ROOT.RDF.FromNumpy({"e": e})
    h = frame.Define("g", "heavy(e)").Histo1D(("h", "h", 50, 0.0, 2000.0), "g")
    ROOT.RooRealVar("x", "x", 0, 1)
    f = ROOT.TF1("f", "gaus", 0, 2000)
    f.SetParameters(1, 100, 50)
    h.Fit(f, "Q0")
    return {"sum": float(h.GetSumOfWeights()), "n": len(e), "mean": float(h.GetMean())}
