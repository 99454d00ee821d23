"""One wave of jobs on disk: what a batch system is given, and where it brings what comes back.

    RUN/pool/wave-001/
      wave.json       which plan's jobs, in the order of their numbers in the queue, and for whom
      cluster         the number that the batch system gave the wave; missing until it has one
      submit.txt      the submit description, and items.txt: a line for each job
      jobs-00000.jsonl ...   the jobs themselves, a hundred in a file
      launch.sh, container.sh, template.json, env-DIGEST.tar, code-DIGEST.tar.gz, and
      input-00000.root ...
      events.log      the batch system's own account of what happens
      job-000042.zip, job-000042.log    what came back of a job

Everything that the batch system reads has a plain name in this folder, often a link: no name that
the user chose stands in a submit description. Only this module knows the paths.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.halving import UnitName, unit_name
from eventflock.core.model import Assignment
from eventflock.core.structs import Frozen, from_json, to_json
from eventflock.errors import ResultError
from eventflock.events.files import is_url
from eventflock.packing.cache import place_archive
from eventflock.packing.environment import PackedEnvironment
from eventflock.packing.launching import NODE_PROGRAMS, shared_template
from eventflock.worker.once import OneJob

__all__ = ["Wave", "WaveDraft", "WaveRecord", "wave_folders", "waves_in"]

R = TypeVar("R", bound="WaveRecord")
PER_FILE = 100
"""Jobs described in one file: fewer would make many files, more would send much with each job."""


class WaveRecord(Frozen, frozen=True):
    """What is known of a wave before it is submitted. A batch system may add fields of its own.

    Attributes
    ----------
    identity
        A mark that every job of the wave has, by which it is found in the queue.
    created
        When it was made.
    jobs
        Names of jobs of the plan, or of pieces of them, in the order of their numbers in the queue.
    """

    identity: str = ""
    created: str = ""
    jobs: tuple[UnitName, ...] = ()


class Wave:
    """The paths of one wave, and what is written there.

    Parameters
    ----------
    path
        Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_file = path / "wave.json"
        self.cluster_file = path / "cluster"
        self.description = path / "submit.txt"
        self.items = path / "items.txt"
        self.events = path / "events.log"

    def __repr__(self) -> str:
        return f"Wave({str(self.path)!r})"

    def record(self, kind: type[R]) -> R:
        """Read what was asked for.

        Parameters
        ----------
        kind
            The record of the batch system.

        Raises
        ------
        ResultError
            It is damaged.
        """
        try:
            return from_json(self.record_file.read_bytes(), kind)
        except (OSError, msgspec.MsgspecError) as error:
            raise ResultError(
                f"{self.record_file} is damaged: {error}",
                remedy="Move the wave's folder away; its jobs are then done again.",
            ) from None

    def cluster(self) -> int | None:
        """Return the number that the batch system gave the wave, if it is known."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.cluster_file.read_text())
        return None

    def set_cluster(self, number: int) -> None:
        """Write down the number that the batch system gave the wave."""
        atomic_write(self.cluster_file, f"{number}\n".encode())

    def result(self, job: UnitName) -> Path:
        """Return where the result file of a job arrives."""
        return self.path / f"job-{job}.zip"

    def log(self, job: UnitName) -> Path:
        """Return where the output of a job arrives."""
        return self.path / f"job-{job}.log"

    def archive(self, name: str) -> Path:
        """Return where the wave keeps an archive that it has sent."""
        return self.path / name


def wave_folders(pool: Path) -> list[Wave]:
    """Return the folders of waves in the folder `pool` of a run, the oldest first."""
    return [Wave(path) for path in sorted(pool.glob("wave-[0-9]*"))]


def waves_in(pool: Path) -> list[Wave]:
    """Return the waves of a run that have a record, the oldest first."""
    return [wave for wave in wave_folders(pool) if wave.record_file.is_file()]


class WaveDraft:
    """A wave that is being written; it becomes a wave all at once, by a rename.

    Parameters
    ----------
    pool
        The folder `pool` of the run.
    environment
        What every job brings along.
    """

    def __init__(self, pool: Path, environment: PackedEnvironment) -> None:
        self._pool = pool
        self._environment = environment
        self._path = pool / ".wave.part"
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir()
        self._links: dict[str, str] = {}
        self._lines: list[bytes] = []
        self._items: list[str] = []
        self._template = b""
        self.jobs: list[UnitName] = []

    def add(self, assignment: Assignment) -> None:
        """Add a job."""
        digest = self._environment.digest
        inputs = {place: self._link(place) for place in assignment.inputs if not is_url(place)}
        if not self.jobs:
            self._template = shared_template(assignment, digest)
        shard, line = divmod(len(self.jobs), PER_FILE)
        job = OneJob(assignment=assignment, environment=digest, inputs=inputs)
        self._lines.append(to_json(job))
        names = ",".join([f"jobs-{shard:05d}.jsonl", *inputs.values()])
        name = unit_name(assignment.job, assignment.piece)
        self._items.append(f"{name} {shard:05d} {line} {names}\n")
        self.jobs.append(name)
        if len(self._lines) == PER_FILE:
            self._write_lines()

    def _link(self, path: str) -> str:
        """Link an input file under a plain name in the wave's folder, and return that name."""
        if path not in self._links:
            name = f"input-{len(self._links):05d}.root"
            (self._path / name).symlink_to(path)
            self._links[path] = name
        return self._links[path]

    def _write_lines(self) -> None:
        shard = (len(self.jobs) - 1) // PER_FILE
        (self._path / f"jobs-{shard:05d}.jsonl").write_bytes(b"\n".join(self._lines) + b"\n")
        self._lines.clear()

    def finish(self, describe: Callable[[str], str], record: WaveRecord) -> Wave:
        """Write the rest, and let the wave appear in the run folder.

        Parameters
        ----------
        describe
            Returns the submit description for the identity of the wave.
        record
            Of the batch system; identity, time and jobs are filled in here.
        """
        if self._lines:
            self._write_lines()
        record = msgspec.structs.replace(
            record,
            identity=uuid.uuid4().hex,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            jobs=tuple(self.jobs),
        )
        target = self._pool / f"wave-{self._next():03d}"
        for archive in self._environment.archives:
            earlier = [wave.archive(archive.name) for wave in wave_folders(self._pool)]
            sources = [archive, *(path for path in earlier if path.exists())]
            place_archive(sources, self._path / archive.name)
        for program in NODE_PROGRAMS:
            shutil.copyfile(program, self._path / program.name)
            (self._path / program.name).chmod(0o755)
        (self._path / "template.json").write_bytes(self._template)
        draft = Wave(self._path)
        draft.items.write_text("".join(self._items))
        draft.description.write_text(describe(record.identity))
        atomic_write(draft.record_file, to_json(record))
        self._path.rename(target)
        return Wave(target)

    def _next(self) -> int:
        taken = _numbers(self._pool)
        return 1 + max(taken, default=0)

    def discard(self) -> None:
        """Remove what has been written, if the wave was not finished."""
        shutil.rmtree(self._path, ignore_errors=True)


def _numbers(pool: Path) -> Iterator[int]:
    for wave in wave_folders(pool):
        number = wave.path.name.removeprefix("wave-")
        if number.isdigit():
            yield int(number)
