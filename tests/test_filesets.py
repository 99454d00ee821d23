"""What the user can name, and what becomes of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflock.core.model import NO_UUID, Dataset, FileEntry
from eventflock.errors import InputError, UsageError
from eventflock.events.files import open_file
from eventflock.planning.datasets import assemble, check_entries, restrict
from eventflock.planning.filesets import NamedFile, expand
from eventflock.pools.cores import usable_cores


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.root",
        "a.root",
        "sub/c.root",
        "sub/deep/d.root",
        "x=y.root",
        "we ird [1].root",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


def names(here: Path, *words: str, **options: Any) -> list[tuple[str, str, str]]:
    return [
        (one.dataset, one.path.removeprefix(f"{here}/"), one.tree)
        for one in expand(words, **options)
    ]


def test_paths_globs_folders_and_urls(here: Path) -> None:
    assert names(here, "b.root", "a.root") == [("events", "b.root", ""), ("events", "a.root", "")]
    assert [path for _, path, _ in names(here, "?.root")] == ["a.root", "b.root"]
    assert [path for _, path, _ in names(here, "sub")] == ["sub/c.root", "sub/deep/d.root"]
    assert [path for _, path, _ in names(here, "sub/**/*.root")] == [
        "sub/c.root",
        "sub/deep/d.root",
    ]
    url = "root://host:1094//store/f.root?a=b"
    assert names(here, url) == [("events", url, "")]
    assert names(here, "we ird [1].root") == [("events", "we ird [1].root", "")]


def test_labels_and_trees(here: Path) -> None:
    assert names(here, "tt=a.root", "z=sub") == [
        ("tt", "a.root", ""),
        ("z", "sub/c.root", ""),
        ("z", "sub/deep/d.root", ""),
    ]
    assert names(here, "x=y.root") == [("events", "x=y.root", "")]
    assert names(here, "tt=a.root:dir/Events") == [("tt", "a.root", "dir/Events")]
    assert names(here, "https://h/f.root:Events", tree="T") == [
        ("events", "https://h/f.root", "Events")
    ]
    assert names(here, "a.root", tree="T", dataset="d") == [("d", "a.root", "T")]


def test_lists(here: Path) -> None:
    (here / "list.txt").write_text("# comment\n\na.root\n tt=b.root \nsub/*.root:T\n")
    assert names(here, "@list.txt") == [
        ("events", "a.root", ""),
        ("tt", "b.root", ""),
        ("events", "sub/c.root", "T"),
    ]
    (here / "empty.txt").write_text("# nothing\n")
    (here / "nested.txt").write_text("@list.txt\n")
    for word, kind in (
        ("@empty.txt", InputError),
        ("@lst.txt", InputError),
        ("@nested.txt", UsageError),
    ):
        with pytest.raises(kind):
            expand([word])
    with pytest.raises(InputError, match=r"did you mean 'list.txt'"):
        expand(["@lis.txt"])


FILESET = {
    "ttbar": {
        "files": {"a.root": "Events", "b.root": {"object_path": "Other"}},
        "metadata": {"xs": 831.0},
    },
    "data": ["sub/c.root"],
}


@pytest.mark.parametrize("packed", [False, True])
def test_filesets_as_coffea_writes_them(here: Path, packed: bool) -> None:
    text = json.dumps(FILESET).encode()
    name = "fileset.json.gz" if packed else "fileset.json"
    (here / name).write_bytes(gzip.compress(text) if packed else text)
    found = expand([name], tree="T")
    assert [(one.dataset, Path(one.path).name, one.tree) for one in found] == [
        ("ttbar", "a.root", "Events"),
        ("ttbar", "b.root", "Other"),
        ("data", "c.root", "T"),
    ]
    assert found[0].metadata == {"xs": 831.0}
    assert found[2].metadata == {}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "not json",
        '{"d": 1}',
        '{"d": {"files": {}}}',
        '{"d": {"files": {"a.root": 3}}}',
        '{"d": {"files": ["a.root"], "metadata": 1}}',
        '{"d": {"files": {"a.root": {"object_path": "t", "steps": [5], "num_entries": 10}}}}',
        '{"d": {"files": {"a.root": {"object_path": "t", "num_entries": "many"}}}}',
    ],
)
def test_filesets_that_cannot_be_understood(here: Path, content: str) -> None:
    (here / "f.json").write_text(content)
    with pytest.raises(UsageError, match=r"f\.json") as error:
        expand(["f.json"])
    assert error.value.remedy


OLD_FORMS = {
    "list": ["a.root"],
    "old": {"files": ["a.root", "b.root"], "treename": "Runs", "metadata": {"xs": 1}},
    "new": {"files": {"a.root": "Events", "b.root": {"object_path": None}}, "treename": "Lumi"},
    "ttbar": {
        "nominal": {"files": [{"path": "sub/c.root", "nevts": 7}], "nevts_total": 7},
        "scaleup": {"files": [{"path": "a.root"}]},
    },
}


@pytest.mark.parametrize("as_file", [False, True])
def test_filesets_of_every_age(here: Path, as_file: bool) -> None:
    (here / "f.json").write_text(json.dumps(OLD_FORMS))
    found = expand(["f.json"] if as_file else [OLD_FORMS], tree="T")
    assert [(one.dataset, Path(one.path).name, one.tree) for one in found] == [
        ("list", "a.root", "T"),
        ("old", "a.root", "Runs"),
        ("old", "b.root", "Runs"),
        ("new", "a.root", "Events"),
        ("new", "b.root", "Lumi"),
        ("ttbar__nominal", "c.root", "T"),
        ("ttbar__scaleup", "a.root", "T"),
    ]
    assert [one.entries for one in found] == [None] * 5 + [7, None]
    assert found[1].metadata == {"xs": 1}


def test_a_fileset_and_an_analysis_that_name_different_trees_are_refused(here: Path) -> None:
    fileset = {"d": {"files": ["a.root"], "treename": "Runs"}}
    with pytest.raises(UsageError, match="names the tree 'Runs' of"):
        expand([fileset], declared="Events")
    assert [one.tree for one in expand([fileset], declared="/Runs;2")] == ["Runs"]
    assert [one.tree for one in expand([fileset], declared="Events", tree="Runs")] == ["Runs"]
    assert [one.tree for one in expand(["a.root:Runs"], declared="Events")] == ["Runs"]
    assert [one.tree for one in expand(["a.root"], declared="Events")] == ["Events"]


def test_the_brackets_of_a_host_are_no_pattern(here: Path) -> None:
    (one,) = expand(["root://[::1]:1094//a.root"])
    assert one.path == "root://[::1]:1094//a.root"
    with pytest.raises(InputError, match="cannot be opened") as error:
        open_file(one.path)
    assert "use the host's name" in error.value.remedy


def test_numbered_files_of_a_pool_are_root_files(here: Path) -> None:
    name = "DAOD.12345._000001.pool.root.1"
    (here / "sub" / name).touch()
    (here / "sub" / "x.root.part").touch()
    assert [Path(one.path).name for one in expand(["sub"])][:2] == [name, "c.root"]
    (one,) = expand([f"sub/{name}:CollectionTree"])
    assert (Path(one.path).name, one.tree) == (name, "CollectionTree")


def test_steps_that_cover_the_file_are_no_restriction(here: Path) -> None:
    says = {"object_path": "t", "steps": [[0, 5], [5, 10]], "num_entries": 10}
    (here / "f.json").write_text(json.dumps({"d": {"files": {"a.root": says}}}))
    assert names(here, "f.json") == [("d", "a.root", "t")]


@pytest.mark.parametrize(
    ("steps", "asked"),
    [
        ([], ((0, 10),)),
        ([[0, 5], [5, 10]], ((0, 10),)),
        ([[5, 7], [0, 5]], ((0, 7),)),
        ([[8, 9], [2, 4]], ((2, 4), (8, 9))),
        ([[0, 0]], ((0, 0),)),
    ],
)
def test_steps_choose_entries(steps: list[list[int]], asked: tuple[tuple[int, int], ...]) -> None:
    says = {"object_path": "t", "steps": steps, "num_entries": 10, "replicas": ["/r.root"]}
    named = expand([{"d": {"files": {"/a.root": says, "/b.root": "t"}}}])
    ((dataset,), _) = assemble(named, [entry("/a.root", "a"), entry("/b.root", "b")])
    assert dataset.files[0].asked == asked
    assert dataset.files[0].replicas == ("/r.root",)
    assert dataset.files[1].asked == ((0, 10),)


def test_steps_that_are_empty_in_all_files_are_no_entries() -> None:
    named = expand([{"d": {"files": {"/a.root": {"object_path": "t", "steps": [[0, 0]]}}}}])
    with pytest.raises(InputError, match="There are no entries"):
        check_entries(assemble(named, [entry("/a.root", "a")]).datasets)


@pytest.mark.parametrize("steps", [[[0, 11]], [[-1, 3]], [[0, 5], [4, 6]], [[5, 3]]])
def test_steps_that_make_no_sense_are_refused(steps: list[list[int]]) -> None:
    named = expand([{"d": {"files": {"/a.root": {"object_path": "t", "steps": steps}}}}])
    with pytest.raises(InputError, match=r"The fileset asks for entries .* of /a\.root"):
        assemble(named, [entry("/a.root", "a")])


def entry(path: str, uuid: str, entries: int = 10) -> FileEntry:
    return FileEntry(path=path, tree="t", uuid=uuid, size=1, entries=entries)


def put_together(*entries: FileEntry) -> tuple[Dataset, ...]:
    return assemble([NamedFile(dataset="d", path=one.path) for one in entries], entries).datasets


def test_files_are_told_apart_by_uuid_and_without_one_by_path(here: Path) -> None:
    with pytest.raises(InputError, match="same file"):
        put_together(entry("/a", "u1"), entry("/b", "u1"))
    assert len(put_together(entry("/a", NO_UUID), entry("/b", NO_UUID))[0].files) == 2
    (here / "link.root").symlink_to(here / "a.root")
    with pytest.raises(InputError):
        put_together(entry(str(here / "a.root"), NO_UUID), entry(str(here / "link.root"), NO_UUID))


def test_empty_trees_are_fine_among_others_only() -> None:
    assert len(put_together(entry("/a", "1", 0), entry("/b", "2", 1))[0].files) == 2
    with pytest.raises(InputError, match="and so are all others"):
        check_entries(put_together(entry("/a", "1", 0), entry("/b", "2", 0)))


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100))
def test_ranges(start: int, stop: int, entries: int) -> None:
    dataset = Dataset(name="d", files=(entry("/a", "1", entries),))
    if start < stop <= entries:
        assert restrict([dataset], f"{start}:{stop}") == (start, stop)
    else:
        with pytest.raises((InputError, UsageError)):
            restrict([dataset], f"{start}:{stop}")
    assert restrict([dataset], ":") == (0, entries)


@pytest.mark.parametrize("text", ["", "5", "a:b", "1:2:3", "-1:5", "1.5:3"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="START:STOP"):
        restrict([Dataset(name="d", files=(entry("/a", "1"),))], text)


# --- cores ---------------------------------------------------------------------------------------


def cgroup(root: Path, line: str, files: dict[str, str]) -> int:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return usable_cores(root)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("line", "files", "cores"),
    [
        ("0::/job/a\n", {"sys/fs/cgroup/job/a/cpu.max": "max 100000"}, 64),
        ("0::/job/a\n", {"sys/fs/cgroup/job/cpu.max": "350000 100000"}, 4),
        ("0::/host/path\n", {"sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        (
            "0::/j\n",
            {"sys/fs/cgroup/j/cpu.max": "800000 100000", "sys/fs/cgroup/cpu.max": "200000 100000"},
            2,
        ),
        (
            "4:cpu,cpuacct:/j\n",
            {
                "sys/fs/cgroup/cpu/j/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/j/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            "4:cpu:/j\n",
            {
                "sys/fs/cgroup/cpu/j/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/j/cpu.cfs_period_us": "100000",
            },
            64,
        ),
        ("0::/j\n", {"sys/fs/cgroup/j/cpu.max": "nonsense"}, 64),
    ],
)
def test_quotas_limit_the_cores(
    tmp_path: Path, line: str, files: dict[str, str], cores: int
) -> None:
    assert cgroup(tmp_path, line, files) == cores


def test_affinity_limits_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5})
    assert usable_cores(tmp_path) == 2
