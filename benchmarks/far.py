"""Time an analysis of a far file: five of 947 branches, through a slow connection of this machine.

    .venv/bin/python benchmarks/far.py                    40 ms each way, 10 MB/s
    .venv/bin/python benchmarks/far.py --delay 0.1 --rate 50e6

It prints what was moved and how long that took, beside a plain loop of uproot, what the connection
needs at least for the bytes, and what the analysis takes of a near file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import files

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.slow_proxy import running_proxy  # noqa: E402
from tests.test_remote import serving  # noqa: E402

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
MOVED, TIME = 1.15, 1.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.04, help="seconds, each way")
    parser.add_argument("--rate", type=float, default=10e6, help="bytes per second")
    options = parser.parse_args()
    path = files.wide(250_000, 0)
    files.write_missing([path])
    size = compressed(path)
    with serving(files.DATA) as port, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "sums.py").write_text(ANALYSIS)
        (place / "plain.py").write_text(PLAIN)
        near = seconds(ours(place, str(path), "near"), place)
        with running_proxy(port, options.delay, options.rate) as proxy:
            url = f"http://127.0.0.1:{proxy.port}/{path.name}"
            far = seconds(ours(place, url, "far"), place)
            moved, proxy.received = proxy.received, 0
            plain = seconds([sys.executable, str(place / "plain.py"), url], place)
            plain_moved = proxy.received
    transfer = size / options.rate
    print(f"touched branches, compressed: {size / 1e6:.2f} MB, {transfer:.2f} s for the connection")
    print(f"near file: {near:.2f} s")
    print(f"plain loop of uproot, far: {plain:.2f} s, {plain_moved / 1e6:.2f} MB")
    most, larger = MOVED * size + 1e6, max(transfer, near)
    print(f"eventflock, far: {far:.2f} s, {moved / 1e6:.2f} MB", end="")
    print(f" (at most {TIME * larger:.2f} s and {most / 1e6:.2f} MB)")


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
