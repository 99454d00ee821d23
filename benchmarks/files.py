"""The files that the benchmarks read: written once to `data/`, and used again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

Columns = Callable[[np.random.Generator, int, int], dict[str, Any]]
HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
CLUSTER = 100_000
WIDE_CLUSTER = 50_000
DIFFERENT = 4
FLAGS, GROUPS, MEMBERS = 304, 40, 15
"""With 3 numbers, and a counter for each group, these are 947 branches."""


def jets(events: int, seed: int) -> Path:
    """Name a file of simulated jets, 8 branches."""
    return DATA / f"jets-{events}-{seed}.root"


def wide(events: int, seed: int) -> Path:
    """Name a file with the 947 branches of a NanoAOD file."""
    return DATA / f"wide-{events}-{seed}.root"


def objects(events: int, seed: int) -> Path:
    """Name a file with the flat branches of jets, electrons, muons and missing energy."""
    return DATA / f"objects-{events}-{seed}.root"


def many(count: int) -> list[Path]:
    """Name small wide files, of 1,000 events each."""
    return [wide(1000, 100 + number) for number in range(count)]


def write_copies(paths: list[Path]) -> None:
    """Write small wide files: the first few, and copies of these with UUIDs of their own."""
    write_missing(paths[:DIFFERENT])
    data = [path.read_bytes() for path in paths[:DIFFERENT]]
    for number, path in enumerate(paths):
        if not path.exists():
            content = data[number % DIFFERENT]
            path.write_bytes(content.replace(_uuid(paths[number % DIFFERENT]), uuid4().bytes))


def _uuid(path: Path) -> bytes:
    import uproot

    with uproot.open(path) as file:
        found: bytes = file.file.uuid.bytes
        return found


def write_missing(paths: list[Path]) -> list[Path]:
    """Write the files that are not there yet, or not complete; return these."""
    missing = [path for path in paths if not _is_complete(path)]
    with ProcessPoolExecutor(2) as pool:
        for written in [pool.submit(_write, path) for path in missing]:
            written.result()
    return missing


def _is_complete(path: Path) -> bool:
    from eventflock.errors import InputError
    from eventflock.events.inspection import inspect_file

    try:
        trees = inspect_file(str(path)).trees
    except InputError:
        return False
    return [tree.entries for tree in trees] == [int(path.stem.split("-")[1])]


def _write(path: Path) -> None:
    from eventflock.core.atomic import atomic_path
    from eventflock.events.sample import write_sample

    kind, events, seed = path.stem.split("-")
    path.parent.mkdir(exist_ok=True)
    if kind == "jets":
        write_sample(path, int(events), seed=int(seed), cluster=CLUSTER)
        return
    make = _wide_columns if kind == "wide" else _object_columns
    with atomic_path(path) as partial:
        write_tree(partial, int(events), int(seed), make)


def write_tree(path: Path, events: int, seed: int, make: Columns) -> None:
    """Write a TTree `Events`."""
    import uproot

    rng = np.random.default_rng(seed)
    with uproot.recreate(path, compression=uproot.LZ4(1)) as file:
        for start in range(0, events, WIDE_CLUSTER):
            columns = make(rng, min(WIDE_CLUSTER, events - start), start)
            if not start:
                file.mktree("Events", columns)
            else:
                file["Events"].extend(columns)


def _object_columns(rng: np.random.Generator, count: int, start: int) -> dict[str, Any]:
    import awkward as ak

    columns: dict[str, Any] = {
        "MET_pt": rng.exponential(30, count).astype(np.float32),
        "MET_phi": rng.uniform(-np.pi, np.pi, count).astype(np.float32),
        "event": np.arange(start, start + count, dtype=np.uint64),
    }
    for name, mean in (("Jet", 4.0), ("Electron", 0.8), ("Muon", 1.0)):
        sizes = rng.poisson(mean, count)
        total = int(sizes.sum())
        members = {
            "pt": (rng.exponential(25, total) + 5).astype(np.float32),
            "eta": rng.normal(0, 1.5, total).astype(np.float32),
            "phi": rng.uniform(-np.pi, np.pi, total).astype(np.float32),
            "mass": rng.exponential(5, total).astype(np.float32),
            "charge": rng.choice(np.array([-1, 1], np.int32), total),
        }
        columns[name] = ak.unflatten(ak.zip(members), sizes)
    return columns


def _wide_columns(rng: np.random.Generator, count: int, start: int) -> dict[str, Any]:
    """947 branches; all but `MET_pt` are there to be in the way."""
    import awkward as ak

    flag = rng.random(count) < 0.1
    columns: dict[str, Any] = {
        "MET_pt": rng.exponential(40, count).astype(np.float32),
        "run": np.ones(count, np.uint32),
        "event": np.arange(start, start + count, dtype=np.uint64),
        **{f"HLT_{number:03d}": flag for number in range(FLAGS)},
    }
    for group in range(GROUPS):
        sizes = rng.integers(0, 4, count)
        content = rng.integers(0, 64, int(sizes.sum())).astype(np.float32)
        members = {f"v{member:02d}": content for member in range(MEMBERS)}
        columns[f"Group{group:02d}"] = ak.unflatten(ak.zip(members), sizes)
    return columns


def warm(paths: tuple[Path, ...]) -> None:
    """Bring the files into the page cache, so that no process is the one to pay for the disk."""
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
