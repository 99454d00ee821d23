"""A TCP proxy on the loopback that is as far away, and as narrow, as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["SlowProxy", "running_proxy"]


class SlowProxy:
    """Passes bytes on after a delay, and not more than so many in a second.

    Parameters
    ----------
    port
        Of the server behind it.
    delay
        Seconds, in each direction.
    rate
        Bytes per second to the client, over all connections together; 0 for no limit.

    Attributes
    ----------
    received
        Bytes that went to clients.
    """

    def __init__(self, port: int, delay: float, rate: float = 0.0) -> None:
        self.port = 0
        self.received = 0
        self._server_port = port
        self._delay = delay
        self._rate = rate
        self._free = 0.0
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._end = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._ready.wait(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        self._abort()
        await asyncio.sleep(0.05)  # what is aborted closes itself

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, outer}
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, outer, down=False), self._pass(inner, writer))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool = True
    ) -> None:
        """Read at once, and write when it is time: the delay adds to no other."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(due - time.monotonic(), 0.0))
                await self._open.wait()
                if not data:
                    break
                if down:
                    self.received += len(data)
                writer.write(data)
                with contextlib.suppress(OSError):
                    await writer.drain()
            with contextlib.suppress(OSError):
                writer.close()

        task = asyncio.create_task(write())
        while True:
            data = b""
            with contextlib.suppress(OSError):
                data = await reader.read(1 << 16)
            now = time.monotonic()
            if down and self._rate and data:
                self._free = max(self._free, now) + len(data) / self._rate
                await queue.put((self._free + self._delay, data))
            else:
                await queue.put((now + self._delay, data))
            if not data:
                break
        await task

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def cut(self) -> None:
        """Cut all connections, as a network does."""
        self._loop.call_soon_threadsafe(self._abort)

    def refuse(self) -> None:
        """Cut all connections, and take no others, as if the server had died."""
        self._refuses = True
        self.cut()

    def accept(self) -> None:
        """Take connections again."""
        self._refuses = False

    def hold(self) -> None:
        """Accept connections and requests, and answer none."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def go_on(self) -> None:
        """Answer again."""
        self._loop.call_soon_threadsafe(self._open.set)

    def stop(self) -> None:
        """Accept no more, and end."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


@contextmanager
def running_proxy(port: int, delay: float, rate: float = 0.0) -> Iterator[SlowProxy]:
    """Pass connections on to a port of this machine until the block ends."""
    proxy = SlowProxy(port, delay, rate)
    try:
        yield proxy
    finally:
        proxy.stop()
