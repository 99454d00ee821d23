"""The events of a chunk, as the analysis wants them: branches, or objects by a schema."""

from __future__ import annotations

from typing import Any

from eventflock.events.reader import TreeReader
from eventflock.usercode.context import Context
from eventflock.usercode.decorator import Analysis

__all__ = ["events_of"]


def events_of(reader: TreeReader, analysis: Analysis, context: Context) -> Any:
    """Return the events of the chunk that the context is of; what is touched is read.

    Raises
    ------
    InputError
        The file has nothing that the schema could be made of.
    """
    if not analysis.schema:
        return reader.chunk(context.start, context.stop)
    from eventflock.objects.chunks import ObjectTree  # loads coffea
    from eventflock.objects.schemas import find_schema

    view = reader.views.get(analysis.schema)
    if view is None:
        view = reader.views[analysis.schema] = ObjectTree(reader, find_schema(analysis.schema))
    return view.chunk(context.start, context.stop, _metadata(reader, context))


def _metadata(reader: TreeReader, context: Context) -> dict[str, Any]:
    """Return what coffea's Runner tells a processor of its chunk, under the same names."""
    return {
        "dataset": context.dataset,
        "filename": context.file,
        "treename": context.tree,
        "entrystart": context.start,
        "entrystop": context.stop,
        "fileuuid": reader.entry.uuid,
        **context.metadata,
    }
