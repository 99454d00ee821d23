"""A program: print the files that it takes to start `boot.py` and `sitecustomize.py`.

It runs with the interpreter that is packed, and bare: `python -S -s list_boot.py PATH...`, where
PATH is the folder of `boot.py`, and then the search path of the interpreter.
"""

import sys

sys.path[:0] = sys.argv[1:]

# What sitecustomize.py imports, and what unpacks zstandard.
import __future__  # noqa: E402, F401

import importlib.machinery  # noqa: E402
import importlib.util  # noqa: E402, F401
import json  # noqa: E402
import site  # noqa: E402, F401

import boot  # type: ignore[import-not-found] # noqa: E402, F401

modules = [module for name, module in list(sys.modules.items()) if name != "__main__"]
files = [getattr(module, "__file__", None) for module in modules]
print(json.dumps([file for file in files if file]))  # noqa: T201
