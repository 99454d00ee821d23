"""Files that an analysis writes and keeps: into the result file of their job.

So they come back from wherever jobs run, with a checksum, and only with the entries that they were
written for. `kept` takes them out again.
"""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path

from eventflock.core.manifest import Coverage, KeptFile
from eventflock.core.structs import digest_file
from eventflock.core.units import say_bytes
from eventflock.errors import AnalysisError, plural

__all__ = ["BYTES_MAX", "FILES_MAX", "Keeper"]

FILES_MAX = 10_000
"""Files that one job may keep."""
BYTES_MAX = 2**31
"""Bytes that they may have together."""
NAME_MAX = 100


class Keeper:
    """Takes the files of one job.

    Parameters
    ----------
    folder
        Where they are written, which is not there yet.
    job, piece
        Whose files these are.
    """

    def __init__(self, folder: Path, job: int = 0, piece: str = "") -> None:
        self._folder = folder
        self._job, self._piece = job, piece
        self._parts = 0
        self._names: dict[str, Path] = {}
        self.kept: list[KeptFile] = []
        self.members: dict[str, Path] = {}
        """Where those that are kept are, by their names in the result file."""

    def begin(self) -> None:
        """Begin with other entries; what was not kept is forgotten."""
        for path in self._names.values():
            with contextlib.suppress(OSError):
                path.unlink()
        self._names = {}
        self._parts += 1

    def path_for(self, name: str) -> Path:
        """Return where to write a file.

        Raises
        ------
        AnalysisError
            The name has a folder in it, or is taken.
        """
        plain = name and Path(name).name == name and not name.startswith(".") and "\0" not in name
        if not plain or len(name.encode()) > NAME_MAX:
            raise AnalysisError(
                f"context.keep({name!r}) takes the name of a file, without folders, of at most "
                f"{NAME_MAX} bytes.",
                remedy="Write to the path that it returns: path = context.keep('odd.png').",
            )
        if name in self._names:
            raise AnalysisError(
                f"context.keep({name!r}) was called twice for the same events.",
                remedy="Give each file of a chunk a name of its own.",
            )
        place = self._folder / f"{self._parts:06d}"
        place.mkdir(parents=True, exist_ok=True)
        self._names[name] = place / name
        return self._names[name]

    def check(self, of: Coverage) -> None:
        """Check the files that were written for some entries.

        Raises
        ------
        AnalysisError
            One was not written, or is no file; or there are too many, or too large ones.
        """
        for name, path in self._names.items():
            kind = path.lstat().st_mode if path.is_symlink() or path.exists() else 0
            if not stat.S_ISREG(kind):
                there = ", ".join(sorted(one.name for one in path.parent.iterdir())) or "nothing"
                what = "is no plain file" if kind else f"was not written; there is {there}"
                raise AnalysisError(
                    f"The file {name!r} that context.keep was asked for {what} (entries "
                    f"{of.start:,} to {of.stop:,} of {of.path}).",
                    remedy="Write a file to the path that context.keep returns, and close it.",
                )
        files = len(self.kept) + len(self._names)
        size = sum(one.size for one in self.kept) + sum(
            path.stat().st_size for path in self._names.values()
        )
        if files > FILES_MAX or size > BYTES_MAX:
            raise AnalysisError(
                f"A job may keep {plural(FILES_MAX, 'file')} of together {say_bytes(BYTES_MAX)}, "
                f"and this one has {plural(files, 'file')} of {say_bytes(size)}.",
                remedy="Keep fewer, or make more jobs (--jobs).",
            )

    def commit(self, of: Coverage) -> None:
        """Keep the files that were checked: their entries are done."""
        for name, path in self._names.items():
            member = f"kept/{len(self.kept):05d}-{name}"
            self.members[member] = path
            self.kept.append(
                KeptFile(
                    name=name,
                    of=of,
                    size=path.stat().st_size,
                    sha256=digest_file(path),
                    job=self._job,
                    piece=self._piece,
                    member=member,
                )
            )
        self._names = {}
