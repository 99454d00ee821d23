"""Compiling ahead, with the interpreter that will run it.

This file is also the program that does it, run by the target's Python with nothing else on its
path: `python bytecode.py < LIST`, lines of JSON `[source, name, target]`.

The .pyc files are of the unchecked, hash-based kind (PEP 552): valid whatever the time stamps say,
and the same bytes each time.
"""

from __future__ import annotations

import json
import marshal
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

__all__ = ["compile_tree", "compiled_name"]

SHARES = 4
"""The list is cut into this many parts, whatever the number of cores: what marshal writes depends
on what its process has done before."""
_ERRNO = 100
"""Exit status of the program for an error of the system, to which its number is added."""


def compiled_name(name: str, tag: str) -> str:
    """Return the name of the byte-code of a source, as in `a/__pycache__/b.cpython-311.pyc`."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/__pycache__/{file.removesuffix('.py')}.{tag}.pyc".lstrip("/")


def compile_tree(
    sources: Mapping[str, Path], target: Path, python: str, tag: str
) -> dict[str, Path]:
    """Compile sources into a folder.

    Parameters
    ----------
    sources
        From names in the archive to source files.
    target
        Folder for the compiled files.
    python
        The interpreter to compile with.
    tag
        Its cache tag, such as `cpython-311`.

    Returns
    -------
    dict
        From names in the archive to compiled files; sources that do not compile have none.
    """
    made = {name: target / f"{number}.pyc" for number, name in enumerate(sorted(sources))}
    lines = [json.dumps([str(sources[name]), name, str(path)]) for name, path in made.items()]
    shares = [lines[start::SHARES] for start in range(SHARES)]
    # One order of sets, and nothing of the user's settings.
    env = {"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", os.defpath)}
    command = [python, "-S", "-s", "-P", "-W", "ignore", __file__]

    def run(share: list[str]) -> None:
        process = subprocess.run(command, input="\n".join(share).encode(), env=env, check=False)
        if process.returncode:
            number = max(process.returncode - _ERRNO, 0)
            raise OSError(number, os.strerror(number), str(target))

    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as threads:
        list(threads.map(run, [share for share in shares if share]))
    return {compiled_name(name, tag): path for name, path in made.items() if path.exists()}


def _compile(source: str, name: str, target: str) -> None:
    with open(source, "rb") as file:  # noqa: PTH123 -- this runs where start-up counts
        data = file.read()
    try:
        code = compile(data, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        # Templates, code for other versions of Python, and what no compiler bears.
        return
    with open(target, "wb") as file:  # noqa: PTH123
        file.write(MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(data))
        file.write(marshal.dumps(code))


if __name__ == "__main__":
    try:
        for line in sys.stdin:
            _compile(*json.loads(line))
    except OSError as error:
        raise SystemExit(_ERRNO + (error.errno or 0)) from None
