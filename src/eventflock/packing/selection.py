"""Choosing what goes in, and into which layer, from what a survey has seen."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from eventflock._version import PACKAGE, __version__
from eventflock.core.model import AnalysisRef
from eventflock.core.options import SITE_PYTHON, PackOptions
from eventflock.errors import EnvError
from eventflock.packing.distributions import WORKER, Component, Installed, closure, normal
from eventflock.packing.gpu import without_gpu
from eventflock.packing.interpreter import walk
from eventflock.packing.listing import files_of
from eventflock.packing.requirements import install_project
from eventflock.packing.site_software import site_folders
from eventflock.packing.user_files import (
    analysis_part,
    editable_part,
    folder_part,
    imports_of,
    setup_part,
    time_zones_part,
)
from eventflock.usercode.loading import FROZEN
from eventflock.worker.node_layout import CODE_PACKAGES
from eventflock.worker.survey import Survey

__all__ = ["Chosen", "choose", "own_part"]

OURS = PACKAGE.resolve()


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What goes in.

    Attributes
    ----------
    packages, code
        Parts of the two layers.
    worker
        Normal names of the distributions that every worker needs.
    site
        Whether something was left to the site's Python, which is on this machine, too.
    gpu
        From names of distributions to the bytes left out of them, which only a GPU would use.
    """

    packages: tuple[Component, ...]
    code: tuple[Component, ...]
    worker: frozenset[str]
    site: bool = False
    gpu: dict[str, int] = {}


class _Modules:
    """The modules that an analysis loaded, sorted by where they come from.

    What every worker loads does not count: that its packages use others where they are installed,
    as awkward does with pyarrow, is no reason to take these along.
    """

    def __init__(self, survey: Survey, reference: Survey, installed: Installed) -> None:
        self.owned: dict[str, str] = {}
        self.editable: dict[str, dict[str, str]] = {}
        self.local: dict[str, str] = {}
        python = survey.python
        standard = (Path(python.stdlib).resolve(), Path(python.dynload).resolve())
        sites = installed.sites - set(standard)
        folders = _editables(installed)
        for name, file in survey.modules.items():
            path = Path(file).resolve()
            if path.is_relative_to(OURS) or name.startswith(FROZEN):  # the analysis itself
                continue
            site = next((one for one in sites if path.is_relative_to(one)), None)
            inside = path.relative_to(site).as_posix() if site is not None else ""
            editable = next((one for one, at in folders.items() if path.is_relative_to(at)), "")
            owner = _owner(installed, inside) if inside else ""
            if editable and not inside:
                self.editable.setdefault(editable, {})[name] = file
                owner = editable
            if owner and name not in reference.modules:
                self.owned.setdefault(owner, inside.split("/")[0] or name.split(".")[0])
            elif not owner and (inside or not any(path.is_relative_to(one) for one in standard)):
                self.local[name] = file


def _editables(installed: Installed) -> dict[str, Path]:
    found = {}
    for name in installed.found:
        try:
            folder = installed.editable(name)
        except EnvError:  # its folder is gone; that matters only if it is needed
            continue
        if folder is not None and name != "eventflock":
            found[name] = folder.resolve()
    return found


def _owner(installed: Installed, file: str) -> str:
    """Return the distribution that a file in site-packages belongs to."""
    owners = sorted(installed.owners(file.split("/", maxsplit=1)[0].split(".", maxsplit=1)[0]))
    if len(owners) > 1:  # a namespace that several share
        listed = {owner: files_of(installed.found[owner]) for owner in owners}
        owners = [one for one, files in listed.items() if file in files] or owners
    return owners[0] if owners else ""


def choose(
    ref: AnalysisRef,
    frozen: Path | None,
    survey: Survey,
    reference: Survey,
    options: PackOptions,
    scratch: Path,
    *,
    required: bool,
) -> Chosen:
    """Decide what goes in.

    Parameters
    ----------
    ref, frozen
        The analysis, and the frozen copy of its file.
    survey, reference
        What it has loaded, and what every worker loads.
    options
        What the user says.
    scratch
        Folder for projects that have to be built.
    required
        Whether the environment was made from requirements: then all of it is wanted.

    Raises
    ------
    EnvError
        Something that is wanted is not there.
    """
    installed = Installed(survey.python)
    core = _core(survey)
    worker = closure(installed, core)
    theirs = site_folders(options.setup, scratch) if options.python == SITE_PYTHON else []
    installed.leave_to_site(theirs, worker)
    survey = _without(survey, theirs)
    modules = _Modules(survey, reference, installed)
    _leave_out(options.exclude, installed, modules, worker)
    roots = {**core, **_wanted(frozen, installed, modules, options)}
    if options.everything or required:
        why = "--everything" if options.everything else "required"
        roots = {**{one: why for one in installed.found if one not in worker}, **roots}
    code = [analysis_part(ref, frozen, modules.local)]
    for number, given in enumerate(options.paths()):
        part, needs = _given(given, installed, scratch / f"project-{number}")
        code += [part] if part is not None else []
        roots.update(needs)
    if "zoneinfo" in survey.modules and "zoneinfo" not in reference.modules:
        if "tzdata" in installed:
            roots.setdefault("tzdata", "time zones, which a node may not have")
        else:
            code += time_zones_part()
    if options.setup:
        code.append(setup_part(options.setup, scratch))
    reasons = closure(installed, roots)
    what = ref.file or ref.origin
    more = {
        one: f"{what} loads {module}" for one, module in modules.owned.items() if one not in reasons
    }
    reasons = {**closure(installed, {**roots, **more}), **worker}
    packages, editable = _parts(installed, modules, survey, reasons)
    kept = packages if options.everything else without_gpu(packages, survey, options.names())
    return Chosen(
        packages=(own_part(), *kept),
        code=(*code, *editable),
        worker=frozenset(worker),
        site=bool(theirs),
        gpu=_left_out_of(packages, kept),
    )


def _without(survey: Survey, folders: Iterable[Path]) -> Survey:
    """Forget what was loaded from some folders."""
    kept = {
        name: file
        for name, file in survey.modules.items()
        if not any(Path(file).resolve().is_relative_to(folder) for folder in folders)
    }
    return msgspec.structs.replace(survey, modules=kept)


def _left_out_of(packages: Sequence[Component], kept: Sequence[Component]) -> dict[str, int]:
    """Return how many bytes of distributions do not go in."""
    sizes = {part.name: part.size for part in kept}
    left = {part.name: part.size - sizes.get(part.name, 0) for part in packages}
    return {name: size for name, size in left.items() if size}


def _leave_out(
    names: tuple[str, ...], installed: Installed, modules: _Modules, worker: dict[str, str]
) -> None:
    """Treat distributions as if they were not installed; the proof shows whether that works."""
    for name in names:
        if normal(name) in worker:
            raise EnvError(
                f"{name!r} cannot be left out: it is {worker[normal(name)]}.",
                remedy="Leave out --without for it.",
            )
        modules.owned.pop(normal(name), None)
    installed.leave_out(names)


def _core(survey: Survey) -> dict[str, str]:
    """Return the distributions that every worker needs."""
    found = dict.fromkeys(WORKER, "eventflock's worker")
    if int(survey.python.version.split(".")[1]) < 14:  # from then on, Python has it
        found["backports.zstd"] = "unpacks the archive"
    return found


def _parts(
    installed: Installed, modules: _Modules, survey: Survey, reasons: dict[str, str]
) -> tuple[list[Component], list[Component]]:
    """Collect the files of distributions: those that are installed, and editable ones."""
    packages, editable = [], []
    tested = {
        module.split(".")[0]
        for module in survey.modules
        if {"tests", "test"} & set(module.split("."))
    }
    for name, why in sorted(reasons.items()):
        folder = installed.editable(name)
        if name == "eventflock":
            continue
        if folder is None:
            packages.append(installed.part(name, why, tested))
        else:
            mine = modules.editable.get(name, {})
            editable.append(editable_part(installed, name, folder, mine, why))
    return packages, editable


def _wanted(
    frozen: Path | None,
    installed: Installed,
    modules: _Modules,
    options: PackOptions,
) -> dict[str, str]:
    """Return the distributions that the analysis imports, and those that the user names."""
    roots: dict[str, str] = {}
    sources = [frozen] if frozen is not None and frozen.suffix == ".py" else []
    sources += [Path(value) for value in modules.local.values() if value.endswith(".py")]
    for source in sources:
        for module in sorted(imports_of(source.read_bytes())):
            for owner in installed.owners(module):
                roots.setdefault(owner, f"{source.name} imports {module}")
            for owner, loaded in modules.editable.items():
                if any(name.split(".")[0] == module for name in loaded):
                    roots.setdefault(owner, f"{source.name} imports {module}")
    for one in options.names():
        roots.pop(normal(one.partition("[")[0]), None)
        roots[one] = f"--with {one}"
    return roots


def own_part() -> Component:
    """Return eventflock itself, as the worker needs it."""
    left_out = {"cli", "packing", "plot", "publishing"}
    files = {
        f"packages/eventflock/{path.relative_to(OURS).as_posix()}": path
        for path in sorted(OURS.rglob("*.py"))
        if path.relative_to(OURS).parts[0] not in left_out
    }
    return Component(
        name="eventflock",
        version=__version__,
        why="runs the job",
        files=files,
        modules=("eventflock",),
    )


def _given(
    given: str, installed: Installed, target: Path
) -> tuple[Component | None, dict[str, str]]:
    """Collect a path that the user names, and what it needs of what is installed.

    A project that is installed in editable mode is taken as that; any other is built first.
    """
    folder = Path(given).expanduser().resolve()
    if not any((folder / one).is_file() for one in ("pyproject.toml", "setup.py")):
        return folder_part(given), {}
    why = f"--with {given}"
    for name, place in _editables(installed).items():
        if place == folder:
            return None, {name: why}
    install_project(folder, target, sys.executable)
    needs = {}
    for distribution in metadata.distributions(path=[str(target)]):
        found = Installed(msgspec.structs.replace(installed.python, path=(str(target),)))
        name = normal(distribution.metadata["Name"])
        needs = {each: f"needed by {name}" for each, _ in found.requirements(name, ())}
    files = {
        f"{CODE_PACKAGES}/{name}": path
        for name, path in walk(target, frozenset({".lock", "bin"}))
        if not name.endswith(("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))
    }
    tops = {name.split("/")[2].partition(".")[0] for name in files if name.endswith((".py", ".so"))}
    part = Component(
        name=folder.name,
        version="",
        why=why,
        files=files,
        modules=tuple(sorted(tops)),
        code=True,
        trees=(folder,),
    )
    return part, needs
