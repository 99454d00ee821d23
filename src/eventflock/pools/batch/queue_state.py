"""The state of a run's jobs in the queue of a batch system."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable

from eventflock.core.halving import UnitName, unit_of
from eventflock.core.states import QueueStatus
from eventflock.errors import EventflockError
from eventflock.pools.batch.answers import end_in_words
from eventflock.pools.batch.monitor import WaveMonitor
from eventflock.pools.batch.states import LastSeen, QueueState

__all__ = ["collect_state"]


def collect_state(
    monitors: Iterable[WaveMonitor], units_there: set[UnitName]
) -> tuple[QueueState, set[int]]:
    """Return the state of the queue, and the numbers of the jobs that are in it.

    Parameters
    ----------
    monitors
        Of all waves of the run, the oldest first. They are closed.
    units_there
        The jobs and pieces that have a result file.

    Returns
    -------
    QueueState
    set of int
        The jobs that are in a queue, as a whole or with a piece.
    """
    notes: dict[str, None] = {}
    waits: dict[str, None] = {}
    total: Counter[QueueStatus] = Counter()
    hosts: set[str] = set()
    last: dict[UnitName, LastSeen] = {}
    queued: set[int] = set()
    for monitor in monitors:
        with contextlib.closing(monitor):
            _update(monitor, notes)
            counts = monitor.states.counts()
            total += counts
            if counts[QueueStatus.IDLE] and not counts[QueueStatus.RUNNING]:
                with contextlib.suppress(EventflockError):
                    waits[monitor.why_idle()] = None
            hosts |= monitor.states.hosts()
            last |= {job: monitor.seen(job) for job in monitor.jobs}
            queued |= {unit[0] for job in monitor.open_jobs() if (unit := unit_of(job))}
            if monitor.paused:
                notes[monitor.paused] = None
    left = {status: count for status, count in total.items() if count and not status.is_over()}
    state = QueueState(
        counts={str(status): count for status, count in left.items()},
        hosts=sorted(hosts),
        reasons=_reasons(last, units_there),
        waits="\n".join(filter(None, waits)),
        note="; ".join(notes),
    )
    return state, queued


def _update(monitor: WaveMonitor, notes: dict[str, None]) -> None:
    """Take in what the log of a wave says, and the batch system if it can be asked."""
    if monitor.note:
        notes[monitor.note] = None
    try:
        list(monitor.look())
        if monitor.open_jobs():
            monitor.ask()
    except EventflockError as error:
        notes[error.message] = None


def _reasons(last: dict[UnitName, LastSeen], units_there: set[UnitName]) -> dict[str, int]:
    """Count why jobs are held, and how jobs ended that have no result."""
    held = (seen for seen in last.values() if seen.status == QueueStatus.HELD)
    reasons = Counter(f"held: {seen.words}" for seen in held)
    # A job that was halved has ended as its pieces have.
    names = {str(name) for name in {*last, *units_there}}
    halved = {name[:end] for name in names for end in range(6, len(name)) if "-" in name}
    halved |= {name.rstrip("-") for name in halved}
    for job, seen in last.items():
        if seen.status.is_over() and job not in units_there and job not in halved:
            reasons[end_in_words(seen)] += 1
    return dict(reasons.most_common())
