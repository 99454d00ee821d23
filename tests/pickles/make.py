"""Write `coffea.pkl` with coffea's own accumulators: `python tests/pickles/make.py` where it is."""

from __future__ import annotations

import pickle
from pathlib import Path

import hist
import numpy as np
from coffea import processor

pt = hist.Hist.new.Reg(10, 0, 100, name="pt", label="p [GeV]").StrCat(
    ["mc"], growth=True, name="kind"
)
made = processor.dict_accumulator(
    {
        "events": processor.value_accumulator(int, 3),
        "cutflow": processor.defaultdict_accumulator(int),
        "column": processor.column_accumulator(np.arange(3.0)),
        "files": processor.list_accumulator(["a.root"]),
        "runs": processor.set_accumulator([1, 2]),
        "pt": pt.Weight(label="all").fill(
            pt=[5, 15, 15], kind=["mc", "mc", "tt"], weight=[1, 2, 3]
        ),
    }
)
made["cutflow"]["all"] = 3
made["cutflow"]["two jets"] = 1
Path(__file__).with_name("coffea.pkl").write_bytes(pickle.dumps({"ttbar": made}))
