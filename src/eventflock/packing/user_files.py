"""The layer of the user's own code: the analysis, what lies beside it, and editable packages."""

from __future__ import annotations

import ast
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path

from eventflock.core.model import AnalysisRef
from eventflock.errors import EnvError, nearest
from eventflock.packing.distributions import Component, Installed
from eventflock.packing.interpreter import is_junk, walk
from eventflock.worker.node_layout import ANALYSIS, CODE_PACKAGES, SETUP, place_of

__all__ = [
    "analysis_part",
    "editable_part",
    "folder_part",
    "imports_of",
    "setup_part",
    "time_zones_part",
]


def imports_of(source: bytes) -> set[str]:
    """Return the top-level modules that a source imports anywhere, in functions as well."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def analysis_part(ref: AnalysisRef, frozen: Path | None, local: Mapping[str, str]) -> Component:
    """Collect the frozen analysis and the modules that are no part of a distribution.

    Parameters
    ----------
    ref
        The analysis.
    frozen
        The frozen copy of its file; None for a module.
    local
        Names of such modules, and their files.
    """
    files: dict[str, Path] = {}
    sources = [Path(value) for value in local.values() if value.endswith(".py")]
    if frozen is not None:
        files[f"{ANALYSIS}/{ref.file}"] = frozen
        sources += [frozen] if frozen.suffix == ".py" else []
    if ref.search:
        files.update(_imported_beside(Path(ref.search[0]), sources, set(local)))
    base = Path(ref.search[0]) if ref.search else Path("/nowhere")
    for data in (Path(name) for name in ref.helpers if not name.endswith(".py")):
        place = place_of(data, ref)
        if place:
            files[place] = data
    trees: set[Path] = set()
    for top in sorted({name.split(".")[0] for name in local}):
        found = dict(_module_files(top, local))
        trees |= _roots(top, local)
        near = any(path.is_relative_to(base) for path in found.values())
        place = ANALYSIS if near else CODE_PACKAGES
        files.update({f"{place}/{name}": path for name, path in found.items()})
    beside = sorted({name.split("/")[2] for name in files} - {ref.file})
    why = f"the analysis, with {', '.join(beside)}" if beside else "the analysis"
    return Component(
        name=ref.file or ref.origin,
        version="",
        why=why,
        files=files,
        code=True,
        trees=tuple(sorted(trees)),
    )


def _imported_beside(folder: Path, sources: list[Path], known: set[str]) -> dict[str, Path]:
    """Follow imports, in functions too, to modules in a folder, and from there to others."""
    found: dict[str, Path] = {}
    while sources:
        for name in sorted(imports_of(sources.pop().read_bytes()) - known):
            known.add(name)
            more = dict(_beside(folder, name))
            found.update(more)
            sources += [value for value in more.values() if value.suffix == ".py"]
    return found


def _beside(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield a module or package that lies in a folder."""
    if (folder / f"{name}.py").is_file():
        yield f"{ANALYSIS}/{name}.py", folder / f"{name}.py"
    elif (folder / name).is_dir() and any((folder / name).glob("*.py")):
        for inner, path in walk(folder / name, whole=True):
            yield f"{ANALYSIS}/{name}/{inner}", path


def _module_files(top: str, modules: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of a top-level module: its whole folder, and submodules from elsewhere."""
    mine = {name: Path(file) for name, file in modules.items() if name.split(".")[0] == top}
    roots = _roots(top, modules)
    for root in sorted(roots):
        for inner, path in walk(root, whole=True):
            yield f"{top}/{inner}", path
    for name, file in sorted(mine.items()):
        if not any(file.is_relative_to(root) for root in roots):
            # Also what an editable install keeps in a build folder, under its own name.
            *parents, last = name.split(".")
            stem = "/".join([*parents, last])
            suffix = file.name[file.name.find(".") :]
            yield f"{stem}{suffix}", file


def _roots(top: str, modules: Mapping[str, str]) -> set[Path]:
    """Return the folders of a top-level package: one, but for namespaces."""
    found = {_root(name, Path(file)) for name, file in modules.items() if name.split(".")[0] == top}
    return {one for one in found if one is not None}


def _root(name: str, file: Path) -> Path | None:
    """Return the folder of the top-level package that a module's file lies in, if it is one."""
    parts = name.split(".")
    folder = file.parent
    depth = len(parts) - (1 if file.stem != "__init__" else 0)
    if depth == 0:
        return None
    for _ in range(depth - 1):
        folder = folder.parent
    return folder if folder.name == parts[0] else None


def editable_part(
    installed: Installed, name: str, folder: Path, modules: Mapping[str, str], why: str
) -> Component:
    """Collect an editable install: its packages from where they are, and its metadata.

    Parameters
    ----------
    name
        Of the distribution.
    folder
        Of the project.
    modules
        Modules that were loaded from it.

    Raises
    ------
    EnvError
        None of its packages can be found.
    """
    distribution = installed.get(name, why)
    tops = {module.split(".")[0] for module in modules} | _declared(installed, name, folder)
    files: dict[str, Path] = {}
    for top in sorted(tops):
        files.update(_module_files(top, modules))
        for root in (folder / "src" / top, folder / top):
            if root.is_dir() and not any(one.startswith(f"{top}/") for one in files):
                files.update({f"{top}/{inner}": path for inner, path in walk(root, whole=True)})
        for single in (folder / "src" / f"{top}.py", folder / f"{top}.py"):
            if single.is_file():
                files.setdefault(f"{top}.py", single)
    if not files:
        raise EnvError(
            f"Nothing of the editable install {name!r} was found in {folder}.",
            remedy=f"Name its package folder: --with {folder}/PACKAGE",
        )
    for one in distribution.files or ():  # what the build has put into site-packages, as libraries
        path = Path(str(distribution.locate_file(one)))
        if one.parts[0] in tops and path.is_file() and not is_junk(str(one)):
            files.setdefault(str(one), path)
    info = Path(str(getattr(distribution, "_path", "")))
    for file in ("METADATA", "entry_points.txt", "top_level.txt"):
        if (info / file).is_file():
            files[f"{info.name}/{file}"] = info / file
    return Component(
        name=distribution.metadata["Name"],
        version=distribution.version,
        why=f"{why}, editable in {folder}",
        files={f"{CODE_PACKAGES}/{one}": path for one, path in files.items()},
        modules=tuple(sorted(tops)),
        code=True,
        trees=(folder,),
    )


def _declared(installed: Installed, name: str, folder: Path) -> set[str]:
    """Find what an editable project calls its packages, where nothing of it was imported."""
    guess = re.sub(r"[-.]+", "_", name)
    found = {module for module in installed.modules(name) if not module.startswith("__editable__")}
    if any((folder / part / guess).exists() for part in ("src", ".")):
        found.add(guess)
    return {
        one
        for one in found
        if any(
            (folder / part / end).exists() for part in ("src", ".") for end in (one, f"{one}.py")
        )
    }


def folder_part(given: str) -> Component:
    """Collect a folder or file that the user names: it lies beside the analysis on the node.

    Raises
    ------
    EnvError
        It is not there, or empty.
    """
    path = Path(given).expanduser()
    if not path.exists():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        near = nearest(path.name, (one.name for one in beside))
        raise EnvError(
            f"--with {given}: there is nothing{'; ' + near if near else '.'}",
            remedy="Name a folder, a file, or an installed package.",
        )
    path = path.resolve()
    if path.is_file():
        files = {f"{ANALYSIS}/{path.name}": path}
    else:
        files = {f"{ANALYSIS}/{path.name}/{inner}": one for inner, one in walk(path, whole=True)}
    if not files:
        raise EnvError(f"--with {given}: the folder has no files.", remedy="Name another.")
    is_module = path.is_dir() and (path / "__init__.py").is_file()
    modules = (path.name,) if is_module else ()
    return Component(
        name=path.name,
        version="",
        why=f"--with {given}",
        files=files,
        modules=modules,
        code=True,
        trees=(path,),
    )


def setup_part(text: str, scratch: Path) -> Component:
    """Return the file that sets up the site's software."""
    path = scratch / "setup.sh"
    path.write_text(text)
    return Component(
        name="setup.sh", version="", why="--setup", files={SETUP: path}, code=True, trees=()
    )


def time_zones_part() -> list[Component]:
    """Return the time zones of this machine where Python looks for those of the package tzdata.

    Empty if it has none.
    """
    folder = next((one for one in map(Path, zoneinfo.TZPATH) if (one / "UTC").is_file()), None)
    if folder is None:
        return []
    files = {
        f"{CODE_PACKAGES}/tzdata/zoneinfo/{inner}": path
        for inner, path in walk(folder, frozenset({"posix", "right"}), whole=True)
    }
    why = "time zones, which a node may not have"
    return [Component(name="tzdata", version="", why=why, files=files, code=True)]
