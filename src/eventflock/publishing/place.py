"""Where runs are published: any folder that fsspec can write, with one rule for how.

A file is copied under a temporary name, read back and compared, and only then gets its own name. So
there is never half a file under a final name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from eventflock.errors import EventflockError, InputError, UsageError
from eventflock.events.credentials import find_credentials

__all__ = ["Place", "open_place"]

BLOCK = 8 * 2**20
_PART = ".part"


class _Kind(NamedTuple):
    """What a scheme of URLs needs."""

    protocol: str
    """Of fsspec."""
    module: str
    install: str


_KINDS = {
    "file": _Kind("file", "fsspec", ""),
    "root": _Kind("root", "fsspec_xrootd", "eventflock[xrootd]"),
    "roots": _Kind("root", "fsspec_xrootd", "eventflock[xrootd]"),
    "http": _Kind("webdav", "webdav4", "eventflock[webdav]"),
    "https": _Kind("webdav", "webdav4", "eventflock[webdav]"),
    "dav": _Kind("webdav", "webdav4", "eventflock[webdav]"),
    "davs": _Kind("webdav", "webdav4", "eventflock[webdav]"),
    "s3": _Kind("s3", "s3fs", "s3fs"),
    "gs": _Kind("gs", "gcsfs", "gcsfs"),
    "ssh": _Kind("sftp", "paramiko", "paramiko"),
    "sftp": _Kind("sftp", "paramiko", "paramiko"),
}


class Place:
    """A folder somewhere, and the files below it.

    Parameters
    ----------
    url
        Its address, for people; without a slash at the end.
    system
        The file system of fsspec.
    base
        The path of the folder in it.
    """

    def __init__(self, url: str, system: Any, base: str) -> None:
        self.url = url
        self._system = system
        self._base = base

    def close(self) -> None:
        """Close the connections that the library leaves open."""
        client = getattr(self._system, "client", None)
        if client is not None and hasattr(client, "http"):
            client.http.close()

    def address(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return what is in a file; None if there is none."""
        with self._explained("read", name):
            try:
                with self._system.open(self._path(name), "rb") as file:
                    found: bytes = file.read()
            except FileNotFoundError:
                return None
            except OSError as error:
                if "3011" in str(error) or "no such file" in str(error).lower():  # XRootD
                    return None
                raise
        return found

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        self._put(name, hashlib.sha256(content).hexdigest(), lambda file: file.write(content))

    def copy(self, source: Path, name: str, sha256: str) -> None:
        """Copy a file of this machine, of which the checksum is known, whole or not at all.

        Raises
        ------
        InputError
            It cannot be written there, or what is read back is something else.
        """

        def send(file: Any) -> None:
            with source.open("rb") as opened:
                shutil.copyfileobj(opened, file, BLOCK)

        self._put(name, sha256, send)

    def _put(self, name: str, sha256: str, send: Callable[[Any], object]) -> None:
        folder, _, base = name.rpartition("/")
        part = f"{folder}/.{base}.{secrets.token_hex(4)}{_PART}".lstrip("/")
        target, temporary = self._path(name), self._path(part)
        with self._explained("written", name):
            self._system.makedirs(self._path(folder), exist_ok=True)
            try:
                with self._system.open(temporary, "wb") as file:
                    send(file)
                self._compare(temporary, sha256, name)
                if self._system.exists(target):
                    self._system.rm_file(target)
                self._system.mv(temporary, target)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._system.rm_file(temporary)
                raise

    def _compare(self, path: str, sha256: str, name: str) -> None:
        """Read a copy back, and compare it."""
        self._system.invalidate_cache()
        found = hashlib.sha256()
        with self._system.open(path, "rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
        if found.hexdigest() != sha256:
            raise InputError(
                f"{self.address(name)} is not what was sent: its copy has another checksum.",
                remedy="Publish again; nothing was left there under that name.",
            )

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}".rstrip("/")

    @contextlib.contextmanager
    def _explained(self, what: str, name: str) -> Iterator[None]:
        """Say what could not be done with a file, whichever library says it in whichever way."""
        try:
            yield
        except EventflockError:
            raise
        except Exception as error:
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(
                f"{self.address(name)} cannot be {what}: {said}",
                remedy="Check the address, and whether you may write there.",
            ) from error


def open_place(url: str) -> Place:
    """Open a place to publish at.

    Parameters
    ----------
    url
        A folder of this machine, `root://HOST//PATH`, `https://HOST/PATH` (WebDAV),
        `s3://BUCKET/PATH` or `ssh://HOST/PATH`.

    Raises
    ------
    UsageError
        The address is none, or the library for it is not installed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        folder = Path(url).expanduser().resolve()
        return Place(str(folder), _system("file"), str(folder))
    kind = _KINDS.get(scheme.lower())
    if kind is None:
        raise UsageError(
            f"{url} is at {scheme}://, to which nothing can be published.",
            remedy=f"Use a folder, or one of {', '.join(f'{one}://' for one in _KINDS)}.",
        )
    if not rest.strip("/"):
        raise UsageError(
            f"{url} names no place.", remedy="Give host and folder, as root://host//folder."
        )
    if find_spec(kind.module) is None:
        raise UsageError(
            f"{url} needs {kind.module}, which is not installed.",
            remedy=f"pip install '{kind.install}'",
        )
    return _open(url.rstrip("/"), kind)


def _open(url: str, kind: _Kind) -> Place:
    parts = urlsplit(url)
    if kind.protocol == "webdav":
        secure = "https" if parts.scheme in {"https", "davs"} else "http"
        system = _system("webdav", base_url=f"{secure}://{parts.netloc}", **_webdav_options())
        return Place(url, system, parts.path.strip("/"))
    if kind.protocol == "root":
        system = _system("root", hostid=parts.netloc)
        return Place(url, system, f"/{parts.path.lstrip('/')}")
    if kind.protocol == "sftp":
        known = {"host": parts.hostname, "port": parts.port or 22, "username": parts.username}
        return Place(url, _system("sftp", **known), parts.path)
    if kind.protocol == "file":
        return Place(parts.path, _system("file"), parts.path)
    return Place(url, _system(kind.protocol), f"{parts.netloc}{parts.path}")


def _system(protocol: str, **options: Any) -> Any:
    import fsspec

    return fsspec.filesystem(protocol, skip_instance_cache=True, **options)


def _webdav_options() -> dict[str, Any]:
    """Return how to prove who asks: by token, by proxy, or by ~/.netrc."""
    import httpx

    options: dict[str, Any] = {}
    for one in find_credentials():
        if one.has_ended:
            continue
        if one.kind == "token":
            options["headers"] = {"Authorization": f"Bearer {_token(one.path)}"}
        else:
            options["cert"] = one.path
    if "headers" not in options and Path("~/.netrc").expanduser().is_file():
        options["auth"] = httpx.NetRCAuth()
    return options


def _token(path: str) -> str:
    return (Path(path).read_text() if path else os.environ["BEARER_TOKEN"]).strip()
