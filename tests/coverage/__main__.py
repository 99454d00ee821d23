"""Run the tests under coverage, and print the ten least covered files.

Workers are children of this process; coverage follows them by itself. A node gets nothing of our
environment but what is packed. So a tiny distribution is installed for the time of the run: every
process imports it, and it says where the configuration is, and where the data go. A distribution
that every worker needs requires it for as long, so it is packed, and coverage with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DATA = ROOT / ".coverage-data"
NAME = "eventflock_coverage"
LEAST = 10
NEEDED = "cloudpickle"
"""The distribution that requires ours: a small one that is packed for every analysis."""
HOOK = f"""\
import os

os.environ.setdefault("COVERAGE_PROCESS_START", {str(ROOT / "pyproject.toml")!r})
os.environ.setdefault("COVERAGE_FILE", {str(DATA / "data")!r})
"""


@contextlib.contextmanager
def hook() -> Iterator[None]:
    """Install the distribution that starts coverage in every process, and take it away again."""
    site = Path(sysconfig.get_path("purelib"))
    info = f"{NAME}-1.dist-info"
    files = {
        f"{NAME}.py": HOOK,
        f"a0_{NAME}.pth": f"import {NAME}\n",  # before coverage's own a1_coverage.pth
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1\nRequires-Dist: coverage\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    (site / info).mkdir(exist_ok=True)
    (needed,) = site.glob(f"{NEEDED}-*.dist-info/METADATA")
    requires = f"Requires-Dist: {NAME}\n"
    plain = needed.read_text().replace(requires, "")
    try:
        needed.write_text(plain.replace("\nVersion:", f"\n{requires}Version:", 1))
        for name, text in files.items():
            (site / name).write_text(text)
        yield
    finally:
        needed.write_text(plain)
        for name in files:
            (site / name).unlink(missing_ok=True)
        (site / info).rmdir()


def coverage(*words: str) -> int:
    """Run a command of coverage on the data of this run."""
    env = {**os.environ, "COVERAGE_FILE": str(DATA / "data")}
    command = [sys.executable, "-m", "coverage", *words]
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def rows_of(report: dict[str, Any]) -> Iterator[tuple[float, str]]:
    """Yield the line of every file: how much is covered, and what is not."""
    for name, file in report["files"].items():
        found = file["summary"]
        share = found["percent_covered"]
        missing = f"{found['missing_lines']:5} of {found['num_statements']:5} lines"
        branches = f"{found['missing_branches']:4} of {found['num_branches']:4} branches"
        yield share, f"{share:6.1f} %  {missing}, {branches}  {name}"


def main(words: list[str]) -> int:
    """Run the tests that `words` choose, and report."""
    DATA.mkdir(exist_ok=True)
    for old in DATA.iterdir():
        old.unlink()
    with hook():
        status = coverage("run", "-m", "pytest", *words)
    if coverage("combine", "--quiet"):
        return 1
    coverage("json", "--quiet", "-o", str(DATA / "report.json"))
    report = json.loads((DATA / "report.json").read_text())
    rows = sorted(rows_of(report))
    print(f"\nNot covered, of {len(rows)} files; the {LEAST} least covered first:")
    for _, row in rows[:LEAST]:
        print(row)
    total = report["totals"]
    lines, branches = total["covered_lines"], total["covered_branches"]
    print(f"{100 * lines / total['num_statements']:6.1f} %  of all lines are covered")
    print(f"{100 * branches / total['num_branches']:6.1f} %  of all branches are covered")
    if status:
        print(f"Some tests did not pass: exit status {status}. ({shlex.join(words)})")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
