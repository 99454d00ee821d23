"""The script of a job as one writes it by hand: a range of events, one histogram, one pickle.

    python main.py -f tutorial-10k.root -s 0 -n 1000 -p 0

reads 1,000 events, ten at a time, and leaves `hist_jet_AntiKt10LCTopo_E_0.pkl`. Ten of these make
up the file; `make_plot.py` adds them up.
"""

import argparse
import pickle
import time
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

TREE = "TTbar_14TeV_MU80/mytree"
BRANCHES = [f"jet_AntiKt10LCTopo_{name}" for name in ("E", "pt", "m", "eta", "phi")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-p", "--process", type=int, default=0, help="number of the process")
    parser.add_argument("-f", "--file", required=True, help="file to read")
    parser.add_argument("-s", "--start", type=int, required=True, help="first event")
    parser.add_argument("-n", "--num", type=int, required=True, help="number of events")
    parser.add_argument("-t", "--step", type=int, default=10, help="events that are read at once")
    options = parser.parse_args()

    began = time.time(), time.process_time()
    bins = np.arange(0.0, 2010.0, 10.0)
    counts = np.zeros(len(bins) - 1)
    with uproot.open(options.file) as file:
        tree = file[TREE]
        for start in range(options.start, options.start + options.num, options.step):
            stop = min(start + options.step, options.start + options.num)
            events = tree.arrays(BRANCHES, entry_start=start, entry_stop=stop)
            energies = ak.to_numpy(ak.flatten(events[BRANCHES[0]])) / 1000.0
            counts += np.histogram(energies, bins=bins)[0]

    wall, cpu = time.time() - began[0], time.process_time() - began[1]
    print(f"Finished job {options.process} in {wall:.2f} s, {cpu:.2f} s of CPU time")
    with Path(f"hist_jet_AntiKt10LCTopo_E_{options.process}.pkl").open("wb") as file:
        pickle.dump({"hist": counts, "bins": bins}, file)


if __name__ == "__main__":
    main()
