"""What an archive says to the launcher before it is unpacked: lines that a shell can read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from eventflock.packing.elf import Elf
from eventflock.packing.interpreter import program_of
from eventflock.packing.native import Demands, Libraries, close_over, demands_of
from eventflock.worker.node_layout import GLIBC, NATIVE, PACKAGES
from eventflock.worker.survey import Interpreter

__all__ = ["code_lines", "environment_lines", "tag_of"]


def tag_of(python: Interpreter) -> str:
    """Return the version of an interpreter as far as compiled packages depend on it, as 3.11."""
    return ".".join(python.version.split(".")[:2])


def environment_lines(
    python: Interpreter,
    demands: Demands,
    tree: Mapping[str, Path],
    elfs: Mapping[str, Elf],
    libraries: Libraries,
) -> str:
    """Write what the launcher has to know of an environment.

    Parameters
    ----------
    python
        Its interpreter.
    demands
        Of all of it.
    tree, elfs
        Its files, and what those that are ELF say: where the node's own Python runs, only what
        its packages demand counts.
    libraries
        Where this machine has its libraries.
    """
    packages = {name: elf for name, elf in elfs.items() if name.startswith(f"{PACKAGES}/")}
    alone = demands_of(packages, {})
    added = close_over({name: tree[name] for name in packages}, packages, libraries).added
    lines = [
        f"program {program_of(python)}",
        f"loader {demands.loader}",
        f"bundled {GLIBC}/{Path(demands.loader).name}",
        f"certificates {' '.join(filter(None, python.certificates))}",
        f"python {tag_of(python)}",
        f"packages {alone.glibc[0]}.{alone.glibc[1]} {alone.glibc_file}",
        f"libraries {_names(added)}",
    ]
    return _lines(demands) + "".join(f"{line}\n" for line in lines)


def code_lines(demands: Demands, added: Mapping[str, Path]) -> str:
    """Write what the launcher has to know of the user's code.

    Parameters
    ----------
    demands
        Of all of it.
    added
        Libraries that came with it, by their names in the archive.
    """
    return f"{_lines(demands)}libraries {_names(added)}\n"


def _names(added: Mapping[str, Path]) -> str:
    inside = f"{NATIVE}/"
    return " ".join(sorted(one.removeprefix(inside) for one in added if one.startswith(inside)))


def _lines(demands: Demands) -> str:
    lines = [f"machine {demands.machine}"] if demands.machine else []
    if demands.level > 1:
        lines.append(f"level {demands.level} {demands.level_file}")
    if demands.glibc > (0, 0):
        lines.append(f"glibc {demands.glibc[0]}.{demands.glibc[1]} {demands.glibc_file}")
    return "".join(f"{line}\n" for line in lines)
