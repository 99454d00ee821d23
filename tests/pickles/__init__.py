"""Pickles of other programs, for `tests/test_pickles.py`."""
