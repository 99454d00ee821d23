"""The eight queries of the public ADL benchmark, on NanoAOD, with objects.

The task is that of https://github.com/iris-hep/adl-benchmarks-index.

    eventflock run examples/adl.py FILES
"""

import awkward as ak
import numpy as np
from hist import Hist

import eventflock as ef

TOP, Z = 172.5, 91.2


def histogram(name, start, stop, values, label):
    made = Hist.new.Reg(100, start, stop, name=name, label=label).Int64()
    return made.fill(ak.to_numpy(ak.drop_none(values)))


def opposite_muons(events):
    """Find events with two muons of opposite charge with a mass of 60 to 120 GeV."""
    first, second = ak.unzip(ak.combinations(events.Muon, 2))
    mass = (first + second).mass
    return ak.any((mass > 60) & (mass < 120) & (first.charge != second.charge), axis=1)


def best_trijet(events):
    """Find the three jets whose mass is nearest to that of the top quark: pT, and best b-tag."""
    events = events[ak.num(events.Jet) >= 3]
    one, two, three = ak.unzip(ak.combinations(events.Jet, 3))
    trijet = one + two + three
    best = ak.singletons(ak.argmin(abs(trijet.mass - TOP), axis=1))
    tag = np.maximum(np.maximum(one.btagCSVV2, two.btagCSVV2), three.btagCSVV2)
    return ak.flatten(trijet[best].pt), ak.flatten(tag[best])


def isolated_sum(events):
    """Add the pT of jets above 30 GeV away from all leptons above 10 GeV."""
    jets = events.Jet[events.Jet.pt > 30]
    for leptons in (events.Electron, events.Muon):
        hard = leptons[leptons.pt > 10]
        jets = jets[ak.all(jets.metric_table(hard) > 0.4, axis=2)]
    return ak.sum(jets.pt, axis=1)


def third_lepton(events):
    """Compute the transverse mass of MET and the leading lepton outside the pair of the Z."""
    electrons, muons = (
        ak.with_field(one[["pt", "eta", "phi", "mass", "charge"]], flavor, "flavor")
        for one, flavor in ((events.Electron, 11), (events.Muon, 13))
    )
    leptons = ak.with_name(ak.concatenate([electrons, muons], axis=1), "PtEtaPhiMCandidate")
    leptons, met = leptons[ak.num(leptons) >= 3], events.MET[ak.num(leptons) >= 3]
    pairs = ak.argcombinations(leptons, 2, fields=["first", "second"])
    first, second = leptons[pairs.first], leptons[pairs.second]
    is_z = (first.flavor == second.flavor) & (first.charge != second.charge)
    pairs, mass = pairs[is_z], (first + second).mass[is_z]
    pair = ak.firsts(pairs[ak.singletons(ak.argmin(abs(mass - Z), axis=1))])
    place = ak.local_index(leptons)
    others = leptons[(place != pair.first) & (place != pair.second)]
    lepton = ak.firsts(others[ak.argmax(others.pt, axis=1, keepdims=True)])
    return np.sqrt(2 * met.pt * lepton.pt * (1 - np.cos(met.delta_phi(lepton))))


def q1(events):
    return {"met": histogram("met", 0, 200, events.MET.pt, "MET [GeV]")}


def q2(events):
    return {"jet_pt": histogram("pt", 15, 60, ak.flatten(events.Jet.pt), "jet pT [GeV]")}


def q3(events):
    central = events.Jet[abs(events.Jet.eta) < 1]
    return {"central_pt": histogram("pt", 15, 60, ak.flatten(central.pt), "jet pT [GeV]")}


def q4(events):
    two = ak.sum(events.Jet.pt > 40, axis=1) >= 2
    return {"two_jets": histogram("met", 0, 200, events.MET.pt[two], "MET [GeV]")}


def q5(events):
    found = opposite_muons(events)
    return {"two_muons": histogram("met", 0, 200, events.MET.pt[found], "MET [GeV]")}


def q6(events):
    pt, tag = best_trijet(events)
    return {
        "trijet_pt": histogram("pt", 15, 100, pt, "trijet pT [GeV]"),
        "trijet_btag": histogram("btag", 0, 1, tag, "highest b-tag of the trijet"),
    }


def q7(events):
    return {"isolated_sum": histogram("ht", 15, 200, isolated_sum(events), "sum of jet pT [GeV]")}


def q8(events):
    mass = third_lepton(events)
    return {"third_lepton": histogram("mt", 15, 250, mass, "transverse mass [GeV]")}


QUERIES = (q1, q2, q3, q4, q5, q6, q7, q8)


@ef.analysis(tree="Events", schema="nanoaod")
def adl(events):
    return {name: made for query in QUERIES for name, made in query(events).items()}
