"""The bundle: thousands of modules in one file.

To make thousands of files is what takes a node longest, on ext4 above all where as many have just
been removed. So the modules of the standard library and of packages
are one file; so are those of each layer of a large distribution. `sitecustomize.py` finds them
there. What a package looks for itself stays a file (`sources.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from eventflock.packing.archive import packing_order
from eventflock.worker.node_layout import BUNDLES

__all__ = ["choose_modules", "write_bundle"]

_TEXTS = ("LICEN", "COPYING", "NOTICE", "AUTHORS")


def choose_modules(names: AbstractSet[str], stdlib: str, packages: AbstractSet[str]) -> set[str]:
    """Choose what goes into the bundle.

    Parameters
    ----------
    names
        Files of the archive that may go.
    stdlib
        Where the standard library is in the archive.
    packages
        Files of packages that may go.

    Returns
    -------
    set
        Sources, each with its byte-code.
    """
    # The interpreter looks for encodings before it can look into a bundle.
    stay = (f"{stdlib}/encodings/", f"{stdlib}/lib-dynload/", f"{stdlib}/sitecustomize.py")
    inside = f"{stdlib}/"
    libraries = {one.partition(".")[0] for one in names if one.endswith(".so")}
    texts = {name for name in names if _is_text_of(name)}
    chosen = {
        name
        for name in names
        if name.endswith(".py")
        and "\n" not in name
        and (name in packages or (name.startswith(inside) and not name.startswith(stay)))
        and name.removesuffix(".py") not in libraries  # which would be loaded instead
    }
    compiled = {name for name in names if name.endswith(".pyc") and _source(name) in chosen}
    return chosen | compiled | texts


def _is_text_of(name: str) -> bool:
    """Check for licences and the like of a distribution, which no program reads."""
    base = name.partition(".dist-info/")[2]
    return bool(base) and (base == "WHEEL" or base.upper().startswith(_TEXTS))


def _source(compiled: str) -> str:
    folder, _, file = compiled.rpartition("/")
    return f"{folder.removesuffix('__pycache__')}{file.partition('.')[0]}.py"


def write_bundle(out: Path, tree: Mapping[str, Path], names: AbstractSet[str]) -> dict[str, Path]:
    """Write the bundle: the length of the index, the index, and the files one after the other.

    Returns
    -------
    dict
        The tree with the bundle in place of what is in it.
    """
    ordered = sorted(names, key=packing_order)
    contents = [tree[name].read_bytes() for name in ordered]
    index = "".join(
        f"{len(data)} {name}\n" for name, data in zip(ordered, contents, strict=True)
    ).encode()
    out.write_bytes(b"".join([b"%d\n" % len(index), index, *contents]))
    return {
        f"{BUNDLES}/{out.name}": out,
        **{name: path for name, path in tree.items() if name not in names},
    }
