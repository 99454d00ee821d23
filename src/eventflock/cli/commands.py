"""What the commands do: call the library, and print what it says."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from eventflock.cli import publishing
from eventflock.cli.explaining import reason_lines
from eventflock.cli.printing import print_json
from eventflock.cli.progress import choose_observer
from eventflock.core.manifest import Manifest
from eventflock.core.options import Options
from eventflock.core.states import ResultStatus
from eventflock.core.units import say_bytes, say_duration
from eventflock.errors import listed, plural
from eventflock.runs import looking
from eventflock.runs.lifecycle import execute
from eventflock.runs.lifecycle import resume as resume_run
from eventflock.runs.lifecycle import show_submission as submission_of
from eventflock.runs.lifecycle import stop as stop_run
from eventflock.runs.lifecycle import watch as watch_run
from eventflock.runs.merging import merge_run, plot_run
from eventflock.runs.outcome import Outcome
from eventflock.runs.status import Status, status_of
from eventflock.runs.work import EventsWork, Work

__all__ = [
    "Show",
    "demo",
    "inspect",
    "merge",
    "merge_so_far",
    "plot",
    "resume",
    "run",
    "show_submission",
    "status",
    "stop",
    "watch",
]

SHOWN = 5
"""So many files are named."""


class Show(msgspec.Struct, frozen=True):
    """How to show what comes out."""

    as_json: bool
    quiet: bool
    plots: bool
    log: bool
    publish: str = ""


def show_submission(work: Work, options: Options, *, as_json: bool, quiet: bool) -> None:
    """Show what a run would submit."""
    observer = choose_observer(quiet=quiet or as_json)
    text, plan = submission_of(work, options, observer)
    if as_json:
        print_json({"submit": text, "jobs": len(plan.jobs), f"{plan.noun}s": plan.entries})
        return
    print(text, end="")


def watch(path: Path, options: Options, show: Show) -> None:
    """Follow a run."""
    publishing.check(show.publish)
    observer = choose_observer(quiet=show.quiet or show.as_json)
    _finish(watch_run(path, options, observer), show)


def stop(path: Path, as_json: bool) -> None:
    """End the jobs of a run."""
    stopped = stop_run(path)
    if as_json:
        print_json({"run": str(path), "removed": stopped.removed, "worker": stopped.worker})
        return
    print(f"removed   {plural(stopped.removed, 'job')} from the queue; what is done is kept")
    if stopped.worker:
        print(f"note      {stopped.worker} still works on it: end it, and stop again")
    print(f"go on     eventflock resume {shlex.quote(str(path))}")


def run(work: Work, options: Options, show: Show) -> None:
    """Run an analysis, or a script for the rows of a table."""
    publishing.check(show.publish, detach=options.detach)
    observer = choose_observer(quiet=show.quiet or show.as_json, pool=options.pool)
    _finish(execute(work, options, observer), show)


def resume(path: Path, options: Options, show: Show) -> None:
    """Go on with a run."""
    publishing.check(show.publish, detach=options.detach)
    observer = choose_observer(quiet=show.quiet or show.as_json, pool=options.pool)
    _finish(resume_run(path, options, observer), show)


def merge(path: Path, options: Options, show: Show) -> None:
    """Merge again."""
    observer = choose_observer(quiet=show.quiet or show.as_json)
    _finish(merge_run(path, options, observer), show)


def merge_so_far(path: Path, out: Path, show: Show) -> None:
    """Merge what there is so far into another folder."""
    found = looking.merge_so_far(path, out)
    plots = plot_run(out, log=show.log) if show.plots and found.plan.table is None else []
    manifest, noun = found.manifest, found.plan.noun
    if show.as_json:
        print_json(
            {
                "run": str(path),
                "complete": manifest.status == ResultStatus.COMPLETE,
                f"{noun}s": manifest.counters.events,
                f"{noun}s_planned": found.plan.entries,
                "result": str(found.result),
                "plots": [str(one) for one in plots],
            }
        )
        return
    state = "complete" if manifest.status == ResultStatus.COMPLETE else "SO FAR"
    print(f"{state:<9} {manifest.counters.events:,} of {found.plan.entries:,} {noun}s")
    print(f"result    {found.result}")
    for one in plots:
        print(f"plot      {one}")


def _finish(outcome: Outcome, show: Show) -> None:
    """Plot and report what there is, and then raise if something is missing."""
    plots: list[Path] = []
    if show.plots and outcome.manifest is not None:
        plots = plot_run(outcome.run.path, log=show.log)
    error = outcome.error()
    published: dict[str, str] = {}
    if show.publish and outcome.manifest is not None:
        quiet = show.quiet or show.as_json
        published = publishing.publish_at_end(outcome.run.path, show.publish, quiet=quiet)
    if show.as_json:
        print_json(_summary(outcome, plots) | {"published": published or None})
    elif outcome.detached:
        print(f"submitted {plural(outcome.submitted, 'job')}: {outcome.run.path}")
        print(f"follow    eventflock watch {shlex.quote(str(outcome.run.path))}")
    elif outcome.manifest is not None:
        _print_summary(outcome, plots)
        for what, address in published.items():
            print(f"{what:<9} {address}")
    if error is not None:
        raise error


def _summary(outcome: Outcome, plots: Sequence[Path]) -> dict[str, Any]:
    manifest, error = outcome.manifest, outcome.error()
    return {
        "run": str(outcome.run.path),
        "complete": outcome.complete,
        "accepted": outcome.accepted,
        "detached": outcome.detached,
        "submitted": outcome.submitted,
        "jobs": len(outcome.plan.jobs),
        "jobs_missing": sorted({state.job for state in outcome.absent}),
        f"{outcome.plan.noun}s": manifest.counters.events if manifest else 0,
        f"{outcome.plan.noun}s_planned": outcome.plan.entries,
        "result": str(outcome.run.merged) if manifest else None,
        "missing": manifest.missing if manifest else [],
        "files": outcome.plan.files,
        "files_unread": outcome.plan.unread,
        "counters": manifest.counters if manifest else None,
        "plots": [str(one) for one in plots],
        "outputs": str(outcome.run.outputs) if outcome.plan.table is not None else None,
        "error": {"kind": error.kind, "message": error.message, "remedy": error.remedy}
        if error
        else None,
    }


def _print_summary(outcome: Outcome, plots: Sequence[Path]) -> None:
    manifest = outcome.manifest
    if manifest is None:
        return
    events, planned = manifest.counters.events, outcome.plan.entries
    jobs = plural(len(outcome.plan.jobs), "job")
    if outcome.complete:
        both = [plural(events, outcome.plan.noun), *_second_trees(manifest)]
        print(f"complete  {' and '.join(both)}, each exactly once, in {jobs}")
    else:
        accepted = _accepted(manifest) if outcome.accepted else ""
        unread = len(manifest.unread)
        files = f"; {unread:,} of {plural(outcome.plan.files, 'file')} not read" if unread else ""
        print(f"PARTIAL   {events:,} of {planned:,} {outcome.plan.noun}s{files}{accepted}")
    if manifest.checked:
        print(f"checked   {plural(manifest.checked, 'file')}: as many entries as expected")
    if outcome.plan.table is not None:
        _print_rows(outcome, manifest)
        return
    print(f"result    {outcome.run.merged}")
    if outcome.run.processed.exists():
        print(f"processed {outcome.run.processed}")
    if outcome.manifest is not None and outcome.manifest.kept:
        kept = outcome.manifest.kept
        size = say_bytes(sum(one.size for one in kept))
        print(f"kept      {plural(len(kept), 'file')}, {size}: {outcome.run.kept}")
    for one in plots:
        print(f"plot      {one}")


def _print_rows(outcome: Outcome, manifest: Manifest) -> None:
    """Print where the files of rows are."""
    files = [one for row in manifest.rows for one in row.files if not one.is_log]
    size = say_bytes(sum(one.size for one in files))
    print(f"outputs   {plural(len(files), 'file')}, {size}: {outcome.run.outputs}")
    if any(one.is_log for row in manifest.rows for one in row.files):
        print(f"printed   {outcome.run.logs}")


def _accepted(manifest: Manifest) -> str:
    enough = f"{manifest.accepted:g}"
    if manifest.accepted_files and manifest.accepted_files < 1:
        enough += f" of the events and {manifest.accepted_files:g} of the files"
    return f", accepted: {enough} is enough"


def _second_trees(manifest: Manifest) -> list[str]:
    """Say how many entries of trees beside the events are in a result."""
    counts: Counter[str] = Counter()
    for part in manifest.coverage:
        counts[part.tree] += (part.stop - part.start) * part.second
    return [
        f"{plural(count, 'entry', 'entries')} of {tree!r}"
        for tree, count in counts.items()
        if count
    ]


def status(path: Path, as_json: bool) -> None:
    """Print how far a run is."""
    found = status_of(path)
    if as_json:
        print_json(found)
        return
    _print_status(found)


def _print_status(found: Status) -> None:
    done, share = found.events, 100 * found.events / max(found.events_planned, 1)
    print(f"run       {found.run}: {found.state}")
    print(f"analysis  {found.analysis}, made {found.created}")
    counts = ", ".join(f"{number:,} {name}" for name, number in found.jobs.items() if number)
    print(f"jobs      {sum(found.jobs.values()):,}: {counts}")
    print(
        f"{found.noun + 's':<9} {done:,} of {found.events_planned:,} ({int(share * 10) / 10:.1f} %)"
    )
    if found.unread:
        print(f"files     {found.files - len(found.unread):,} of {found.files:,}; not read:")
    for line in listed(found.unread, SHOWN):
        print(line)
    for line in queue_lines(found):
        print(line)
    for line in usage_lines(found):
        print(line)
    rows = [("", "forecast", "fact"), *found.forecast] if found.forecast else []
    for what, expected, fact in rows:
        print(f"  {what:<16} {expected:<34} {fact}")
    for problem in found.problems[:5]:
        where = f" [{problem.path} {problem.start:,} to {problem.stop:,}]" if problem.path else ""
        where = f" [row {problem.start:,}]" if found.noun == "row" else where
        print(f"problem   {plural(problem.jobs, 'job')}: {problem.message}{where}")
    if found.problems:
        print(f"why       eventflock why {shlex.quote(found.run)}")
    print(f"result    {found.result or 'not merged yet'}{found.label and ' ' + found.label}")
    if found.complete or found.busy:
        return
    print(f"go on     eventflock {'watch' if found.goes_on else 'resume'} {shlex.quote(found.run)}")


def usage_lines(found: Status) -> list[str]:
    """Describe what jobs took, and what they should ask for."""
    usage = found.usage
    if usage is None:
        return []
    peak = f"memory    at most {say_bytes(usage.memory_bytes)} in a job"
    if usage.memory_requested:
        peak += f", {usage.memory_requested} requested; {usage.memory_recommended_mb} MB is enough"
    waiting = 100 * usage.waiting_seconds / max(usage.wall_seconds, 1e-9)
    times = f"time      {say_duration(usage.wall_seconds)} in jobs, {waiting:.0f} % of it waiting"
    read = f"; {say_bytes(usage.bytes_read)} read" if found.noun == "event" else ""
    return [peak, f"{times}{read}"]


_STATUSES = {"completed": "ended (results to be fetched)"}
"""What needs more than its word."""


def queue_lines(found: Status) -> list[str]:
    """Describe the jobs that are in a queue."""
    if found.queue is None:
        return []
    counts, hosts = found.queue.counts, found.queue.hosts
    words = [f"{count:,} {_STATUSES.get(one, one)}" for one, count in sorted(counts.items())]
    named = ", ".join(hosts[:5]) + (f" and {len(hosts) - 5:,} more" if len(hosts) > 5 else "")
    lines = [f"queue     {', '.join(words) or 'nothing'}" + (f" on {named}" if hosts else "")]
    lines += reason_lines(found.queue)
    if found.queue.note:
        lines.append(f"note      {found.queue.note}")
    return lines


def plot(path: Path, *, log: bool, formats: Sequence[str], out: Path | None, as_json: bool) -> None:
    """Draw every histogram."""
    plots = plot_run(path, log=log, formats=[format_.strip() for format_ in formats], out=out)
    if as_json:
        print_json({"plots": [str(one) for one in plots]})
        return
    for one in plots:
        print(one)
    if not plots:
        print("There is no histogram of one or two dimensions in this result.")


def inspect(file: str, as_json: bool) -> None:
    """Show what is in a ROOT file."""
    from eventflock.events.inspection import inspect_file

    report = inspect_file(file)
    if as_json:
        print_json(report)
        return
    from rich.console import Console

    from eventflock.cli.inspecting import render_report

    render_report(report, Console(width=None if sys.stdout.isatty() else 200))


def demo(out: Path, workers: int | None) -> None:
    """Run the tutorial's analysis on a sample file."""
    from eventflock.cli.demo import EVENTS, EVENTS_PER_JOB, prepare

    analysis, sample = prepare(out)
    print(f"sample    {sample} ({EVENTS:,} events)")
    print(f"analysis  {analysis}")
    options = Options(workers=workers, events_per_job=EVENTS_PER_JOB, out=out / "run")
    outcome = execute(
        EventsWork(str(analysis), [str(sample)]), options, choose_observer(quiet=False)
    )
    _finish(outcome, Show(as_json=False, quiet=False, plots=True, log=False))
    by_hand = f"eventflock run {analysis} {sample} --events-per-job {EVENTS_PER_JOB}"
    print(f"\nThe same by hand:\n  {by_hand}")
