"""Submitting jobs in waves: all that ask for the same, as many at a time as a schedd takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from eventflock.core.model import Assignment
from eventflock.core.observer import Observer
from eventflock.errors import PoolError, plural
from eventflock.pools.htcondor.description import (
    AT_ONCE,
    Needs,
    Wants,
    describe,
    is_made_late,
    may_send_once,
)
from eventflock.pools.htcondor.following import WaveMonitor
from eventflock.pools.htcondor.schedd import Schedd
from eventflock.pools.htcondor.settings import Settings
from eventflock.pools.htcondor.wave import Cargo, WaveDraft, WaveRecord

__all__ = ["Submitter"]


class Submitter:
    """Submits jobs of one run.

    Parameters
    ----------
    folder
        The folder `pool` of the run.
    cargo, needs, settings
        What jobs bring along, ask for, and what the user says.
    schedd
        Where they go.
    observer
        Hears what a person should know.
    """

    def __init__(
        self,
        folder: Path,
        cargo: Cargo,
        needs: Needs,
        settings: Settings,
        schedd: Schedd,
        observer: Observer,
    ) -> None:
        self._folder = folder
        self._cargo = cargo
        self._needs = needs
        self._settings = settings
        self._schedd = schedd
        self._observer = observer
        self.under_way = False
        """Whether a wave is on its way to the schedd, or was when this was interrupted."""

    def submit(self, assignments: Iterable[Assignment], wants: Wants) -> Iterator[WaveMonitor]:
        """Submit jobs that want the same, and give the waves that they become."""
        rest = iter(assignments)
        most = None if is_made_late(self._settings) else AT_ONCE
        while True:
            draft = WaveDraft(self._folder, self._cargo)
            try:
                for one in islice(rest, most):
                    draft.add(one)
                if not draft.jobs:
                    return
                yield self._send(draft, wants)
            finally:
                draft.discard()

    def _send(self, draft: WaveDraft, wants: Wants) -> WaveMonitor:
        count = len(draft.jobs)
        wants = wants._replace(avoid=tuple(self.possible(wants.avoid)))
        common = self._sends_once(count)
        record = WaveRecord(
            identity="",
            created="",
            jobs=(),
            schedd=self._schedd.name,
            collector=self._settings.collector,
            spool=self._settings.spool,
        )
        wave = draft.finish(lambda mark: self._describe(mark, wants, common=common), record)
        self.under_way = True
        spool = self._settings.spool
        cluster = self._schedd.submit(wave.path, wave.description.read_text(), spool=spool)
        wave.set_cluster(cluster)
        self.under_way = False
        self._observer.note(
            f"submitted {plural(count, 'job')} as cluster {cluster} to {self._schedd.name}"
        )
        return WaveMonitor(wave, self._schedd)

    def _describe(self, identity: str, wants: Wants, *, common: bool) -> str:
        cargo = self._cargo
        return describe(
            self._folder.resolve().parent.name,
            identity,
            (Path(cargo.environment).name, Path(cargo.code).name),
            cargo.glibc,
            self._needs,
            self._settings,
            common=common,
            wants=wants,
        )

    def possible(self, avoid: Iterable[str]) -> list[str]:
        """Give the machines to avoid; none if there are no others, or nobody knows of any."""
        wanted = sorted(avoid)
        if not wanted:
            return []
        there: set[str] = set()
        with contextlib.suppress(PoolError):
            there = {str(one.get("Name", "")).partition("@")[2] for one in self._schedd.slots()}
        return wanted if there - set(wanted) else []

    def _sends_once(self, jobs: int) -> bool:
        """Tell whether the environment is sent once per node: where the pool can, and it pays."""
        wanted = self._settings.common_files
        if may_send_once(self._settings, self._needs, jobs):
            why = self._schedd.why_not_common()
        elif wanted and not self._settings.spool:
            why = f"{plural(jobs, 'job')} cannot all be made at once, as it needs."
        else:
            return False
        if why and wanted:
            self._observer.note(f"common_files: {why} Each job gets its own copy.")
        return not why
