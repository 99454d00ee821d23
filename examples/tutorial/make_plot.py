"""Add up the pickles in this folder and those below it that `main.py` left, and draw them."""

import pickle
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt


def main() -> None:
    found = []
    for path in sorted(Path().rglob("*.pkl")):
        with path.open("rb") as file:
            found.append(pickle.load(file))  # noqa: S301 -- its own
    if not found:
        raise SystemExit("There are no pickles in this folder: run main.py first.")
    total, bins = sum(data["hist"] for data in found), found[0]["bins"]

    plt.figure(figsize=(16, 12))
    plt.bar(bins[:-1], total, width=bins[1:] - bins[:-1], align="edge")
    plt.xlabel(r"offline $E^{\mathrm{jet}}$ [GeV]", fontsize=28)
    plt.ylabel("number of offline jets", fontsize=28)
    plt.title("Anti-Kt R=1.0 Topo Jet Energy Distribution", fontsize=36)
    plt.grid(visible=True)
    plt.savefig("hist_jet_AntiKt10LCTopo_E.png")


if __name__ == "__main__":
    main()
