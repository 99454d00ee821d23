"""The pool protocol on HTCondor: jobs go on when the client ends, and are found again."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from eventflock.errors import PoolError, ResultError, plural
from eventflock.model import Failure
from eventflock.observe import Observer
from eventflock.pools import Listener, Pool
from eventflock.pools.htcondor.describe import Needs, check_folder, describe
from eventflock.pools.htcondor.following import Following, is_unreachable
from eventflock.pools.htcondor.match import explain, in_words
from eventflock.pools.htcondor.schedd import Schedd
from eventflock.pools.htcondor.settings import Settings
from eventflock.pools.htcondor.wave import Cargo, Draft, WaveRecord, waves_in
from eventflock.results.reader import read_manifest
from eventflock.worker.messages import Done, Failed, Reply, Request, Run

__all__ = ["HTCondorPool", "collect"]

PAUSE = 0.25
"""Seconds between two looks at the log."""
GRACE = 5.0
"""Seconds in which a result may follow the news that its job has ended."""
PATIENCE = 600.0
"""Seconds for which a schedd may be away."""
LONG = 300.0
"""Seconds of a job for which it pays to send the environment once per node: with common files,
HTCondor 25.14 takes some seconds more to start each job."""
EXPLAIN_AFTER = 15.0
"""Seconds without any job running, after which it is asked whether any slot could."""


class HTCondorPool(Pool):
    """Runs the jobs of one run on an HTCondor pool.

    Parameters
    ----------
    folder
        The folder `pool` of the run.
    cargo, needs, settings
        What jobs bring along, ask for, and what the user says.
    observer
        Hears what a person should know.
    submit
        Whether jobs may be submitted; otherwise those that were are followed.
    """

    workers = 0
    outlives = True

    def __init__(
        self,
        folder: Path,
        cargo: Cargo,
        needs: Needs,
        settings: Settings,
        observer: Observer,
        *,
        submit: bool = True,
    ) -> None:
        check_folder(folder.resolve())
        self._folder = folder
        self._cargo = cargo
        self._needs = needs
        self._settings = settings
        self._observer = observer
        self._submits = submit
        self._schedd = Schedd(settings.schedd, settings.collector)
        self._followings: list[Following] = []
        self._told: dict[str, int] = {}

    # --- the protocol --------------------------------------------------------------------------

    def ask(
        self, requests: Iterable[Request], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Submit the jobs that are not in the queue, and give their answers as they end.

        Closing the iterator, or Ctrl-C, leaves the jobs in the queue.
        """
        yield from self._follow(self._enqueue(requests), listener)

    def submit(self, requests: Iterable[Request]) -> None:
        """Submit the jobs that are not in the queue, and leave them there."""
        self._enqueue(requests)

    def _enqueue(self, requests: Iterable[Request]) -> dict[int, _Asked]:
        queued = self._rejoin()
        asked: dict[int, _Asked] = {}
        draft = Draft(self._folder, self._cargo)
        try:
            for index, request in enumerate(requests):
                if not isinstance(request, Run):
                    raise PoolError(f"A job cannot answer {type(request).__name__}.")
                job = request.assignment.job
                asked[job] = _Asked(index, Path(request.result))
                if job not in queued and self._submits:
                    draft.add(request.assignment)
            if draft.jobs:
                self._submit(draft)
        finally:
            draft.discard()
        return asked

    def abandon(self) -> None:
        """Remove all jobs from the queue: nobody will ask for them."""
        for one in self._followings:
            one.remove("the run was given up")

    def close(self) -> None:
        """Let go of the logs; jobs go on."""
        for one in self._followings:
            one.close()

    # --- submitting ----------------------------------------------------------------------------

    def _rejoin(self) -> set[int]:
        """Follow the waves that are in the queue, and give their jobs.

        Held ones are removed if jobs may be submitted: to go on is to try them again.
        """
        queued: set[int] = set()
        for wave in waves_in(self._folder):
            record = wave.record()
            following = Following(wave, self._schedd_of(record))
            list(following.look())
            if following.open_jobs():
                following.ask()
            jobs = following.open_jobs()
            held = {job for job, status in jobs.items() if status == "held"}
            if held and self._submits:
                following.remove_held()
                jobs = {job: status for job, status in jobs.items() if job not in held}
            if jobs:
                self._followings.append(following)
                queued |= set(jobs)
            else:
                following.close()
        if queued:
            self._observer.note(f"{plural(len(queued), 'job')} in the queue already")
        return queued

    def _schedd_of(self, record: WaveRecord) -> Schedd:
        """Give the schedd that a wave was submitted to."""
        if record.schedd in {"", self._schedd.name}:
            return self._schedd
        return Schedd(record.schedd, record.collector)

    def _submit(self, draft: Draft) -> None:
        cargo, settings = self._cargo, self._settings
        archives = (Path(cargo.environment).name, Path(cargo.code).name)
        name = self._folder.resolve().parent.name
        record = WaveRecord(
            identity="",
            created="",
            jobs=(),
            schedd=self._schedd.name,
            collector=settings.collector,
            spool=settings.spool,
        )
        count = len(draft.jobs)
        common = self._sends_once(count)
        wave = draft.finish(
            lambda identity: describe(
                name, identity, archives, cargo.glibc, self._needs, settings, common=common
            ),
            record,
        )
        cluster = self._schedd.submit(wave.path, wave.description.read_text(), spool=settings.spool)
        wave.set_cluster(cluster)
        self._observer.note(
            f"submitted {plural(count, 'job')} as cluster {cluster} to {self._schedd.name}"
        )
        self._followings.append(Following(wave, self._schedd))

    def _sends_once(self, jobs: int) -> bool:
        """Tell whether the environment is sent once per node: where the pool can, and it pays."""
        wanted, most = self._settings.common_files, self._settings.max_idle
        long = self._needs.seconds >= LONG and (not most or jobs <= most)
        if wanted is False or self._settings.spool or (wanted is None and not long):
            return False
        why = self._schedd.why_not_common()
        if why and wanted:
            self._observer.note(f"common_files: {why} Each job gets its own copy.")
        return not why

    # --- following -----------------------------------------------------------------------------

    def _follow(
        self, asked: dict[int, _Asked], listener: Listener | None
    ) -> Generator[tuple[int, Reply], None, None]:
        watch = _Watch()
        while True:
            for following in self._followings:
                self._look(following, watch)
                for job in self._over(following):
                    if job in asked:
                        watch.pending[job] = (following, time.monotonic() + GRACE)
            for job, (following, deadline) in list(watch.pending.items()):
                reply = _reply(following, job, asked[job].result, deadline)
                if reply is not None:
                    del watch.pending[job]
                    yield asked.pop(job).request, reply
            counts = self._counts()
            if listener is not None:
                listener.on_state(self._standing(counts))
            if not watch.pending and not counts["idle"] + counts["running"]:
                if not counts["held"] + counts["waiting"]:
                    return
                if counts["held"]:
                    yield from self._give_back(asked, counts)
                    return
            if watch.is_idle(counts):
                self._explain()
            time.sleep(PAUSE)

    def _look(self, following: Following, watch: _Watch) -> None:
        """Take in what is new; a schedd may be away for a while."""
        try:
            for job, seen in following.look():
                self._tell(job, seen.status, seen.host, seen.words, seen.remedy)
            if watch.away:
                self._observer.note("the schedd answers again")
            watch.away = 0.0
        except PoolError as error:
            if not is_unreachable(error):
                raise
            if not watch.away:
                watch.away = time.monotonic()
                self._observer.note(f"{error.message} Its jobs may go on; waiting for it.")
            if time.monotonic() - watch.away > PATIENCE:
                error.remedy = (
                    "Nothing is lost: 'eventflock resume' goes on when the schedd is back."
                )
                raise

    def _over(self, following: Following) -> Iterator[int]:
        """Give the jobs that are over since the last time."""
        while following.account.over:
            yield following.record.jobs[following.account.over.pop()]

    def _tell(self, job: int, status: str, host: str, words: str, remedy: str) -> None:
        """Say why a job is held or came back, once for each reason."""
        key = f"{status}: {words}"
        self._told[key] = self._told.get(key, 0) + 1
        if self._told[key] > 1:
            return
        where = f" (on {host})" if host else ""
        what = "is held" if status == "held" else "went back to the queue"
        self._observer.note(f"job {job} {what}{where}: {words}" + f" {remedy}".rstrip())

    def _counts(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for following in self._followings:
            total += following.account.counts()
        return total

    def _standing(self, counts: Counter[str]) -> str:
        waiting = counts["idle"] + counts["waiting"]
        words = [f"{counts['running']:,} running", f"{waiting:,} idle"]
        if counts["held"]:
            words.append(f"{counts['held']:,} held")
        hosts = set().union(*(one.account.hosts() for one in self._followings))
        return ", ".join(words) + (f" on {plural(len(hosts), 'host')}" if hosts else "")

    def _give_back(
        self, asked: dict[int, _Asked], counts: Counter[str]
    ) -> Iterator[tuple[int, Reply]]:
        """Answer for the jobs that are held, when nothing else is left to wait for."""
        for following in self._followings:
            for job, status in following.open_jobs().items():
                if status == "held" and job in asked:
                    seen = following.seen(job)
                    message = f"Job {job} is held: {seen.words}"
                    yield (
                        asked.pop(job).request,
                        Failed(failure=Failure(kind="pool", message=message, remedy=seen.remedy)),
                    )
        if counts["waiting"]:
            self._observer.note(
                f"{counts['held']:,} held jobs keep {counts['waiting']:,} others from being made "
                "(held jobs count for max_idle)."
            )

    def _explain(self) -> None:
        """Say if no slot of the pool can run what waits."""
        for following in self._followings[-1:]:
            cluster = following.find_cluster()
            with contextlib.suppress(PoolError):
                job = self._schedd.full_job(f"ClusterId == {cluster} && JobStatus == 1")
                verdict = explain(job, self._schedd.slots()) if job is not None else None
                if verdict is not None and not verdict.matching:
                    self._observer.note(in_words(verdict))


class _Asked(NamedTuple):
    """A job that was asked for: the number of its request, and where its result goes."""

    request: int
    result: Path


class _Watch:
    """What following remembers between two looks."""

    def __init__(self) -> None:
        self.pending: dict[int, tuple[Following, float]] = {}
        self.away = 0.0
        self._started = time.monotonic()
        self._explained = False

    def is_idle(self, counts: Counter[str]) -> bool:
        """Tell, once, that no job ran for a while although some wait."""
        if counts["running"] or counts["ended"]:
            self._explained = True
        if self._explained or time.monotonic() - self._started < EXPLAIN_AFTER:
            return False
        self._explained = True
        return True


def _reply(following: Following, job: int, target: Path, deadline: float) -> Reply | None:
    """Answer for a job that is over; None while its result may still come."""
    made = following.wave.result(job)
    damage = ""
    if made.is_file():
        try:
            return collect(made, target)
        except ResultError as error:
            damage = f" {error.message}"
    if time.monotonic() < deadline:
        return None
    seen = following.seen(job)
    if seen.status == "removed":
        message = f"Job {job} was removed from the queue: {seen.words or 'no reason is known'}"
    else:
        where = f" on {seen.host}" if seen.host else ""
        message = f"Job {job} {seen.how}{where}, but no result has arrived.{damage}"
    log = following.wave.log(job)
    remedy = f"See {log}." if log.is_file() and log.stat().st_size else ""
    return Failed(failure=Failure(kind="pool", message=message, remedy=remedy))


def collect(made: Path, target: Path) -> Reply:
    """Take in a result file that has arrived, and say what it says.

    Raises
    ------
    ResultError
        It cannot be read.
    """
    manifest = read_manifest(made)
    made.replace(target)
    if manifest.error is not None:
        return Failed(failure=manifest.error)
    return Done(events=manifest.counters.events)
