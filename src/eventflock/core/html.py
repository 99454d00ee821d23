"""Small tables for notebooks. Everything in them is escaped: names of files come from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["bar", "table"]

_CELL = "text-align:left;padding:2px 12px 2px 0;white-space:pre-wrap"


def table(title: str, rows: Iterable[Sequence[str]], note: str = "", head: str = "") -> str:
    """Return a table with a title above it, and a note below.

    Parameters
    ----------
    rows
        The texts of the cells; the first of each row names it.
    head
        HTML between title and rows, such as `bar` gives.
    """
    lines = [f"<div><b>{escape(title)}</b>{head}"]
    lines.append("<table style='margin:4px 0'><tbody>")
    for name, *cells in rows:
        inner = "".join(f"<td style='{_CELL}'>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr><th scope='row' style='{_CELL}'>{escape(name)}</th>{inner}</tr>")
    lines.append("</tbody></table>")
    if note:
        lines.append(f"<div>{escape(note)}</div>")
    return "".join([*lines, "</div>"])


def bar(done: int, total: int, text: str) -> str:
    """Return a bar for a part of a whole, with what it says in words beside it."""
    value = f"<progress value='{min(done, total)}' max='{max(total, 1)}' style='width:16em'>"
    return f"<div>{value}</progress> {escape(text)}</div>"
