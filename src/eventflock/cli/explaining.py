"""Printing why events are missing."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from eventflock.cli.printing import print_json
from eventflock.errors import plural
from eventflock.pools.batch.states import QueueState
from eventflock.results.cover import describe, describe_rows
from eventflock.runs.diagnosis import Explanation, Group, explain
from eventflock.runs.outcome import Have, accept_command

__all__ = ["reason_lines", "show"]

HOSTS = FILES = 5
WHAT = {"event": "analysis", "row": "script"}
"""What does them."""


def show(path: Path, as_json: bool) -> None:
    """Print what failed in a run and why."""
    found = explain(path)
    if as_json:
        print_json(found)
        return
    _print(found)


def _print(found: Explanation) -> None:
    lack = found.events_planned - found.events
    if not found.groups:
        print(f"{found.run}: nothing failed, every job has its result.")
    else:
        causes = plural(len(found.groups), "cause")
        unread = found.files_asked - found.files
        files = f", {unread:,} of {plural(found.files_asked, 'file')} not read" if unread else ""
        missing = f"{plural(lack, found.noun)} of {found.events_planned:,} missing"
        print(f"{found.run}: {missing}{files}, {causes}")
    for number, group in enumerate(found.groups, 1):
        print()
        _print_group(number, group, found.noun)
    said = reason_lines(found.queue) if found.queue is not None else []
    if said:
        print("\nIn the queue:", *said, sep="\n")
    if found.tried:
        print("\nOn the way:")
    for one in found.tried:
        print(f"  {one.cause}: {one.step} ({plural(one.times, 'time')})")
    if found.groups:
        print(f"\n{_what_next(found)}")


def reason_lines(queue: QueueState) -> list[str]:
    """Describe why jobs are held, have ended without a result, or cannot start."""
    lines = [f"reason    {plural(n, 'job')}: {words}" for words, n in queue.reasons.items()]
    waits = queue.waits.splitlines()
    return lines + [f"{'' if n else 'waits':10}{line}" for n, line in enumerate(waits)]


def _what_next(found: Explanation) -> str:
    """Describe what can be done about all of it together."""
    run = shlex.quote(found.run)
    if found.under_way:
        return f"Jobs are still under way: eventflock watch {run}"
    lines = [
        f"When files or machines are mended: eventflock resume {run}",
        f"If you change the {WHAT[found.noun]}: a new run, as resume uses the copy in this one.",
    ]
    if found.events:
        raised = any(group.cause in {"analysis", "returned", "program"} for group in found.groups)
        have = Have(found.events, found.events_planned, found.files, found.files_asked)
        content = accept_command(found.run, have, raised=raised)
        lines.append(
            f"All other {found.noun}s are in the result; to be content with them: {content}"
        )
    return "\n".join(lines)


def _print_group(number: int, group: Group, noun: str) -> None:
    size = f"{plural(group.events, noun)}, {plural(group.jobs, 'job')}"
    if group.files:
        size = f"{plural(len(group.files), 'file')} with an unknown number of events"
    print(f"{number}. {group.words}: {size}")
    for line in group.message.splitlines():
        print(f"   {line}")
    if group.hosts:
        shown = [f"{host} ({times:,})" for host, times in list(group.hosts.items())[:HOSTS]]
        more = len(group.hosts) - HOSTS
        print(f"   on {', '.join(shown)}" + (f" and {more:,} more" if more > 0 else ""))
    in_words = describe_rows if noun == "row" else describe
    for line in in_words(group.missing).splitlines():
        print(f" {line}")
    for path in group.files[:FILES]:
        print(f"   {path}")
    if len(group.files) > FILES:
        print(f"   and {len(group.files) - FILES:,} more files")
    _print_block("traceback", group.traceback.splitlines()[-12:])
    if group.output and group.output != group.traceback.splitlines()[-len(group.output) :]:
        _print_block("last output", group.output)
    if group.remedy:
        print(f"   what to do: {group.remedy}")
    if group.repeat:
        print(f"   repeat it:  {group.repeat}")
    sys.stdout.flush()


def _print_block(name: str, lines: list[str]) -> None:
    if lines:
        print(f"   {name}:")
    for line in lines:
        print(f"     | {line}")
