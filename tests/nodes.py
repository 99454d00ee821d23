"""A job on a node that is a bare root file system."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from eventflock.core.frozen_plan import FrozenPlan
from eventflock.core.model import Assignment
from eventflock.core.observer import Observer
from eventflock.core.options import Options, PackOptions
from eventflock.core.structs import digest, to_json
from eventflock.packing.launching import launch_flags, receipt_template
from eventflock.packing.proving import Place, enter_root, launch
from eventflock.planning.prepare import prepare
from eventflock.pools.table import find_pool, open_workers
from eventflock.results.merge import merge
from eventflock.results.verify import JobFiles
from eventflock.runs.environment import interpreter_for, pack_plan
from eventflock.runs.folder import RunFolder
from eventflock.usercode.loading import locate
from eventflock.worker.once import OneJob


class Node:
    """One job on a node.

    Parameters
    ----------
    root
        The root file system of the node.
    analysis, data
        What it does.
    tmp_path
        For the run.
    options
        Of the run.
    """

    def __init__(
        self,
        root: Path,
        analysis: Path,
        data: Path,
        tmp_path: Path,
        options: Options = Options(),  # noqa: B008 -- it does not change
    ) -> None:
        ref, source = locate(str(analysis))
        python = interpreter_for(ref, source, PackOptions(), Observer())
        workers = open_workers(find_pool("local"), 1, python)
        try:
            plan = prepare(workers, ref, source, [str(data)], options, Observer()).plan
        finally:
            workers.close()
        self.environment = pack_plan(plan, source, PackOptions(), Observer())
        self.folder = root / f"scratch/{tmp_path.name}"
        self.folder.mkdir(parents=True)
        inside = f"/scratch/{tmp_path.name}"
        shutil.copy(data, self.folder / "input.root")
        entry = plan.datasets[0].files[0]
        moved = type(entry)(**{**_fields(entry), "path": f"{inside}/input.root"})
        dataset = plan.datasets[0]
        dataset = msgspec.structs.replace(dataset, files=(moved,))
        self.plan = type(plan)(**{**_fields(plan), "datasets": (dataset,)})
        self.run = RunFolder.create(tmp_path / "run", self.plan, source)
        self.frozen = FrozenPlan(self.plan, digest(to_json(self.plan)))
        self.place = Place(folder=self.folder, inside=inside, enter=enter_root(root))

    def job(self) -> Assignment:
        return self.frozen.assignment(0)

    def clean(self) -> None:
        shutil.rmtree(self.folder)

    def merged(self) -> Path:
        """Do the job, leave nothing on the node, and return the merged result."""
        try:
            told = self.launch()
            assert told.returncode == 0, told.stdout + told.stderr
            shutil.copy(self.folder / "result.zip", self.run.result(0))
        finally:
            self.clean()
        merge(self.frozen, [JobFiles(self.run.result(0))], self.run.merged)
        return self.run.merged

    def launch(self, glibc: str = "auto") -> subprocess.CompletedProcess[str]:
        job = OneJob(assignment=self.job(), environment=self.environment.digest)
        (self.folder / "job.json").write_bytes(to_json(job))
        words = ["-m", "eventflock.worker.once", "job.json", "result.zip"]
        template = receipt_template(self.job(), self.environment.digest)
        told, _ = launch(
            self.place,
            self.environment.archives,
            words,
            "result.zip",
            launch_flags(glibc),
            template,
        )
        return told


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
