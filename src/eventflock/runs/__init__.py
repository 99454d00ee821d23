"""A run: its folder, its life from plan to merged result, its status and its failures.

Uses `planning`, and what is below it. It does not ask which pool it has.
"""
