"""The environment that jobs bring along: interpreter, packages, native libraries, user code.

Uses `worker`, and what is below it.
"""
