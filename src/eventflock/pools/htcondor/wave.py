"""One wave of jobs on disk: what HTCondor is given, and where it brings what comes back.

    RUN/pool/wave-001/
      wave.json       which plan's jobs, in the order of their process numbers, and for whom
      cluster         the number that the schedd gave the wave; missing if the client died before
      submit.txt      the submit description, and items.txt: a line for each job
      jobs-00000.jsonl ...   the jobs themselves, a hundred in a file
      launch.sh, template.json, env-DIGEST.tar, code-DIGEST.tar.gz, input-00000.root ...
      events.log      HTCondor's own account of what happens
      job-000042.zip, job-000042.log    what came back of a job

Everything that HTCondor reads has a plain name in this folder, often a link, so that no name of the
user's ever stands in a submit description.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.halving import unit_name
from eventflock.core.model import Assignment
from eventflock.core.structs import Frozen, from_json, to_json
from eventflock.errors import ResultError
from eventflock.events.reader import is_url
from eventflock.packing.launching import LAUNCHER, shared_template
from eventflock.worker.once import OneJob

__all__ = ["Cargo", "Wave", "WaveDraft", "WaveRecord", "waves_in"]

PER_FILE = 100
"""Jobs described in one file: fewer would make many files, more would send much with each job."""


class Cargo(Frozen, frozen=True):
    """What all jobs of a run bring along.

    Attributes
    ----------
    environment, code
        The two archives.
    digest
        Of the environment.
    glibc
        When the bundled glibc is used.
    """

    environment: str
    code: str
    digest: str
    glibc: str


class WaveRecord(Frozen, frozen=True):
    """What is known of a wave before it is submitted.

    Attributes
    ----------
    identity
        Every job of the wave has it as the attribute `EventflockWave`.
    jobs
        Names of the plan's jobs, or of pieces of them, in the order of their process numbers.
    schedd, collector
        Where it was submitted; empty for this machine's.
    spool
        Whether files were sent to the schedd and have to be fetched from it.
    """

    identity: str
    created: str
    jobs: tuple[str, ...]
    schedd: str = ""
    collector: str = ""
    spool: bool = False


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

    def record(self) -> WaveRecord:
        """Read what was asked for.

        Raises
        ------
        ResultError
            It is damaged.
        """
        try:
            return from_json(self.record_file.read_bytes(), WaveRecord)
        except (OSError, msgspec.MsgspecError) as error:
            raise ResultError(
                f"{self.record_file} is damaged: {error}",
                remedy="Move the wave's folder away; its jobs are then done again.",
            ) from None

    def cluster(self) -> int | None:
        """Give the number of the cluster, if it is known."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.cluster_file.read_text())
        return None

    def set_cluster(self, number: int) -> None:
        """Write down the number of the cluster."""
        atomic_write(self.cluster_file, f"{number}\n".encode())

    def result(self, job: str) -> Path:
        """Where the result file of a job arrives."""
        return self.path / f"job-{job}.zip"

    def log(self, job: str) -> Path:
        """Where what a job printed arrives."""
        return self.path / f"job-{job}.log"


def waves_in(pool: Path) -> list[Wave]:
    """Give the waves of a run, the oldest first."""
    return [Wave(one) for one in sorted(pool.glob("wave-[0-9]*")) if (one / "wave.json").is_file()]


class WaveDraft:
    """A wave that is being written; it becomes one all at once, by a rename.

    Parameters
    ----------
    pool
        The folder `pool` of the run.
    cargo
        What every job brings along.
    """

    def __init__(self, pool: Path, cargo: Cargo) -> None:
        self._pool = pool
        self._cargo = cargo
        self._path = pool / ".wave.part"
        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir()
        self._links: dict[str, str] = {}
        self._lines: list[bytes] = []
        self._items: list[str] = []
        self._template = b""
        self.jobs: list[str] = []

    def add(self, assignment: Assignment) -> None:
        """Add a job."""
        places = [one.place(assignment.limits.replica) for one in assignment.files]
        inputs = {one: self._link(one) for one in places if not is_url(one)}
        if not self.jobs:
            self._template = shared_template(assignment, self._cargo.digest)
        shard, line = divmod(len(self.jobs), PER_FILE)
        told = OneJob(assignment=assignment, environment=self._cargo.digest, inputs=inputs)
        self._lines.append(to_json(told))
        names = ",".join([f"jobs-{shard:05d}.jsonl", *inputs.values()])
        name = unit_name(assignment.job, assignment.piece)
        self._items.append(f"{name} {shard:05d} {line} {names}\n")
        self.jobs.append(name)
        if len(self._lines) == PER_FILE:
            self._write_lines()

    def _link(self, path: str) -> str:
        """Give an input file a plain name in the wave's folder."""
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
        """Write the rest, and let the wave appear in the run folder."""
        if self._lines:
            self._write_lines()
        record = msgspec.structs.replace(
            record,
            identity=uuid.uuid4().hex,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            jobs=tuple(self.jobs),
        )
        target = self._pool / f"wave-{self._next():03d}"
        for archive in (self._cargo.environment, self._cargo.code):
            earlier = self._pool.glob(f"wave-*/{Path(archive).name}")
            _place([Path(archive), *earlier], self._path / Path(archive).name)
        shutil.copyfile(LAUNCHER, self._path / "launch.sh")
        (self._path / "launch.sh").chmod(0o755)
        (self._path / "template.json").write_bytes(self._template)
        (self._path / "items.txt").write_text("".join(self._items))
        (self._path / "submit.txt").write_text(describe(record.identity))
        atomic_write(self._path / "wave.json", to_json(record))
        self._path.rename(target)
        return Wave(target)

    def _next(self) -> int:
        taken = [one.name.removeprefix("wave-") for one in self._pool.glob("wave-[0-9]*")]
        return 1 + max((int(one) for one in taken if one.isdigit()), default=0)

    def discard(self) -> None:
        """Remove it."""
        shutil.rmtree(self._path, ignore_errors=True)


def _place(sources: Sequence[Path], target: Path) -> None:
    """Let an archive be there under its own name, also when the cache is emptied later."""
    for source in sources:
        with contextlib.suppress(OSError):  # the cache may be on another file system
            os.link(source.resolve(), target)
            return
    try:
        shutil.copyfile(sources[0], target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
