"""Which files a distribution has, also where its installer has left no list of them.

Pip and uv write RECORD. Conda keeps lists of its own (`conda-meta/*.json`), Debian too
(`/var/lib/dpkg/info/*.list`); without any, it is what top_level.txt or the name says.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from eventflock.packing.interpreter import walk

__all__ = ["files_of", "info_of"]

_DPKG = Path("/var/lib/dpkg/info")
_CODE = re.compile(r"\.(py|so(\.\d+)*)$")
_INFO = re.compile(r"\.(dist|egg)-info(/|$)")


def info_of(one: metadata.Distribution) -> Path:
    """Return the folder, or the file, with the metadata of a distribution."""
    return Path(str(getattr(one, "_path", "its metadata")))


@functools.lru_cache(maxsize=2048)  # asked for several times in one call
def files_of(one: metadata.Distribution) -> tuple[str, ...]:
    """Return the names of its files, relative to the folder that it is installed in."""
    listed = tuple(str(file) for file in one.files or ())
    base, info = Path(str(one.locate_file(""))), info_of(one)
    if _has_code(listed) or _has_data(listed, base):
        return listed
    for found in (_of_conda(base, info), _of_dpkg(base, info), _by_name(one, base, info)):
        if _has_code(found):
            return found
    return listed


def _has_code(names: tuple[str, ...]) -> bool:
    return any(_CODE.search(name) for name in names)


def _has_data(names: tuple[str, ...], base: Path) -> bool:
    """Check for other files than those about a distribution: it may be headers only."""
    return any((base / name).is_file() for name in names if not _INFO.search(name))


def _of_conda(base: Path, info: Path) -> tuple[str, ...]:
    """Look the distribution up in the lists of conda, mamba or pixi."""
    prefix = next((one for one in base.parents if (one / "conda-meta").is_dir()), None)
    if prefix is None:
        return ()
    inside = info.resolve().relative_to(prefix.resolve()).as_posix()
    for files in _conda_lists(prefix):
        if any(name.startswith(f"{inside}/") for name in files):
            return tuple(os.path.relpath(prefix / name, base) for name in files)
    return ()


@functools.cache
def _conda_lists(prefix: Path) -> list[list[str]]:
    found = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            files = json.loads(path.read_text()).get("files", [])
        except (OSError, ValueError):
            continue
        found.append([str(name) for name in files])
    return found


def _of_dpkg(base: Path, info: Path) -> tuple[str, ...]:
    """Look the distribution up in the lists of Debian's packages."""
    for lines in _dpkg_lists() if base.is_relative_to("/usr") else ():
        if str(info) in lines:
            return tuple(os.path.relpath(line, base) for line in lines if Path(line).is_file())
    return ()


@functools.cache
def _dpkg_lists() -> list[list[str]]:
    lists = sorted(_DPKG.glob("python3-*.list"))
    return [path.read_text(errors="replace").splitlines() for path in lists]


def _by_name(one: metadata.Distribution, base: Path, info: Path) -> tuple[str, ...]:
    """Collect what top_level.txt names, or what is called as the distribution is."""
    named = (one.read_text("top_level.txt") or "").split()
    own = re.sub(r"[-.]+", "_", str(one.metadata["Name"]))
    tops = named or sorted({own, own.lower()})
    return tuple(sorted({*_below(base, [*tops, *(f"{top}.libs" for top in tops)], info)}))


def _below(base: Path, tops: list[str], info: Path) -> Iterator[str]:
    for top in tops:
        if (base / top).is_dir():
            yield from (f"{top}/{inner}" for inner, _ in walk(base / top, whole=True))
        for path in (base / f"{top}.py", *base.glob(f"{top}.*.so")):
            if path.is_file():
                yield path.name
    if info.is_dir():
        yield from (f"{info.name}/{inner}" for inner, _ in walk(info))
