"""`eventflock import-pickles`: what was made, and what was left out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from eventflock.cli.printing import print_json
from eventflock.errors import plural
from eventflock.pickles.importing import import_pickles

SHOWN = 5


def show(files: Sequence[str], out: Path, name: str, as_json: bool) -> None:
    """Import pickles, and say what came of it."""
    made = import_pickles(files, out, name)
    results = [tuple(map(str, item.path[1:])) for item in made.manifest.items]
    if as_json:
        print_json(
            {
                "result": str(made.result),
                "results": ["/".join(path) for path in results],
                "imported": made.manifest.imported,
                "left_out": made.left_out,
            }
        )
        return
    print(f"IMPORTED  {plural(len(results), 'result')} from {plural(len(files), 'file')}")
    if made.left_out:
        more = ", ..." if len(made.left_out) > SHOWN else ""
        print(f"left out  {', '.join(made.left_out[:SHOWN])}{more}: cannot be added up")
    print(f"result    {made.result}")
    print(f"draw it   eventflock plot {shlex.quote(str(out))}")
