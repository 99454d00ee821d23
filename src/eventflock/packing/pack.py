"""The story of packing: survey, choose, build two layers, prove them, remember."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from eventflock.core.model import AnalysisRef, Assignment
from eventflock.core.options import SITE_PYTHON, PackOptions
from eventflock.core.structs import digest, to_json
from eventflock.core.units import say_bytes
from eventflock.errors import EnvError, EventflockError
from eventflock.packing.cache import Cache, digest_in
from eventflock.packing.code_layer import build_code
from eventflock.packing.distributions import WORKER, Installed, closure
from eventflock.packing.layers import Layer, build_environment
from eventflock.packing.proving import prove_quickly
from eventflock.packing.requirements import Requirements, install, read_requirements
from eventflock.packing.selection import Chosen, choose
from eventflock.packing.stamps import Stamps, own_digests, take
from eventflock.packing.surveying import InterpreterProbe, shortened, survey_both
from eventflock.worker.node_layout import place_of
from eventflock.worker.survey import Survey, SurveyRequest

__all__ = ["PackReport", "Row", "identify", "is_current", "pack"]

TRIAL_EVENTS = 100
FORMAT = 1
Note = Callable[[str], None]

LARGE = 20e6
"""Bytes of a distribution that is worth a word if nothing loads it."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report: what goes in, and why."""

    name: str
    version: str
    size: int
    why: str
    layer: str
    modules: tuple[str, ...] = ()


class PackReport(msgspec.Struct, frozen=True, kw_only=True):
    """A packed environment: two archives in the cache, and what is in them.

    Attributes
    ----------
    interpreter, python
        The interpreter that was packed, and its version.
    analysis
        Whose it is.
    environment, code
        The layers.
    rows
        What is in them, and why.
    notes
        What could not be tried.
    inputs
        If none of these has changed, neither would the archives.
    """

    format: int
    interpreter: str
    python: str
    analysis: AnalysisRef
    environment: Layer
    code: Layer
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    inputs: Stamps = Stamps()

    @property
    def digest(self) -> str:
        """Digest of the environment's archive."""
        return digest_in(Path(self.environment.name))

    def archives(self, cache: Cache) -> tuple[Path, ...]:
        """Return the paths of the two archives, and of the layers of the first."""
        folder = cache.path / "archives"
        environment, *layers = self.environment.files
        names = (environment, self.code.name, *layers)
        return tuple(folder / name for name in names)


def pack(
    ref: AnalysisRef,
    source: bytes,
    options: PackOptions,
    *,
    trials: Sequence[Assignment] = (),
    cache: Cache | None = None,
    note: Note = lambda _: None,
) -> PackReport:
    """Pack the environment of an analysis, or find that it was packed before.

    Parameters
    ----------
    ref, source
        The analysis, and its frozen source; empty for a module.
    options
        What the user says about the environment.
    trials
        Jobs of which the first events are run, to see what the analysis loads.
    cache
        Where archives are kept.
    note
        Receives a line for what takes a while.

    Returns
    -------
    PackReport
        Its archives are in the cache, and have been proven on this machine.

    Raises
    ------
    EnvError
        Something cannot be found, packed, or does not work when it is packed.
    AnalysisError
        The analysis cannot be imported.
    """
    cache = cache or Cache()
    trials = tuple(shortened(trial, TRIAL_EVENTS) for trial in trials)
    wanted = read_requirements(ref.origin or ref.file, source, options.requirements)
    key = identify(ref, source, options, wanted, trials)
    with cache.working() as scratch, cache.lock(key):
        known = cache.recall(key, PackReport)
        if known is not None and is_current(known, cache):
            return known
        note("packing: trying what the analysis imports")
        made = _pack(ref, source, options, wanted, trials, cache, scratch, note)
        cache.remember(key, made)
        return made


def identify(ref: AnalysisRef, source: bytes, options: PackOptions, *more: object) -> str:
    """Identify a call: what was asked for, and the environment it was asked in."""
    # What is for nodes does not count; without a set-up, the Python of the site is.
    for_nodes = options.python == SITE_PYTHON and not options.setup
    python = "" if for_nodes else options.python
    packed = msgspec.structs.replace(
        options, glibc="auto", node_cache="", python=python, container=""
    )
    asked = [ref, digest(source), packed, more, sys.executable, sys.version]
    paths = [os.environ.get(name, "") for name in ("PYTHONPATH", "LD_LIBRARY_PATH")]
    return digest(to_json([asked, paths, FORMAT, own_digests(), str(Path.cwd())]))[:32]


def is_current(known: PackReport, cache: Cache) -> bool:
    """Check whether nothing that went in has changed, and all archives are whole."""
    return known.inputs.hold() and all(cache.intact(one.name) for one in known.archives(cache))


def _pack(
    ref: AnalysisRef,
    source: bytes,
    options: PackOptions,
    wanted: Requirements | None,
    trials: Sequence[Assignment],
    cache: Cache,
    scratch: Path,
    note: Note,
) -> PackReport:
    frozen = None
    if ref.file:
        frozen = scratch / "analysis" / ref.file
        frozen.parent.mkdir()
        frozen.write_bytes(source)
    python = sys.executable
    if wanted is not None:
        python = install(wanted, options.python, cache)
    request = SurveyRequest(
        analysis=ref, folder=str(frozen.parent) if frozen else "", trials=tuple(trials)
    )
    probe = InterpreterProbe(python, scratch)
    survey, reference = survey_both(probe, request, cache)
    ref = msgspec.structs.replace(ref, helpers={**survey.opened, **ref.helpers})
    if wanted is None and options.python == "standalone":
        return _pack(
            ref,
            source,
            options,
            _pins(survey, options),
            trials,
            cache,
            _below(scratch),
            note,
        )
    chosen = choose(ref, frozen, survey, reference, options, scratch, required=wanted is not None)
    note("packing: building the archives")
    environment = build_environment(chosen, survey, reference, probe, cache, scratch)
    code = build_code(chosen, survey, reference, environment, probe, cache, scratch)
    note("packing: proving them")
    made = PackReport(
        format=FORMAT,
        interpreter=python,
        python=survey.python.version,
        analysis=ref,
        environment=environment,
        code=code,
        rows=_rows(chosen, survey),
        notes=(
            *_notes(survey, environment),
            *_missing_data(ref, options),
            *(_unused(chosen, survey) if trials else ()),
            *_without_gpu(chosen),
        ),
        inputs=_inputs(chosen, survey, scratch),
    )
    imports = _imports(chosen, survey, options)
    try:
        prove_quickly(
            made.archives(cache),
            ref,
            imports,
            environment,
            scratch,
            python=SITE_PYTHON if chosen.site else "",
        )
    except EventflockError as error:
        if options.exclude:
            error.remedy = f"It does not work --without {', '.join(options.exclude)}."
        raise
    return made


def _below(scratch: Path) -> Path:
    folder = scratch / "standalone"
    folder.mkdir()
    return folder


def _pins(survey: Survey, options: PackOptions) -> Requirements:
    """Return the packages of the running environment as requirements, for another interpreter."""
    installed = Installed(survey.python)
    owners = {
        owner
        for name, file in survey.modules.items()
        for owner in installed.owners(name.split(".")[0])
    }
    roots = dict.fromkeys([*WORKER, *owners, *options.names()], "")
    names = sorted(set(closure(installed, roots)) - {"eventflock"})
    lines = [f"{one}=={installed.version(one)}" for one in names if installed.editable(one) is None]
    return Requirements(origin="this environment", lines=tuple(lines))


def _rows(chosen: Chosen, survey: Survey) -> tuple[Row, ...]:
    stdlib = Row(
        name="python",
        version=survey.python.version,
        size=0,
        why="the interpreter",
        layer="packages",
    )
    parts = [(package, "packages") for package in chosen.packages] + [
        (component, "code") for component in chosen.code
    ]
    rows = [
        Row(
            name=one.name,
            version=one.version,
            size=one.size,
            why=one.why,
            layer=layer,
            modules=tuple(module for module in one.modules if not module.startswith("_")),
        )
        for one, layer in parts
    ]
    return (stdlib, *rows)


def _notes(survey: Survey, environment: Layer) -> tuple[str, ...]:
    found = [
        f"On the first events of {name!r} the analysis failed: {why} What it loads after that is "
        "not known, and perhaps not packed."
        for name, why in survey.failed.items()
    ]
    if survey.written:
        names = ", ".join(survey.written[:5]) + (", ..." if len(survey.written) > 5 else "")
        found.append(
            f"The analysis writes files ({names}): those of jobs are not brought back, only what "
            "it returns. A file to keep is written to the path that context.keep(name) gives; rows "
            "can be returned as an awkward array."
        )
    found += [
        f"Left out {file}: it needs {library}, which this machine does not have."
        for file, library in environment.left_out.items()
    ]
    return tuple(found)


def _unused(chosen: Chosen, survey: Survey) -> Iterator[str]:
    """Name what is large and was never loaded."""
    loaded = {name.split(".")[0] for name in survey.modules}
    libraries = set(survey.libraries)
    idle = [
        part
        for part in chosen.packages
        if part.size > LARGE
        and part.name not in chosen.worker
        and not loaded & set(part.modules)
        and not libraries & {str(path) for path in part.files.values()}
        and not part.is_named
    ]
    if idle:
        names = ", ".join(f"{part.name} ({say_bytes(part.size)}, {part.why})" for part in idle)
        yield (
            f"Large, and never loaded when the analysis was tried: {names}. --without NAME leaves "
            "one out."
        )


def _without_gpu(chosen: Chosen) -> Iterator[str]:
    """Name what only a GPU would use."""
    if chosen.gpu:
        names = ", ".join(f"{name} ({say_bytes(size)})" for name, size in chosen.gpu.items())
        yield f"Left out, as only a GPU would use it: {names}. --with NAME keeps one whole."


def _missing_data(ref: AnalysisRef, options: PackOptions) -> Iterator[str]:
    """Say which data files a node will not have under the name by which the analysis opens them."""
    named = [Path(path).resolve() for path in options.paths()]
    for file in (Path(name) for name in ref.helpers if not name.endswith(".py")):
        if not place_of(file, ref) and not any(file.is_relative_to(path) for path in named):
            yield (
                f"The analysis opens {file}, which lies neither beside it nor below the working "
                "folder: a node has no such file. Put it there, or name it with --with PATH."
            )


def _inputs(chosen: Chosen, survey: Survey, scratch: Path) -> Stamps:
    """Stamp all that went in: packed files, and folders in which something new would matter."""
    parts = (*chosen.packages, *chosen.code)
    files = {path for part in parts for path in part.files.values()}
    installed = Installed(survey.python)
    code = {path.parent for part in chosen.code for path in part.files.values()}
    folders = code | installed.sites
    trees = {tree for part in parts for tree in part.trees}
    others = (part.name for part in chosen.packages if part.name != "eventflock")
    trees |= set(installed.local_sources(others))
    return take(
        (file for file in files if not file.is_relative_to(scratch)),
        (folder for folder in folders if not folder.is_relative_to(scratch)),
        trees,
    )


def _imports(chosen: Chosen, survey: Survey, options: PackOptions) -> dict[str, str]:
    """Return the modules that must import: those that did here, and those that were asked for."""
    loaded = {name.split(".")[0] for name in survey.modules}
    found: dict[str, str] = {}
    for part in (*chosen.packages, *chosen.code):
        for module in part.modules:
            if (part.is_named or module in loaded) and not module.startswith("_"):
                found[module] = ""
    if options.names() and not found:
        raise EnvError(f"Nothing of {', '.join(options.names())} can be imported.")
    return found
