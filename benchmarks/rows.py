"""Many rows of a short script, beside a shell loop: `python benchmarks/rows.py [--count N]`.

The script computes for ten milliseconds and leaves one small file. A shell loop starts it again and
again, on one core; eventflock does the same rows on two, in groups. The goal is 1.3 times half of
the loop's time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 1.3
SCRIPT = """
import sys, time
end = time.process_time() + 0.010
while time.process_time() < end:
    pass
with open("out.txt", "w") as file:
    file.write(sys.argv[1])
"""
LOOP = """
n=0
while [ $n -lt {count} ]; do
    mkdir loop/$n && cd loop/$n && {python} ../../short.py $n > ../$n.log 2>&1; cd ../..
    n=$((n + 1))
done
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="rows")
    parser.add_argument("--group", type=int, default=200, help="rows in a job")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rows-") as name:
        folder = Path(name)
        (folder / "short.py").write_text(SCRIPT)
        (folder / "loop").mkdir()
        loop = LOOP.format(count=options.count, python=sys.executable)
        by_loop = timed(["/bin/sh", "-c", loop], folder)
        words = ["map", "short.py", "--count", str(options.count), "--group", str(options.group)]
        command = [sys.executable, "-P", "-m", "eventflock", *words, "--workers", "2", "-q"]
        ours = timed([*command, "--out", "run", "--", "{index}"], folder)
        for number in range(options.count):
            assert (folder / f"loop/{number}/out.txt").read_text() == str(number)
            assert (folder / f"run/outputs/{number}/out.txt").read_text() == str(number)
    ratio = ours / (by_loop / 2)
    print(f"{options.count:,} rows of 10 ms in groups of {options.group}, two workers")
    print(f"  shell loop, one after the other  {by_loop:8.1f} s   half of it {by_loop / 2:.1f} s")
    print(f"  eventflock map                   {ours:8.1f} s   {ratio:.2f} of that (goal {GOAL})")


def timed(command: list[str], folder: Path) -> float:
    """Run a command, and return its wall time in seconds."""
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
