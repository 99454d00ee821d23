"""Coverage of the package by its tests, in workers and on nodes as well: `python -m tests.coverage`."""
