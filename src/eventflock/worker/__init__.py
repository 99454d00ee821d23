"""What runs in a worker process or on a node: answering requests, and doing jobs.

Uses `usercode`, `events`, and of `results` only what writes; nothing that a node does not need.
"""
