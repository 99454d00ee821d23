"""A program: read one pickle and write a result file, `python -m eventflock.pickles.read_one`.

Its arguments are the pickle, the result file, and a name for what has none. It runs in a process of
its own with limited memory, as histograms are described to a library that trusts what it is told.
It writes, as JSON, why there is no result, and what was left out.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from eventflock.errors import EventflockError
from eventflock.pickles.label import IMPORTED
from eventflock.pickles.unpickler import unpickle
from eventflock.pickles.values import values_of
from eventflock.results.format import write_result

MEMORY, RATIO = 2**31, 20
SECONDS = 600
_GZIP, _LZ4 = b"\x1f\x8b", b"\x04\x22\x4d\x18"


def main(source: str, target: str, name: str) -> None:
    """Write the result file, or say why not."""
    size = Path(source).stat().st_size
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit(resource.RLIMIT_AS, pages * resource.getpagesize() + max(MEMORY, RATIO * size))
    limit(resource.RLIMIT_CPU, SECONDS)
    limit(resource.RLIMIT_CORE, 0)
    why, left_out = "", []
    try:
        left_out = convert(Path(source), Path(target), name)
    except MemoryError:
        why = "it takes more memory than a pickle of its size needs"
    except RecursionError:
        why = "it is nested too deeply"
    except EventflockError as error:
        why = error.message
    sys.stdout.write(json.dumps([why, left_out]))


def limit(kind: int, value: int) -> None:
    """Set a limit of this process."""
    hard = resource.getrlimit(kind)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (least, hard))


def convert(source: Path, target: Path, name: str) -> list[str]:
    """Read a pickle, and write what can be added up."""
    values, left_out = values_of(unpickle(uncompressed(source.read_bytes())), name)
    write_result(target, IMPORTED, {("imported", *path): one for path, one in values.items()})
    return left_out


def uncompressed(data: bytes) -> bytes:
    """Unpack what gzip, or coffea with lz4, has packed."""
    if data.startswith(_GZIP):
        import gzip

        return gzip.decompress(data)
    if data.startswith(_LZ4):
        try:
            import lz4.frame
        except ImportError:
            raise EventflockError("it is packed with lz4: pip install lz4") from None
        return bytes(lz4.frame.decompress(data))
    return data


if __name__ == "__main__":
    main(*sys.argv[1:])
