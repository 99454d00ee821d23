"""Keep the events with a hard leading jet: rows come back as one Parquet table."""

import awkward as ak

import eventflock as ef

PREFIX = "jet_AntiKt10LCTopo_"


@ef.analysis(tree="TTbar_14TeV_MU80/mytree", columns=[PREFIX + "pt", PREFIX + "m"])
def skim(events, context, *, hard: float = 400.0):
    pt = events[PREFIX + "pt"] / 1000
    keep = ak.fill_none(ak.firsts(pt) > hard, value=False)
    rows = ak.zip(
        {
            "entry": context.start + ak.local_index(pt, axis=0)[keep],
            "pt": pt[keep],
            "m": events[PREFIX + "m"][keep] / 1000,
        },
        depth_limit=1,
    )
    return {"rows": rows, "kept": int(ak.sum(keep))}
