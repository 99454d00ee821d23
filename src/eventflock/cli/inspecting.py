"""Showing what is in a ROOT file: a table for each tree."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventflock.core.units import say_bytes
from eventflock.errors import plural
from eventflock.events.inspection import BranchReport, FileReport, TreeReport

__all__ = ["render_report"]


def render_report(report: FileReport, console: Console, *, branches: int | None = None) -> None:
    """Print a report: a line for the file, and a table for each tree.

    Parameters
    ----------
    report
        From `inspect_file`.
    console
        Where to print.
    branches
        Show at most this many branches of a tree; all by default.
    """
    size = "unknown size" if report.size < 0 else say_bytes(report.size)
    count = plural(len(report.trees), "tree")
    line = _text(f"{report.path}: {size}, {count}, UUID {report.uuid}", "bold")
    console.print(line, soft_wrap=True)
    for tree in report.trees:
        console.print()
        console.print(_heading(tree), soft_wrap=True)
        if tree.problem:
            console.print(_text(f"cannot be read: {tree.problem}", "red"))
            continue
        console.print(_table(tree, branches))
        for note in _notes(tree, branches):
            console.print(_text(note, "dim"), soft_wrap=True)


def _heading(tree: TreeReport) -> Text:
    heading = _text(tree.name, "bold cyan")
    parts: list[str] = [tree.kind]
    if not tree.problem:
        parts += [plural(tree.entries, "entry", "entries"), _clusters(tree.clusters)]
    if tree.title and tree.title != tree.name.rpartition("/")[2]:
        parts.append(repr(tree.title))
    return heading.append_text(_text("  " + ", ".join(part for part in parts if part)))


def _clusters(offsets: tuple[int, ...]) -> str:
    lengths = [stop - start for start, stop in itertools.pairwise(offsets)]
    if not lengths:
        return ""
    least, most = min(lengths), max(lengths)
    span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{plural(len(lengths), 'cluster')} of {span} entries"


def _table(tree: TreeReport, limit: int | None) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("branch", overflow="fold")
    table.add_column("type", overflow="fold")
    for column in ("on disk", "in memory", "ratio", "baskets"):
        table.add_column(column, justify="right", no_wrap=True)
    for branch, name in zip(tree.branches[:limit], _indented(tree), strict=False):
        kind = branch.type if branch.readable else f"{branch.type} (not readable)"
        table.add_row(
            _text(name),
            _text(kind, "" if branch.readable else "yellow"),
            say_bytes(branch.compressed_bytes) if branch.compressed_bytes else "-",
            say_bytes(branch.uncompressed_bytes) if branch.uncompressed_bytes else "-",
            _ratio(branch),
            f"{branch.baskets:,}",
        )
    return table


def _indented(tree: TreeReport) -> Iterator[str]:
    """Yield the names of branches; those of sub-branches are indented, without their parents."""
    separator = "." if tree.kind == "RNTuple" else "/"
    depths: dict[str, int] = {}
    for branch in tree.branches:
        parent, _, last = branch.name.rpartition(separator)
        nested = parent in depths
        depths[branch.name] = depths[parent] + 1 if nested else 0
        yield "  " * depths[branch.name] + (last if nested else branch.name)


def _ratio(branch: BranchReport) -> str:
    if branch.embedded or not branch.compressed_bytes:
        return "-"
    return f"{branch.uncompressed_bytes / branch.compressed_bytes:.2f}"


def _notes(tree: TreeReport, limit: int | None) -> Iterator[str]:
    hidden = len(tree.branches) - len(tree.branches[:limit])
    if hidden:
        yield f"... and {plural(hidden, 'more branch', 'more branches')}"
    on_disk = sum(branch.compressed_bytes for branch in tree.branches)
    in_memory = sum(branch.uncompressed_bytes for branch in tree.branches)
    yield (
        f"{plural(len(tree.branches), 'branch', 'branches')}: {say_bytes(on_disk)} on disk, "
        f"{say_bytes(in_memory)} in memory; the tree's own record: {say_bytes(tree.record_bytes)}"
    )
    embedded = sum(bool(branch.embedded) for branch in tree.branches)
    if embedded:
        whose = plural(embedded, "branch", "branches")
        yield f"The last baskets of {whose} were not flushed: they are in the tree's own record."


def _text(text: str, style: str = "") -> Text:
    """Return text that rich prints as it is: names in a file could hold markup or escape codes."""
    return Text(
        "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text), style
    )
