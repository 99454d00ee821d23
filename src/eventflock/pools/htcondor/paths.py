"""Files that the user names in submit commands: they are found now, not when a job starts."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from eventflock.errors import UsageError, nearest
from eventflock.pools.htcondor.values import Line, check_text, text_of

__all__ = ["PATHS", "find_inputs", "find_path", "own_bytes"]

PATHS = frozenset(
    ["container_image", "public_input_files", "scitokens_file", "transfer_plugins", "x509userproxy"]
)
"""Commands whose value names files of this machine. The jobs' folder is not the user's, so HTCondor
would look for a relative path in the wrong place."""

TAKEN = frozenset({"condor_exec.exe", "container.sh", "launch.sh", "result.zip", "template.json"})
"""Names of other files in the folder of a job."""


def find_path(line: Line, text: str) -> str:
    """Return the value of a command with absolute paths of the files that it names.

    Raises
    ------
    UsageError
        One is not there.
    """
    if line.name == "public_input_files":
        return ", ".join(find_inputs(line))
    if line.name == "transfer_plugins":
        plugins = (word.partition("=") for word in text.split(";") if word.strip())
        return "; ".join(_plugin(kinds, path, line.folder) for kinds, _, path in plugins)
    if line.name == "container_image" and ("://" in text or text.startswith("/")):
        return text  # in a registry, or on the nodes
    return str(_existing(text, line.folder))


def _plugin(kinds: str, path: str, folder: Path) -> str:
    """Return `KINDS = PATH` of a plugin: which kinds of URLs it is for, and its program."""
    if not kinds.strip() or not path.strip():
        raise UsageError(
            "a plugin is KIND=PATH.", remedy="For example transfer_plugins='s3=plugins/s3.py'."
        )
    return f"{kinds.strip()} = {_existing(path.strip(), folder)}"


def find_inputs(line: Line) -> tuple[str, ...]:
    """Return the files that go to every job: absolute paths, and URLs as they are.

    Raises
    ------
    UsageError
        One is not there, or HTCondor cannot send it, or would write another over it.
    """
    if line.value == []:
        return ()
    text = text_of(line)
    found: list[str] = []
    seen: dict[str, str] = {}
    for item in (word.strip(" ") for word in text.split(",")):
        if not item:
            continue
        path, names = _input(item, text, line.folder)
        if path in found:
            continue
        for name in names:
            if name in TAKEN:
                raise UsageError(
                    f"a file of eventflock in the job's folder is called {name!r}, too.",
                    remedy="Rename yours.",
                )
            if name in seen:
                raise UsageError(
                    f"{seen[name]} and {path} are both {name!r} in the job's folder.",
                    remedy="Rename one, or put them into folders of different names.",
                )
            seen[name] = path
        found.append(path)
    return tuple(found)


def own_bytes(inputs: Iterable[str], commands: Mapping[str, str]) -> int:
    """Return the size of the files of the user that go to every job."""
    paths = [one for one in inputs if "://" not in one]
    image = commands.get("container_image", "")
    kept = commands.get("transfer_container", "true").lower() in {"false", "no", "0"}
    if not kept and Path(image).is_file() and not image.startswith("/cvmfs/"):
        paths.append(image)
    return sum(_size(Path(path)) for path in paths)


def _size(path: Path) -> int:
    """Return the size of a file, or of all that is in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _input(item: str, text: str, folder: Path) -> tuple[str, list[str]]:
    """Return where an input is, and the names that it has in the job's folder."""
    if "://" in item:
        return item, [item.partition("?")[0].rstrip("/").rpartition("/")[2]]
    if "," in text and text in _names_in(folder):
        raise UsageError(
            "the file has a comma in its name, at which HTCondor would cut it.",
            remedy="Rename it.",
        )
    path = _existing(item, folder)
    if "," in str(path):
        raise UsageError(
            f"{path} has a comma in its name, at which HTCondor would cut it.",
            remedy="Rename it, or move what is needed to another folder.",
        )
    if item.endswith("/") and path.is_dir():  # HTCondor then sends what is in it
        return f"{path}/", _names_in(path)
    return str(path), [path.name]


def _existing(item: str, folder: Path) -> Path:
    """Return the absolute path of something that is there and can be read."""
    try:
        path = folder / Path(item).expanduser()
    except RuntimeError:
        raise UsageError(
            f"there is no home folder {item.partition('/')[0]!r}.", remedy="Give the whole path."
        ) from None
    if path.name in {"", ".."}:
        path = path.resolve()
    try:
        path.stat()
    except OSError as error:
        near = nearest(path.name, _names_in(path.parent))
        raise UsageError(
            f"{path}: {error.strerror or error}{'; ' + near if near else '.'}",
            remedy=f"Relative paths are relative to {folder}.",
        ) from None
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} cannot be read.", remedy="Check its permissions.")
    check_text(str(path))
    if re.search(r"\$[A-Za-z0-9_$]*\(", str(path)):
        raise UsageError(f"HTCondor would replace the '$' in {path}.", remedy="Rename it.")
    return path


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 -- names, not paths
    except OSError:
        return []
