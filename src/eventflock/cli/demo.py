"""The demonstration: a sample file, the tutorial's analysis, ten jobs, one plot."""

from __future__ import annotations

import shutil
from pathlib import Path

from eventflock.core.atomic import atomic_write
from eventflock.errors import UsageError
from eventflock.events.sample import write_sample

__all__ = ["ANALYSIS", "prepare"]

EVENTS = 10_000
EVENTS_PER_JOB = 1_000

ANALYSIS = Path(__file__).with_name("demo_jets.py").read_text()
"""The same as `examples/jets.py`."""


def prepare(folder: Path) -> tuple[Path, Path]:
    """Make the folder of the demonstration, with the analysis and the sample file.

    An earlier demonstration in it is replaced.

    Returns
    -------
    tuple of Path
        The analysis, and the sample file.

    Raises
    ------
    UsageError
        There is something else at `folder`.
    """
    analysis = folder / "jets.py"
    if folder.exists() and not (
        folder.is_dir() and (analysis.exists() or not any(folder.iterdir()))
    ):
        raise UsageError(
            f"{folder} exists already and is not a demo.", remedy="Choose another with --out."
        )
    if analysis.exists() and analysis.read_text() != ANALYSIS:
        raise UsageError(
            f"{analysis} is not that of the demo any more.",
            remedy=f"Run it: eventflock run {analysis} {folder / 'sample.root'}. For a new demo, "
            "choose another folder with --out.",
        )
    shutil.rmtree(folder / "run", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(analysis, ANALYSIS.encode())
    return analysis, write_sample(folder / "sample.root", events=EVENTS)
