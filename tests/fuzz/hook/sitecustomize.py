"""Python imports this at its start: whatever runs code that is not in a module's file is logged.

It is on for the process that reads the mutations, and for the one in which skims stand trial.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

NEVER = (
    "ctypes.dlopen",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pickle.find_class",
    "pty.spawn",
    "socket.connect",
    "webbrowser.open",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


ANNOTATIONS = ("/typing.py", "/annotationlib.py", "/msgspec/_utils.py")
"""What evaluates the annotations of our own structs, when they are first used."""


def _importing() -> bool:
    """Check whether a module is being imported, or the interpreter just starts."""
    frame = sys._getframe(2).f_back
    if frame is None or frame.f_back is None or frame.f_code.co_filename.endswith(ANNOTATIONS):
        return True
    outer: FrameType | None = frame
    while outer is not None:
        if outer.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        outer = outer.f_back
    return False


def _suspicious(event: str, args: tuple[Any, ...]) -> bool:
    if event in {"exec", "compile"}:
        file = args[0].co_filename if isinstance(args[0], CodeType) else args[-1]
        file = os.fsdecode(file) if isinstance(file, bytes) else str(file)
        return not (file.startswith("<frozen ") or Path(file).is_file() or _importing())
    if event == "subprocess.Popen":
        return not (args[0] == sys.executable and "eventflock.results.sandbox" in str(args[1]))
    if event == "open" and isinstance(args[0], str | bytes) and args[2] & WRITING:
        return not os.fsdecode(args[0]).startswith(
            (os.environ["TMPDIR"], "/proc/self/", "/dev/null")
        )
    return event.startswith(NEVER) and not _importing()


def _watch(log: int) -> None:
    busy = False

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            if _suspicious(event, args):
                os.write(log, f"{event} {args!r}"[:500].encode(errors="replace") + b"\n")
        finally:
            busy = False

    sys.addaudithook(hook)


if "EVENTFLOCK_FUZZ_LOG" in os.environ:
    _watch(
        os.open(os.environ["EVENTFLOCK_FUZZ_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    )
