"""The executor of all batch systems: jobs continue when the client ends, and are found again."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from pathlib import Path

import msgspec

from eventflock.core.halving import UnitName, unit_name
from eventflock.core.model import Assignment
from eventflock.core.observer import Observer
from eventflock.core.states import QueueStatus
from eventflock.errors import PoolError, plural
from eventflock.failures.causes import cause_of
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.answers import BadHosts, end_in_words, hold_of, reply_for
from eventflock.pools.batch.monitor import WaveMonitor, is_unreachable
from eventflock.pools.batch.needs import USUAL, JobDemands
from eventflock.pools.batch.pending import Asked, Room, Watch, is_active, taken
from eventflock.pools.batch.states import LastSeen
from eventflock.pools.batch.submitter import BatchQueue, WaveSubmitter
from eventflock.pools.batch.wave import waves_in
from eventflock.pools.roles import Abilities, Executor, Listener, RunPlace
from eventflock.worker.messages import Failed, Reply, Run

__all__ = ["BatchExecutor"]

PAUSE = 0.25
"""Seconds between two looks at the waves."""
GRACE = 5.0
"""Seconds in which a result may follow the news that its job has ended."""
GATHER = 5.0
"""Seconds between two submissions of jobs that are tried again."""
PATIENCE = 600.0
"""Seconds for which the batch system may not answer."""
REASONS = 5
"""The most reasons that are reported, why jobs are done again."""


class BatchExecutor(Executor):
    """Does the jobs of one run on a batch system.

    Parameters
    ----------
    place
        The run folder.
    queue
        The queue of the batch system.
    environment
        What jobs bring along. Without it no jobs can be submitted: those that were are followed.
    observer
        Receives what the user should know.
    """

    def __init__(
        self,
        place: RunPlace,
        queue: BatchQueue,
        environment: PackedEnvironment | None,
        observer: Observer,
    ) -> None:
        self._folder = place.pool
        self._results = place.results
        self._queue = queue
        self._observer = observer
        self._submits = environment is not None
        self.abilities = Abilities(
            outlives_client=True, limits_resources=True, retries=self._submits
        )
        self._submitter: WaveSubmitter | None = None
        if environment is not None:
            self._submitter = WaveSubmitter(self._folder, queue, environment, observer)
        self._monitors: list[WaveMonitor] = []
        self._paused: dict[Path, str] = {}
        self._reported: Counter[str] = Counter()
        self._asked: dict[UnitName, Asked] = {}
        self._owners: dict[UnitName, WaveMonitor] = {}
        """The wave of each job that is in the queue."""
        self._ended: dict[UnitName, WaveMonitor] = {}
        """The last wave of each job that was over before."""
        self._parked: deque[tuple[int, Run]] = deque()
        """Jobs for which the queue had no room."""
        self._hosts = BadHosts()
        self._enqueued = 0.0

    @property
    def has_jobs_elsewhere(self) -> bool:
        """Whether jobs are in the queue, or on their way there."""
        sending = self._submitter is not None and self._submitter.under_way
        return sending or any(not monitor.states.is_over for monitor in self._monitors)

    # --- the role ------------------------------------------------------------------------------

    def do(
        self, jobs: Iterable[Run], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Submit the jobs that are not in the queue, and yield the answers as jobs end.

        Closing the iterator, or Ctrl-C, leaves the jobs in the queue.
        """
        self._rejoin()
        feed = enumerate(jobs)
        self._enqueue(feed)
        yield from self._follow(feed, listener)

    def submit(self, jobs: Iterable[Run]) -> int:
        """Submit the jobs that are not in the queue, leave them there, and return their number."""
        self._rejoin()
        before = len(self._monitors)
        feed = enumerate(jobs)
        self._enqueue(feed)
        left = len(self._parked) + sum(1 for _ in feed)
        if left:
            self._observer.note(
                f"{plural(left, 'job')} not submitted: {self._queue.server} takes no more from you "
                "now. 'eventflock resume' submits them when there is room."
            )
        return sum(len(monitor.jobs) for monitor in self._monitors[before:])

    def abandon(self) -> None:
        """Remove all jobs from the queue."""
        for monitor in self._monitors:
            try:
                monitor.remove("eventflock has given up the run")
            except PoolError as error:
                self._observer.note(f"{error.message} Its jobs are left in the queue.")

    def close(self) -> None:
        """Close the logs; jobs continue."""
        for monitor in self._monitors:
            monitor.close()

    # --- submitting ----------------------------------------------------------------------------

    def _enqueue(self, feed: Iterator[tuple[int, Run]]) -> bool:
        """Submit the jobs that there are by now: one wave for all that ask for the same."""
        self._enqueued = time.monotonic()
        before = len(self._asked)
        more: dict[JobDemands, list[Assignment]] = {}
        self._submit(USUAL, self._new(feed, more))
        self._report_ended()
        for demands, assignments in more.items():
            self._submit(demands, assignments)
        return len(self._asked) > before

    def _new(
        self, feed: Iterator[tuple[int, Run]], more: dict[JobDemands, list[Assignment]]
    ) -> Iterator[Assignment]:
        """Yield the jobs that have to be submitted; put those that demand more into `more`.

        They are not kept: there may be a hundred thousand.
        """
        room = Room(self._queue)
        unseen = len(self._owners.keys() - self._asked.keys())
        for index, job in chain(taken(self._parked), feed):
            assignment = job.assignment
            name = unit_name(assignment.job, assignment.piece)
            unseen -= name in self._owners and name not in self._asked
            if name not in self._owners and self._submits and not room.take():
                self._parked.append((index, job))
                if not unseen:
                    return
                continue
            self._asked[name] = Asked(index, Path(job.result))
            if (self._results / Path(job.result).name).exists():
                self._ended.pop(name, None)  # its file shows how it ended
            elif name in self._ended and not self._submits:
                self._owners.setdefault(name, self._ended[name])
            if name in self._owners or not self._submits:
                continue
            demands = JobDemands(job.memory, job.disk, job.avoid)
            if demands == USUAL:
                yield assignment
            else:
                more.setdefault(demands, []).append(assignment)

    def _submit(self, demands: JobDemands, assignments: Iterable[Assignment]) -> None:
        if self._submitter is None:
            for _ in assignments:
                pass
            return
        demands = demands._replace(avoid=tuple({*demands.avoid, *self._hosts.bad}))
        for monitor in self._submitter.submit(assignments, demands):
            self._monitors.append(monitor)
            self._owners |= dict.fromkeys(monitor.jobs, monitor)

    def _rejoin(self) -> None:
        """Find the waves of earlier clients, and follow those that are in the queue.

        Held jobs are removed if jobs may be submitted: they are tried again. Without the right to
        submit, jobs that are over are answered, too.
        """
        queued = 0
        for wave in waves_in(self._folder):
            monitor = self._queue.monitor(wave)
            list(monitor.look())
            if monitor.open_jobs():
                monitor.ask()
            jobs = monitor.open_jobs()
            held = {job for job, status in jobs.items() if status == QueueStatus.HELD}
            if held and self._submits:
                monitor.remove_held()
                jobs = {job: status for job, status in jobs.items() if job not in held}
            queued += len(jobs)
            if jobs or not self._submits:
                self._monitors.append(monitor)
                self._owners |= dict.fromkeys(jobs, monitor)
            else:
                monitor.close()
            over = set(monitor.jobs) - held - set(jobs)
            self._ended |= dict.fromkeys(over, monitor)
            for job in jobs:
                self._ended.pop(job, None)
        if queued:
            self._observer.note(f"{plural(queued, 'job')} in the queue already")

    def _report_ended(self) -> None:
        """Report the jobs that ended while no client followed them, and that are done again."""
        ended = {job: monitor for job, monitor in self._ended.items() if job in self._asked}
        self._ended.clear()
        if not self._submits:
            return
        reasons = Counter(end_in_words(monitor.seen(job)) for job, monitor in ended.items())
        for words, number in reasons.most_common(REASONS):
            who = "each" if number > 1 else "it"
            self._observer.note(f"{plural(number, 'job')} done again: {who} {words}")

    # --- following -----------------------------------------------------------------------------

    def _follow(
        self, feed: Iterator[tuple[int, Run]], listener: Listener | None
    ) -> Generator[tuple[int, Reply], None, None]:
        watch = Watch()
        while True:
            for monitor in self._monitors:
                if not monitor.states.is_over:
                    self._look(monitor)
                yield from self._answer_held(monitor)
                for job in self._over(monitor):
                    watch.pending[job] = (monitor, time.monotonic() + GRACE)
            yield from self._answer_over(watch)
            counts = self._counts()
            if listener is not None:
                listener.on_state(self._state_in_words(counts))
            active = bool(watch.pending) or is_active(counts)
            goes_on = active or bool(self._parked)
            due = not goes_on or time.monotonic() - self._enqueued > GATHER
            if due and not self._away and self._enqueue(feed):
                continue
            if not goes_on and not self._away:
                held = counts[QueueStatus.HELD]
                if held:
                    yield from self._give_back(counts)
                    if self._enqueue(feed):
                        continue
                if held or not counts[QueueStatus.WAITING]:
                    return
            if watch.is_idle(counts):
                self._explain()
            time.sleep(PAUSE)

    def _answer_over(self, watch: Watch) -> Iterator[tuple[int, Reply]]:
        """Answer for jobs that have ended, when their results are there or must be late."""
        for job, (monitor, deadline) in list(watch.pending.items()):
            reply = reply_for(monitor, job, self._asked[job].result, deadline)
            if reply is None:
                continue
            del watch.pending[job]
            host = monitor.seen(job).host
            if isinstance(reply, Failed):
                failure = msgspec.structs.replace(reply.failure, host=host or reply.failure.host)
                reply = Failed(failure=failure)
                self._blame(host, cause_of(failure).elsewhere)
            else:
                self._hosts.credit(host)
            yield self._forget(job), reply

    def _answer_held(self, monitor: WaveMonitor) -> Iterator[tuple[int, Reply]]:
        """Answer for held jobs; a job that a person or a policy holds may stay."""
        while monitor.states.held and not monitor.away:
            number = monitor.states.held.pop()
            job = monitor.jobs[number]
            seen = monitor.seen(job)
            failure = hold_of(job, seen)
            stays = cause_of(failure).name == "held" or not self._submits
            if seen.status != QueueStatus.HELD or stays:
                continue
            try:
                monitor.remove_one(job)
            except PoolError as error:
                self._raise_unless_away(error)
                monitor.states.held.append(number)
                return
            if self._owners.get(job) is monitor and job in self._asked:
                self._blame(seen.host, cause_of(failure).elsewhere)
                yield self._forget(job), Failed(failure=failure)

    def _forget(self, job: UnitName) -> int:
        """Forget a job that is answered, and return the number of its request."""
        self._owners.pop(job, None)
        return self._asked.pop(job).request

    def _blame(self, host: str, elsewhere: bool) -> None:
        """Avoid a machine on which one job after the other fails, and none ends well."""
        if not host or not elsewhere or not self._hosts.blame(host):
            return
        submitter = self._submitter
        if submitter is not None and submitter.possible({host, *self._hosts.bad}):
            self._observer.note(f"{host} fails one job after the other: it is avoided")
            for monitor in self._monitors:
                with contextlib.suppress(PoolError):  # later waves avoid it in any case
                    monitor.avoid(host)

    def _look(self, monitor: WaveMonitor) -> None:
        """Take in what is new; the batch system may not answer for a while."""
        away = self._away
        try:
            for job, seen in monitor.look():
                self._report(job, seen)
        except PoolError as error:
            self._raise_unless_away(error)
            if not away:
                self._observer.note(f"{error.message} Its jobs may go on; waiting for it.")
        if away and not self._away:
            self._observer.note(f"{self._queue.server} answers again")
        paused = monitor.paused
        if paused and paused != self._paused.get(monitor.wave.path):
            self._observer.note(paused)
        self._paused[monitor.wave.path] = paused

    @property
    def _away(self) -> bool:
        """Whether the batch system does not answer."""
        return any(monitor.away for monitor in self._monitors)

    def _raise_unless_away(self, error: PoolError) -> None:
        """Raise an error, unless the batch system does not answer, and not for too long."""
        if not is_unreachable(error):
            raise error
        since = [monitor.away for monitor in self._monitors if monitor.away]
        if time.monotonic() - min(since, default=math.inf) > PATIENCE:
            server = self._queue.server
            error.remedy = f"Nothing is lost: 'eventflock resume' goes on when {server} is back."
            raise error

    def _over(self, monitor: WaveMonitor) -> Iterator[UnitName]:
        """Yield the jobs asked for that are over since the last time."""
        while monitor.states.over:
            job = monitor.jobs[monitor.states.over.pop()]
            if self._owners.get(job) is monitor and job in self._asked:
                yield job

    def _give_back(self, counts: Counter[QueueStatus]) -> Iterator[tuple[int, Reply]]:
        """Answer for the jobs that stay on hold, when there is nothing else to wait for."""
        for monitor in self._monitors:
            for job, status in monitor.open_jobs().items():
                if status == QueueStatus.HELD and job in self._asked:
                    failure = hold_of(job, monitor.seen(job))
                    yield self._asked.pop(job).request, Failed(failure=failure)
        waiting = counts[QueueStatus.WAITING]
        if waiting:
            self._observer.note(
                f"{counts[QueueStatus.HELD]:,} held jobs keep {waiting:,} others from being made "
                f"(held jobs count for {self._queue.limit_of_held})."
            )

    # --- telling -------------------------------------------------------------------------------

    def _report(self, job: UnitName, seen: LastSeen) -> None:
        """Report why a job is held or came back, once for each reason."""
        key = f"{seen.status}: {seen.words}"
        self._reported[key] += 1
        if self._reported[key] > 1:
            return
        where = f" (on {seen.host})" if seen.host else ""
        what = "is held" if seen.status == QueueStatus.HELD else "went back to the queue"
        remedy = f" {seen.remedy}".rstrip()
        self._observer.note(f"job {job} {what}{where}: {seen.words}{remedy}")

    def _counts(self) -> Counter[QueueStatus]:
        total: Counter[QueueStatus] = Counter()
        for monitor in self._monitors:
            if not monitor.states.is_over:
                total += monitor.states.counts()
        return total

    def _state_in_words(self, counts: Counter[QueueStatus]) -> str:
        waiting = counts[QueueStatus.IDLE] + counts[QueueStatus.WAITING]
        words = [f"{counts[QueueStatus.RUNNING]:,} running", f"{waiting:,} idle"]
        words += ["others wait for room in the queue"] * bool(self._parked)
        others = (QueueStatus.COMPLETED, QueueStatus.HELD)
        words += [f"{counts[status]:,} {status}" for status in others if counts[status]]
        hosts = set().union(*(monitor.states.hosts() for monitor in self._monitors))
        return ", ".join(words) + (f" on {plural(len(hosts), 'host')}" if hosts else "")

    def _explain(self) -> None:
        """Report if no machine of the pool can run what waits."""
        found: dict[str, None] = {}
        for monitor in self._monitors:
            if monitor.states.counts()[QueueStatus.IDLE]:
                with contextlib.suppress(PoolError):
                    found[monitor.why_idle()] = None
        for why in filter(None, found):
            self._observer.note(why)
