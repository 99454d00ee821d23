"""What is in a ROOT file: its trees, their entries and clusters, and the size of every branch.

Only what describes the data is read, not the data, so that a large file far away is as quick as
a small one here. A tree or branch that uproot cannot read is listed with what is known of it.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from eventflock.core.structs import Frozen
from eventflock.events.reader import clusters_of, find_trees, open_file, size_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

__all__ = ["BranchReport", "FileReport", "TreeReport", "inspect_file", "render_report"]


class BranchReport(Frozen, frozen=True):
    """One branch of a TTree or one field of an RNTuple.

    Attributes
    ----------
    name
        With the names of the branches it is in: `jets/jets.pt`, or `jets.pt` in an RNTuple.
    type
        C++ type, as far as it is known.
    compressed_bytes
        Size on disk of its own baskets or pages, without those of its sub-branches.
    uncompressed_bytes
        Size of the same, and of embedded baskets, in memory.
    baskets
        Number of baskets or pages.
    embedded
        How many of these baskets are inside the tree's own record, where ROOT leaves what it did
        not flush. They are not part of `compressed_bytes`.
    readable
        Whether uproot knows how to read it.
    """

    name: str
    type: str
    compressed_bytes: int
    uncompressed_bytes: int
    baskets: int
    embedded: int = 0
    readable: bool = True


class TreeReport(Frozen, frozen=True):
    """One TTree or RNTuple.

    Attributes
    ----------
    name
        With its directories, without its cycle: the newest cycle is reported.
    kind
        TNtuples are TTrees.
    entries
        Number of entries.
    clusters
        Entry offsets at which every branch starts a basket, with 0 and `entries`.
    branches
        In the order of the file, each followed by its sub-branches.
    title
        Title of a TTree, description of an RNTuple.
    record_bytes
        Size on disk of what describes the tree: its header, and baskets embedded there.
    problem
        Why the tree cannot be read; empty if it can.
    """

    name: str
    kind: Literal["TTree", "RNTuple"]
    entries: int
    clusters: tuple[int, ...]
    branches: tuple[BranchReport, ...]
    title: str = ""
    record_bytes: int = 0
    problem: str = ""


class FileReport(Frozen, frozen=True):
    """One ROOT file. `size` is in bytes, -1 where a server does not tell it."""

    path: str
    uuid: str
    size: int
    trees: tuple[TreeReport, ...]


def inspect_file(path: str) -> FileReport:
    """List the trees in all directories of a ROOT file, and the branches of each.

    Parameters
    ----------
    path
        A path or URL.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, or truncated.
    """
    with open_file(path) as root:
        return FileReport(
            path=path,
            uuid=str(root.file.uuid),
            size=size_of(path, root),
            trees=tuple(_tree(root, name, kind) for name, kind in find_trees(root).items()),
        )


def _tree(root: Any, name: str, kind: str) -> TreeReport:
    is_ntuple = "RNTuple" in kind
    label: Literal["TTree", "RNTuple"] = "RNTuple" if is_ntuple else "TTree"
    try:
        tree = root[name]
        return TreeReport(
            name=name,
            kind=label,
            entries=int(tree.num_entries),
            clusters=clusters_of(tree),
            branches=tuple(_fields(tree) if is_ntuple else _branches(tree)),
            title=tree.description if is_ntuple else tree.title,
            record_bytes=_ntuple_record(tree) if is_ntuple else _key_bytes(root, name),
        )
    except Exception as error:  # noqa: BLE001 -- the other trees are still worth a report
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
        return TreeReport(
            name=name, kind=label, entries=0, clusters=(), branches=(), problem=reason
        )


def _key_bytes(root: Any, name: str) -> int:
    return int(root.key(name).data_compressed_bytes)


def _ntuple_record(ntuple: Any) -> int:
    """Size of the header and the footer, which together are to an RNTuple what a key is."""
    return int(ntuple.member("fNBytesHeader")) + int(ntuple.member("fNBytesFooter"))


# --- TTree --------------------------------------------------------------------------------


def _branches(tree: Any) -> Iterator[BranchReport]:
    for name, branch in tree.iteritems(recursive=True, full_paths=True):
        embedded = branch.embedded_baskets
        readable, kind = _type_of(branch)
        yield BranchReport(
            name=name,
            type=kind,
            compressed_bytes=int(branch.compressed_bytes),
            # ROOT's total leaves out what was not flushed; fLast is where such a basket's data
            # end, in a buffer that is mostly larger
            uncompressed_bytes=int(branch.uncompressed_bytes)
            + sum(int(basket.member("fLast")) for basket in embedded),
            baskets=int(branch.num_baskets),
            embedded=len(embedded),
            readable=readable,
        )


def _type_of(branch: Any) -> tuple[bool, str]:
    """Tell whether uproot can read a branch, and its type as well as the file tells it."""
    try:
        # raises for an unknown type, and for a known one made of unknown parts
        branch.interpretation.awkward_form(branch.file)
        readable = True
    except Exception:  # noqa: BLE001 -- there are as many reasons as classes
        readable = False
    try:
        kind = str(branch.typename)
    except Exception:  # noqa: BLE001
        kind = "unknown"
    if kind == "unknown" or kind.startswith("(group of"):
        return readable, _class_of(branch) or kind
    return readable, kind


def _class_of(branch: Any) -> str:
    """Give the class that ROOT wrote down for a branch, empty if it wrote none.

    `fType` and `fStreamerType` are those of ROOT's TBranchElement and TVirtualStreamerInfo.
    """
    is_base = branch.member("fType", none_if_missing=True) == 1
    if is_base or branch.member("fStreamerType", none_if_missing=True) == 0:
        return str(branch.name)  # the branch of a base class is named after the class
    if branch.top_level:
        return str(branch.member("fClassName", none_if_missing=True) or "")
    try:
        return str(branch.streamer.typename)
    except Exception:  # noqa: BLE001 -- a damaged description is as good as none
        return ""


# --- RNTuple ------------------------------------------------------------------------------


def _fields(ntuple: Any) -> Iterator[BranchReport]:
    shown = {field.field_id: name for name, field in ntuple.iteritems(recursive=True)}
    sizes = {field_id: [0, 0, 0] for field_id in shown}
    records = ntuple.field_records
    for column in ntuple.column_records:
        # the parts of a std::vector or std::string have columns, but no name of their own
        owner = column.field_id
        while owner not in sizes:
            owner = records[owner].parent_field_id
        for part, size in enumerate(_column_sizes(ntuple, column)):
            sizes[owner][part] += size
    for field_id, name in shown.items():
        compressed, uncompressed, pages = sizes[field_id]
        yield BranchReport(
            name=name,
            type=_field_type(ntuple, field_id),
            compressed_bytes=compressed,
            uncompressed_bytes=uncompressed,
            baskets=pages,
        )


def _column_sizes(ntuple: Any, column: Any) -> tuple[int, int, int]:
    """Give compressed bytes, uncompressed bytes and pages of a column over all clusters."""
    pages = [
        page
        for cluster in ntuple.page_link_list
        if column.idx < len(cluster)  # a column that was added later is not in earlier clusters
        for page in cluster[column.idx].pages
    ]
    return (
        sum(int(page.locator.num_bytes) for page in pages),
        sum(-(-int(page.num_elements) * int(column.nbits) // 8) for page in pages),
        len(pages),
    )


def _field_type(ntuple: Any, field_id: int) -> str:
    """Give the C++ type, or for a field without one its role: a record, a collection, ..."""
    record = ntuple.field_records[field_id]
    return str(record.type_name or record.struct_role.name.lower())


# --- Showing it ---------------------------------------------------------------------------


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
    size = "unknown size" if report.size < 0 else _bytes(report.size)
    count = _count(len(report.trees), "tree")
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
        parts += [_count(tree.entries, "entry", "entries"), _clusters(tree.clusters)]
    if tree.title and tree.title != tree.name.rpartition("/")[2]:
        parts.append(repr(tree.title))
    return heading.append_text(_text("  " + ", ".join(part for part in parts if part)))


def _clusters(offsets: tuple[int, ...]) -> str:
    lengths = [stop - start for start, stop in itertools.pairwise(offsets)]
    if not lengths:
        return ""
    least, most = min(lengths), max(lengths)
    span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{_count(len(lengths), 'cluster')} of {span} entries"


def _table(tree: TreeReport, limit: int | None) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

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
            _bytes(branch.compressed_bytes) if branch.compressed_bytes else "-",
            _bytes(branch.uncompressed_bytes) if branch.uncompressed_bytes else "-",
            _ratio(branch),
            f"{branch.baskets:,}",
        )
    return table


def _indented(tree: TreeReport) -> Iterator[str]:
    """Give the names of branches, those of sub-branches without what they are in."""
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
        yield f"... and {_count(hidden, 'more branch', 'more branches')}"
    on_disk = sum(branch.compressed_bytes for branch in tree.branches)
    in_memory = sum(branch.uncompressed_bytes for branch in tree.branches)
    yield (
        f"{_count(len(tree.branches), 'branch', 'branches')}: {_bytes(on_disk)} on disk, "
        f"{_bytes(in_memory)} in memory; the tree's own record: {_bytes(tree.record_bytes)}"
    )
    embedded = sum(bool(branch.embedded) for branch in tree.branches)
    if embedded:
        whose = _count(embedded, "branch", "branches")
        yield f"The last baskets of {whose} were not flushed: they are in the tree's own record."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _bytes(size: int) -> str:
    from rich.filesize import decimal

    return decimal(size)


def _text(text: str, style: str = "") -> Text:
    """Make text that rich takes as it is; names in a file could hold markup or escape codes."""
    from rich.text import Text

    return Text(
        "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text), style
    )
