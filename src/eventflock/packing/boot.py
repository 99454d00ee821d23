"""Unpacks zstandard from its standard input to its standard output, on a node that cannot.

Runs before most of the archive is there, so it imports as little as it can.
"""

import os
import sys

# Without pathlib, which is not there yet.
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
sys.path.append(f"{root}/packages")
try:
    from compression.zstd import ZstdDecompressor
except ImportError:  # before Python 3.14
    from backports.zstd import ZstdDecompressor


def main() -> None:
    """Copy."""
    decompressor = ZstdDecompressor()
    while not decompressor.eof:
        data = os.read(0, 1 << 20)
        if not data:
            raise SystemExit("The archive ends too early.")
        unpacked = decompressor.decompress(data)
        while unpacked:
            unpacked = unpacked[os.write(1, unpacked) :]


if __name__ == "__main__":
    main()
