"""Time an analysis of a far file: five of 947 branches, through a slow connection of this machine.

    .venv/bin/python benchmarks/far.py                    40 ms each way, 10 MB/s
    .venv/bin/python benchmarks/far.py --delay 0.1 --rate 50e6
    .venv/bin/python benchmarks/far.py --xrootd           an XRootD server, which needs root
    .venv/bin/python benchmarks/far.py --coffea PYTHON    coffea beside it, from that environment

It prints what was moved and how long that took, beside a plain loop of uproot, what the connection
needs at least for the bytes, and what the analysis takes of a near file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import files

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.slow_proxy import running_proxy  # noqa: E402
from tests.test_remote import serving  # noqa: E402
from tests.xrootd import running_server  # noqa: E402

BRANCHES = ["MET_pt", "Group00_v06", "Group00_v07", "Group00_v08", "Group00_v09"]
ANALYSIS = f"""
import awkward as ak
import eventflock as ef


@ef.analysis(tree="Events")
def sums(events):
    return {{name: float(ak.sum(ak.flatten(events[name], axis=None))) for name in {BRANCHES!r}}}
"""
PLAIN = f"""
import sys
import awkward as ak
import uproot

for events in uproot.iterate({{sys.argv[1]: "Events"}}, {BRANCHES!r}, step_size=50_000):
    [float(ak.sum(ak.flatten(events[name], axis=None))) for name in {BRANCHES!r}]
"""
COFFEA = f"""
import sys
import awkward as ak
from coffea import processor
from coffea.nanoevents import BaseSchema


class Sums(processor.ProcessorABC):
    def process(self, events):
        return {{name: float(ak.sum(ak.flatten(events[name], axis=None))) for name in {BRANCHES!r}}}

    def postprocess(self, accumulator):
        pass


executor = processor.IterativeExecutor(status=False)
run = processor.Runner(executor=executor, schema=BaseSchema, chunksize=50_000)
run({{"d": {{"files": {{sys.argv[1]: "Events"}}}}}}, Sums())
"""
MOVED, TIME = 1.15, 1.25


@contextmanager
def serving_xrootd(path: Path, folder: Path) -> Iterator[int]:
    """Serve a file by a real XRootD server."""
    folder.mkdir()
    for one in (folder, folder.parent):
        one.chmod(0o755)
    with running_server(folder / "files", folder / "work") as server:
        shutil.copy(path, server.folder / path.name)
        (server.folder / path.name).chmod(0o644)
        yield int(server.url.rstrip("/").rpartition(":")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.04, help="seconds, each way")
    parser.add_argument("--rate", type=float, default=10e6, help="bytes per second")
    parser.add_argument("--xrootd", action="store_true", help="root:// instead of http://")
    parser.add_argument("--coffea", help="a Python with coffea")
    options = parser.parse_args()
    path = files.wide(250_000, 0)
    files.write_missing([path])
    size = compressed(path)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, text in (("sums", ANALYSIS), ("plain", PLAIN), ("coffea_", COFFEA)):
            (place / f"{name}.py").write_text(text)
        near = seconds(ours(place, str(path), "near"), place)
        start = "root://localhost:{}//" if options.xrootd else "http://127.0.0.1:{}/"
        served = serving_xrootd(path, place / "served") if options.xrootd else serving(files.DATA)
        with served as port, running_proxy(port, options.delay, options.rate) as proxy:
            url = start.format(proxy.port) + path.name
            programs = {
                "plain loop of uproot": [sys.executable, str(place / "plain.py"), url],
                "eventflock": ours(place, url, "far"),
            }
            if options.coffea:
                programs["coffea"] = [options.coffea, str(place / "coffea_.py"), url]
            transfer = size / options.rate
            print(f"touched branches, compressed: {size / 1e6:.2f} MB, {transfer:.2f} s to move")
            print(f"eventflock, near file: {near:.2f} s")
            for name, command in programs.items():
                proxy.received = 0
                took = seconds(command, place)
                print(f"{name}, far: {took:.2f} s, {proxy.received / 1e6:.2f} MB")
    most = MOVED * size + 1e6
    print(f"at most {TIME * max(transfer, near):.2f} s and {most / 1e6:.2f} MB are the goal")


def compressed(path: Path) -> int:
    import uproot

    with uproot.open(path) as file:
        tree = file["Events"]
        names = {*BRANCHES, *(name for name in tree if name == "nGroup00")}
        return int(sum(tree[name].compressed_bytes for name in names))


def ours(folder: Path, name: str, out: str) -> list[str]:
    command = str(Path(sys.executable).parent / "eventflock")
    more = ["--jobs", "1", "--chunk", "50000", "--workers", "1", "--no-plot", "--quiet"]
    return [command, "run", str(folder / "sums.py"), name, "--out", str(folder / out), *more]


def seconds(command: list[str], folder: Path) -> float:
    env = {**os.environ, "EVENTFLOCK_CACHE": str(folder / "cache")}
    begun = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
