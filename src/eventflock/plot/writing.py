"""Writing the pictures of a result, each into a file of its own."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventflock.core.atomic import atomic_write
from eventflock.errors import UsageError, nearest
from eventflock.plot.drawing import draw
from eventflock.plot.look import style
from eventflock.plot.pictures import NO_TITLES, arrange

__all__ = ["FORMATS", "plot_results"]

# Dates and versions are left out, so that equal pictures are equal bytes.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
}
FORMATS = tuple(_METADATA)
"""The kinds of files that pictures can be written as."""


def plot_results(
    results: Mapping[str, Mapping[str, Any]],
    folder: Path,
    *,
    log: bool = False,
    formats: Sequence[str] = ("png",),
    partial: str = "",
    titles: Mapping[str, str] = NO_TITLES,
) -> list[Path]:
    """Draw every histogram of one or two dimensions and write the pictures.

    Parameters
    ----------
    results
        For each dataset a mapping, nested as you like; only its histograms are drawn.
    folder
        Where the pictures go; made if it is not there.
    log
        Logarithmic contents, where any are above zero.
    formats
        Of `FORMATS`; each picture is written in all of them.
    partial
        Why the result is incomplete, written plainly into each picture; empty if it is complete.
    titles
        Titles by histogram (``"muon/pt"`` or ``"pt"``), instead of the histogram's own.

    Returns
    -------
    list of Path
        The files written, in order.

    Raises
    ------
    UsageError
        A format that is not known, or a folder that cannot be written.
    """
    formats = [formats] if isinstance(formats, str) else list(dict.fromkeys(formats))
    for form in formats:
        if form not in FORMATS:
            message = f"pictures cannot be written as {form!r}, only as {', '.join(FORMATS)}"
            raise UsageError(message, remedy=nearest(form, FORMATS))
    written = []
    for picture in arrange(results, titles):
        figure = draw(picture, log=log, partial=partial)
        for form in formats:
            buffer = io.BytesIO()
            with style():
                figure.savefig(buffer, format=form, metadata=_METADATA[form])
            path = Path(folder) / f"{picture.name}.{form}"
            _write(path, buffer.getvalue())
            written.append(path)
    return written


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)
    except OSError as error:
        raise UsageError(
            f"the picture {str(path)!r} cannot be written: {error.strerror or error}",
            remedy="Choose another folder, or make room or get the right to write there.",
        ) from error
