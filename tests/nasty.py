"""Two hundred rows whose values are hard to pass on, and a script that writes down what it was given."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

COUNT = 200
PIECES = [
    "", " ", "  two  blanks ", "'", '"', '""', "a'b", 'a"b', "\n", "line\nbreak", "\t", "$HOME", "$(x)",
    "$$(Arch)", "`id`", "%s", "%(a)s", "%%", "{}", "{0}", "{{}}", "{value}", "{index}", "\\", "\\n", "a\\ b",
    ";", "|", "&", "&&", "<", ">", "*", "?", "[a]", "~", "#", "!", "-", "--", "-x", "--help", "=", ",", "a,b",
    "ü", "µ±Γ", "日本", "🎉", "e\u0301", "\u202e", "\u00a0", "/", "..", "a" * 500, "1e3", "NaN", "None",
]  # fmt: skip
"""What stands alone in a row, and in any order with others."""

SCRIPT = """
import json, os, pathlib, sys
print("row", os.environ["EVENTFLOCK_INDEX"])
pathlib.Path("arguments.json").write_text(json.dumps(sys.argv[1:]))
"""
ARGUMENTS = (
    "--first",
    "{first}",
    "x{second}y",
    "{index}",
    "{{first}}",
    "{} $HOME %s {no such}",
    "",
)


def rows() -> list[tuple[str, str]]:
    """Return the rows: no two are the same."""
    chance = random.Random(2014)
    found = [(piece, str(n)) for n, piece in enumerate(PIECES)]
    while len(found) < COUNT:
        words = ["".join(chance.choices(PIECES, k=chance.randint(1, 4))) for _ in range(2)]
        found.append((words[0], words[1] + str(len(found))))
    return found


def wanted(number: int) -> list[str]:
    """Return what the script is to see in a row."""
    first, second = rows()[number]
    return ["--first", first, f"x{second}y", str(number), "{first}", "{} $HOME %s {no such}", ""]


def write(folder: Path) -> tuple[Path, Path]:
    """Write the script and the table, and return where they are."""
    script, table = folder / "arguments.py", folder / "nasty.csv"
    script.write_text(SCRIPT)
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second"), *rows()])
    return script, table


def check(outputs: Path) -> None:
    """Check that each script saw just its arguments."""
    assert sorted(int(one.name) for one in outputs.iterdir()) == list(range(COUNT))
    for number in range(COUNT):
        seen = json.loads((outputs / f"{number}/arguments.json").read_text())
        assert seen == wanted(number), number
