"""What is in a ROOT file: its trees, their entries and clusters, and the size of every branch.

Only what describes the data is read, not the data, so that a large file far away is as quick as
a small one here. A tree or branch that uproot cannot read is listed with what is known of it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, Literal

from eventflock.core.structs import Frozen
from eventflock.events.files import clusters_of, find_trees, open_file, size_of

__all__ = ["BranchReport", "FileReport", "TreeReport", "inspect_file"]


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
    """Check whether uproot can read a branch, and its type as well as the file tells it."""
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
    """Return the class that ROOT wrote down for a branch, empty if it wrote none.

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
    """Return compressed bytes, uncompressed bytes and pages of a column over all clusters."""
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
    """Return the C++ type, or for a field without one its role: a record, a collection, ..."""
    record = ntuple.field_records[field_id]
    return str(record.type_name or record.struct_role.name.lower())
