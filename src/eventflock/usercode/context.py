"""What an analysis may know of a chunk beside its events."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from eventflock.usercode.luminosity import mask

__all__ = ["Context"]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chunk comes from: the optional second positional argument of an analysis.

    Attributes
    ----------
    dataset
        Name of the dataset.
    metadata
        What the fileset says about it.
    file, tree
        Path or URL, and name of the tree in it.
    start, stop
        The entries of the chunk, in the file's own counting.
    seed
        What `rng` begins with.
    """

    dataset: str
    metadata: dict[str, Any]
    file: str
    tree: str
    start: int
    stop: int
    keeper: Callable[[str], Path] | None = None
    """Takes files to keep; where nobody does, they are written to a temporary folder."""
    seed: tuple[int, ...] = (0,)
    begun: list[Any] = []
    """The generator, once it was asked for."""

    @property
    def rng(self) -> Any:
        """Random numbers that are the same whenever and wherever this chunk is done.

        Returns
        -------
        numpy.random.Generator
            Seeded by the seed of the run (`--seed`), the file's UUID, its tree, and `start`.

        Examples
        --------
        >>> smeared = pt * context.rng.normal(1, 0.1, len(pt))  # doctest: +SKIP
        """
        if not self.begun:
            import numpy as np

            self.begun.append(np.random.default_rng(self.seed))
        return self.begun[0]

    def lumi_mask(self, path: str | Path, runs: Any, sections: Any) -> Any:
        """Find the events of certified luminosity sections.

        Parameters
        ----------
        path
            A golden JSON, `{"273158": [[1, 12], [15, 80]]}`. It goes along with the jobs.
        runs, sections
            Numbers of run and luminosity section, one for each event.

        Returns
        -------
        np.ndarray
            Of bool, one for each event.

        Raises
        ------
        AnalysisError
            It is no golden JSON.

        Examples
        --------
        >>> good = events[context.lumi_mask("golden.json", events.run, events.luminosityBlock)]
        ... # doctest: +SKIP
        """
        return mask(path, runs, sections)

    def afresh(self) -> Context:
        """Return a context for another function, whose random numbers begin anew."""
        return msgspec.structs.replace(self, begun=[])

    def keep(self, name: str) -> Path:
        """Return where to write a file that is to be kept: a picture, a ROOT file, a table.

        It comes back with the result of the job, is in the folder `kept` of the run under the
        dataset, the file and the entries it was written for, and is listed in `result.kept`.

        Parameters
        ----------
        name
            Of the file, without folders; each only once for a chunk.

        Raises
        ------
        AnalysisError
            It is not such a name.

        Examples
        --------
        >>> figure.savefig(context.keep("odd.png"))  # doctest: +SKIP
        """
        if self.keeper is None:
            return Path(tempfile.mkdtemp(prefix="eventflock-")) / name
        return self.keeper(name)
