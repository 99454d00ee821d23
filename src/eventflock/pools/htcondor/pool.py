"""The pool protocol on HTCondor: jobs go on when the client ends, and are found again."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from eventflock.core.halving import unit_name
from eventflock.core.model import Assignment
from eventflock.core.observer import Observer
from eventflock.errors import PoolError, plural
from eventflock.failures.causes import cause_of
from eventflock.pools import Listener, Pool
from eventflock.pools.htcondor.answers import BadHosts, end_in_words, hold_of, reply_for
from eventflock.pools.htcondor.description import USUAL, Needs, Wants, check_folder
from eventflock.pools.htcondor.following import Schedds, WaveMonitor, is_unreachable
from eventflock.pools.htcondor.match import explain, in_words
from eventflock.pools.htcondor.settings import Settings
from eventflock.pools.htcondor.submitting import Submitter
from eventflock.pools.htcondor.wave import Cargo, waves_in
from eventflock.worker.messages import Failed, Reply, Request, Run

__all__ = ["HTCondorPool"]

PAUSE = 0.25
"""Seconds between two looks at the log."""
GRACE = 5.0
"""Seconds in which a result may follow the news that its job has ended."""
GATHER = 5.0
"""Seconds between two submissions of jobs that are tried again."""
PATIENCE = 600.0
"""Seconds for which a schedd may be away."""
REASONS = 5
"""Reasons that are told at most, why jobs are done again."""
EXPLAIN_AFTER = 15.0
"""Seconds without any job running, after which it is asked whether any slot could."""


class HTCondorPool(Pool):
    """Runs the jobs of one run on an HTCondor pool.

    Parameters
    ----------
    folder
        The folder `pool` of the run.
    cargo, needs, settings
        What jobs bring along, ask for, and what the user says. Without a cargo no jobs can be
        submitted: those that were are followed.
    observer
        Hears what a person should know.
    """

    workers = 0
    asks = True

    def __init__(
        self,
        folder: Path,
        cargo: Cargo | None,
        needs: Needs,
        settings: Settings,
        observer: Observer,
    ) -> None:
        check_folder(folder.resolve())
        self._folder = folder
        self._observer = observer
        self.recovers = cargo is not None
        self._schedds = Schedds(settings.schedd, settings.collector)
        self._submitter: Submitter | None = None
        if cargo is not None:
            schedd = self._schedds.own
            self._submitter = Submitter(folder, cargo, needs, settings, schedd, observer)
        self._followings: list[WaveMonitor] = []
        self._paused: dict[Path, str] = {}
        self._told: dict[str, int] = {}
        self._asked: dict[str, _Asked] = {}
        self._owners: dict[str, WaveMonitor] = {}
        """Which wave a job is in that is in the queue."""
        self._hosts = BadHosts()
        self._ended: dict[str, WaveMonitor] = {}
        """Which wave a job was in last that was over before."""
        self._enqueued = 0.0

    @property
    def outlives(self) -> bool:
        """Whether jobs are in the queue, or on their way there."""
        sending = self._submitter is not None and self._submitter.under_way
        return sending or any(not one.account.is_over for one in self._followings)

    # --- the protocol --------------------------------------------------------------------------

    def ask(
        self, requests: Iterable[Request], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Submit the jobs that are not in the queue, and give their answers as they end.

        Closing the iterator, or Ctrl-C, leaves the jobs in the queue.
        """
        self._rejoin()
        feed = enumerate(requests)
        self._enqueue(feed)
        yield from self._follow(feed, listener)

    def submit(self, requests: Iterable[Request]) -> int:
        """Submit the jobs that are not in the queue, leave them there, and give their number."""
        self._rejoin()
        before = len(self._followings)
        self._enqueue(enumerate(requests))
        return sum(len(one.record.jobs) for one in self._followings[before:])

    def _enqueue(self, feed: Iterator[tuple[int, Request]]) -> bool:
        """Submit what is asked for by now: one wave for all that ask for the same."""
        self._enqueued = time.monotonic()
        before = len(self._asked)
        more: dict[Wants, list[Assignment]] = {}
        self._submit(USUAL, self._new(feed, more))
        self._tell_ended()
        for wants, assignments in more.items():
            self._submit(wants, assignments)
        return len(self._asked) > before

    def _new(
        self, feed: Iterator[tuple[int, Request]], more: dict[Wants, list[Assignment]]
    ) -> Iterator[Assignment]:
        """Give the jobs that have to be submitted, and put aside those that want more than usual.

        They are not kept: there may be a hundred thousand.
        """
        for index, request in feed:
            if not isinstance(request, Run):
                raise PoolError(f"A job cannot answer {type(request).__name__}.")
            one = request.assignment
            name = unit_name(one.job, one.piece)
            self._asked[name] = _Asked(index, Path(request.result))
            if (self._folder.parent / "results" / Path(request.result).name).exists():
                self._ended.pop(name, None)  # its file says by itself what became of it
            elif name in self._ended and not self.recovers:
                self._owners.setdefault(name, self._ended[name])
            if name in self._owners or not self.recovers:
                continue
            wants = Wants(request.memory, request.disk, request.avoid)
            if wants == USUAL:
                yield one
            else:
                more.setdefault(wants, []).append(one)

    def _submit(self, wants: Wants, assignments: Iterable[Assignment]) -> None:
        if self._submitter is None:
            for _ in assignments:
                pass
            return
        wants = wants._replace(avoid=tuple({*wants.avoid, *self._hosts.bad}))
        for following in self._submitter.submit(assignments, wants):
            self._followings.append(following)
            self._owners |= dict.fromkeys(following.record.jobs, following)

    def abandon(self) -> None:
        """Remove all jobs from the queue: nobody will ask for them."""
        for one in self._followings:
            try:
                one.remove("eventflock has given up the run")
            except PoolError as error:
                self._observer.note(f"{error.message} Its jobs are left in the queue.")

    def close(self) -> None:
        """Let go of the logs; jobs go on."""
        for one in self._followings:
            one.close()

    def _rejoin(self) -> None:
        """Find the waves that there are, and follow those that are in the queue.

        Held ones are removed if jobs may be submitted: to go on is to try them again. Who may not
        submit hears of what is over, too.
        """
        queued = 0
        for wave in waves_in(self._folder):
            following = WaveMonitor(wave, self._schedds.of(wave.record()))
            list(following.look())
            if following.open_jobs():
                following.ask()
            jobs = following.open_jobs()
            held = {job for job, status in jobs.items() if status == "held"}
            if held and self.recovers:
                following.remove_held()
                jobs = {job: status for job, status in jobs.items() if job not in held}
            queued += len(jobs)
            if jobs or not self.recovers:
                self._followings.append(following)
                self._owners |= dict.fromkeys(jobs, following)
            else:
                following.close()
            over = set(following.record.jobs) - held - set(jobs)
            self._ended |= dict.fromkeys(over, following)
            for job in jobs:
                self._ended.pop(job, None)
        if queued:
            self._observer.note(f"{plural(queued, 'job')} in the queue already")

    def _tell_ended(self) -> None:
        """Say of jobs that are done again how they ended, while nobody followed them."""
        ended = {job: one for job, one in self._ended.items() if job in self._asked}
        self._ended.clear()
        if not self.recovers:
            return
        reasons = Counter(end_in_words(one.seen(job)) for job, one in ended.items())
        for words, number in reasons.most_common(REASONS):
            who = "each" if number > 1 else "it"
            self._observer.note(f"{plural(number, 'job')} done again: {who} {words}")

    # --- following -----------------------------------------------------------------------------

    def _follow(
        self, feed: Iterator[tuple[int, Request]], listener: Listener | None
    ) -> Generator[tuple[int, Reply], None, None]:
        watch = _Watch()
        while True:
            for following in self._followings:
                if not following.account.is_over:
                    self._look(following)
                yield from self._answer_held(following)
                for job in self._over(following):
                    watch.pending[job] = (following, time.monotonic() + GRACE)
            yield from self._answer_over(watch)
            counts = self._counts()
            if listener is not None:
                listener.on_state(self._standing(counts))
            there = counts["idle"] + counts["running"] + counts["completed"]
            active = bool(watch.pending) or there > 0
            due = not active or time.monotonic() - self._enqueued > GATHER
            if due and not self._away and self._enqueue(feed):
                continue
            if not active and not self._away:
                if counts["held"]:
                    yield from self._give_back(counts)
                    if self._enqueue(feed):
                        continue
                if counts["held"] or not counts["waiting"]:
                    return
            if watch.is_idle(counts):
                self._explain()
            time.sleep(PAUSE)

    def _answer_over(self, watch: _Watch) -> Iterator[tuple[int, Reply]]:
        """Answer for jobs that have ended, when their results are there or must be late."""
        for job, (following, deadline) in list(watch.pending.items()):
            reply = reply_for(following, job, self._asked[job].result, deadline)
            if reply is None:
                continue
            del watch.pending[job]
            host = following.seen(job).host
            if isinstance(reply, Failed):
                failure = msgspec.structs.replace(reply.failure, host=host or reply.failure.host)
                reply = Failed(failure=failure)
                self._blame(host, cause_of(failure).elsewhere)
            else:
                self._hosts.credit(host)
            yield self._close(job), reply

    def _answer_held(self, following: WaveMonitor) -> Iterator[tuple[int, Reply]]:
        """Answer for jobs that HTCondor holds; one that a person or a policy holds may stay."""
        while following.account.held and not following.away:
            job = following.record.jobs[following.account.held.pop()]
            seen = following.seen(job)
            failure = hold_of(job, seen)
            if seen.status != "held" or cause_of(failure).name == "held" or not self.recovers:
                continue
            try:
                following.remove_one(job)
            except PoolError as error:
                self._bear(error)
                following.account.held.append(following.record.jobs.index(job))
                return
            if self._owners.get(job) is following and job in self._asked:
                self._blame(seen.host, cause_of(failure).elsewhere)
                yield self._close(job), Failed(failure=failure)

    def _close(self, job: str) -> int:
        """Forget a job, and give the number of its request."""
        self._owners.pop(job, None)
        return self._asked.pop(job).request

    def _blame(self, host: str, elsewhere: bool) -> None:
        """Keep jobs from a machine where one after the other fails, and none ends well."""
        if not host or not elsewhere or not self._hosts.blame(host):
            return
        submitter = self._submitter
        if submitter is not None and submitter.possible({host, *self._hosts.bad}):
            self._observer.note(f"{host} fails one job after the other: it is avoided")
            for following in self._followings:
                with contextlib.suppress(PoolError):  # later waves avoid it in any case
                    following.avoid(host)

    def _look(self, following: WaveMonitor) -> None:
        """Take in what is new; a schedd may be away for a while."""
        away = self._away
        try:
            for job, seen in following.look():
                self._tell(job, seen.status, seen.host, seen.words, seen.remedy)
        except PoolError as error:
            self._bear(error)
            if not away:
                self._observer.note(f"{error.message} Its jobs may go on; waiting for it.")
        if away and not self._away:
            self._observer.note("the schedd answers again")
        paused = following.paused
        if paused and paused != self._paused.get(following.wave.path):
            self._observer.note(paused)
        self._paused[following.wave.path] = paused

    @property
    def _away(self) -> bool:
        """Whether a schedd does not answer."""
        return any(one.away for one in self._followings)

    def _bear(self, error: PoolError) -> None:
        """Raise an error, unless it is that a schedd does not answer, and not for too long."""
        if not is_unreachable(error):
            raise error
        since = min((one.away for one in self._followings if one.away), default=math.inf)
        if time.monotonic() - since > PATIENCE:
            error.remedy = "Nothing is lost: 'eventflock resume' goes on when the schedd is back."
            raise error

    def _over(self, following: WaveMonitor) -> Iterator[str]:
        """Give the jobs asked for that are over since the last time."""
        while following.account.over:
            job = following.record.jobs[following.account.over.pop()]
            if self._owners.get(job) is following and job in self._asked:
                yield job

    def _tell(self, job: str, status: str, host: str, words: str, remedy: str) -> None:
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
            if not following.account.is_over:
                total += following.account.counts()
        return total

    def _standing(self, counts: Counter[str]) -> str:
        waiting = counts["idle"] + counts["waiting"]
        words = [f"{counts['running']:,} running", f"{waiting:,} idle"]
        words += [f"{counts[one]:,} {one}" for one in ("completed", "held") if counts[one]]
        hosts = set().union(*(one.account.hosts() for one in self._followings))
        return ", ".join(words) + (f" on {plural(len(hosts), 'host')}" if hosts else "")

    def _give_back(self, counts: Counter[str]) -> Iterator[tuple[int, Reply]]:
        """Answer for the jobs that stay on hold, when nothing else is left to wait for."""
        for following in self._followings:
            for job, status in following.open_jobs().items():
                if status == "held" and job in self._asked:
                    failure = hold_of(job, following.seen(job))
                    yield self._asked.pop(job).request, Failed(failure=failure)
        if counts["waiting"]:
            self._observer.note(
                f"{counts['held']:,} held jobs keep {counts['waiting']:,} others from being made "
                "(held jobs count for max_idle)."
            )

    def _explain(self) -> None:
        """Say if no slot of the pool can run what waits."""
        for following in self._followings[-1:]:
            with contextlib.suppress(PoolError):
                job = following.waiting_job()
                verdict = explain(job, following.slots()) if job is not None else None
                if verdict is not None and not verdict.matching:
                    self._observer.note(in_words(verdict))


class _Asked(NamedTuple):
    """A job that was asked for: the number of its request, and where its result goes."""

    request: int
    result: Path


class _Watch:
    """What following remembers between two looks."""

    def __init__(self) -> None:
        self.pending: dict[str, tuple[WaveMonitor, float]] = {}
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
