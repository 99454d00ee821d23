"""Copying what a run has given to where others see it: a folder, a server, or a bucket.

Uses core, events, results and runs.
"""
