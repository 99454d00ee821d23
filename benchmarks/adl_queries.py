"""The eight queries of the Analysis Description Languages benchmark, on flat branches.

https://github.com/iris-hep/adl-benchmarks-index. Each takes the events of a chunk, whoever reads
them, and gives a histogram: the same code runs with eventflock and with coffea.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import awkward as ak
import boost_histogram as bh
import numpy as np

Hist: TypeAlias = "bh.Histogram[Any]"
LEPTON_PT = 10.0


def filled(values: Any, low: float, high: float) -> Hist:
    """Fill 100 bins with all numbers of an array."""
    hist = bh.Histogram(bh.axis.Regular(100, low, high), storage=bh.storage.Int64())
    return hist.fill(ak.to_numpy(ak.flatten(values, axis=None)))


def objects(events: Any, name: str, *members: str) -> Any:
    """Join the branches of objects to records."""
    return ak.zip({member: events[f"{name}_{member}"] for member in members})


def mass(one: Any, other: Any) -> Any:
    """Return the mass of two particles that are light compared with their momenta."""
    angle = np.cosh(one.eta - other.eta) - np.cos(one.phi - other.phi)
    return np.sqrt(2 * one.pt * other.pt * angle)


def distance(one: Any, other: Any) -> Any:
    """Return the distance in pseudorapidity and azimuth."""
    turn = (one.phi - other.phi + np.pi) % (2 * np.pi) - np.pi
    return np.hypot(one.eta - other.eta, turn)


def q1(events: Any) -> Hist:
    """Fill the missing energy of all events."""
    return filled(events["MET_pt"], 0, 200)


def q2(events: Any) -> Hist:
    """Fill the momenta of all jets."""
    return filled(events["Jet_pt"], 0, 200)


def q3(events: Any) -> Hist:
    """Fill the momenta of central jets."""
    return filled(events["Jet_pt"][abs(events["Jet_eta"]) < 1], 0, 200)


def q4(events: Any) -> Hist:
    """Fill the missing energy of events with two hard jets."""
    return filled(events["MET_pt"][ak.sum(events["Jet_pt"] > 40, axis=1) > 1], 0, 200)


def q5(events: Any) -> Hist:
    """Fill the missing energy of events with two opposite muons near the Z."""
    muons = objects(events, "Muon", "pt", "eta", "phi", "charge")
    first, second = ak.unzip(ak.combinations(muons, 2))
    pairs = mass(first, second)
    good = (first.charge != second.charge) & (pairs > 60) & (pairs < 120)
    return filled(events["MET_pt"][ak.any(good, axis=1)], 0, 200)


def q6(events: Any) -> Hist:
    """Fill the momentum of the three jets with the mass closest to the top quark's."""
    jets = objects(events, "Jet", "pt", "eta", "phi", "mass")
    jets = jets[ak.num(jets) >= 3]
    vectors = ak.zip(
        {
            "x": jets.pt * np.cos(jets.phi),
            "y": jets.pt * np.sin(jets.phi),
            "z": jets.pt * np.sinh(jets.eta),
            "t": np.sqrt((jets.pt * np.cosh(jets.eta)) ** 2 + jets.mass**2),
        }
    )
    trios = ak.unzip(ak.combinations(vectors, 3))
    x, y, z, t = (sum(one[axis] for one in trios) for axis in "xyzt")
    best = ak.argmin(abs(np.sqrt(abs(t**2 - x**2 - y**2 - z**2)) - 172.5), axis=1, keepdims=True)
    return filled(np.hypot(x, y)[best], 0, 200)


def leptons(events: Any) -> Any:
    """Return electrons and muons, marked by their flavour."""
    members = ("pt", "eta", "phi", "charge")
    both = [objects(events, name, *members) for name in ("Electron", "Muon")]
    for flavour, one in enumerate(both):
        one["flavour"] = ak.values_astype(ak.ones_like(one.charge) * flavour, np.int32)
    return ak.concatenate(both, axis=1)


def q7(events: Any) -> Hist:
    """Fill the sum of the momenta of jets that are far from leptons."""
    jets = objects(events, "Jet", "pt", "eta", "phi")
    near = leptons(events)
    near = near[near.pt > LEPTON_PT]
    one, other = ak.unzip(ak.cartesian([jets, near], nested=True))
    alone = ~ak.any(distance(one, other) < 0.4, axis=2)
    return filled(ak.sum(jets.pt[(jets.pt > 30) & alone], axis=1), 15, 200)


def q8(events: Any) -> Hist:
    """Fill the transverse mass of the missing energy and the lepton beside the Z."""
    enough = leptons(events)
    three = ak.num(enough) >= 3
    enough, met, phi = enough[three], events["MET_pt"][three], events["MET_phi"][three]
    first, second = ak.unzip(ak.argcombinations(enough, 2))
    one, other = enough[first], enough[second]
    good = (one.flavour == other.flavour) & (one.charge != other.charge)
    off = ak.mask(abs(mass(one, other) - 91.2), good)
    best = ak.argmin(off, axis=1, keepdims=True)
    has = ~ak.is_none(ak.firsts(best))
    enough, met, phi = enough[has], met[has], phi[has]
    place = ak.local_index(enough)
    in_pair = (place == ak.firsts(first[best])[has]) | (place == ak.firsts(second[best])[has])
    rest = enough[~in_pair]
    lead = ak.firsts(rest[ak.argmax(rest.pt, axis=1, keepdims=True)])
    return filled(np.sqrt(2 * met * lead.pt * (1 - np.cos(phi - lead.phi))), 0, 200)


QUERIES = {f"q{number}": globals()[f"q{number}"] for number in range(1, 9)}
