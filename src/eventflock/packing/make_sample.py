"""A program: write a small ROOT file and, beside it, its description: `make_sample.py FILE EVENTS`.

It runs with the interpreter that is packed, as what writes a file is not what every job reads.
"""

import sys
from pathlib import Path

from eventflock.core.structs import to_json
from eventflock.events.sample import write_sample
from eventflock.events.scan import scan_file


def main(path: Path, events: int) -> None:
    """Write both files."""
    write_sample(path, events=events)
    path.with_suffix(".json").write_bytes(to_json(scan_file(str(path), "", ())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
