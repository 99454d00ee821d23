"""The sample file: its shape, its physics, and that it can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from eventflock.errors import UsageError
from eventflock.events.sample import COLLECTION, FIELDS, TREE, write_sample

# Counts per 100 GeV from 0 to 2000 GeV that the 2014 tutorial found in its 10,000 events.
REFERENCE = [
    *(19013, 11886, 4221, 1802, 1015, 534, 351, 272, 197, 129),
    *(123, 80, 58, 41, 31, 34, 17, 24, 8, 8),
]


def read(path: Path) -> Any:
    with uproot.open(path) as file:
        return file[TREE].arrays()


def flat(events: Any, field: str) -> Any:
    return ak.to_numpy(ak.flatten(events[f"{COLLECTION}_{field}"])).astype(np.float64)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "sample.root")


@pytest.fixture(scope="module")
def events(sample: Path) -> Any:
    return read(sample)


def test_shape(sample: Path) -> None:
    with uproot.open(sample) as file:
        assert file.classnames(cycle=False) == {
            "TTbar_14TeV_MU80": "TDirectory",
            "TTbar_14TeV_MU80/mytree": "TTree",
        }
        tree = file[TREE]
        assert tree.num_entries == 10_000
        assert tree.common_entry_offsets() == list(range(0, 10_001, 1000))
        assert tree.typenames() == {f"{COLLECTION}_n": "int32_t"} | {
            f"{COLLECTION}_{field}": "float[]" for field in FIELDS
        }


def test_events_are_physical(events: Any) -> None:
    energy, pt, mass, eta, phi = (flat(events, field) for field in FIELDS)
    np.testing.assert_allclose(energy, np.hypot(pt * np.cosh(eta), mass), rtol=1e-6)
    assert np.all(phi > -np.pi)
    assert np.all(phi <= np.pi)
    assert np.all(pt > 15e3)
    assert np.all(mass >= 0)
    assert np.all(energy < 7e6)
    ordered = events[f"{COLLECTION}_pt"]
    assert ak.all(ordered[:, 1:] <= ordered[:, :-1])


def test_multiplicity(events: Any) -> None:
    counts = ak.to_numpy(events[f"{COLLECTION}_n"])
    assert counts.tolist() == ak.num(events[f"{COLLECTION}_E"]).tolist()
    assert 3.9 < counts.mean() < 4.1
    assert 100 < np.count_nonzero(counts == 0) < 300


def test_spectrum_is_that_of_2014(events: Any) -> None:
    found, _ = np.histogram(flat(events, "E") / 1000, 20, (0, 2000))
    expected = np.array(REFERENCE)
    # both are counts: the variance of a difference is their sum
    chi2 = np.sum((found - expected) ** 2 / (found + expected))
    assert chi2 < 45  # one in a thousand for 20 bins


def test_same_seed_same_values(sample: Path, events: Any, tmp_path: Path) -> None:
    assert ak.array_equal(read(write_sample(tmp_path / "again.root")), events)
    other = read(write_sample(tmp_path / "other.root", seed=1))
    assert not ak.array_equal(other, events)


def test_clusters_do_not_change_values(events: Any, tmp_path: Path) -> None:
    path = write_sample(tmp_path / "short.root", 2500, cluster=700)
    with uproot.open(path) as file:
        assert file[TREE].common_entry_offsets() == [0, 700, 1400, 2100, 2500]
    assert ak.array_equal(read(path), events[:2500])


@pytest.mark.parametrize("compression", ["zlib", "lz4", "lzma", "zstd", "none"])
def test_compressions(compression: str, events: Any, tmp_path: Path) -> None:
    path = write_sample(tmp_path / "sample.root", 200, compression=compression)
    assert ak.array_equal(read(path), events[:200])


def test_no_events(tmp_path: Path) -> None:
    with uproot.open(write_sample(tmp_path / "empty.root", 0)) as file:
        assert file[TREE].num_entries == 0
        assert len(file[TREE].keys()) == 6


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"events": -1}, "events is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"cluster": 0}, "cluster is 0"),
        ({"level": 0}, "level is 0"),
        ({"level": 10}, "level is 10"),
        ({"compression": "zip"}, "compression is 'zip'"),
    ],
)
def test_wrong_arguments(wrong: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        write_sample(tmp_path / "sample.root", **wrong)
    assert raised.value.remedy
    assert not list(tmp_path.iterdir())


def test_folder_is_made_and_only_the_file_is_left(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "a" / "b" / "sample.root", 10)
    assert [one.name for one in path.parent.iterdir()] == ["sample.root"]


def test_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        write_sample(tmp_path / "file" / "sample.root", 10)


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sample.root"
    path.write_text("old")

    def disk_is_full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eventflock.events.sample._clusters", disk_is_full)
    with pytest.raises(UsageError, match="No space left on device"):
        write_sample(path, 10)
    assert [one.name for one in tmp_path.iterdir()] == ["sample.root"]
    assert path.read_text() == "old"
