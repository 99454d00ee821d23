"""Trees of which an analysis reads little: what is opened, and on what the plan was made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

import eventflock as ef
from eventflock.core.observer import Observer
from eventflock.events import open_files
from eventflock.events.files import open_file
from eventflock.events.open_files import OpenFiles
from eventflock.events.reader import reader_of
from eventflock.events.scan import scan_file
from eventflock.failures.retries import Unit
from eventflock.pools.roles import Abilities
from eventflock.runs.folder import RunFolder
from eventflock.runs.scheduler import JobScheduler

BRANCHES = 60


def wide(path: Path, entries: int = 100, first: float = 0) -> Path:
    with uproot.recreate(path) as file:
        names = [f"b{number:02d}" for number in range(BRANCHES)]
        file.mktree("t", dict.fromkeys(names, "f8"))
        file["t"].extend(dict.fromkeys(names, np.arange(first, first + entries)))
    return path


def write(path: Path, body: str) -> Path:
    path.write_text(f"import awkward as ak\nimport eventflock as ef\n\n\n{body}")
    return path


@pytest.mark.parametrize(
    ("body", "branches", "share"),
    [
        ('return {"s": float(ak.sum(events.b07))}', ["b07"], 1 / BRANCHES),
        (
            'return {"s": float(ak.sum(events[events.b07 < 3]["b11"]))}',
            ["b07", "b11"],
            2 / BRANCHES,
        ),
        ('return {"n": len(events)}', [], 1.0),
        ('return {"s": float(events.b07[0])}', [], 1.0),  # it raises without events
    ],
)
def test_the_plan_says_on_which_branches_it_was_made(
    tmp_path: Path, body: str, branches: list[str], share: float
) -> None:
    file = wide(tmp_path / "a.root", entries=20_000)
    code = write(tmp_path / "a.py", f'@ef.analysis(tree="t")\ndef a(events):\n    {body}\n')
    ef.run(code, file, out=tmp_path / "run", workers=1)
    (dataset,) = RunFolder(tmp_path / "run").load_plan().plan.datasets
    assert list(dataset.branches) == branches
    assert dataset.share == pytest.approx(share, rel=0.2)


def test_a_branch_that_only_some_events_need_is_read_all_the_same(tmp_path: Path) -> None:
    file = wide(tmp_path / "a.root")
    body = """@ef.analysis(tree="t")
def a(events):
    x = events.b00
    if len(x) and x[-1] == 99:
        x = events.b01 + events.b02
    return {"s": float(ak.sum(x))}
"""
    result = ef.run(write(tmp_path / "a.py", body), file, jobs=2, chunk=50, out=tmp_path / "run")
    assert result["s"] == sum(range(50)) + 2 * sum(range(50, 100))


def test_one_opening_serves_scan_trial_and_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = open_file

    def count(path: str, **options: Any) -> Any:
        opened.append(path)
        return real(path, **options)

    monkeypatch.setattr("eventflock.events.open_files.open_file", count)
    files = [wide(tmp_path / f"{name}.root") for name in "ab"]
    body = '@ef.analysis(tree="t")\ndef a(events): return {"s": float(ak.sum(events.b00))}\n'
    code = write(tmp_path / "a.py", body)
    ef.run(code, files, jobs=5, pool="inline", out=tmp_path / "run")
    assert sorted(opened) == [str(file) for file in files]


def test_few_files_stay_open(tmp_path: Path) -> None:
    files = OpenFiles()
    paths = [str(wide(tmp_path / f"{number}.root")) for number in range(open_files.MOST + 2)]
    first = files.open(paths[0])
    assert files.open(paths[0]) is first
    for path in paths:
        files.open(path)
    assert files.open(paths[-1]).root.file.source.closed is False
    assert first.root.file.source.closed
    assert files.open(paths[0]) is not first
    files.close()
    assert not files._files


def test_a_file_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    path, other = wide(tmp_path / "a.root"), wide(tmp_path / "b.root", first=1000)
    files = OpenFiles()
    entry = scan_file(str(path), "t", files=files)
    assert float(reader_of(files, str(path), entry).chunk(0, 1).b00[0]) == 0
    shutil.copyfile(other, path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ef.EventflockError, match="changed since the run was planned"):
        reader_of(files, str(path), entry)
    again = scan_file(str(path), "t", files=files)
    assert float(reader_of(files, str(path), again).chunk(0, 1).b00[0]) == 1000
    files.close()


def test_a_fileset_may_be_given_as_it_is(tmp_path: Path) -> None:
    files = [str(wide(tmp_path / f"{name}.root")) for name in "ab"]
    fileset = {
        "one": {"files": {files[0]: "t"}, "metadata": {"weight": 2}},
        "two": {"files": [files[1]], "treename": "t"},
    }
    body = """@ef.analysis
def a(events, context):
    return {"n": len(events) * context.metadata.get("weight", 1)}
"""
    result = ef.run(write(tmp_path / "a.py", body), fileset, out=tmp_path / "run")
    assert (result["one", "n"], result["two", "n"]) == (200, 100)


@pytest.mark.parametrize("jobs", [1, 4])
def test_steps_of_a_fileset_are_all_that_is_done(tmp_path: Path, jobs: int) -> None:
    files = [str(wide(tmp_path / f"{name}.root")) for name in "ab"]
    says = {"object_path": "t", "steps": [[0, 20], [70, 100]], "num_entries": 100}
    fileset = {"d": {"files": {files[0]: says, files[1]: "t"}}}
    body = """@ef.analysis
def a(events):
    return {"n": len(events), "s": float(ak.sum(events.b05))}
"""
    code = write(tmp_path / "a.py", body)
    result = ef.run(code, fileset, out=tmp_path / "run", jobs=jobs, chunk=15)
    assert result.complete
    assert result["n"] == 150
    assert result["s"] == sum(range(20)) + sum(range(70, 100)) + sum(range(100))
    assert [(one.start, one.stop) for one in result.coverage] == [(0, 20), (70, 100), (0, 100)]
    (tmp_path / "run/result.zip").unlink()
    (tmp_path / "run/results/job-000000.zip").unlink()
    assert ef.resume(tmp_path / "run")["n"] == 150


def test_each_worker_goes_on_in_the_file_that_it_has_open(tmp_path: Path) -> None:
    """Neighbours among the jobs are of different files, as many as there are workers."""
    files = [wide(tmp_path / f"{n}.root", first=100 * n) for n in range(5)]
    code = write(tmp_path / "a.py", '@ef.analysis\ndef a(events):\n    return {"n": len(events)}\n')
    ef.run(code, files, out=tmp_path / "run", events_per_job=40, workers=1)
    run = RunFolder(tmp_path / "run")
    frozen = run.load_plan()
    units = [Unit(job=job) for job in range(frozen.job_count)]

    def order(readers: int) -> list[tuple[int, int]]:
        abilities = Abilities(readers=readers)
        jobs = JobScheduler(run, frozen, units, Observer(), abilities)
        given = [request.assignment for request in jobs]
        assert sorted(one.job for one in given) == list(range(frozen.job_count))
        return [(int(Path(one.files[0].path).stem), one.job) for one in given]

    assert [job for _, job in order(1)] == list(range(13))
    assert [file for file, _ in order(2)] == [0, 1, 0, 1, 0, 2, 3, 2, 3, 2, 4, 4, 4]
    assert [file for file, _ in order(9)][:5] == [0, 1, 2, 3, 4]
