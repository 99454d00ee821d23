"""Unpacks what is compressed with zstandard, on a node that cannot do so itself.

    tar -xOf ENVIRONMENT rest.tar.zst | python boot.py FOLDER BESIDE [LAYER...]

The layers lie in the folder BESIDE.

Runs before most of the archive is there, so it imports as little as it can, and knows only the kind
of tar that `archive.py` writes: files and folders, with long names as GNU tar has them.
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

BLOCK = 512
PIECE = 1 << 20


class Stream:
    """Reads what a compressed file holds.

    Parameters
    ----------
    source
        Its descriptor.
    """

    def __init__(self, source: int) -> None:
        self._source = source
        self._decompressor = ZstdDecompressor()
        self._left = memoryview(b"")

    def some(self, most: int) -> memoryview:
        """Return the next bytes, at most so many."""
        while not self._left:
            self._left = memoryview(self._more())
        found, self._left = self._left[:most], self._left[most:]
        return found

    def exactly(self, size: int) -> bytes:
        """Return so many bytes."""
        found = b""
        while len(found) < size:
            found += self.some(size - len(found))
        return found

    def finish(self) -> None:
        """Read to the end, which is where the checksum is."""
        while not self._decompressor.eof:
            self._more()

    def _more(self) -> bytes:
        data = b"" if self._decompressor.eof else os.read(self._source, PIECE)
        if not data:
            raise SystemExit("the archive ends too early")
        unpacked: bytes = self._decompressor.decompress(data)
        return unpacked


def unpack(source: int, target: str) -> None:
    """Unpack a compressed tar into a folder."""
    stream = Stream(source)
    made = {target}
    long_name = b""
    while (head := stream.exactly(BLOCK)).strip(b"\0"):
        name, kind, size = head[:100].rstrip(b"\0"), head[156:157], int(head[124:135], 8)
        padding = -size % BLOCK
        if kind == b"L":
            long_name = stream.exactly(size + padding)[:size].rstrip(b"\0")
            continue
        path, long_name = f"{target}/{(long_name or name).decode()}", b""
        folder = path.rpartition("/")[0] if kind == b"0" else path.rstrip("/")
        if folder not in made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            made.add(folder)
        if kind == b"0":
            _write(stream, path, size, int(head[100:107], 8))
            stream.exactly(padding)
    stream.finish()


def _write(stream: Stream, path: str, size: int, mode: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        while size:
            data = stream.some(size)
            size -= len(data)
            while data:
                data = data[os.write(file, data) :]
    finally:
        os.close(file)


def main(target: str, beside: str, *layers: str) -> None:
    """Unpack the rest in one process, and the layers in another."""
    child = os.fork() if layers else 0
    status = 0
    try:
        if child or not layers:
            unpack(0, target)
        else:
            for layer in layers:
                unpack(os.open(f"{beside}/{layer}", os.O_RDONLY), target)
    except (OSError, SystemExit) as error:
        words = getattr(error, "strerror", None) or error
        os.write(1, f"{getattr(error, 'filename', None) or target}: {words}\n".encode())
        status = 1
    if layers and not child:
        os._exit(status)
    raise SystemExit(status or (child and os.waitpid(child, 0)[1] != 0))


if __name__ == "__main__":
    main(*sys.argv[1:])
