"""Building the two layers: packages, which change rarely, and the user's code, which does often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from eventflock._version import __version__
from eventflock.core.structs import digest, to_json
from eventflock.errors import EnvError
from eventflock.packing import boot, cling, sitecustomize
from eventflock.packing.archive import LEVEL, write_code, write_environment
from eventflock.packing.bundle import choose_modules, write_bundle
from eventflock.packing.bytecode import compile_tree, compiled_name
from eventflock.packing.cache import Cache
from eventflock.packing.elf import read_elf
from eventflock.packing.handshake import code_lines, environment_lines, tag_of
from eventflock.packing.interpreter import interpreter_files, program_of, stdlib_of
from eventflock.packing.native import (
    Closure,
    Demands,
    Libraries,
    close_over,
    demands_of,
    elfs_of,
    is_glibc,
)
from eventflock.packing.selection import Chosen, own_part
from eventflock.packing.stamps import own_digests
from eventflock.packing.surveying import InterpreterProbe, boot_modules
from eventflock.worker.node_layout import (
    BOOT_PROGRAM,
    BUNDLE,
    CERTIFICATES,
    FRONT,
    GLIBC,
    HEADERS,
    NATIVE,
    PACKAGES,
    START_PROGRAM,
)
from eventflock.worker.survey import Interpreter, Survey

__all__ = ["Contents", "Layer", "build_code", "build_environment"]

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """One part, as the archive itself says."""

    name: str
    version: str
    size: int
    modules: tuple[str, ...]


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the archive of an environment: its member `contents.json`."""

    format: int
    eventflock: str
    python: str
    demands: Demands
    parts: tuple[Packed, ...]
    left_out: dict[str, str]


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A finished archive in the cache.

    Attributes
    ----------
    name
        Of the file.
    size, unpacked
        In bytes.
    left_out
        Files that cannot be loaded, and the library that each lacks.
    compiled
        Names of sources with byte-code.
    libraries
        Native libraries that it carries.
    """

    name: str
    size: int
    unpacked: int
    demands: Demands
    left_out: dict[str, str] = {}
    compiled: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


def build_environment(
    chosen: Chosen,
    survey: Survey,
    reference: Survey,
    probe: InterpreterProbe,
    cache: Cache,
    scratch: Path,
) -> Layer:
    """Return the layer of interpreter and packages, from the cache if it was built before.

    Parameters
    ----------
    chosen
        What goes in.
    survey
        What the analysis loads: libraries of the system that it has loaded by hand go in.
    reference
        What every worker loads; it decides which byte-code is in.
    probe
        The interpreter.
    cache, scratch
        Where to.

    Raises
    ------
    EnvError
        Something cannot be packed.
    """
    python = reference.python
    tree = interpreter_files(python)
    for part in chosen.packages:
        tree.update(part.files)
    tree.update(_certificates(python))
    if cling.compiles(tree):
        tree.update(cling.headers())
    elfs = elfs_of(tree)
    libraries = Libraries(reference.libraries)
    closure = close_over(tree, elfs, libraries)
    _check_program(python, closure)
    for name in closure.missing:
        del tree[name], elfs[name]
    added = dict(closure.added)
    by_hand = _loaded_by_hand(survey, reference, chosen, {}, map(_base, added))
    added |= {name: path for name, path in by_hand.items() if _is_of_system(path)}
    tree.update(added)
    elfs.update(elfs_of(added))
    key = _key(tree, chosen)
    with cache.lock(f"env-{key}"):
        known = cache.recall(f"env-{key}", Layer)
        if known is not None and cache.intact(known.name):
            return known
        closure = msgspec.structs.replace(closure, added=added)
        layer = _write_environment(chosen, reference, probe, cache, scratch, tree, closure)
        cache.remember(f"env-{key}", layer)
        return layer


def _key(tree: Mapping[str, Path], chosen: Chosen) -> str:
    """Identify what goes in by sizes and times of files, and by the code that packs."""
    stats = []
    for name in sorted(tree):
        stat = tree[name].stat()
        stats.append((name, str(tree[name]), stat.st_size, stat.st_mtime_ns))
    return digest(to_json([__version__, LEVEL, own_digests(), stats, sorted(chosen.worker)]))[:32]


def _check_program(python: Interpreter, closure: Closure) -> None:
    program = program_of(python)
    if program in closure.missing:
        raise EnvError(
            f"The interpreter {python.executable} needs {closure.missing[program]}, which is not "
            "found.",
            remedy="Set LD_LIBRARY_PATH to the folder that has it, or use another Python.",
        )


def _certificates(python: Interpreter) -> dict[str, Path]:
    """Find the certificates of this machine: a node may have none."""
    for one in (python.certificates[0], *_BUNDLES):
        if Path(one).is_file():
            return {CERTIFICATES: Path(one)}
    return {}


def _write_environment(
    chosen: Chosen,
    reference: Survey,
    probe: InterpreterProbe,
    cache: Cache,
    scratch: Path,
    tree: dict[str, Path],
    closure: Closure,
) -> Layer:
    python = reference.python
    elfs = elfs_of(tree)
    names = {str(path): name for name, path in tree.items()}
    levels = {names[file]: n for file, n in reference.levels.items() if file in names}
    demands = demands_of(elfs, levels)
    if f"{HEADERS}/bin/c++" in tree:
        demands = cling.with_headers(demands)
    tree = {
        **tree,
        f"{stdlib_of(python)}/sitecustomize.py": Path(sitecustomize.__file__),
        FRONT: Path(sitecustomize.__file__),
        BOOT_PROGRAM: Path(boot.__file__),
        START_PROGRAM: Path(boot.__file__).with_name("start.sh"),
    }
    sources = _sources(tree, chosen, set(reference.modules.values()))
    folder = scratch / "compiled"
    folder.mkdir()
    compiled = compile_tree(sources, folder, probe.python, _tag(python))
    tree.update(compiled)
    early = _boot_names(tree, reference, probe)
    known = {*_common(chosen), *own_part().files}
    modules = choose_modules(set(tree) - early, stdlib_of(python), known)
    tree = write_bundle(scratch / BUNDLE, tree, modules)
    contents = Contents(
        format=1,
        eventflock=__version__,
        python=python.version,
        demands=demands,
        parts=tuple(
            Packed(
                name=package.name,
                version=package.version,
                size=package.size,
                modules=package.modules,
            )
            for package in chosen.packages
        ),
        left_out=closure.missing,
    )
    made = scratch / "environment.tar"
    libraries = Libraries(reference.libraries)
    lines = environment_lines(python, demands, tree, elfs, libraries)
    unpacked = write_environment(
        made,
        tree,
        early,
        msgspec.json.format(to_json(contents)),
        lines,
        sections=cling.compiles(tree),
    )
    kept = cache.keep(made, "env", ".tar")
    return Layer(
        name=kept.name,
        size=kept.stat().st_size,
        unpacked=unpacked,
        demands=demands,
        left_out=closure.missing,
        compiled=tuple(
            source for source in sorted(sources) if compiled_name(source, _tag(python)) in compiled
        ),
        libraries=tuple(sorted(Path(one).name for one in closure.added)),
    )


def _tag(python: Interpreter) -> str:
    return f"cpython-{tag_of(python).replace('.', '')}"


def _sources(tree: Mapping[str, Path], chosen: Chosen, loaded: set[str]) -> dict[str, Path]:
    """Choose what is compiled: of the large packages that all use, what all load; else all."""
    common = set(_common(chosen))
    return {
        name: path
        for name, path in tree.items()
        if name.endswith(".py")
        and (str(path) in loaded or (name.startswith(f"{PACKAGES}/") and name not in common))
    }


def _common(chosen: Chosen) -> Iterator[str]:
    """Yield the files of the packages that every worker needs."""
    for part in chosen.packages:
        if part.name.lower().replace("_", "-").replace(".", "-") in chosen.worker:
            yield from part.files


def _boot_names(tree: Mapping[str, Path], reference: Survey, probe: InterpreterProbe) -> set[str]:
    """Find what has to be unpacked first: what it takes to unpack the rest."""
    python = reference.python
    names = {str(path): name for name, path in tree.items()}
    found = {names[file] for file in boot_modules(probe, python.path) if file in names}
    found |= {program_of(python), BOOT_PROGRAM, f"{stdlib_of(python)}/os.py"}
    found |= {name for name in tree if name.startswith(f"{GLIBC}/")}
    dynload = f"{stdlib_of(python)}/lib-dynload/"
    found |= set(sorted(name for name in tree if name.startswith(dynload))[:1])  # its landmark
    elfs = {name: elf for name, elf in elfs_of(tree).items() if name in found}
    libraries = Libraries(reference.libraries)
    needed = close_over({name: tree[name] for name in elfs}, elfs, libraries).added
    found |= {name for name in needed if name in tree}
    return found | {one for name in found if (one := compiled_name(name, _tag(python))) in tree}


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
    known = {*environment.libraries, *map(_base, added)}
    added.update(_loaded_by_hand(survey, reference, chosen, tree, known))
    tree.update(added)
    sources = {name: path for name, path in tree.items() if name.endswith(".py")}
    sources.update(_more_sources(chosen, survey, environment))
    folder = scratch / "compiled-code"
    folder.mkdir()
    tree.update(compile_tree(sources, folder, probe.python, _tag(survey.python)))
    demands = demands_of(elfs_of(tree), {})
    made = scratch / "code.tar.gz"
    unpacked = write_code(made, tree, code_lines(demands, added))
    kept = cache.keep(made, "code", ".tar.gz")
    return Layer(name=kept.name, size=kept.stat().st_size, unpacked=unpacked, demands=demands)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _is_of_system(path: Path) -> bool:
    """Check whether a library stays as it is when the user edits something."""
    return path.is_relative_to("/usr") or path.is_relative_to("/lib")


def _loaded_by_hand(
    survey: Survey,
    reference: Survey,
    chosen: Chosen,
    tree: Mapping[str, Path],
    known: Iterable[str],
) -> dict[str, Path]:
    """Find libraries that no file asks for, as with ctypes or plugins, but that were loaded."""
    parts = [package.files for package in chosen.packages]
    inside = {path.resolve() for files in (*parts, tree) for path in files.values()}
    inside |= {path.resolve() for path in interpreter_files(survey.python).values()}
    names = set(known)
    found = {}
    for file in sorted(set(survey.libraries) - set(reference.libraries)):
        path = Path(file)
        elf = None if path.resolve() in inside else read_elf(path)
        name = elf.soname or path.name if elf is not None else ""
        if name and not is_glibc(name) and name not in names and path.name not in names:
            found[f"{NATIVE}/{name}"] = path
    return found


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
