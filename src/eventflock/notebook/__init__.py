"""Progress of a run in a notebook, as Jupyter and VS Code show it.

Uses `core` alone.
"""
