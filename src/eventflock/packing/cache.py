"""The cache of packed archives, each named by its content and checked whenever it is used."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from eventflock.core.atomic import atomic_write
from eventflock.core.structs import digest_file, from_json, to_json
from eventflock.errors import EnvError

__all__ = ["Cache", "digest_in", "is_whole", "place_archive"]

T = TypeVar("T")
_ALIVE = ".alive"
"""Locked in a folder for temporary files while its process lives, on whichever machine."""
_YOUNG = 60.0
"""Seconds for a process between making such a folder and locking it."""
_DIGITS = 32
"""Hexadecimal digits of a SHA-256 in a name."""


def digest_in(path: Path) -> str:
    """Read the digest in the name of an archive."""
    return path.name.partition("-")[2].partition(".")[0]


def is_whole(path: Path) -> bool:
    """Check whether an archive is what the digest in its name says."""
    return digest_file(path).startswith(digest_in(path))


def place_archive(sources: Sequence[Path], target: Path) -> None:
    """Link or copy an archive under its own name, so that it stays if the cache is emptied."""
    for source in sources:
        with contextlib.suppress(OSError):  # the cache may be on another file system
            os.link(source.resolve(), target)
            return
    try:
        shutil.copyfile(sources[0], target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None


class Cache:
    """A folder of archives and of records by which they are found.

    Parameters
    ----------
    path
        The folder; by default `EVENTFLOCK_CACHE`, or `eventflock` in the user's cache folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self.path = path or Path(os.environ.get("EVENTFLOCK_CACHE") or Path(home) / "eventflock")

    @contextlib.contextmanager
    def working(self) -> Iterator[Path]:
        """Yield a folder for temporary files in the cache, and say what a full disk means.

        Raises
        ------
        EnvError
            The cache cannot be written. Nothing half-written stays behind.
        """
        scratch = None
        try:
            for folder in ("archives", "records", "locks", "work"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            self._sweep()
            scratch = Path(tempfile.mkdtemp(dir=self.path / "work"))
            with (scratch / _ALIVE).open("w") as held:
                with contextlib.suppress(OSError):
                    fcntl.flock(held, fcntl.LOCK_EX)
                yield scratch
        except OSError as error:
            raise self._cannot_write(error) from error
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)

    def _cannot_write(self, error: OSError) -> EnvError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return EnvError(
                f"There is no room left for packing in {self.path}: {error.strerror}.",
                remedy=f"Make room ('rm -r {self.path}' is safe), or set EVENTFLOCK_CACHE to "
                "a folder on another disk.",
            )
        where = error.filename or self.path
        return EnvError(
            f"Packing failed at {where}: {error.strerror or error}.",
            remedy=f"Check it; the cache is {self.path}, or what EVENTFLOCK_CACHE names.",
        )

    def _sweep(self) -> None:
        """Remove the scratch folders of processes that were killed: their locks are free."""
        for path in (self.path / "work").iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime < _YOUNG:
                    continue
                with (path / _ALIVE).open("a") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Let one process at a time do what `key` stands for; the lock ends with the process."""
        with (self.path / "locks" / key).open("a") as file:
            with contextlib.suppress(OSError):  # file systems without locks: names are content
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def recall(self, key: str, kind: type[T]) -> T | None:
        """Read a record; None if there is none, or one that cannot be read."""
        try:
            return from_json((self.path / "records" / f"{key}.json").read_bytes(), kind)
        except (OSError, msgspec.MsgspecError):
            return None

    def remember(self, key: str, record: object) -> None:
        """Write a record."""
        atomic_write(self.path / "records" / f"{key}.json", to_json(record))

    def keep(self, made: Path, prefix: str, suffix: str) -> Path:
        """Take in a finished archive under the name of its content."""
        name = f"{prefix}-{digest_file(made)[:_DIGITS]}{suffix}"
        target = self.path / "archives" / name
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        made.replace(target)
        return target

    def intact(self, name: str) -> Path | None:
        """Return an archive if it is there and whole; one that is not is removed."""
        path = self.path / "archives" / name
        if not name or not path.is_file():
            return None
        if is_whole(path):
            with contextlib.suppress(OSError):
                path.touch()  # `prune` keeps what was used
            return path
        path.unlink(missing_ok=True)
        return None

    def prune(self, seconds: float) -> tuple[int, int, int]:
        """Remove the archives that were not used for so long, and records that nothing can use.

        A run that needs one again makes it again, or has its own copy.

        Returns
        -------
        removed, freed, left
            Number of archives, and bytes of what was removed and of what stays.
        """
        if not (self.path / "archives").is_dir():
            return 0, 0, 0
        removed = freed = left = 0
        with self.working():
            oldest = time.time() - seconds
            for path in (self.path / "archives").iterdir():
                stat = path.stat()
                if stat.st_mtime > oldest:
                    left += stat.st_size
                    continue
                path.unlink(missing_ok=True)
                removed, freed = removed + 1, freed + stat.st_size
            for path in (self.path / "records").iterdir():
                if path.stat().st_mtime <= oldest:
                    path.unlink(missing_ok=True)
        return removed, freed, left
