"""What a process has loaded: what has to be packed for it to run elsewhere."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
from pathlib import Path

from eventflock.core.atomic import atomic_path
from eventflock.core.structs import Frozen, to_json
from eventflock.events.credentials import credential_files
from eventflock.usercode.data_files import watch_opened

__all__ = ["SURVEY", "Loaded", "libraries", "modules", "watch_this_process"]

SURVEY = "EVENTFLOCK_SURVEY"
"""In the environment of a script: the file where it leaves what it has loaded."""
WRITE_EVERY = 0.5
"""Seconds: a script may be ended before it comes to its end."""


class Loaded(Frozen, frozen=True):
    """What a script has loaded and opened.

    Attributes
    ----------
    modules
        From names to files.
    libraries
        Native libraries that are mapped into it.
    opened, written
        Data files that it opened, with their SHA-256; and files that it wrote, which are only known
        once it has come to its end.
    """

    modules: dict[str, str]
    libraries: tuple[str, ...]
    opened: dict[str, str] = {}
    written: tuple[str, ...] = ()


def modules() -> dict[str, str]:
    """Return the files of all modules that have one, byte-code and archives excepted."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and Path(file).is_file() and name != "__main__":
            found[name] = file
    return found


def libraries() -> tuple[str, ...]:
    """Return the shared libraries in this process, also those that were loaded by hand."""
    found = set()
    with contextlib.suppress(OSError), Path("/proc/self/maps").open() as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if ".so" in path.rpartition("/")[2] and not path.endswith(" (deleted)"):
                found.add(f"/{path}")
    return tuple(sorted(found))


def watch_this_process(target: str) -> None:
    """Write what this process has loaded into a file, from time to time and at its end."""
    watching = contextlib.ExitStack()
    opened = watching.enter_context(watch_opened(credential_files()))
    over = threading.Event()

    def write() -> None:
        found = Loaded(
            modules=modules(),
            libraries=libraries(),
            opened=opened.read,
            written=tuple(opened.written),
        )
        with contextlib.suppress(OSError), atomic_path(Path(target), flush=False) as temporary:
            temporary.write_bytes(to_json(found))

    def write_often() -> None:
        while not over.wait(WRITE_EVERY):
            write()

    def finish() -> None:
        over.set()
        thread.join()
        watching.close()
        write()

    thread = threading.Thread(target=write_often, name="survey", daemon=True)
    thread.start()
    atexit.register(finish)
