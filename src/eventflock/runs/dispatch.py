"""What a run on an HTCondor pool needs beside its plan, and finding its jobs again."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from pathlib import Path

import msgspec

from eventflock.packing.cache import digest_in
from eventflock.errors import EventflockError, PoolError, ResultError, UsageError
from eventflock.core.atomic import atomic_write
from eventflock.planning.forecast import Forecast
from eventflock.core.model import Plan
from eventflock.core.options import SubmitOptions
from eventflock.core.structs import (Frozen, from_json, to_json)
from eventflock.core.observer import Observer
from eventflock.core.options import Options
from eventflock.core.halving import unit_of
from eventflock.pools.htcondor.account import OVER, LastSeen
from eventflock.pools.htcondor.answers import end_in_words
from eventflock.pools.htcondor.description import Needs, check_folder, describe, may_send_once
from eventflock.pools.htcondor.following import WaveMonitor, Schedds
from eventflock.pools.htcondor.paths import own_bytes
from eventflock.pools.htcondor.pool import HTCondorPool
from eventflock.pools.htcondor.schedd import Schedd
from eventflock.pools.htcondor.settings import Settings, amend, read_settings
from eventflock.pools.htcondor.wave import Cargo, Wave, waves_in
from eventflock.events.reader import is_url
from eventflock.runs.folder import RunFolder
from eventflock.runs.environment import Shipment, recall_for
from eventflock.runs.status import QueueState

__all__ = [
    "Dispatch",
    "Stopped",
    "amend_call",
    "check_call",
    "dispatch_for",
    "memory_requested",
    "open_htcondor",
    "recall",
    "standing",
    "stop",
]

MEMORY_MB = 2048
"""Asked for where nothing was measured."""
MIB = 2**20
ONCE = """\
# Where the pool can do so, the two archives are sent once per node, not with each job: they are in
# +CommonInputFiles then instead of transfer_input_files, and there is no max_idle.
"""
LIMIT_TIMES = 6.0
LIMIT_LEAST = 3600.0
"""A job may take so many times what was forecast, and at least so many seconds."""

STOP_SECONDS = 15.0
STOP_EVERY = 1.0
"""How long a process is waited for whose jobs were removed, and how often it is looked at."""


class Stopped(Frozen, frozen=True):
    """What stopping a run came to.

    Attributes
    ----------
    removed
        How many jobs were in the queue.
    worker
        The process that works on the run all the same, and may submit more; empty if none does.
    """

    removed: int
    worker: str = ""


class Dispatch(Frozen, frozen=True):
    """How the jobs of a run are submitted; frozen in the run folder as `htcondor.json`."""

    settings: Settings
    needs: Needs

    def freeze(self, run: RunFolder) -> None:
        """Write it into the run folder."""
        atomic_write(run.htcondor, msgspec.json.format(to_json(self)) + b"\n")

    def show(self, shipment: Shipment, name: str, jobs: int) -> str:
        """Give the submit description of so many jobs, without submitting anything."""
        archives = (shipment.environment.name, shipment.code.name)
        text = describe(
            name, "chosen-when-submitted", archives, shipment.glibc, self.needs, self.settings
        )
        return f"{ONCE}{text}" if may_send_once(self.settings, self.needs, jobs) else text


def dispatch_for(
    plan: Plan, shipment: Shipment, expected: Forecast | None, options: Options
) -> Dispatch:
    """Decide what jobs ask for, from a forecast or from what is known without one.

    Raises
    ------
    UsageError
        The settings are wrong.
    """
    settings = read_settings(options.submission, Path.cwd())
    own_mb = _own_mb(settings)
    if expected is not None:
        needs = Needs(
            memory_mb=expected.request_memory_mb,
            disk_mb=expected.request_disk_mb + own_mb,
            seconds=expected.job_seconds,
            limit_seconds=max(LIMIT_TIMES * expected.job_seconds, LIMIT_LEAST),
        )
    else:
        needs = Needs(memory_mb=MEMORY_MB, disk_mb=_disk_for(plan, shipment) + own_mb)
    if options.limits.limit_seconds:
        needs = msgspec.structs.replace(needs, limit_seconds=options.limits.limit_seconds)
    return Dispatch(settings=settings, needs=needs)


def _disk_for(plan: Plan, shipment: Shipment) -> int:
    """Room for the archives, what they unpack to, and the input files of the largest job."""
    sent = shipment.weigh(inputs=True)
    archives = sent.environment_bytes + sent.unpacked_bytes + 2 * sent.code_bytes
    largest = 0
    for job in plan.jobs:
        files = plan.datasets[job.dataset].files
        sizes = {part.file: files[part.file].size for part in job.ranges}
        local = (size for file, size in sizes.items() if not is_url(files[file].path))
        largest = max(largest, sum(local))
    return int((archives + largest) * 1.2 / MIB) + 500


def _own_mb(settings: Settings) -> int:
    """Room for the files of the user that go to every job."""
    return math.ceil(own_bytes(settings.inputs, settings.commands) / MIB)


def recall(run: RunFolder) -> Dispatch:
    """Read how the jobs of a run are submitted.

    Raises
    ------
    ResultError
        The run folder is damaged.
    """
    try:
        return from_json(run.htcondor.read_bytes(), Dispatch)
    except (OSError, msgspec.MsgspecError) as error:
        raise ResultError(
            f"{run.htcondor} is damaged: {error}", remedy="Start a new run."
        ) from None


def amend_call(run: RunFolder, site: SubmitOptions) -> None:
    """Freeze what a later call says of the jobs of a run that are still to be submitted.

    Raises
    ------
    UsageError
        The settings are wrong, or a process works on the run.
    """
    with run.lock():
        told = recall(run)
        settings = amend(told.settings, site, Path.cwd())
        disk_mb = told.needs.disk_mb + _own_mb(settings) - _own_mb(told.settings)
        needs = msgspec.structs.replace(told.needs, disk_mb=max(disk_mb, told.needs.disk_mb))
        Dispatch(settings=settings, needs=needs).freeze(run)


def memory_requested(run: RunFolder) -> str:
    """Say what jobs of a run ask for, by the user or by us."""
    told = recall(run)
    own = {name.lower(): value for name, value in told.settings.commands.items()}
    return own.get("request_memory", f"{told.needs.memory_mb} MB")


def open_htcondor(run: RunFolder, observer: Observer, *, submit: bool = True) -> HTCondorPool:
    """Open the HTCondor pool for a run.

    Parameters
    ----------
    submit
        Whether jobs may be submitted; otherwise those in the queue are followed.

    Raises
    ------
    PoolError
        HTCondor cannot be reached.
    EnvError
        The environment of the run is gone.
    """
    told = recall(run)
    cargo = None
    if submit:
        shipment = recall_for(run, observer)
        cargo = Cargo(
            environment=str(shipment.environment.resolve()),
            code=str(shipment.code.resolve()),
            digest=digest_in(shipment.environment),
            glibc=shipment.glibc,
        )
    return HTCondorPool(run.pool, cargo, told.needs, told.settings, observer)


def standing(run: RunFolder) -> tuple[QueueState, set[int]] | None:
    """Find out how the jobs of a run stand; None if it has never had any in a queue.

    Returns
    -------
    QueueState
    set of int
        The jobs that are in a queue, with all of them or a piece.
    """
    waves = waves_in(run.pool)
    if not waves:
        return None
    told = recall(run)
    schedds = Schedds(told.settings.schedd, told.settings.collector)
    notes: dict[str, None] = {}
    total: Counter[str] = Counter()
    hosts: set[str] = set()
    last: dict[str, LastSeen] = {}
    queued: set[int] = set()
    for wave in waves:
        following = _asked(wave, schedds, notes)
        account = following.account
        total += account.counts()
        hosts |= account.hosts()
        last |= {job: following.seen(job) for job in following.record.jobs}
        queued |= {unit[0] for job in following.open_jobs() if (unit := unit_of(job))}
        if following.paused:
            notes[following.paused] = None
        following.close()
    left = {status: count for status, count in total.items() if count and status not in OVER}
    found = QueueState(
        counts=left, hosts=sorted(hosts), reasons=_reasons(run, last), note="; ".join(notes)
    )
    return found, queued


def _asked(wave: Wave, schedds: Schedds, notes: dict[str, None]) -> WaveMonitor:
    """Take in what the log of a wave says, and the schedd if it can be asked."""
    schedd = None
    try:
        schedd = schedds.of(wave.record())
    except PoolError as error:
        notes[error.message] = None
    following = WaveMonitor(wave, schedd)
    try:
        list(following.look())
        if following.open_jobs():
            following.ask()
    except EventflockError as error:
        notes[error.message] = None
    return following


def _reasons(run: RunFolder, last: dict[str, LastSeen]) -> dict[str, int]:
    """Say why jobs are held, and how those ended of which nothing has come, with their numbers."""
    reasons = Counter(f"held: {seen.words}" for seen in last.values() if seen.status == "held")
    over = {job: seen for job, seen in last.items() if seen.status in OVER}
    if over:
        there = run.units_there()
        # Of a job that was halved, what became of its pieces counts.
        halved = {one[:end] for one in {*last, *there} for end in range(6, len(one)) if "-" in one}
        halved |= {one.rstrip("-") for one in halved}
        lost = (seen for job, seen in over.items() if job not in there and job not in halved)
        reasons.update(end_in_words(seen) for seen in lost)
    return dict(reasons.most_common())


def stop(path: Path) -> Stopped:
    """Remove the jobs of a run from the queue; what is done is kept.

    A process that works on the run ends when its jobs are gone. It may be submitting more of them:
    it is waited for, for a while.

    Raises
    ------
    UsageError
        The run has no jobs in a queue.
    PoolError
        HTCondor cannot be reached.
    """
    run = RunFolder(path)
    run.load_plan()
    if not run.htcondor.exists():
        raise UsageError(
            f"{path} has no jobs on an HTCondor pool.",
            remedy="End a run on this machine with Ctrl-C where it runs.",
        )
    settings = recall(run).settings
    schedds = Schedds(settings.schedd, settings.collector)
    over: set[Path] = set()
    removed = _remove_all(run, schedds, over)
    deadline = time.monotonic() + STOP_SECONDS
    while run.is_busy() and time.monotonic() < deadline:
        time.sleep(STOP_EVERY)
        removed += _remove_all(run, schedds, over)
    return Stopped(removed=removed, worker=run.worker())


def _remove_all(run: RunFolder, schedds: Schedds, over: set[Path]) -> int:
    """Remove the jobs of all waves but those that are over, and keep in mind which are."""
    removed = 0
    for wave in waves_in(run.pool):
        if wave.path in over:
            continue
        with contextlib.closing(WaveMonitor(wave, schedds.of(wave.record()))) as following:
            if following.find_cluster() is None:  # not submitted, or not yet
                continue
            list(following.look())
            following.ask()
            removed += following.remove("eventflock stop")
        over.add(wave.path)
    return removed


def check_call(options: Options, *, reach: bool = True) -> None:
    """Check the settings, the place of a run and the schedd, before anything takes time.

    Raises
    ------
    UsageError
        Something is wrong with them.
    PoolError
        HTCondor cannot be reached, or takes no jobs from here.
    """
    settings = read_settings(options.submission, Path.cwd())
    check_folder((options.out or Path("runs")).resolve())
    if reach:
        Schedd(settings.schedd, settings.collector).check_allowed()
