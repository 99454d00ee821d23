"""Checking an environment: where all of it comes from, and that it works where it will be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from eventflock.core.model import Assignment, first_events
from eventflock.core.options import PackOptions
from eventflock.core.structs import to_json
from eventflock.errors import EnvError, error_from
from eventflock.events.files import is_url
from eventflock.packing.cache import Cache
from eventflock.packing.launching import launch_flags
from eventflock.packing.pack import PackReport
from eventflock.packing.proving import Place, enter_root, launch, read_proof
from eventflock.packing.surveying import InterpreterProbe, make_reference, shortened
from eventflock.worker.prove import Imported, Proof, ProofRequest

__all__ = ["CheckReport", "check"]

CHUNK = 1000
USUAL = PackOptions()


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found.

    Attributes
    ----------
    where
        The root file system, or `this machine`.
    packing
        The environment.
    proof
        What was imported and run.
    elsewhere
        Modules that were imported from outside of the archive.
    broken
        Modules that import here, but not in the archive.
    seconds_to_python, seconds_to_first_event
        From the start of the launcher.
    printed
        What the launcher and the analysis printed.
    """

    where: str
    packed: PackReport
    proof: Proof
    elsewhere: tuple[Imported, ...]
    broken: tuple[Imported, ...]
    seconds_to_python: float
    seconds_to_first_event: float
    printed: str

    def error(self) -> EnvError | None:
        """Return what is wrong, if something is."""
        if self.broken:
            first = self.broken[0]
            return EnvError(
                f"{len(self.broken)} modules cannot be imported in {self.where}, the first is "
                f"{first.name!r}: {first.error}",
                remedy="If a module is missing, name its distribution with --with NAME.",
            )
        if self.elsewhere:
            first = self.elsewhere[0]
            return EnvError(
                f"{first.name!r} was imported from {first.file}, which is not in the archive.",
                remedy="This should not be possible: please report it.",
            )
        return None


def check(
    packed: PackReport,
    trials: Sequence[Assignment],
    *,
    root: Path | None = None,
    options: PackOptions = USUAL,
    cache: Cache | None = None,
) -> CheckReport:
    """Unpack an environment as a node would, import all of it, and run a chunk.

    Parameters
    ----------
    packing
        The environment.
    trials
        Jobs of which the first chunk is run; without any, a small sample file is read with an
        analysis of ours, and the user's is only imported.
    root
        A root file system to do it in.
    options
        What the user says about the environment.

    Raises
    ------
    EnvError
        It cannot be run there.
    AnalysisError
        The analysis raised.
    """
    cache = cache or Cache()
    root = root.resolve() if root is not None else None
    enter = enter_root(root) if root is not None else ()
    parent = root / "tmp" if root is not None else None
    with cache.working() as scratch:
        probe = InterpreterProbe(packed.interpreter, scratch)
        with tempfile.TemporaryDirectory(prefix="eventflock-check-", dir=parent) as name:
            folder = Path(name)
            folder.chmod(0o755)
            inside = f"/{folder.relative_to(root)}" if root is not None else str(folder)
            place = Place(folder=folder, inside=inside, enter=enter, container=options.container)
            request = ProofRequest(
                modules=dict.fromkeys(_modules(packed), ""),
                analysis=packed.analysis,
                trials=tuple(_trials(trials, probe, cache, folder)),
            )
            (folder / "request.json").write_bytes(to_json(request))
            words = ["-m", "eventflock.worker.prove", "request.json", "proof.json"]
            flags = launch_flags(options.glibc, python=options.python)
            process, started = launch(place, packed.archives(cache), words, "proof.json", flags)
            proof = read_proof(place, process)
        if proof.error is not None:
            raise error_from(proof.error)
        failed = [module for module in proof.imported if module.error]
        broken = [one for one in failed if not probe.run("-c", f"import {one.name}").returncode]
    return CheckReport(
        where=str(root or options.container or "this machine"),
        packed=packed,
        proof=proof,
        elsewhere=tuple(one for one in proof.imported if _is_elsewhere(one, proof)),
        broken=tuple(broken),
        seconds_to_python=proof.began - started,
        seconds_to_first_event=proof.first_event - started,
        printed=f"{process.stdout}{process.stderr}",
    )


def _modules(packed: PackReport) -> list[str]:
    return sorted({module for row in packed.rows for module in row.modules})


def _is_elsewhere(one: Imported, proof: Proof) -> bool:
    return bool(one.file) and not one.file.startswith(proof.root)


def _trials(
    trials: Sequence[Assignment], probe: InterpreterProbe, cache: Cache, folder: Path
) -> list[tuple[Assignment, str]]:
    """Put the first chunk of each job, and its file, where the program will be."""
    found = []
    for number, trial in enumerate(trials):
        first = first_events(trial.ranges)
        entry = trial.files[first.file]
        small = shortened(trial, CHUNK)
        if not is_url(entry.path):
            name = f"input-{number}.root"
            shutil.copyfile(entry.path, folder / name)
            files = list(trial.files)
            files[first.file] = msgspec.structs.replace(entry, path=name)
            small = msgspec.structs.replace(small, files=tuple(files))
        found.append((small, ""))
    if not found:
        reference = make_reference(probe, cache, folder / "reference")
        shutil.copyfile(reference.files[0].path, folder / "sample.root")
        entry = msgspec.structs.replace(reference.files[0], path="sample.root")
        found.append((msgspec.structs.replace(reference, files=(entry,)), "reference"))
    return found
