"""Events as objects: schemas of coffea over the same lazy reading.

Uses `events`, which reads the branches.
"""
