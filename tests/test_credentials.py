"""Credentials are found where clients look for them, and said if they end too soon."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import eventflock as ef
from eventflock.core.observer import Observer
from eventflock.errors import InputError
from eventflock.events.credentials import Credential, find_credentials, needs_credentials
from eventflock.planning.credentials import credential_notes
from eventflock.pools.htcondor.settings import Settings, with_credentials


def make_proxy(path: Path, days: int) -> Path:
    """Write a certificate with its key into one file, as a proxy is."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes certificates")
    key = path.with_suffix(".key")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=proxy"]
    subprocess.run(
        [*command, "-days", str(days), "-keyout", str(key), "-out", str(path)],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    key.unlink()
    return path


def token(ends: float) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'exp': ends, 'aud': 'any'})}.signature"


def test_they_are_found_where_clients_look(tmp_path: Path) -> None:
    proxy = make_proxy(tmp_path / f"x509up_u{os.getuid()}", days=2)
    ends = time.time() + 500
    (tmp_path / f"bt_u{os.getuid()}").write_text(token(ends) + "\n")
    (tmp_path / "xdg").mkdir()
    (tmp_path / "xdg" / f"bt_u{os.getuid()}").write_text("not a JSON web token")
    (tmp_path / "named").write_text(token(ends + 1))
    found = find_credentials({}, str(tmp_path))
    assert [one.kind for one in found] == ["proxy", "token"]
    assert found[0].path == str(proxy)
    assert found[0].ends == pytest.approx(time.time() + 2 * 86400, abs=60)
    assert found[1].ends == pytest.approx(ends)
    env = {"XDG_RUNTIME_DIR": str(tmp_path / "xdg"), "X509_USER_PROXY": "/nowhere"}
    (only,) = find_credentials(env, str(tmp_path))
    assert only == Credential("token", str(tmp_path / "xdg" / f"bt_u{os.getuid()}"), None)
    env["BEARER_TOKEN_FILE"] = str(tmp_path / "named")
    assert find_credentials(env, str(tmp_path))[0].ends == pytest.approx(ends + 1)
    env["BEARER_TOKEN"] = token(ends + 2)
    (only,) = find_credentials(env, str(tmp_path))
    assert only.path == ""
    assert only.ends == pytest.approx(ends + 2)
    proxy.write_text("damaged")
    assert find_credentials({}, str(tmp_path))[0].ends is None


@pytest.mark.parametrize(
    ("left", "seconds", "said"),
    [
        (-7200, 0, "has ended 2 h"),
        (-7200, 9e9, ""),
        (300, 0, "ends in 5 min"),
        (3600, 0, ""),
        (3600, 7200, "ends in 60 min, and jobs take 2 h"),
        (9000, 7200, ""),
    ],
)
def test_what_ends_too_soon_is_said(left: float, seconds: float, said: str) -> None:
    one = Credential("proxy", "/tmp/x509up_u0", time.time() + left)
    notes = list(credential_notes([one, one._replace(ends=None)], seconds))
    assert bool(notes) == bool(said)
    if said:
        assert said in notes[0].replace("59 min", "60 min").replace("1 h ", "60 min ")
        assert "voms-proxy-init" in notes[0]


def test_an_ended_proxy_is_said_before_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []

    class Notes(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    monkeypatch.setattr("eventflock.planning.scanning.PAUSES", ())
    for name in ("X509_USER_PROXY", "BEARER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "t").write_text(token(time.time() - 100))
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "t"))
    (tmp_path / "a.py").write_text(
        "import eventflock as ef\n@ef.analysis\ndef a(events):\n    return {'n': 1}\n"
    )
    with pytest.raises(InputError):
        ef.run(tmp_path / "a.py", "https://127.0.0.1:1/a.root", pool="inline", observer=Notes())
    assert f"The token {tmp_path}/t has ended" in notes[0]


def test_which_urls_may_need_them() -> None:
    assert needs_credentials(["/a.root", "root://host//a.root"])
    assert needs_credentials(["davs://host/a.root"])
    assert not needs_credentials(["/a.root", "http://host/a.root", "s3://bucket/a.root"])


def test_jobs_of_htcondor_take_them_along_unless_the_user_says_how() -> None:
    later = time.time() + 100
    found = [Credential("proxy", "/tmp/x509up_u7", later), Credential("token", "/run/bt_u7", None)]
    both = with_credentials(Settings(), found)
    assert both.commands == {
        "x509userproxy": "/tmp/x509up_u7",
        "environment": '"BEARER_TOKEN_FILE=bt_u7"',
    }
    assert both.inputs == ("/run/bt_u7",)
    beside = with_credentials(Settings(commands={"environment": '"A=1"'}), found)
    assert beside.commands["environment"] == '"BEARER_TOKEN_FILE=bt_u7 A=1"'
    mine = ("environment", '"BEARER_TOKEN_FILE=mine"')
    for name, value in (("use_oauth_services", "wlcg"), mine):
        own = with_credentials(Settings(commands={name: value}), found)
        assert own.commands == {name: value, "x509userproxy": "/tmp/x509up_u7"}
        assert own.inputs == ()
    own = with_credentials(Settings(commands={"use_x509userproxy": "true"}), found[:1])
    assert own.commands == {"use_x509userproxy": "true"}
    in_env = with_credentials(Settings(), [Credential("token", "", None)])
    assert in_env == Settings()
    ended = [found[0]._replace(ends=1.0), found[1]._replace(ends=1.0), found[0]._replace(ends=None)]
    assert with_credentials(Settings(), ended) == Settings()
