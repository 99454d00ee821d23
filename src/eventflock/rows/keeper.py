"""What rows leave: into the result file of their job, from which `results.outputs` takes it out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from eventflock.core.structs import digest_file
from eventflock.core.task import Row, RowFile
from eventflock.core.units import say_bytes
from eventflock.errors import AnalysisError
from eventflock.results.format import KEPT
from eventflock.results.keeper import BYTES_MAX

__all__ = ["LOG_BYTES", "RowKeeper"]

LOG_BYTES = 8 * 10**6
"""Of what a program prints, the middle is left out beyond this."""
_BEGIN = 10**6


class RowKeeper:
    """Takes the files of the rows of one job.

    Parameters
    ----------
    folder
        For them; it is not there yet.
    job, piece
        Whose they are.
    """

    def __init__(self, folder: Path, job: int = 0, piece: str = "") -> None:
        self.folder = folder
        self._job, self._piece = job, piece
        self._bytes = 0
        self.rows: list[Row] = []
        self.members: dict[str, Path] = {}
        """Where the files are, by their names in the result file."""

    def check(self, outputs: Mapping[str, Path]) -> None:
        """Check that there is room for the outputs of one more row in the result file.

        Raises
        ------
        AnalysisError
            There is none.
        """
        size = self._bytes + sum(path.stat().st_size for path in outputs.values())
        if size > BYTES_MAX and self.rows:
            raise AnalysisError(
                f"The outputs of the {len(self.rows):,} rows of this job up to here are "
                f"{say_bytes(size)}; those of a job may be {say_bytes(BYTES_MAX)}.",
                remedy="Do fewer rows in each job: --group.",
            )

    def add(self, row: Row, outputs: Mapping[str, Path], logs: Mapping[str, Path]) -> None:
        """Keep the files of a row, which are moved away from where they are.

        What an earlier try of it has left is forgotten.
        """
        self._forget(row.number)
        place = self.folder / f"{row.number}"
        place.mkdir(parents=True, exist_ok=True)
        files: list[RowFile] = []
        for name, path in [*outputs.items(), *logs.items()]:
            is_log = name in logs and path == logs[name]
            if is_log and not path.stat().st_size:
                continue
            number = len(files)
            target = place / f"{number}"
            if is_log:
                _shorten(path)
            path.replace(target)
            member = f"{KEPT}{row.number}-{number}"
            self.members[member] = target
            size = target.stat().st_size
            self._bytes += size
            sha256 = digest_file(target)
            files.append(RowFile(name=name, size=size, sha256=sha256, member=member, is_log=is_log))
        self.rows.append(
            msgspec.structs.replace(row, files=tuple(files), job=self._job, piece=self._piece)
        )

    def _forget(self, number: int) -> None:
        for earlier in [row for row in self.rows if row.number == number]:
            self.rows.remove(earlier)
            for one in earlier.files:
                self._bytes -= one.size
                self.members.pop(one.member).unlink()


def _shorten(log: Path) -> None:
    """Leave out the middle of what was printed, if it is too much."""
    size = log.stat().st_size
    if size <= LOG_BYTES:
        return
    short = log.with_name(f"{log.name}.short")
    with log.open("rb") as source, short.open("wb") as target:
        target.write(source.read(_BEGIN))
        left_out = size - LOG_BYTES
        target.write(f"\n[... {left_out:,} bytes are left out here ...]\n".encode())
        source.seek(_BEGIN + left_out)
        shutil.copyfileobj(source, target)
    short.replace(log)
