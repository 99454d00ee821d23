"""Files behind a URL: read by ranges, through what fsspec has for it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import eventflock as ef
from eventflock.core.observer import Observer
from eventflock.errors import InputError


class Ranges(SimpleHTTPRequestHandler):
    """A file server that answers requests for ranges, and counts the bytes it sends."""

    protocol_version = "HTTP/1.1"  # connections stay open, as those of real servers
    sent = 0
    refuse: ClassVar[dict[str, int]] = {}
    """By name, how many times a file is refused with 503 before it is given."""

    def do_HEAD(self) -> None:
        if not self.is_refused():
            super().do_HEAD()

    def is_refused(self) -> bool:
        name = self.path.rpartition("/")[2]
        if not self.refuse.get(name):
            return False
        self.refuse[name] -= 1
        self.send_error(503)
        return True

    def do_GET(self) -> None:
        if self.is_refused():
            return
        data = Path(self.translate_path(self.path)).read_bytes()
        start, stop = 0, len(data)
        asked = self.headers.get("Range", "")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else stop, stop)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(data[start:stop])
        type(self).sent += stop - start

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Takes many connections at a time."""

    request_queue_size = 100
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def serving(
    folder: Path, kind: type[Ranges] = Ranges, context: ssl.SSLContext | None = None
) -> Iterator[int]:
    """Serve a folder until the block ends; yield the port."""

    def handler(*args: Any) -> Ranges:
        return kind(*args, directory=str(folder))

    with Server(("127.0.0.1", 0), handler) as served:
        if context is not None:
            served.socket = context.wrap_socket(served.socket, server_side=True)
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield served.server_port
        served.shutdown()
        thread.join()


@pytest.fixture
def server(sample: Path) -> Iterator[str]:
    with serving(sample.parent) as port:
        yield f"http://127.0.0.1:{port}"


def test_only_what_is_touched_comes_over_the_network(
    server: str, sample: Path, jets: Path, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    local = ef.run(jets, sample, jobs=4, out=tmp_path / "local")
    Ranges.sent = 0
    remote = ef.run(jets, f"{server}/sample.root", jobs=4, workers=2, out=tmp_path / "remote")
    assert remote["E"] == local["E"]
    assert remote.coverage[0].uuid == local.coverage[0].uuid
    assert 0 < Ranges.sent < sample.stat().st_size


def test_a_file_that_is_not_there_is_named(server: str, jets: Path) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(InputError, match=r"nothing\.root cannot be opened"):
        ef.run(jets, f"{server}/nothing.root", pool="inline")


def test_a_server_whose_trouble_passes_is_asked_again(
    server: str, sample: Path, jets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr("eventflock.planning.scanning.PAUSES", (0.1, 0.1))
    notes: list[str] = []

    class Notes(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    monkeypatch.setattr(Ranges, "refuse", {"sample.root": 3})  # two of them ask for its time
    run = tmp_path / "run"
    assert ef.run(jets, f"{server}/sample.root", jobs=2, out=run, observer=Notes()).complete
    assert any(
        "sample.root cannot be opened" in note and "again in 0.1 s" in note for note in notes
    )
    monkeypatch.setattr(Ranges, "refuse", {"sample.root": 99})
    with pytest.raises(InputError, match="503"):
        ef.run(jets, f"{server}/sample.root", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()
