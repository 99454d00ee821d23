"""The packed environment of a run: made before it begins, found again when it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from eventflock.packing.archive import unpacked_size
from eventflock.packing.cache import Cache, digest_in, is_whole
from eventflock.packing.check import Report, check
from eventflock.packing.pack import Packing, identify, is_current, pack
from eventflock.packing.proving import enter_root
from eventflock.packing.requirements import install, read_requirements
from eventflock.errors import EnvError, ResultError, plural
from eventflock.core.atomic import atomic_write
from eventflock.usercode.loading import locate
from eventflock.planning.forecast import Shipping
from eventflock.core.model import (AnalysisRef, Assignment, Plan)
from eventflock.core.options import PackOptions
from eventflock.core.structs import (from_json, to_json)
from eventflock.core.observer import Observer
from eventflock.core.options import Options
from eventflock.pools import open_pool
from eventflock.planning.prepare import prepare, trials_of
from eventflock.runs.folder import RunFolder

__all__ = [
    "Shipment",
    "check_analysis",
    "interpreter_for",
    "pack_analysis",
    "pack_for",
    "recall_for",
]


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """What every job of a run brings along.

    Attributes
    ----------
    environment, code
        The two archives.
    wish
        What the user said.
    """

    environment: Path
    code: Path
    wish: PackOptions

    @property
    def archives(self) -> tuple[Path, Path]:
        """Both archives."""
        return self.environment, self.code

    @property
    def digest(self) -> str:
        """Digest of the environment."""
        return digest_in(self.environment)

    @property
    def glibc(self) -> str:
        """When the bundled glibc is used."""
        return self.wish.glibc

    def weigh(self, *, inputs: bool) -> Shipping:
        """Give the sizes of what travels to every job.

        Parameters
        ----------
        inputs
            Whether input files of this machine travel, too.
        """
        return Shipping(
            environment_bytes=self.environment.stat().st_size,
            unpacked_bytes=unpacked_size(self.environment),
            code_bytes=self.code.stat().st_size,
            inputs=inputs,
        )

    def freeze(self, run: RunFolder) -> None:
        """Write down in a run folder which environment it has, and keep the code there."""
        shutil.copyfile(self.code, run.analysis / self.code.name)
        kept = _Frozen(environment=self.environment.name, code=self.code.name, wish=self.wish)
        atomic_write(run.environment, msgspec.json.format(to_json(kept)) + b"\n")


class _Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """What `environment.json` of a run folder says."""

    environment: str
    code: str
    wish: PackOptions


def interpreter_for(ref: AnalysisRef, source: bytes, wish: PackOptions, observer: Observer) -> str:
    """Give the interpreter that the analysis is to be imported with, installing what it requires.

    Returns
    -------
    str
        Empty for the one that runs now, where no requirements are stated.

    Raises
    ------
    EnvError
        The requirements cannot be read or installed.
    """
    wanted = read_requirements(ref.origin or ref.file, source, wish.requirements)
    if wanted is None:
        return ""
    observer.note(f"packing: installing {wanted.origin}")
    return install(wanted, wish.python, Cache())


def pack_for(plan: Plan, source: bytes, wish: PackOptions, observer: Observer) -> Shipment:
    """Pack the environment for a plan, trying the analysis on the first events of each dataset.

    Raises
    ------
    EnvError
        It cannot be packed.
    """
    cache = Cache()
    packing = pack(
        plan.analysis, source, wish, trials=trials_of(plan), cache=cache, note=observer.note
    )
    for one in packing.notes:
        observer.note(one)
    observer.note(summary(packing))
    environment, code = packing.archives(cache)
    return Shipment(environment=environment, code=code, wish=wish)


def summary(packing: Packing) -> str:
    """Say in a line what was packed."""
    packages = sum(row.layer == "packages" for row in packing.rows) - 1
    return (
        f"packed: Python {packing.python} and {plural(packages, 'package')} in "
        f"{packing.environment.size / 1e6:.1f} MB, code in {packing.code.size / 1e3:.0f} kB: "
        f"{packing.environment.name}"
    )


def recall_for(run: RunFolder, observer: Observer) -> Shipment:
    """Find the packed environment of a run again, or make it again.

    Raises
    ------
    EnvError
        It is gone from the cache, and packing gives another one today.
    ResultError
        The run folder is damaged.
    """
    try:
        kept = from_json(run.environment.read_bytes(), _Frozen)
    except (OSError, msgspec.MsgspecError) as error:
        raise ResultError(
            f"{run.environment} is damaged: {error}", remedy="Start a new run."
        ) from None
    cache = Cache()
    environment, code = cache.intact(kept.environment), run.analysis / kept.code
    if environment is None:  # waves on HTCondor keep what they have sent
        sent = sorted(run.pool.glob(f"wave-*/{kept.environment}"))
        environment = next((one for one in sent if is_whole(one)), None)
    if environment is None:
        plan, _ = run.load_plan()
        frozen = run.analysis / plan.analysis.file
        source = frozen.read_bytes() if plan.analysis.file else b""
        made = pack_for(plan, source, kept.wish, observer)
        if made.environment.name != kept.environment:
            raise EnvError(
                f"The environment of this run, {kept.environment}, is not in the cache any more, "
                f"and packing it again gives another one, {made.environment.name}.",
                remedy="Start a new run, or put back the packages as they were.",
            )
        environment = made.environment
    if not code.is_file():
        raise ResultError(f"{code} is gone from the run folder.", remedy="Start a new run.")
    return Shipment(environment=environment, code=code, wish=kept.wish)


def pack_analysis(
    analysis: str, files: list[str], options: Options, observer: Observer
) -> tuple[Packing, list[Assignment]]:
    """Pack the environment of an analysis by itself.

    Parameters
    ----------
    files
        Data to try it on; without any, it is only imported.

    Returns
    -------
    Packing
    list of Assignment
        What it was tried on.
    """
    ref, source = locate(analysis)
    cache, wish = Cache(), options.packing or PackOptions()
    plain = all(Path(one).is_file() for one in files)  # else what they stand for may change
    stamps = [_stamp(one) for one in (*files, wish.requirements, f"{ref.origin}.lock")]
    key = f"call-{identify(ref, source, wish, stamps, options.parameters, options.tree)}"
    known = cache.recall(key, _Call) if plain else None
    if known is not None and is_current(known.packing, cache):
        return known.packing, list(known.trials)
    trials: list[Assignment] = []
    if files:
        pool = open_pool("local", 1, interpreter_for(ref, source, wish, observer))
        try:
            plan = prepare(pool, ref, source, files, options, observer).plan
        finally:
            pool.close()
        ref, trials = plan.analysis, trials_of(plan)
    packing = pack(ref, source, wish, trials=trials, cache=cache, note=observer.note)
    cache.remember(key, _Call(packing=packing, trials=tuple(trials)))
    return packing, trials


def _stamp(name: str) -> tuple[str, int, int]:
    try:
        stat = Path(name).stat()
    except OSError:
        return name, 0, 0
    return name, stat.st_size, stat.st_mtime_ns


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """What `pack_analysis` found, so that it need not ask a worker if nothing has changed."""

    packing: Packing
    trials: tuple[Assignment, ...]


def check_analysis(
    analysis: str, files: list[str], options: Options, root: Path | None, observer: Observer
) -> Report:
    """Pack the environment of an analysis, and check it here or in a root file system."""
    if root is not None:
        enter_root(root)  # to say at once if it is none
    packing, trials = pack_analysis(analysis, files, options, observer)
    wish = options.packing or PackOptions()
    return check(packing, trials, root=root, glibc=wish.glibc)
