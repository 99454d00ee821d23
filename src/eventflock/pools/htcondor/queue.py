"""The queue of a schedd, as the jobs of one run see it: describing waves and submitting them."""

from __future__ import annotations

from eventflock.core.observer import Observer
from eventflock.errors import plural
from eventflock.packing.environment import PackedEnvironment
from eventflock.pools.batch.needs import JobDemands, JobNeeds
from eventflock.pools.batch.submitter import BatchQueue
from eventflock.pools.batch.wave import Wave, WaveDraft
from eventflock.pools.htcondor.description import AT_ONCE, describe, is_made_late, may_send_once
from eventflock.pools.htcondor.monitor import CondorMonitor, CondorWaveRecord, Schedds
from eventflock.pools.htcondor.settings import Settings

__all__ = ["CondorQueue"]


class CondorQueue(BatchQueue):
    """Submits waves of one run to a schedd.

    Parameters
    ----------
    name
        Of the run, for people who look at the queue.
    needs, settings
        What jobs ask for, and what the user says.
    """

    server = "the schedd"
    limit_of_held = "max_idle"

    def __init__(self, name: str, needs: JobNeeds, settings: Settings) -> None:
        self._name = name
        self._needs = needs
        self._settings = settings
        self._schedds = Schedds(settings.schedd, settings.collector)

    @property
    def most_at_once(self) -> int | None:
        """The most jobs of one wave; None where the schedd makes them late."""
        return None if is_made_late(self._settings) else AT_ONCE

    def monitor(self, wave: Wave) -> CondorMonitor:
        """Return what follows a wave that was submitted."""
        return CondorMonitor(wave, self._schedds.of(wave.record(CondorWaveRecord)))

    def hosts(self) -> set[str]:
        """Return the machines of the pool."""
        slots = self._schedds.own.slots()
        return {str(slot.get("Name", "")).partition("@")[2] for slot in slots}

    def finish(
        self,
        draft: WaveDraft,
        environment: PackedEnvironment,
        demands: JobDemands,
        observer: Observer,
    ) -> Wave:
        """Make a wave of a draft, with the submit description for these demands."""
        settings = self._settings
        common = self._sends_once(len(draft.jobs), observer)

        def description(identity: str) -> str:
            return describe(
                self._name,
                identity,
                environment,
                self._needs,
                settings,
                common=common,
                demands=demands,
            )

        return draft.finish(
            description,
            CondorWaveRecord(
                schedd=self._schedds.own.name,
                collector=settings.collector,
                spool=settings.spool,
            ),
        )

    def submit(self, wave: Wave, observer: Observer) -> CondorMonitor:
        """Submit a wave, and return what follows it."""
        schedd, count = self._schedds.own, len(wave.record(CondorWaveRecord).jobs)
        text = wave.description.read_text()
        cluster = schedd.submit(wave.path, text, spool=self._settings.spool)
        wave.set_cluster(cluster)
        observer.note(f"submitted {plural(count, 'job')} as cluster {cluster} to {schedd.name}")
        return CondorMonitor(wave, schedd)

    def _sends_once(self, jobs: int, observer: Observer) -> bool:
        """Decide whether the environment is sent once per node: where the pool can, and it pays."""
        wanted = self._settings.common_files
        if may_send_once(self._settings, self._needs, jobs):
            why = self._schedds.own.why_not_common()
        elif wanted and not self._settings.spool:
            why = f"{plural(jobs, 'job')} cannot all be made at once, as it needs."
        else:
            return False
        if why and wanted:
            observer.note(f"common_files: {why} Each job gets its own copy.")
        return not why
