"""A run folder: every path in it, making it, its lock, and the result files in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

import msgspec

from eventflock.core.additions import Addition, extended
from eventflock.core.atomic import MERGING, atomic_write, remove_leftovers
from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.halving import JobNumber, UnitName, unit_name, unit_of
from eventflock.core.model import PLAN_FORMATS, AnalysisRef, Plan
from eventflock.core.structs import digest, from_json, to_json
from eventflock.errors import ResultError, UsageError
from eventflock.pools.batch.wave import wave_folders
from eventflock.results.format import PROCESSED
from eventflock.results.outputs import OUTPUTS
from eventflock.results.verify import JobFiles

__all__ = ["RunFolder", "next_free"]


NONE: Mapping[str, bytes] = MappingProxyType({})
RECORDED = 16 * 2**20
"""Files that an analysis uses are copied into the run folder, for the record, up to this size."""


class _Version(msgspec.Struct):
    format: int


class RunFolder:
    """The paths of one run folder. All state is in the files; this class keeps none.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan_file = path / "plan.json"
        self.analysis = path / "analysis"
        self.environment = path / "environment.json"
        self.forecast = path / "forecast.json"
        self.pool = path / "pool"
        self.failures = self.pool / "failures.jsonl"
        self.again = self.pool / "again"
        self.results = path / "results"
        self.merged = path / "result.zip"
        self.processed = path / PROCESSED
        self.plots = path / "plots"
        self.kept = path / "kept"
        self.outputs = path / OUTPUTS
        self.logs = path / "logs"
        self.then = path / "then.json"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def pool_record(self, name: str) -> Path:
        """Path of what a batch system has written down about the run."""
        return self.path / f"{name}.json"

    def result(self, job: JobNumber, piece: str = "") -> Path:
        """Path of the result file of a job, or of a piece of one."""
        return self.results / f"job-{unit_name(job, piece)}.zip"

    def better(self, job: int, piece: str = "") -> Path:
        """Path where another try of a partial result leaves its own, which is adopted if better."""
        return self.again / self.result(job, piece).name

    def result_files(self, plan: Plan) -> list[JobFiles]:
        """Find the result files of all jobs, in plan order, also those that have just arrived."""
        there: dict[tuple[int, str], Path] = dict(self.arrivals())
        there.update(_units_in(self.results))
        halved: dict[int, dict[str, Path]] = {}
        for (job, piece), path in there.items():
            if piece:
                halved.setdefault(job, {})[piece] = path
        return [
            JobFiles(there.get((job, "")), halved.get(job, {})) for job in range(len(plan.jobs))
        ]

    def results_there(self, plan: Plan) -> set[int]:
        """Return the jobs that have a result file of the whole job, whatever is in it."""
        found = {job for (job, piece), _ in _units_in(self.results) if not piece}
        return {job for job in found if job < len(plan.jobs)}

    def units_there(self) -> set[UnitName]:
        """Return the names of the jobs and pieces that have a file, wherever it is."""
        there = dict(self.arrivals()) | dict(_units_in(self.results))
        return {unit_name(job, piece) for job, piece in there}

    def arrivals(self) -> Iterator[tuple[tuple[JobNumber, str], Path]]:
        """Yield the result files that no process has adopted yet, by job and piece."""
        waves = [wave.path for wave in wave_folders(self.pool)]
        for folder in [*waves, self.again]:
            yield from _units_in(folder)

    def log(self, job: int, piece: str = "") -> Path:
        """Path of the output of a job or a piece, with its errors."""
        return self.pool / f"job-{unit_name(job, piece)}.log"

    @classmethod
    def create(
        cls, path: Path, plan: Plan, source: bytes, extra: Mapping[str, bytes] = NONE
    ) -> RunFolder:
        """Make a run folder with its frozen plan and analysis, whole or not at all.

        Parameters
        ----------
        path
            Must not exist, or be an empty folder.
        plan
            To be frozen.
        source
            Of the analysis.
        extra
            More files that belong beside it, by name.

        Raises
        ------
        UsageError
            There is something already, or it cannot be written there.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            hint = (
                f"go on with it: eventflock resume {shlex.quote(str(path))}"
                if (path / "plan.json").exists()
                else "it is not a run"
            )
            raise UsageError(
                f"{path} exists already ({hint}).", remedy="Choose another place with --out."
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            raise _cannot_write(path, error) from None
        try:
            made = cls(temporary / "run")  # not the temporary folder itself, which is private
            for folder in (made.path, made.analysis, made.pool, made.results):
                folder.mkdir()
            if plan.analysis.file:
                (made.analysis / plan.analysis.file).write_bytes(source)
            for name, data in extra.items():
                (made.analysis / name).write_bytes(data)
            for number, file in enumerate(plan.analysis.helpers):  # for the record
                if Path(file).stat().st_size < RECORDED:
                    shutil.copy(file, made.analysis / f"helper-{number:02d}-{Path(file).name}")
            atomic_write(made.plan_file, to_json(plan))
            made.path.rename(path)
        except OSError as error:
            raise _cannot_write(path, error) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(path)

    def load_plan(self) -> FrozenPlan:
        """Read the plan.

        Raises
        ------
        UsageError
            This is not a run folder.
        ResultError
            The plan is damaged, or of a format that is not known here.
        """
        try:
            data = self.plan_file.read_bytes()
        except OSError:
            if self.merged.exists():
                raise UsageError(
                    f"{self.path} has a result without jobs: it was imported.",
                    remedy="Draw it: 'eventflock plot'; open it: eventflock.load.",
                ) from None
            what = (
                "is not a run folder: it has no plan.json" if self.path.exists() else "is not there"
            )
            raise UsageError(
                f"{self.path} {what}.", remedy="Name the folder that 'eventflock run' printed."
            ) from None
        try:
            version = msgspec.json.decode(data, type=_Version).format
            if version not in PLAN_FORMATS:
                raise ResultError(
                    f"{self.plan_file} has format {version}; this eventflock reads "
                    f"{' and '.join(map(str, PLAN_FORMATS))}.",
                    remedy="Use the eventflock that wrote it, or a newer one.",
                )
            frozen = FrozenPlan(from_json(data, Plan), digest(data))
        except msgspec.MsgspecError as error:
            raise ResultError(
                f"{self.plan_file} is damaged: {error}", remedy="Start a new run."
            ) from None
        for path in self._additions():
            frozen = _with_addition(frozen, path)
        return frozen

    def _additions(self) -> list[Path]:
        """Find what was added to the plan, in this order."""
        return sorted(self.path.glob("more-*.json"))

    def add(self, addition: Addition) -> None:
        """Add files that can be read now, and their jobs, to the plan.

        Raises
        ------
        UsageError
            It cannot be written.
        """
        path = self.path / f"more-{len(self._additions()) + 1:03d}.json"
        try:
            atomic_write(path, to_json(addition))
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from working on this run at the same time.

        The lock belongs to the process: it is gone with it, however it ends.

        Raises
        ------
        UsageError
            Another process has it, or this user cannot write the folder.
        """
        so_far = f"eventflock merge {shlex.quote(str(self.path))} --out FOLDER"
        try:
            for folder in (self.pool, self.again, self.results):
                folder.mkdir(exist_ok=True)
            opened = (self.pool / "lock").open("a+")
        except PermissionError:
            raise UsageError(
                f"{self.path} belongs to somebody else: you cannot write there.",
                remedy=f"'eventflock status' and 'why' show what there is; '{so_far}' merges it.",
            ) from None
        with opened as file:
            if not _take(file):
                file.seek(0)
                raise UsageError(
                    f"Another process works on {self.path} ({file.read().strip()}).",
                    remedy="Wait for it, or end it; 'eventflock status' shows where it stands, and "
                    f"'{so_far}' merges what there is so far.",
                )
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            self._remove_leftovers()
            yield

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of processes that were killed."""
        for folder in (self.results, self.path):
            remove_leftovers(folder)
        for folder in self.path.glob(f"{MERGING}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def worker(self) -> str:
        """Return the name of the process that works on this run; empty if none does."""
        if not self.is_busy():
            return ""
        with contextlib.suppress(OSError):
            return (self.pool / "lock").read_text().strip() or "a process"
        return "a process"

    def is_busy(self) -> bool:
        """Check whether a process works on this run (as far as locks on this file system show)."""
        with contextlib.suppress(OSError), (self.pool / "lock").open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


def _units_in(folder: Path) -> Iterator[tuple[tuple[JobNumber, str], Path]]:
    """Yield the result files in a folder by job and piece."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        for one in found:
            if one.name.startswith("job-") and one.name.endswith(".zip"):
                unit = unit_of(one.name[4:-4])
                if unit is not None:
                    yield unit, Path(one.path)


def _with_addition(frozen: FrozenPlan, path: Path) -> FrozenPlan:
    try:
        addition = from_json(path.read_bytes(), Addition)
        if addition.plan != frozen.digest:
            raise ResultError(
                f"{path} belongs to another plan than the one beside it.",
                remedy="Take it away, and resume the run.",
            )
    except (OSError, msgspec.MsgspecError) as error:
        raise ResultError(
            f"{path} is damaged: {error}", remedy="Take it away, and resume the run."
        ) from None
    return frozen._replace(plan=extended(frozen.plan, addition))


def _take(file: IO[str]) -> bool:
    """Take the lock. A process that only looks at it holds it for a moment, so try a few times."""
    for _ in range(10):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                return True  # a file system without locks: atomic writes still hold
            time.sleep(0.05)
        else:
            return True
    return False


def _cannot_write(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"The run folder {path} cannot be written: {error.strerror}.",
        remedy="Make room, or choose another place with --out.",
    )


def next_free(analysis: AnalysisRef, parent: Path) -> Path:
    """Return the path of a new run folder, such as `runs/jets-001`."""
    stem = analysis.name or Path(analysis.origin).stem
    taken = {
        int(tail)
        for path in parent.glob(f"{stem}-*")
        if (tail := path.name[len(stem) + 1 :]).isdigit()
    }
    return parent / f"{stem}-{max(taken, default=0) + 1:03d}"
