"""Files that an analysis keeps: out of the result files of jobs, into the folder `kept` of a run.

They are never added up: the merged result lists them, with checksums and entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from eventflock.core.manifest import Manifest
from eventflock.core.structs import is_intact
from eventflock.results.reader import ResultFile
from eventflock.results.verify import JobFiles

__all__ = ["bring_kept"]


def bring_kept(manifest: Manifest, files: Sequence[JobFiles], folder: Path) -> None:
    """Unpack the kept files of a merged result, and remove what is no longer in it.

    Parameters
    ----------
    manifest
        Of the merged result.
    files
        The result files of its jobs, in the order of the plan.
    folder
        Where they go.

    Raises
    ------
    ResultError
        A file of a job is damaged.
    """
    wanted = {folder / one.place: one for one in manifest.kept}
    for path in _files_in(folder):
        if path not in wanted:
            path.unlink()
    sources: dict[Path, list[Path]] = {}
    for path, one in wanted.items():
        source = files[one.job].of_piece(one.piece)
        if source is not None and not is_intact(path, one.size, one.sha256):
            sources.setdefault(source, []).append(path)
    for source, paths in sources.items():
        with ResultFile(source) as opened:
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                opened.unpack(wanted[path].member, path)


def _files_in(folder: Path) -> Iterable[Path]:
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
