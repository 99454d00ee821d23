"""The native closure: every library that the ELF files of an archive need, beyond glibc.

On the node everything is started as `LOADER --library-path FOLDERS PROGRAM`, so files need not be
patched and nothing is left in the environment of programs that the analysis starts. See ld.so(8)
for the order in which libraries are looked up.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from eventflock.errors import EnvError
from eventflock.packing.elf import Elf, read_elf
from eventflock.worker.node_layout import GLIBC, NATIVE

__all__ = [
    "Closure",
    "Demands",
    "Libraries",
    "close_over",
    "demands_of",
    "elfs_of",
    "is_glibc",
]

_FAMILY = re.compile(
    r"(ld-linux[-\w]*\.so\.[12]|(libc|libm)\.so\.6|libpthread\.so\.0|(libnss_(files|dns|compat)"
    r"|libresolv|libdl)\.so\.2|(libmvec|librt|libutil|libanl|libnsl|libBrokenLocale)\.so\.1)"
)
"""Libraries of one glibc, which only go together. (libnsl.so.2 and libcrypt are packages apart.)"""
_ONLY_IF_NEEDED = ("libmvec", "libanl", "libnsl", "libBrokenLocale")
_DEFAULT = (
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    *map(str, Path("/usr/lib").glob("*-linux-gnu*")),
)
"""With the folders of Debian, which are there also where the cache of the loader is not."""
_DRIVER = re.compile(r"lib(cuda|cudadebugger|nvidia-\S+|nvcuvid|nvoptix)\.so\.1")
"""Libraries of the driver of a GPU: they go with the kernel, so they are the node's own."""
_PLAIN = (".py", ".pyc", ".txt", ".json", ".pem", ".yaml", ".yml", ".csv", ".html", ".js", ".svg")


class Demands(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive demands of a node, and which file does.

    Attributes
    ----------
    machine
        As `uname -m` says.
    level, level_file
        The x86-64 level.
    glibc, glibc_file
        The oldest glibc with all symbols, as two numbers.
    loader
        Where programs of that machine expect their loader.
    """

    machine: str
    level: int = 1
    level_file: str = ""
    glibc: tuple[int, int] = (0, 0)
    glibc_file: str = ""
    loader: str = ""


class Closure(msgspec.Struct, frozen=True, kw_only=True):
    """The libraries to add to a tree, and the files that cannot be loaded anywhere.

    Attributes
    ----------
    added
        From names in the archive to files on this machine.
    missing
        From names in the archive to the library that this machine does not have.
    """

    added: dict[str, Path]
    missing: dict[str, str]


class Libraries:
    """Where this machine keeps its shared libraries.

    Parameters
    ----------
    loaded
        Libraries that a process of the same interpreter had loaded: they outrank a search.
    """

    def __init__(self, loaded: Iterable[str] = ()) -> None:
        self._loaded = {Path(one).name: Path(one) for one in loaded}
        self._cached = _read_cache()
        self._paths = [word for word in os.environ.get("LD_LIBRARY_PATH", "").split(":") if word]

    def find(self, name: str, elf: Elf, file: Path) -> tuple[Path | None, bool]:
        """Find a library that a file needs.

        Returns
        -------
        Path or None
        bool
            Whether the file finds it by itself, relative to its own place.
        """
        origin = str(file.resolve().parent)
        for folder in elf.search:
            place = Path(re.sub(r"\$(ORIGIN|\{ORIGIN\})", origin, folder)) / name
            if _fits(place, elf):
                return place, not folder.startswith("/")
        if name in self._loaded:
            return self._loaded[name], False
        known = [*self._paths, *self._cached.get(name, ()), *_DEFAULT]
        for known_name in known:
            place = Path(known_name) / name if Path(known_name).name != name else Path(known_name)
            if _fits(place, elf):
                return place, False
        return None, False


def _fits(place: Path, elf: Elf) -> bool:
    if not place.is_file():
        return False
    found = read_elf(place)
    return found is not None and found.machine == elf.machine


@functools.cache
def _read_cache() -> dict[str, list[str]]:
    """Read the loader's cache, which is how most libraries of a system are found."""
    found: dict[str, list[str]] = {}
    for command in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            process = subprocess.run([command, "-p"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        for line in process.stdout.splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow:
                found.setdefault(name.split(" ")[0], []).append(path)
        break
    return found


def is_glibc(name: str) -> bool:
    """Check whether a library is of glibc, or is looked up by it: those are the node's own."""
    return bool(_FAMILY.fullmatch(name)) or name.startswith("libnss_")


def elfs_of(tree: Mapping[str, Path]) -> dict[str, Elf]:
    """Read all ELF files of a tree, by their names in the archive."""
    found = {}
    for name, path in tree.items():
        if not name.endswith(_PLAIN):
            elf = read_elf(path)
            if elf is not None and elf.machine:
                found[name] = elf
    return found


def close_over(
    tree: Mapping[str, Path],
    elfs: Mapping[str, Elf],
    libraries: Libraries,
    base: Iterable[str] = (),
) -> Closure:
    """Find the libraries that the ELF files of a tree need and do not find in it.

    Parameters
    ----------
    tree, elfs
        From names in the archive to files, and what those that are ELF say.
    libraries
        Where to look.
    base
        Libraries that another layer has already.

    Returns
    -------
    Closure
        The glibc family is in it, as one, in a folder of its own, if anything needs it.
    """
    inside = {path.resolve(): name for name, path in tree.items() if name in elfs}
    by_name = {Path(name).name for name in elfs} | {one.soname for one in elfs.values()}
    added: dict[str, Path] = {}
    missing: dict[str, str] = {}
    todo = [(name, name, tree[name], elf) for name, elf in elfs.items()]
    done = set(base)
    while todo:
        name, via, path, elf = todo.pop()
        for needed in elf.needed:
            if needed in done or _DRIVER.fullmatch(needed):
                continue
            found, by_itself = libraries.find(needed, elf, path)
            if _FAMILY.fullmatch(needed):
                done.add(needed)
                if found is not None:
                    added.update(_family(found, needed))
                continue
            if found is None:
                if needed not in by_name:  # else the package loads it beforehand
                    chain = "" if via == name else f"{Path(via).name}, which needs "
                    missing[name] = f"{chain}{needed}"
                continue
            if by_itself and found.resolve() in inside:
                continue
            done.add(needed)
            added[f"{NATIVE}/{needed}"] = found
            more = read_elf(found)
            if more is not None:
                todo.append((name, f"{NATIVE}/{needed}", found, more))
    return Closure(added=added, missing=missing)


def _family(member: Path, needed: str) -> dict[str, Path]:
    """Return the glibc that a library belongs to, without what hardly anything needs."""
    folder = member.resolve().parent
    named = [path for path in folder.iterdir() if _FAMILY.fullmatch(path.name)]
    if not any(one.name.startswith("ld") for one in named):
        named += [one for one in member.parent.iterdir() if _FAMILY.fullmatch(one.name)]
    return {
        f"{GLIBC}/{one.name}": one
        for one in named
        if one.name == needed or not one.name.startswith(_ONLY_IF_NEEDED)
    }


def demands_of(elfs: Mapping[str, Elf], levels: Mapping[str, int]) -> Demands:
    """Sum up what the files demand of a node.

    Parameters
    ----------
    elfs
        By name in the archive.
    levels
        x86-64 levels that are known otherwise, by name in the archive.

    Raises
    ------
    EnvError
        Files of different machines.
    """
    ours = {name: elf for name, elf in elfs.items() if not name.startswith(f"{GLIBC}/")}
    machines = {elf.machine: name for name, elf in ours.items()}
    if len(machines) > 1:
        pairs = " and ".join(f"{name} ({machine})" for machine, name in sorted(machines.items()))
        raise EnvError(
            f"Files for different machines: {pairs}.", remedy="Reinstall the package of the one."
        )
    need = {name: max(elf.level, levels.get(name, 1)) for name, elf in ours.items()}
    level = max(need.values(), default=1)
    glibc = max((elf.glibc for elf in ours.values()), default=(0, 0))
    loaders = sorted({elf.interpreter for elf in ours.values() if elf.interpreter})
    return Demands(
        machine=next(iter(machines), ""),
        level=level,
        level_file=min((one for one, n in need.items() if n == level and n > 1), default=""),
        glibc=glibc,
        glibc_file=min((one for one, elf in ours.items() if elf.glibc == glibc), default=""),
        loader=loaders[0] if loaders else "",
    )
