"""Make the root file system of a pool, its users and its configuration."""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

from pool import HERE, Pool, PoolError, inside

CREDENTIALS = {"krb_credentials", "oauth_credentials"}


def build(pool: Pool, suite: str) -> None:
    """Make the root file system, whole or not at all."""
    if (pool.root / "usr/sbin/condor_master").exists():
        return
    if shutil.which("mmdebstrap") is None:
        raise PoolError("mmdebstrap is not installed: apt-get install mmdebstrap")
    pool.folder.mkdir(parents=True, exist_ok=True)
    unfinished = pool.folder / "root.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    packages = "condor,minicondor"
    if suite == "sid":  # the only one that has it
        packages += ",apptainer,tzdata"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}"]
    if suite == "sid":  # its index expires within a week, and mirrors can be older
        command.append('--aptopt=Acquire::Check-Valid-Until "false"')
    made = subprocess.run(
        [*command, suite, str(unfinished)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise PoolError(f"mmdebstrap {suite} failed: {made.stderr.strip()[-1500:]}")
    unfinished.rename(pool.root)


def known_user(name: str) -> pwd.struct_passwd:
    """Look a user up here; root cannot own jobs."""
    name = name or os.environ.get("SUDO_USER", "")
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise PoolError(
            f"There is no user {name!r} here: name an ordinary one with --user."
        ) from None
    if found.pw_uid == 0:
        raise PoolError("Jobs cannot belong to root: name an ordinary user with --user.")
    return found


def add_user(root: Path, user: pwd.struct_passwd) -> None:
    """Let the user exist in the root file system as well."""
    passwd, group = root / "etc/passwd", root / "etc/group"
    if f"\n{user.pw_name}:" not in passwd.read_text():
        with passwd.open("a") as file:
            file.write(f"{user.pw_name}:x:{user.pw_uid}:{user.pw_gid}::/nonexistent:/bin/sh\n")
    if f":{user.pw_gid}:" not in group.read_text():
        with group.open("a") as file:
            file.write(f"{user.pw_name}:x:{user.pw_gid}:\n")


def free_port() -> int:
    """Find a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configure(pool: Pool, port: int, domain: str, options: argparse.Namespace) -> None:
    """Write the configuration of the daemons and of clients."""
    memory = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20)
    text = (
        (HERE / "pool.conf")
        .read_text()
        .format(
            port=port,
            domain=domain,
            slots=options.slots,
            memory=memory,
            extra="\n".join(options.set),
        )
    )
    (pool.root / "etc/condor/config.d/50-pool").write_text(text)
    (pool.root / "etc/hosts").write_text(f"127.0.0.1 localhost {domain}\n")
    for name in ("passwords.d", "tokens.d"):
        (pool.root / "etc/condor" / name).mkdir(mode=0o700, exist_ok=True)
    pool.tokens.mkdir(mode=0o700, exist_ok=True)
    client = (HERE / "client.conf").read_text()
    pool.client.write_text(client.format(port=port, domain=domain, tokens=pool.tokens))


def clear(folder: Path) -> None:
    """Remove what is in a folder, which the package made with the right owner."""
    for path in folder.glob("*"):
        if path.is_dir() and not path.is_symlink():
            clear(path)
            if path.name not in {"execute", "local_univ_execute"} | CREDENTIALS:
                path.rmdir()
        else:
            path.unlink()


def make_token(pool: Pool, user: pwd.struct_passwd, domain: str) -> None:
    """Make a token for the user: with it, a client is known to daemons of another version, too."""
    made = inside(pool, "condor_token_create", "-identity", f"{user.pw_name}@{domain}")
    if made.returncode:
        raise PoolError(f"No token could be made: {made.stderr}")
    token = pool.tokens / "pool"
    token.write_text(made.stdout)
    token.chmod(0o600)
    for path in (token, pool.tokens):
        os.chown(path, user.pw_uid, user.pw_gid)
