"""HTCondor: its settings, submit description, schedd, events and queue, on top of `pools.batch`.

`system` is the entry in the table of pools. Only `schedd` and `match` call HTCondor's bindings.
"""
