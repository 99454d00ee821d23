"""Layers of large distributions: each is built once, and is a file of its own beside the archive.

So another package, or another version of a small one, neither builds nor sends torch again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from eventflock._version import __version__
from eventflock.core.structs import digest, to_json
from eventflock.packing.archive import LEVEL, write_rest
from eventflock.packing.bundle import choose_modules, write_bundle
from eventflock.packing.bytecode import compile_tree
from eventflock.packing.cache import Cache
from eventflock.packing.distributions import Component
from eventflock.packing.handshake import tag_of
from eventflock.packing.interpreter import stdlib_of
from eventflock.packing.selection import Chosen
from eventflock.packing.sources import Looked, looked_for
from eventflock.packing.stamps import own_digests
from eventflock.worker.survey import Interpreter, Survey

__all__ = [
    "BESIDE_LEVEL",
    "Building",
    "LargeLayer",
    "build_large",
    "empty_folders",
    "key_of",
    "large_parts",
    "looked_in",
    "tag",
    "unused_in",
]

LARGE = 10e6
"""Bytes of a distribution that gets a layer of its own."""
BESIDE_LEVEL = 6
"""Of zstandard, where there are layers. For coffea, `LEVEL` takes more than twice as long for 7 %
less."""
_HUGE, _HUGE_LEVEL = 500e6, 3
"""From so many bytes on, another level, which takes half of that for 8 % more."""


class LargeLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A finished layer in the cache.

    Attributes
    ----------
    name
        Of the file.
    size, unpacked
        In bytes.
    """

    name: str
    size: int
    unpacked: int


class Building(msgspec.Struct, frozen=True, kw_only=True):
    """How layers are built.

    Attributes
    ----------
    python, program
        The interpreter, and the path to start it by.
    cache
        Keeps them.
    sections
        See `stripped`.
    unused
        Names of parts that were never loaded: these get no byte-code.
    """

    python: Interpreter
    program: str
    cache: Cache
    sections: bool
    unused: frozenset[str]


def tag(python: Interpreter) -> str:
    """Return the cache tag of an interpreter, as `cpython-311`."""
    return f"cpython-{tag_of(python).replace('.', '')}"


def key_of(tree: Mapping[str, Path], *more: object) -> str:
    """Identify what goes in by sizes and times of files, and by the code that packs."""
    stats = []
    for name in sorted(tree):
        stat = tree[name].stat()
        stats.append((name, str(tree[name]), stat.st_size, stat.st_mtime_ns))
    return digest(to_json([__version__, LEVEL, own_digests(), stats, more]))[:32]


def large_parts(chosen: Chosen) -> list[Component]:
    """Choose the distributions that get a layer, the largest first."""
    found = [
        part
        for part in chosen.packages
        if part.size > LARGE and part.normal not in chosen.worker and part.name != "eventflock"
    ]
    return sorted(found, key=lambda part: (-part.size, part.name))


def unused_in(chosen: Chosen, survey: Survey) -> frozenset[str]:
    """Name the parts that nothing has loaded, and that nobody has asked for."""
    loaded = {name.split(".")[0] for name in survey.modules}
    return frozenset(
        part.name
        for part in chosen.packages
        if not loaded & set(part.modules) and not part.is_wanted
    )


def looked_in(part: Component) -> Looked:
    """Find which sources of a part stay files: of one that the user names, all."""
    looked = looked_for(part.files)
    if part.is_named:
        looked = msgspec.structs.replace(looked, files=frozenset(part.files))
    return looked


def build_large(
    part: Component, tree: Mapping[str, Path], how: Building, scratch: Path
) -> LargeLayer:
    """Return the layer of a distribution, from the cache if it was built before.

    Parameters
    ----------
    part
        The distribution.
    tree
        Those of its files that go in.
    scratch
        Folder for temporary files.
    """
    cache = how.cache
    compiles = part.name not in how.unused
    key = f"layer-{key_of(tree, tag(how.python), how.sections, compiles, part.is_named)}"
    with cache.lock(key):
        known = cache.recall(key, LargeLayer)
        if known is not None and cache.intact(known.name):
            return known
        folder = scratch / f"layer-{part.normal}"
        folder.mkdir()
        sources = {name: path for name, path in tree.items() if name.endswith(".py")}
        if compiles:
            compiled = compile_tree(sources, folder, how.program, tag(how.python))
            tree = {**tree, **compiled}
        looked = looked_in(part)
        modules = choose_modules(set(tree), stdlib_of(how.python), set(sources) - looked.files)
        if modules:
            tree = write_bundle(scratch / part.normal, tree, modules)
        made = scratch / f"{part.normal}.tar.zst"
        folders = empty_folders(looked, tree)
        level = _HUGE_LEVEL if part.size > _HUGE else BESIDE_LEVEL
        unpacked = write_rest(made, tree, tree, sections=how.sections, level=level, folders=folders)
        kept = cache.keep(made, "layer", ".tar.zst")
        layer = LargeLayer(name=kept.name, size=kept.stat().st_size, unpacked=unpacked)
        cache.remember(key, layer)
        return layer


def empty_folders(looked: Looked, tree: Iterable[str]) -> set[str]:
    """Return the folders that have to be there, and that no file brings along."""
    there = {name.rpartition("/")[0] for name in tree}
    return {folder for folder in looked.folders if folder not in there}
