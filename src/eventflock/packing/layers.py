"""Building the layer of interpreter and packages, which changes rarely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from eventflock._version import __version__
from eventflock.core.structs import to_json
from eventflock.errors import EnvError
from eventflock.packing import boot, cling, sitecustomize
from eventflock.packing.archive import LEVEL, join_environment, write_boot, write_rest
from eventflock.packing.bundle import choose_modules, write_bundle
from eventflock.packing.by_hand import loaded_by_hand
from eventflock.packing.bytecode import compile_tree, compiled_name
from eventflock.packing.cache import Cache
from eventflock.packing.distributions import Component
from eventflock.packing.handshake import environment_lines
from eventflock.packing.interpreter import interpreter_files, program_of, stdlib_of
from eventflock.packing.large import (
    BESIDE_LEVEL,
    Building,
    build_large,
    empty_folders,
    key_of,
    large_parts,
    looked_in,
    tag,
    unused_in,
)
from eventflock.packing.native import (
    Closure,
    Demands,
    Libraries,
    close_over,
    demands_of,
    elfs_of,
)
from eventflock.packing.selection import Chosen
from eventflock.packing.surveying import InterpreterProbe, boot_modules
from eventflock.worker.node_layout import (
    BOOT_PROGRAM,
    CERTIFICATES,
    FRONT,
    GLIBC,
    HEADERS,
    START_PROGRAM,
)
from eventflock.worker.survey import Interpreter, Survey

__all__ = ["Contents", "Layer", "build_environment"]

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
        In bytes, with its layers.
    left_out
        Files that cannot be loaded, and the library that each lacks.
    compiled
        Names of sources with byte-code.
    libraries
        Native libraries that it carries.
    layers
        From large distributions to the names of their layers.
    """

    name: str
    size: int
    unpacked: int
    demands: Demands
    left_out: dict[str, str] = {}
    compiled: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    layers: dict[str, str] = {}

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all its files."""
        return self.name, *self.layers.values()


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
    by_hand = loaded_by_hand(survey, reference, chosen, {}, added)
    added |= {name: path for name, path in by_hand.items() if _is_of_system(path)}
    tree.update(added)
    elfs.update(elfs_of(added))
    unused = unused_in(chosen, survey)
    named = sorted(part.name for part in chosen.packages if part.is_named)
    key = key_of(tree, sorted(chosen.worker), sorted(unused), named)
    with cache.lock(f"env-{key}"):
        known = cache.recall(f"env-{key}", Layer)
        if known is not None and all(map(cache.intact, known.files)):
            return known
        closure = msgspec.structs.replace(closure, added=added)
        how = Building(
            python=python,
            program=probe.python,
            cache=cache,
            sections=cling.compiles(tree),
            unused=unused,
        )
        layer = _write_environment(chosen, reference, probe, how, scratch, tree, closure)
        cache.remember(f"env-{key}", layer)
        return layer


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
    how: Building,
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
    lines = environment_lines(python, demands, tree, elfs, Libraries(reference.libraries))
    large = large_parts(chosen)
    inside = [{name: tree.pop(name) for name in part.files if name in tree} for part in large]
    with ThreadPoolExecutor(2) as threads:  # what compiles and compresses runs outside of these
        level = BESIDE_LEVEL if large else LEVEL
        most = threads.submit(_build_rest, chosen, reference, probe, how, scratch, tree, level)
        building = [
            threads.submit(build_large, part, files, how, scratch)
            for part, files in zip(large, inside, strict=True)
        ]
        rest, layers = most.result(), [one.result() for one in building]
    unpacked = rest.unpacked + sum(layer.unpacked for layer in layers)
    lines += f"unpacked {unpacked}\n" + "".join(f"layer {layer.name}\n" for layer in layers)
    made = scratch / "environment.tar"
    contents = _contents(chosen, python, demands, closure.missing)
    join_environment(made, rest.first, rest.second, contents, lines)
    kept = how.cache.keep(made, "env", ".tar")
    return Layer(
        name=kept.name,
        size=kept.stat().st_size + sum(layer.size for layer in layers),
        unpacked=unpacked,
        demands=demands,
        left_out=closure.missing,
        compiled=tuple(sorted({*rest.compiled, *_compiled_in(large, how)})),
        libraries=tuple(sorted(Path(one).name for one in closure.added)),
        layers={part.name: layer.name for part, layer in zip(large, layers, strict=True)},
    )


def _contents(
    chosen: Chosen, python: Interpreter, demands: Demands, left_out: dict[str, str]
) -> bytes:
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
        left_out=left_out,
    )
    return msgspec.json.format(to_json(contents))


class _Rest(NamedTuple):
    """What is in no layer of its own: two files, and the names of sources with byte-code."""

    first: Path
    second: Path
    unpacked: int
    compiled: set[str]


def _build_rest(
    chosen: Chosen,
    reference: Survey,
    probe: InterpreterProbe,
    how: Building,
    scratch: Path,
    tree: dict[str, Path],
    level: int,
) -> _Rest:
    stdlib = stdlib_of(how.python)
    tree = {
        **tree,
        f"{stdlib}/sitecustomize.py": Path(sitecustomize.__file__),
        FRONT: Path(sitecustomize.__file__),
        BOOT_PROGRAM: Path(boot.__file__),
        START_PROGRAM: Path(boot.__file__).with_name("start.sh"),
    }
    common = set(_common(chosen))
    others = [part for part in chosen.packages if part.normal not in chosen.worker]
    sources = _sources(tree, others, set(reference.modules.values()), how)
    folder = scratch / "compiled"
    folder.mkdir()
    compiled = compile_tree(sources, folder, how.program, tag(how.python))
    tree.update(compiled)
    early = _boot_names(tree, reference, probe)
    looked = [looked_in(part) for part in others if part.name != "eventflock"]
    stay = {name for one in looked for name in one.files}
    packages = {name for part in others for name in part.files} - stay
    modules = choose_modules(set(tree) - early, stdlib, common | packages)
    tree = write_bundle(scratch / "modules", tree, modules)
    first, second = scratch / "first", scratch / "rest"
    folders = {folder for one in looked for folder in empty_folders(one, tree)}
    with ThreadPoolExecutor(1) as thread:  # zlib and zstandard work outside the interpreter
        unpacked = thread.submit(write_boot, first, tree, early, sections=how.sections)
        rest = set(tree) - early
        more = write_rest(second, tree, rest, sections=how.sections, level=level, folders=folders)
    done = {name for name in sources if compiled_name(name, tag(how.python)) in compiled}
    return _Rest(first, second, unpacked.result() + more, done)


def _sources(
    tree: Mapping[str, Path], others: Iterable[Component], loaded: set[str], how: Building
) -> dict[str, Path]:
    """Choose what is compiled: of what all workers need, what all load; of others in use, all."""
    used = {name for part in others if part.name not in how.unused for name in part.files}
    return {
        name: path
        for name, path in tree.items()
        if name.endswith(".py") and (str(path) in loaded or name in used)
    }


def _compiled_in(large: Iterable[Component], how: Building) -> Iterator[str]:
    """Yield the sources in layers that have byte-code."""
    for part in large:
        if part.name not in how.unused:
            yield from (name for name in part.files if name.endswith(".py"))


def _common(chosen: Chosen) -> Iterator[str]:
    """Yield the files of the packages that every worker needs."""
    for part in chosen.packages:
        if part.normal in chosen.worker:
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
    return found | {one for name in found if (one := compiled_name(name, tag(python))) in tree}


def _is_of_system(path: Path) -> bool:
    """Check whether a library stays as it is when the user edits something."""
    return path.is_relative_to("/usr") or path.is_relative_to("/lib")
