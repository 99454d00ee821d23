"""What rows left: out of the result files of jobs, into folders of the run.

The files of a row appear all at once, by a rename, and are those of one complete run of that row.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from eventflock.core.structs import is_intact
from eventflock.core.task import Row, RowFile
from eventflock.results.reader import ResultFile
from eventflock.results.verify import JobFiles

__all__ = ["OUTPUTS", "bring_rows"]

OUTPUTS = "outputs"
"""The folder of a run with the folders of rows."""

_PART = ".part"


def bring_rows(rows: Iterable[Row], files: Sequence[JobFiles], outputs: Path, logs: Path) -> None:
    """Unpack what rows left, where it is not there already, and what they printed.

    Parameters
    ----------
    rows
        How they ended; those that failed have only what they printed.
    files
        The result files of the jobs, in the order of the plan.
    outputs, logs
        Folders of the run: each row has a folder of its own in the first, and up to two files in
        the second.

    Raises
    ------
    ResultError
        A file of a job is damaged.
    """
    outputs.mkdir(exist_ok=True)
    logs.mkdir(exist_ok=True)
    for leftover in outputs.glob(f".*{_PART}"):
        shutil.rmtree(leftover, ignore_errors=True)
    sources: dict[Path, list[Row]] = {}
    for row in rows:
        source = files[row.job].of_piece(row.piece)
        if source is not None and not _is_there(row, outputs, logs):
            sources.setdefault(source, []).append(row)
    for source, some in sources.items():
        with ResultFile(source) as opened:
            for row in some:
                _bring(row, opened, outputs, logs)


def _log_of(row: int, stream: str, logs: Path) -> Path:
    """Return where the file is with what a row printed on `stdout` or `stderr`."""
    return logs / f"{row}.{stream}"


def _bring(row: Row, opened: ResultFile, outputs: Path, logs: Path) -> None:
    for one in row.files:
        if one.is_log:
            opened.unpack(one.member, _log_of(row.number, one.name, logs), flush=False)
    if not row.ok:
        return
    target = outputs / str(row.number)
    made = outputs / f".{row.number}{_PART}"
    made.mkdir()
    for one in _outputs(row):
        path = made / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        opened.unpack(one.member, path, flush=False)
    if target.is_symlink() or target.exists():
        _remove(target)
    made.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _outputs(row: Row) -> list[RowFile]:
    return [one for one in row.files if not one.is_log]


def _is_there(row: Row, outputs: Path, logs: Path) -> bool:
    """Check whether all that a row left has been unpacked, and nothing else is there."""
    for one in row.files:
        if one.is_log and not is_intact(_log_of(row.number, one.name, logs), one.size, one.sha256):
            return False
    if not row.ok:
        return True
    folder = outputs / str(row.number)
    wanted = {one.name: one for one in _outputs(row)}
    found = set()
    if not folder.is_dir():
        return False
    for place, _, names in os.walk(folder):
        found |= {str(Path(place, name).relative_to(folder)) for name in names}
    return found == set(wanted) and all(
        is_intact(folder / name, one.size, one.sha256) for name, one in wanted.items()
    )
