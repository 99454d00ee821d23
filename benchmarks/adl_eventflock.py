"""One query of `adl_queries.py` as an analysis."""

import adl_queries
import eventflock as ef


@ef.analysis(tree="Events")
def adl(events, *, query: str):
    return {"h": adl_queries.QUERIES[query](events)}
