"""Makes the interpreter of an archive whole: its name, where its packages are, and the bundles.

A bundle is one file with the modules that `bundle.py` has chosen. They behave as if each lay in a
file of its own, where it was installed; data files and libraries do lie there.
"""

from __future__ import annotations

import os
import site
import sys

# These are frozen and loaded. `importlib.machinery` and `importlib.util` import more, which may be
# in the bundle, and it cannot be read yet (`warnings`, from Python 3.14 on).
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import SourceFileLoader, spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:  # this runs at the start of every process, which does without what it can
    from collections.abc import Iterator, Mapping
    from types import ModuleType
    from typing import Any

BUNDLES = "bundles"
_root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_places: dict[str, tuple[str, int, int]] = {}
"""Where each file is, by its path: bundle, offset and size."""
_folders: dict[str, list[str]] = {}
"""The names of the files that bundles have of each folder."""


def _read_index(bundle: str) -> None:
    with open(bundle, "rb") as file:
        first = file.readline()
        index = file.read(int(first)).decode()
    offset = len(first) + int(first)
    for line in index.splitlines():
        length, _, name = line.partition(" ")
        size = int(length)
        path = f"{_root}/{name}"
        folder, _, base = path.rpartition("/")
        _places[path] = (bundle, offset, size)
        offset += size
        if folder in _folders:
            _folders[folder].append(base)
            continue
        _folders[folder] = [base]
        while len(folder := folder.rpartition("/")[0]) > len(_root) and folder not in _folders:
            _folders[folder] = []  # the folders around it have it, too


class Loader(SourceFileLoader):
    """Loads a module whose source, and often byte-code, is in a bundle."""

    def get_data(self, path: str) -> bytes:
        """Return the contents of a file in a bundle, or of one beside it."""
        if path not in _places:
            return super().get_data(path)
        bundle, offset, size = _places[path]
        with open(bundle, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Return size and time of a source."""
        if path not in _places:
            return super().path_stats(path)
        return {"mtime": 0, "size": _places[path][2]}


class Finder:
    """Finds the modules of one folder, in the bundles and as files.

    Parameters
    ----------
    path
        The folder. If no bundle has anything of it, this is refused, and others are asked.
    """

    def __init__(self, path: str) -> None:
        if path not in _folders:
            raise ImportError(path)
        self._path = path
        self._files: Any = None
        if os.path.isdir(path):
            self._files = _files_in(path)

    def find_spec(self, name: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module."""
        last = name.rpartition(".")[2]
        folder = f"{self._path}/{last}"
        for path, search in ((f"{folder}/__init__.py", [folder]), (f"{folder}.py", None)):
            if path in _places:
                loader = Loader(name, path)
                return spec_from_file_location(
                    name, path, loader=loader, submodule_search_locations=search
                )
        found: ModuleSpec | None = self._files.find_spec(name, target) if self._files else None
        if found is None and folder in _folders:  # a namespace, of which nothing else is a file
            found = ModuleSpec(name, None, is_package=True)
            found.submodule_search_locations = [folder]
        return found

    def invalidate_caches(self) -> None:
        """Look anew for files."""
        if self._files:
            self._files.invalidate_caches()

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """Yield the modules in the folder and whether each is a package, for `pkgutil`."""
        import pkgutil

        found = {folder[:-3]: False for folder in _folders[self._path] if folder.endswith(".py")}
        found.update(
            (one.rpartition("/")[2], True)
            for one in _folders
            if one.rpartition("/")[0] == self._path and f"{one}/__init__.py" in _places
        )
        if self._files:
            found.update(pkgutil.iter_importer_modules(self._files))  # type: ignore[attr-defined]
        found.pop("__init__", None)
        for name, is_package in sorted(found.items()):
            yield prefix + name, is_package


_files_in = sys.path_hooks[-1]


def _start() -> None:
    bundles = os.path.join(_root, BUNDLES)
    if os.path.isdir(bundles):
        for name in sorted(os.listdir(bundles)):
            _read_index(os.path.join(bundles, name))
        sys.path_hooks.insert(0, Finder)
        sys.path_importer_cache.clear()
    wanted = os.environ.get("EVENTFLOCK_SITE_PYTHON", "")
    if not wanted:
        _start_packed()
    elif wanted == ".".join(map(str, sys.version_info[:2])):  # else it is another one
        _start_in_front()


def _start_packed() -> None:
    # The program itself is started through a loader; what children start is the wrapper that does.
    sys.executable = os.path.join(_root, "bin", "python3")
    sys._base_executable = sys.executable  # type: ignore[attr-defined]
    _add_packages()
    # Packages of the site come last: the packed ones win.
    for place in os.environ.get("EVENTFLOCK_SITE", "").split(":"):
        if place and os.path.isdir(place) and place not in sys.path:
            sys.path.append(place)


def _add_packages() -> None:
    for folder in ("code/packages", "packages"):
        if os.path.isdir(os.path.join(_root, folder)):
            site.addsitedir(os.path.join(_root, folder))


def _start_in_front() -> None:
    """Put the packed packages before those of the Python that runs, which is the node's."""
    before = list(sys.path)
    _add_packages()
    sys.path[:] = [*(one for one in sys.path if one not in before), *before]
    _load_libraries(os.environ.get("EVENTFLOCK_LIBRARIES", "").split())
    _run_next(os.path.dirname(os.path.abspath(__file__)))


def _load_libraries(names: list[str]) -> None:
    """Load the libraries of packages that the node does not have; one may need another one."""
    import contextlib
    import ctypes

    missing = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(os.path.join(_root, "native", name))
    for path in missing * 2:
        with contextlib.suppress(OSError):  # what needs it says so when it is imported
            ctypes.CDLL(path)


def _run_next(ours: str) -> None:
    """Run the file of the same name that would have run without this one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec(__name__, [one for one in sys.path if one != ours])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if __name__ == "sitecustomize":  # else it is only read
    _start()
