"""One row of a table: a program is run in a folder of its own, and what it leaves is collected.

Uses `core`, and of `results` only errors and checksums; it knows no jobs.
"""
