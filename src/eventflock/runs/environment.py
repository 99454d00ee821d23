"""The packed environment of a run: made before it begins, found again when it goes on."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import AnalysisRef, Assignment, Plan
from eventflock.core.observer import Observer
from eventflock.core.options import Options, PackOptions
from eventflock.core.structs import from_json, to_json
from eventflock.errors import EnvError, ResultError, plural
from eventflock.packing.archive import layers_in
from eventflock.packing.cache import Cache, is_whole
from eventflock.packing.check import CheckReport, check
from eventflock.packing.environment import PackedEnvironment
from eventflock.packing.pack import PackReport, identify, is_current, pack
from eventflock.packing.proving import enter_root
from eventflock.packing.requirements import install, read_requirements, with_included
from eventflock.planning.prepare import prepare
from eventflock.pools.batch.wave import wave_folders
from eventflock.pools.names import DEFAULT
from eventflock.pools.table import find_pool, open_workers
from eventflock.runs.folder import RunFolder
from eventflock.runs.site_table import with_site
from eventflock.usercode.together import Target, find

__all__ = [
    "check_analysis",
    "freeze_environment",
    "interpreter_for",
    "pack_analysis",
    "pack_plan",
    "recall_environment",
]


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What `environment.json` of a run folder says: the names of the archives, and the options."""

    environment: str
    code: str
    options: PackOptions = msgspec.field(name="wish")  # as the format calls them


def freeze_environment(run: RunFolder, packed: PackedEnvironment) -> None:
    """Write into a run folder which environment it has, and keep the code there."""
    shutil.copyfile(packed.code, run.analysis / packed.code.name)
    kept = _Kept(environment=packed.environment.name, code=packed.code.name, options=packed.options)
    atomic_write(run.environment, msgspec.json.format(to_json(kept)) + b"\n")


def interpreter_for(
    ref: AnalysisRef, source: bytes, pack_options: PackOptions, observer: Observer
) -> str:
    """Return the interpreter that the analysis is to be imported with, installing what it requires.

    Returns
    -------
    str
        Empty for the one that runs now, where no requirements are stated.

    Raises
    ------
    EnvError
        The requirements cannot be read or installed.
    """
    wanted = read_requirements(ref.origin or ref.file, source, pack_options.requirements)
    if wanted is None:
        return ""
    observer.note(f"packing: installing {wanted.origin}")
    return install(wanted, pack_options.python, Cache())


def pack_plan(
    plan: Plan, source: bytes, pack_options: PackOptions, observer: Observer
) -> PackedEnvironment:
    """Pack the environment for a plan, trying the analysis on the first events of each dataset.

    Raises
    ------
    EnvError
        It cannot be packed.
    """
    cache = Cache()
    packed = pack(
        plan.analysis,
        source,
        pack_options,
        trials=FrozenPlan(plan).first_assignments(),
        cache=cache,
        note=observer.note,
    )
    for note in packed.notes:
        observer.note(note)
    observer.note(summary(packed))
    environment, code, *layers = packed.archives(cache)
    return PackedEnvironment(
        environment=environment, code=code, layers=tuple(layers), options=pack_options
    )


def summary(packed: PackReport) -> str:
    """Describe in a line what was packed."""
    packages = sum(row.layer == "packages" for row in packed.rows) - 1
    return (
        f"packed: Python {packed.python} and {plural(packages, 'package')} in "
        f"{packed.environment.size / 1e6:.1f} MB, code in {packed.code.size / 1e3:.0f} kB: "
        f"{packed.environment.name}"
    )


def recall_environment(run: RunFolder, observer: Observer) -> PackedEnvironment:
    """Find the packed environment of a run again, or make it again.

    Raises
    ------
    EnvError
        It is gone from the cache, and packing gives another one today.
    ResultError
        The run folder is damaged.
    """
    try:
        kept = from_json(run.environment.read_bytes(), _Kept)
    except (OSError, msgspec.MsgspecError) as error:
        raise ResultError(
            f"{run.environment} is damaged: {error}", remedy="Start a new run."
        ) from None
    cache = Cache()
    code = run.analysis / kept.code
    # Waves on HTCondor keep what they have sent.
    sent = (wave.archive(kept.environment) for wave in wave_folders(run.pool))
    places = (cache.path / "archives" / kept.environment, *sent)
    environment = next((path for path in places if _is_whole(path, cache)), None)
    if environment is None:
        plan = run.load_plan().plan
        frozen = run.analysis / plan.analysis.file
        source = frozen.read_bytes() if plan.analysis.file else b""
        made = pack_plan(plan, source, kept.options, observer)
        if made.environment.name != kept.environment:
            raise EnvError(
                f"The environment of this run, {kept.environment}, is not in the cache any more, "
                f"and packing it again gives another one, {made.environment.name}.",
                remedy="Start a new run, or put back the packages as they were.",
            )
        environment = made.environment
    if not code.is_file():
        raise ResultError(f"{code} is gone from the run folder.", remedy="Start a new run.")
    layers = tuple(environment.with_name(name) for name in layers_in(environment))
    return PackedEnvironment(
        environment=environment, code=code, layers=layers, options=kept.options
    )


def _is_whole(environment: Path, cache: Cache) -> bool:
    """Check an archive with its layers; in the cache, what is damaged is removed."""
    inside = environment.parent == cache.path / "archives"

    def check(path: Path) -> bool:
        if inside:
            return cache.intact(path.name) is not None
        return path.is_file() and is_whole(path)

    return check(environment) and all(
        check(environment.with_name(name)) for name in layers_in(environment)
    )


def pack_analysis(
    analysis: Target, files: list[str], options: Options, observer: Observer
) -> tuple[PackReport, list[Assignment]]:
    """Pack the environment of an analysis by itself.

    Parameters
    ----------
    files
        Data to try it on; without any, it is only imported.

    Returns
    -------
    PackReport
    list of Assignment
        What it was tried on.
    """
    return _pack_call(analysis, files, _with_table(options), observer)


def _with_table(options: Options) -> Options:
    packing = with_site(options.packing or PackOptions(), Path.cwd())
    return msgspec.structs.replace(options, packing=packing)


def _pack_call(
    analysis: Target, files: list[str], options: Options, observer: Observer
) -> tuple[PackReport, list[Assignment]]:
    ref, source = find(analysis)
    pack_options = options.packing or PackOptions()
    cache = Cache()
    plain = all(Path(one).is_file() for one in files)  # else what they stand for may change
    named = with_included(Path(pack_options.requirements)) if pack_options.requirements else []
    stamps = [_stamp(str(file)) for file in (*files, *named, f"{ref.origin}.lock")]
    key = f"call-{identify(ref, source, pack_options, stamps, options.parameters, options.tree)}"
    known = cache.recall(key, _Call) if plain else None
    if known is not None and is_current(known.packed, cache):
        return known.packed, list(known.trials)
    trials: list[Assignment] = []
    if files:
        python = interpreter_for(ref, source, pack_options, observer)
        with contextlib.closing(open_workers(find_pool(DEFAULT), 1, python)) as workers:
            plan = prepare(workers, ref, source, files, options, observer).plan
        ref, trials = plan.analysis, FrozenPlan(plan).first_assignments()
    packed = pack(ref, source, pack_options, trials=trials, cache=cache, note=observer.note)
    cache.remember(key, _Call(packed=packed, trials=tuple(trials)))
    return packed, trials


def _stamp(name: str) -> tuple[str, int, int]:
    try:
        stat = Path(name).stat()
    except OSError:
        return name, 0, 0
    return name, stat.st_size, stat.st_mtime_ns


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """What `pack_analysis` found, so that it need not ask a worker if nothing has changed."""

    packed: PackReport
    trials: tuple[Assignment, ...]


def check_analysis(
    analysis: Target, files: list[str], options: Options, root: Path | None, observer: Observer
) -> CheckReport:
    """Pack the environment of an analysis, and check it here or in a root file system."""
    if root is not None:
        enter_root(root)  # to say at once if it is none
    options = _with_table(options)
    packed, trials = _pack_call(analysis, files, options, observer)
    return check(packed, trials, root=root, options=options.packing or PackOptions())
