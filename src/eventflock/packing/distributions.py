"""What goes in: distributions, why each of them is needed, and their files."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import msgspec

from eventflock.errors import EnvError, nearest
from eventflock.packing import cling
from eventflock.packing.interpreter import is_junk
from eventflock.packing.listing import files_of, info_of
from eventflock.worker.node_layout import PACKAGES
from eventflock.worker.survey import Interpreter

__all__ = ["WORKER", "Component", "Installed", "closure", "local_source", "normal"]

WORKER = ("awkward", "boost-histogram", "cloudpickle", "msgspec", "numpy", "uhi", "uproot")
"""What eventflock's own worker imports. The rest of its requirements stays at home."""
_USES_TESTS = re.compile(rb"^\s*(from|import)\s+[\w.]*\btests?\b", re.MULTILINE)


def normal(name: str) -> str:
    """Spell the name of a distribution in the one way that is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes in: a distribution, or a folder of the user's.

    Attributes
    ----------
    why
        In words, for the report.
    files
        From names in the archive to files here.
    modules
        What it can be imported as.
    code
        Whether it belongs to the layer of the user's code.
    trees
        Folders, or single files, of the user's that all of it was taken from.
    """

    name: str
    version: str
    why: str
    files: dict[str, Path]
    modules: tuple[str, ...] = ()
    code: bool = False
    trees: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files as they are here."""
        return sum(path.stat().st_size for path in self.files.values())

    @property
    def normal(self) -> str:
        """The name of a distribution as it is compared."""
        return normal(self.name)

    @property
    def is_named(self) -> bool:
        """Whether the user names it: then it goes in whole, as it is installed."""
        return self.why.startswith("--with")

    @property
    def is_wanted(self) -> bool:
        """Whether the user names it, or imports it somewhere."""
        return self.is_named or " imports " in self.why


class Installed:
    """The distributions that an interpreter finds on its path.

    Parameters
    ----------
    python
        The interpreter.
    """

    def __init__(self, python: Interpreter) -> None:
        self.python = python
        self.found: dict[str, metadata.Distribution] = {}
        for distribution in metadata.distributions(path=list(python.path)):
            name = distribution.metadata["Name"]
            if name:  # what comes first on the path is what is imported
                self.found.setdefault(normal(name), distribution)
        self._modules: dict[str, set[str]] | None = None

    @property
    def sites(self) -> set[Path]:
        """The folders that distributions are installed in."""
        return {Path(str(value.locate_file(""))).resolve() for value in self.found.values()}

    def __contains__(self, name: str) -> bool:
        return normal(name) in self.found

    def version(self, name: str) -> str:
        """Version of a distribution."""
        return self.found[normal(name)].version

    def get(self, name: str, why: str) -> metadata.Distribution:
        """Return a distribution by its name.

        Raises
        ------
        EnvError
            It is not installed.
        """
        if normal(name) not in self.found:
            near = nearest(normal(name), self.found)
            if Path(name).exists():
                remedy = f"The folder of that name is --with ./{name}"
            elif re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                remedy = f"Install it: {sys.executable} -m pip install {name}. A file or folder is "
                remedy += "named with a slash, as in --with ./mytools."
            else:
                remedy = "Name one package or path with each --with."
            raise EnvError(
                f"{name!r} ({why}) is not installed{'; ' + near if near else '.'}", remedy=remedy
            )
        return self.found[normal(name)]

    def leave_out(self, names: Iterable[str]) -> None:
        """Forget distributions, as if they were not installed.

        Raises
        ------
        EnvError
            One is not installed.
        """
        for name in names:
            self.get(name, f"--without {name}")
            del self.found[normal(name)]
        self._modules = None

    def leave_to_site(self, folders: Iterable[Path], needed: Iterable[str]) -> None:
        """Forget distributions that lie in folders of the site, but for some that are needed."""
        places = set(folders)
        for name, one in list(self.found.items()):
            if name not in needed and Path(str(one.locate_file(""))).resolve() in places:
                del self.found[name]
        self._modules = None

    def owners(self, module: str) -> set[str]:
        """Return the distributions that have files of a top-level module."""
        if self._modules is None:
            self._modules = {}
            for name, one in self.found.items():
                for top in _top_levels(one):
                    self._modules.setdefault(top, set()).add(name)
        return self._modules.get(module, set())

    def modules(self, name: str) -> tuple[str, ...]:
        """Return the top-level modules of a distribution."""
        return tuple(sorted(_top_levels(self.found[normal(name)])))

    def requirements(self, name: str, extras: Iterable[str]) -> Iterator[tuple[str, set[str]]]:
        """Yield what a distribution requires here, with the extras of each."""
        from packaging.requirements import InvalidRequirement, Requirement

        if name == "eventflock":  # on a node it is only the worker, which has a list of its own
            return
        for text in self.found[name].requires or ():
            try:
                one = Requirement(text)
            except InvalidRequirement:
                continue
            for extra in ("", *extras):
                environment = {**self.python.markers, "extra": extra}
                if one.marker is None or one.marker.evaluate(environment):
                    yield normal(one.name), set(one.extras)
                    break

    def part(self, name: str, why: str, tested: Iterable[str] = ()) -> Component:
        """Collect the files of a distribution.

        Parameters
        ----------
        tested
            Packages whose tests are kept, as the analysis imports from them.

        Raises
        ------
        EnvError
            It has no list of files.
        """
        one = self.get(name, why)
        files = dict(_files(one, set(tested)))
        if not any(not path.endswith(_METADATA) for path in files) and not _is_only_metadata(one):
            raise EnvError(
                f"The distribution {one.metadata['Name']} {one.version} has no files here: "
                f"{info_of(one)} lists none that exist.",
                remedy=f"Reinstall it: {sys.executable} -m pip install --force-reinstall {name}",
            )
        return Component(
            name=one.metadata["Name"],
            version=one.version,
            why=why,
            files=files,
            modules=self.modules(name),
        )

    def local_sources(self, names: Iterable[str]) -> list[Path]:
        """Return the folders and files of this machine that distributions were installed from."""
        found = (local_source(self.found[normal(name)]) for name in names if name in self)
        return [path for path, _ in found if path is not None and path.exists()]

    def editable(self, name: str) -> Path | None:
        """Return the folder of an editable install; None for any other.

        Raises
        ------
        EnvError
            The folder is gone.
        """
        one = self.found[normal(name)]
        folder, is_editable = local_source(one)
        if folder is None or not is_editable:
            return None
        if not folder.is_dir():
            raise EnvError(
                f"{one.metadata['Name']} is an editable install of {folder}, which is gone.",
                remedy=f"Put the folder back, or install it again: {sys.executable} -m pip install "
                f"{name}",
            )
        return folder


_METADATA = ("METADATA", "RECORD", "INSTALLER", "PKG-INFO", "top_level.txt", "entry_points.txt",
             "WHEEL", "REQUESTED", "direct_url.json", ".pth", "dependency_links.txt", "SOURCES.txt",
             "requires.txt", "LICENSE", "LICENSE.txt", "zip-safe")  # fmt: skip
_DROPPED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def local_source(one: metadata.Distribution) -> tuple[Path | None, bool]:
    """Return the place that a distribution was installed from, and whether it is editable."""
    try:
        direct: Any = json.loads(one.read_text("direct_url.json") or "{}")
    except ValueError:
        return None, False
    url = urlparse(str(direct.get("url", "")))
    if url.scheme != "file":
        return None, False
    return Path(unquote(url.path)), bool(direct.get("dir_info", {}).get("editable"))


@functools.lru_cache(maxsize=2048)
def _top_levels(one: metadata.Distribution) -> set[str]:
    """Find what a distribution can be imported as."""
    found = set()
    for file in files_of(one):
        if file.endswith((".py", ".so")):
            first, inside, _ = file.partition("/")
            found.add(first if inside else first.split(".")[0])
    stated = (one.read_text("top_level.txt") or "").split()
    return {name for name in found | set(stated) if name.isidentifier() and name != "__pycache__"}


def _is_only_metadata(one: metadata.Distribution) -> bool:
    """Check whether a distribution has no files of its own, but only requires others."""
    listed = files_of(one)
    return bool(listed) and all(".dist-info/" in name for name in listed)


def _files(one: metadata.Distribution, tested: set[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of a distribution that are of use, by their names in the archive."""
    base = Path(str(one.locate_file("")))
    names = list(files_of(one))
    kept, stubs = tested | _needed_tests(base, names), _needed_stubs(base, names)
    is_useless = cling.is_useless if cling.compiles(names) else is_junk
    for listed in names:
        name = os.path.normpath(listed)
        path = base / name
        if name.startswith(".."):
            yield from _outside(base, name, path)
            continue
        useless = is_useless(name) or _is_test(name, kept) or _is_dropped(name)
        if (name in stubs or not useless) and path.is_file():
            yield f"{PACKAGES}/{name}", path


def _is_dropped(name: str) -> bool:
    """Check whether a file only says how a package was installed here, and of what it is made."""
    return ".dist-info/" in name and (name.rpartition("/")[2] in _DROPPED or "/sboms/" in name)


def _outside(base: Path, name: str, path: Path) -> Iterator[tuple[str, Path]]:
    """Keep data that a distribution installs beside the packages, as in `share/`."""
    place = path.resolve()
    for prefix in base.resolve().parents:
        parts = place.relative_to(prefix).parts if place.is_relative_to(prefix) else ()
        if parts and parts[0] in {"share", "etc"} and place.is_file() and not is_junk(name):
            yield "/".join(parts), place
            return


def _is_test(name: str, kept: set[str]) -> bool:
    """Check whether a file belongs to the tests of its package, and nothing else uses those."""
    *folders, file = name.split("/")
    if not {"tests", "test"} & set(folders):
        return file.endswith(".so") and ("_tests." in file or file.startswith("_simd."))
    return folders[0] not in kept and folders[0] not in {"tests", "test"}


def _needed_stubs(base: Path, names: list[str]) -> set[str]:
    """Find stubs that are read when their package is imported (lazy_loader), as scikit-image's."""
    stubs = {name for name in names if name.endswith("__init__.pyi")}
    return {
        name
        for name in stubs
        if (base / name[:-1]).is_file() and b"attach_stub" in (base / name[:-1]).read_bytes()
    }


def _needed_tests(base: Path, names: list[str]) -> set[str]:
    """Find packages that import their own tests when they are used, as astropy does."""
    tested = {n.split("/")[0] for n in names if {"tests", "test"} & set(n.split("/")[1:-1])}
    found = set()
    for name in names:
        parts = name.split("/")
        if parts[0] not in tested or parts[0] in found or not name.endswith("__init__.py"):
            continue
        path = base / name
        ours = not {"tests", "test"} & set(parts) and path.is_file()
        if ours and _USES_TESTS.search(path.read_bytes()):
            found.add(parts[0])
    return found


def closure(installed: Installed, roots: Mapping[str, str]) -> dict[str, str]:
    """Follow the requirements of distributions, and say why each is needed.

    Parameters
    ----------
    installed
        Where they are.
    roots
        From names, extras in brackets allowed, to why they are wanted. They must be installed.

    Returns
    -------
    dict
        From normal names to reasons. What a requirement names but is not installed is left out:
        here, too, it works without.
    """
    reasons: dict[str, str] = {}
    seen: dict[str, set[str]] = {}
    todo: list[tuple[str, set[str], str]] = []
    for name, why in roots.items():
        bare, _, asked = name.partition("[")
        installed.get(bare, why)
        todo.append((normal(bare), {word for word in asked.strip("]").split(",") if word}, why))
    while todo:
        name, extras, why = todo.pop(0)
        if name not in installed or (name in seen and extras <= seen[name]):
            continue
        reasons.setdefault(name, why)
        seen[name] = seen.get(name, set()) | extras
        for needed, more in installed.requirements(name, seen[name]):
            todo.append((needed, more, f"needed by {name}"))
    return reasons
