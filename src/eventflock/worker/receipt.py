"""What a job says of itself: what it has done, what it took, and with which software."""

from __future__ import annotations

import contextlib
import platform
import resource
import socket
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

from eventflock._version import __version__
from eventflock.core.manifest import Counters, Coverage, Failure, Manifest
from eventflock.core.model import FORMAT, Assignment, FileEntry, Range
from eventflock.core.states import ResultStatus
from eventflock.events.reader import TreeReader
from eventflock.usercode.parameters import store_parameters

__all__ = ["Clock", "Tally", "receipt", "receipt_of", "software"]

TRACEBACKS = 20
"""So many failures of a job keep their traceback; the others are short."""


class Tally:
    """What a job has done so far."""

    def __init__(self) -> None:
        self.events = 0
        self.chunks = 0
        self.bytes_read = 0
        self.branches: set[str] = set()
        self.coverage: list[Coverage] = []
        self.missing: list[Coverage] = []
        self.failures: list[Failure] = []
        """Why each of `missing` is."""
        self.where = ("", 0, 0)
        """File and entries that are being done."""
        self.keyed = False
        """Whether the analysis has returned all under the name of the dataset."""
        self.cpu_seconds = 0.0
        self.memory = 0
        """What programs took that this process has started: CPU time, and the largest memory."""

    def chunk(self, reader: TreeReader, events: int) -> None:
        """Count a chunk, or a part of one."""
        self.events += events
        self.chunks += 1
        bytes_read, branches = reader.done()
        self.bytes_read += bytes_read
        self.branches |= branches

    def programs(self, cpu_seconds: float, memory: int) -> None:
        """Count a program that has ended."""
        self.cpu_seconds += cpu_seconds
        self.memory = max(self.memory, memory)

    def cover(self, new: Coverage) -> None:
        """Count entries as done; what continues the last is joined to it."""
        joined = self.coverage[-1].followed_by(new) if self.coverage else None
        if joined is not None:
            self.coverage.pop()
        self.coverage.append(joined or new)

    def miss(self, dataset: str, entry: FileEntry, part: Range, why: Failure) -> None:
        """Count entries as missing; what continues the last, for the same reason, is joined."""
        new = Coverage.of(dataset, entry, part)
        joined = self.missing[-1].followed_by(new) if self.missing else None
        if joined is not None and _continues(self.failures[-1], why):
            self.missing[-1] = joined
            self.failures[-1] = msgspec.structs.replace(self.failures[-1], stop=why.stop)
            return
        if len(self.failures) >= TRACEBACKS:
            why = msgspec.structs.replace(why, traceback="", message=why.message[:1000])
        self.missing.append(new)
        self.failures.append(why)


def _continues(last: Failure, new: Failure) -> bool:
    """Check whether one failure begins where another ends."""
    same = (last.kind, last.message, last.path) == (new.kind, new.message, new.path)
    return same and last.stop == new.start


class Clock:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._wall = time.monotonic()
        self._cpu = time.process_time()

    def counters(self, tally: Tally) -> Counters:
        """Put together what the job did and what that took."""
        wall, cpu = time.monotonic() - self._wall, time.process_time() - self._cpu
        cpu += tally.cpu_seconds
        return Counters(
            events=tally.events,
            chunks=tally.chunks,
            bytes_read=tally.bytes_read,
            wall_seconds=round(wall, 6),
            cpu_seconds=round(cpu, 6),
            peak_memory=_peak_memory() + tally.memory,
            waiting_seconds=round(max(wall - cpu, 0.0), 6),
        )


def _peak_memory() -> int:
    """Largest resident set in bytes. `ru_maxrss` would count the parent's, before exec, as well."""
    with contextlib.suppress(OSError), Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def receipt(
    assignment: Assignment,
    environment: str,
    status: ResultStatus,
    tally: Tally,
    clock: Clock,
    error: Failure | None = None,
) -> Manifest:
    """Return the manifest of a job that ended with this status."""
    return msgspec.structs.replace(
        _blank(assignment, environment),
        status=status,
        coverage=() if error else tuple(tally.coverage),
        missing=() if error else tuple(tally.missing),
        failures=() if error else tuple(tally.failures),
        counters=clock.counters(tally),
        branches=tuple(sorted(tally.branches)),
        keyed=tally.keyed,
        hosts=(socket.gethostname(),),
        started=clock.started,
        software=software(),
        error=error,
    )


def receipt_of(
    assignment: Assignment, error: Failure, environment: str = "", host: str = "", started: str = ""
) -> Manifest:
    """Write the receipt of a job that could not write it itself."""
    return msgspec.structs.replace(
        _blank(assignment, environment),
        hosts=(host or error.host,) if host or error.host else (),
        started=started,
        error=error,
    )


def _blank(assignment: Assignment, environment: str) -> Manifest:
    """Fill in what every receipt of a job says."""
    return Manifest(
        format=FORMAT,
        status=ResultStatus.FAILED,
        plan=assignment.plan,
        job=assignment.job,
        piece=assignment.piece,
        planned=sum(part.events for part in assignment.ranges),
        analysis=assignment.analysis,
        parameters=store_parameters(assignment.parameters),
        environment=environment,
        seed=assignment.seed,
    )


def software() -> dict[str, str]:
    """Versions of what made a result: of the packages that are imported, not of all installed."""
    found = {"eventflock": __version__, "python": platform.python_version()}
    for name in ("awkward", "boost_histogram", "hist", "numpy", "uproot", "scipy", "pyarrow"):
        if name in sys.modules:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
    return found
