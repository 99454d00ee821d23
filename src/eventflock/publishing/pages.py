"""The pages of what is published: one for each run, and an index of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from eventflock.core.structs import Frozen
from eventflock.core.units import say_bytes

__all__ = ["Entry", "Published", "index_page", "run_page"]

STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem }
body { margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } table { border-collapse: collapse; width: 100%; margin-bottom: 1rem }
td, th { text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top }
td, th { border-bottom: 1px solid #ddd }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap }
code { font-size: .85rem; overflow-wrap: anywhere }
figure { display: inline-block; margin: 0 1rem 1rem 0 } img { max-width: 28rem; width: 100% }
.partial { color: #a40; font-weight: bold }
"""


class Published(Frozen, frozen=True):
    """One file that was published: its name below the folder of the run, size and checksum."""

    name: str
    size: int
    sha256: str


class Entry(Frozen, frozen=True, kw_only=True):
    """What the index knows of one run.

    Attributes
    ----------
    name
        Of its folder.
    plan
        SHA-256 of its plan, which tells runs apart.
    label
        What a partial result lacks; empty for a complete one.
    facts
        Rows of the page: what, and its value.
    files
        What was published.
    """

    name: str
    plan: str
    published: str
    analysis: str
    label: str
    facts: tuple[tuple[str, str], ...]
    files: tuple[Published, ...] = ()


def run_page(entry: Entry) -> bytes:
    """Return the page of one run."""
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>\n" for k, v in entry.facts)
    pictures = [one.name for one in entry.files if one.name.endswith((".png", ".svg"))]
    figures = "".join(
        f'<figure><a href="{quote(one)}"><img src="{quote(one)}" alt="{escape(one)}"></a>'
        "</figure>\n"
        for one in pictures
    )
    files = "".join(
        f'<tr><td><a href="{quote(one.name)}">{escape(one.name)}</a></td>'
        f'<td class="n">{say_bytes(one.size)}</td><td><code>{one.sha256}</code></td></tr>\n'
        for one in entry.files
    )
    body = (
        f"<p>{_state(entry)}</p>\n<table>\n{rows}</table>\n{figures}\n"
        f"<table>\n<tr><th>file</th><th>size</th><th>SHA-256</th></tr>\n{files}</table>\n"
    )
    return _page(entry.name, body)


def index_page(entries: Iterable[Entry]) -> bytes:
    """Return the page that lists all runs, the last published first."""
    ordered = sorted(entries, key=lambda one: one.published, reverse=True)
    rows = "".join(
        f'<tr><td><a href="{quote(one.name)}/index.html">{escape(one.name)}</a></td>'
        f"<td>{escape(one.analysis)}</td><td>{_state(one)}</td>"
        f'<td class="n">{escape(one.published)}</td></tr>\n'
        for one in ordered
    )
    head = "<tr><th>run</th><th>analysis</th><th>state</th><th>published</th></tr>"
    return _page("Runs", f"<table>\n{head}\n{rows}</table>\n")


def _state(entry: Entry) -> str:
    if entry.label:
        return f'<span class="partial">{escape(entry.label)}</span>'
    return "complete"


def _page(title: str, body: str) -> bytes:
    lines: Sequence[str] = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>",
        f"<body><h1>{escape(title)}</h1>",
        body,
        "</body></html>",
        "",
    ]
    return "\n".join(lines).encode()
