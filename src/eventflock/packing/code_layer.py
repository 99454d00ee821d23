"""Building the layer of the user's code, which changes often."""

from __future__ import annotations

from pathlib import Path

from eventflock.errors import EnvError
from eventflock.packing.archive import write_code
from eventflock.packing.by_hand import loaded_by_hand
from eventflock.packing.bytecode import compile_tree
from eventflock.packing.cache import Cache
from eventflock.packing.handshake import code_lines
from eventflock.packing.interpreter import interpreter_files
from eventflock.packing.large import tag
from eventflock.packing.layers import Layer
from eventflock.packing.native import Libraries, close_over, demands_of, elfs_of
from eventflock.packing.selection import Chosen
from eventflock.packing.surveying import InterpreterProbe
from eventflock.worker.node_layout import GLIBC
from eventflock.worker.survey import Survey

__all__ = ["build_code"]


def build_code(
    chosen: Chosen,
    survey: Survey,
    reference: Survey,
    environment: Layer,
    probe: InterpreterProbe,
    cache: Cache,
    scratch: Path,
) -> Layer:
    """Build the layer of the user's code, with what only this analysis loads.

    Raises
    ------
    EnvError
        A library is missing for a file of the user's.
    """
    tree: dict[str, Path] = {}
    for part in chosen.code:
        tree.update(part.files)
    elfs = elfs_of(tree)
    closure = close_over(tree, elfs, Libraries(survey.libraries), environment.libraries)
    for name, library in sorted(closure.missing.items()):
        raise EnvError(
            f"{tree[name]} needs {library}, which is not found on this machine.",
            remedy="Install it, or set LD_LIBRARY_PATH to the folder that has it.",
        )
    added = {name: path for name, path in closure.added.items() if not name.startswith(f"{GLIBC}/")}
    known = {*environment.libraries, *added}
    added.update(loaded_by_hand(survey, reference, chosen, tree, known))
    tree.update(added)
    sources = {name: path for name, path in tree.items() if name.endswith(".py")}
    sources.update(_more_sources(chosen, survey, environment))
    folder = scratch / "compiled-code"
    folder.mkdir()
    tree.update(compile_tree(sources, folder, probe.python, tag(survey.python)))
    demands = demands_of(elfs_of(tree), {})
    made = scratch / "code.tar.gz"
    unpacked = write_code(made, tree, code_lines(demands, added))
    kept = cache.keep(made, "code", ".tar.gz")
    return Layer(name=kept.name, size=kept.stat().st_size, unpacked=unpacked, demands=demands)


def _more_sources(chosen: Chosen, survey: Survey, environment: Layer) -> dict[str, Path]:
    """Find what this analysis loads beyond what the environment has compiled."""
    tree = interpreter_files(survey.python)
    for part in chosen.packages:
        tree.update(part.files)
    loaded, compiled = set(survey.modules.values()), set(environment.compiled)
    return {
        name: path
        for name, path in tree.items()
        if name.endswith(".py") and str(path) in loaded and name not in compiled
    }
