"""Credentials for servers, found where clients look for them: X.509 proxies and bearer tokens.

Nothing here reads more of them than when they end, and nothing of them is written anywhere. The
places of tokens are those of the WLCG Bearer Token Discovery
(https://doi.org/10.5281/zenodo.3937438).
"""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

__all__ = ["Credential", "credential_files", "find_credentials", "needs_credentials"]

_GUARDED = ("root", "roots", "xroot", "xroots", "https", "davs")
TOKEN_MAX = 2**16


class Credential(NamedTuple):
    """A credential.

    Attributes
    ----------
    kind
        `proxy` or `token`.
    path
        Its file; empty for a token in an environment variable.
    ends
        When it ends, in seconds since 1970; None if that is not known.
    """

    kind: str
    path: str
    ends: float | None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended; a proxy also if it cannot be read."""
        return self.kind == "proxy" if self.ends is None else self.ends <= time.time()

    @property
    def name(self) -> str:
        """Its name for people."""
        return f"{self.kind} {self.path}" if self.path else "token in BEARER_TOKEN"


def needs_credentials(paths: Iterable[str]) -> bool:
    """Check whether any of these URLs may be at a server that asks for credentials."""
    return any(path.partition("://")[0].lower() in _GUARDED for path in paths if "://" in path)


def find_credentials(env: Mapping[str, str] = os.environ, temp: str = "/tmp") -> list[Credential]:  # noqa: S108
    """Find the proxy and the token that clients would use, if there are any.

    Parameters
    ----------
    temp
        The folder in which they lie by default.
    """
    found = []
    for kind, path in _files(env, temp):
        if kind == "proxy":
            found.append(Credential(kind, str(path), _end_of_proxy(path)))
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = path.read_bytes()[:TOKEN_MAX].decode()
            found.append(Credential(kind, str(path), _end_of_token(text)))
    if _in_variable(env):
        found.append(Credential("token", "", _end_of_token(env["BEARER_TOKEN"])))
    return found


def _in_variable(env: Mapping[str, str]) -> bool:
    return bool(env.get("BEARER_TOKEN", "").strip())


def _files(env: Mapping[str, str], temp: str = "/tmp") -> Iterator[tuple[str, Path]]:  # noqa: S108
    """Yield the files that clients would use, by kind."""
    proxy = Path(env.get("X509_USER_PROXY") or f"{temp}/x509up_u{os.getuid()}")
    if proxy.is_file():
        yield "proxy", proxy.absolute()
    if _in_variable(env):
        return
    folders = [folder for folder in (env.get("XDG_RUNTIME_DIR"), temp) if folder]
    places = [env.get("BEARER_TOKEN_FILE"), *(f"{one}/bt_u{os.getuid()}" for one in folders)]
    token = next((path for path in (Path(one) for one in places if one) if path.is_file()), None)
    if token is not None:
        yield "token", token.absolute()


def credential_files(env: Mapping[str, str] = os.environ) -> list[str]:
    """Return the files of credentials, which are never a part of a run."""
    named = (env.get(name, "") for name in ("X509_USER_CERT", "X509_USER_KEY"))
    return [*filter(None, named), *(str(path) for _, path in _files(env))]


def _end_of_proxy(path: Path) -> float | None:
    """Return when the first certificate in a file ends: of a proxy, that is its own."""
    import ssl  # takes a while, and is needed for URLs only

    with contextlib.suppress(OSError, ValueError, ssl.SSLError, AttributeError, KeyError):
        decoder: Any = ssl._ssl  # type: ignore[attr-defined]
        end: str = decoder._test_decode_cert(str(path))["notAfter"]
        return float(ssl.cert_time_to_seconds(end))
    return None


def _end_of_token(text: str) -> float | None:
    """Return when a JSON Web Token ends (RFC 7519); None for a token of another kind."""
    with contextlib.suppress(ValueError, IndexError, msgspec.MsgspecError):
        payload = text.strip().split(".")[1]
        data = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        end = msgspec.json.decode(data, type=dict[str, Any]).get("exp")
        return float(end) if isinstance(end, int | float) else None
    return None
