"""The head of a TTree says what the whole of it would, where it says anything."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from eventflock.events import scan
from eventflock.events.files import clusters_of, find_trees, open_file
from eventflock.events.scan import scan_file
from eventflock.events.tree_head import _clusters, read_head


def write(path: Path, entries: int, branches: int = 3) -> Path:
    with uproot.recreate(path) as file:
        names = [f"branch_with_a_long_name_{n:03d}" for n in range(branches)]
        file.mktree("d/t", dict.fromkeys(names, "f8"))
        for start in range(0, entries, 100):
            size = min(100, entries - start)
            file["d/t"].extend(dict.fromkeys(names, np.ones(size)))
    return path


def test_real_files_say_the_same_in_their_head(data_dir: Path) -> None:
    told = 0
    for path in sorted(data_dir.glob("*.root")):
        with open_file(str(path)) as root:
            for name in find_trees(root):
                head, tree = read_head(root, name), root[name]
                if head is None:
                    continue
                assert (head.entries, head.bytes) == (tree.num_entries, tree.uncompressed_bytes)
                if head.clusters:
                    told += 1
                    assert head.clusters == clusters_of(tree)
    assert told


def test_a_wide_tree_of_few_entries_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = write(tmp_path / "wide.root", 250, branches=200)
    whole = scan_file(str(write(tmp_path / "narrow.root", 250)))
    assert whole.clusters == (0, 100, 200, 250)
    monkeypatch.setattr(scan, "clusters_of", lambda _: pytest.fail("it was read whole"))
    found = scan_file(str(wide))
    assert (found.entries, found.tree, found.clusters) == (250, "d/t", (0, 250))
    assert found.entry_bytes * 250 == 200 * 250 * 8 or found.entry_bytes > 200 * 8
    monkeypatch.undo()
    monkeypatch.setattr(scan, "SMALL", 249)
    assert scan_file(str(wide)).clusters == (0, 100, 200, 250)


def test_a_version_that_is_not_known_is_read_whole(tmp_path: Path, data_dir: Path) -> None:
    shutil.copy(data_dir / "uproot-HZZ.root", tmp_path / "old.root")
    with open_file(str(tmp_path / "old.root")) as root:
        assert read_head(root, "events") is None
    assert scan_file(str(tmp_path / "old.root")).entries == 2421


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(-3, 20)), max_size=4),
    st.integers(0, 120),
    st.integers(-5, 40),
)
def test_clusters_are_those_that_root_walks_over(
    ranges: list[tuple[int, int]], entries: int, flush: int
) -> None:
    ends, total = [], 0
    for length, _ in ranges:
        total += length
        ends.append(total - 1)
    sizes = [size for _, size in ranges]
    found = _clusters(
        {"entries": entries, "range_ends": ends, "range_sizes": sizes, "auto_flush": flush}
    )
    wanted, entry = {0, entries}, 0
    while entry < entries:  # TTree::TClusterIterator::Next
        place = next((n for n, end in enumerate(ends) if entry <= end), None)
        begin = 0 if not place else ends[place - 1] + 1
        if place is None:
            begin, end, size = (ends[-1] + 1 if ends else 0), entries, flush
        else:
            end, size = ends[place] + 1, sizes[place]
        if size <= 0:
            assert found == ()
            return
        entry = min(begin + ((entry - begin) // size + 1) * size, end, entries)
        wanted.add(entry)
    assert found == tuple(sorted(wanted))


def test_a_damaged_head_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", 10)
    with uproot.open(path) as root:
        key = root.key("d/t")
        begin, end = key.fSeekKey + key.fKeylen, key.fSeekKey + key.fNbytes
    data = bytearray(path.read_bytes())
    data[begin:end] = struct.pack(">I", 0x40000001) * ((end - begin) // 4) + bytes(
        (end - begin) % 4
    )
    path.write_bytes(data)
    with pytest.raises(Exception, match=r"a\.root: the tree 'd/t' cannot be read"):
        scan_file(str(path))
