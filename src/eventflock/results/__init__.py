"""Results: the versioned file, adding them up, proving what they cover, merging, opening.

Uses `core`.
"""
