"""The fault suite: break everything at random, resume, and count every event.

`ground` has what all sequences share: input, analysis, the undisturbed run. `damage` breaks files,
`local` and `onpool` run sequences of faults, `verdict` counts events in what came out, without
asking eventflock, and `tally` makes the table. `python -m tests.faults` is all of it.
"""
