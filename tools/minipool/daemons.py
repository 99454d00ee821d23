"""Start the daemons of a pool, watch over them, and end them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from building import add_user, build, clear, configure, free_port, known_user, make_token
from pool import (
    CLEAN,
    HERE,
    Pool,
    PoolError,
    children,
    entering,
    inside,
    is_alive,
    started,
    version,
)

PATIENCE = 90.0
"""Seconds for the daemons to come up."""


def start(pool: Pool, options: argparse.Namespace) -> None:
    """Start the daemons, and wait until the pool can be used."""
    if os.geteuid() != 0:
        raise PoolError("This needs root, for mounts and namespaces.")
    if pool.running():
        raise PoolError(f"A pool runs in {pool.folder} already: end it with 'stop'.")
    user = known_user(options.user)
    build(pool, options.suite)
    add_user(pool.root, user)
    port = free_port()
    domain = socket.gethostname() or "localhost"
    configure(pool, port, domain, options)
    for name in ("log", "lib", "run", "spool"):  # what the last pool in this folder knew
        clear(pool.root / f"var/{name}/condor")
    shared = [str(Path(path).resolve()) for path in options.share]
    for path in shared:
        if not Path(path).is_dir():
            raise PoolError(f"--share {path} is not a folder.")
    launch(pool, shared, options)
    try:
        wait_until_ready(pool, options.slots)
        make_token(pool, user, domain)
    except BaseException:
        stop(pool)
        raise
    print(f"pool      {version(pool)} in {pool.folder}, {options.slots} slots")
    print(f"user      {user.pw_name}")
    print(f'client    eval "$(python3 {HERE} env {shlex.quote(str(pool.folder))})"')
    print(f"end       python3 {HERE} stop {shlex.quote(str(pool.folder))}")


def launch(pool: Pool, shared: Sequence[str], options: argparse.Namespace) -> None:
    """Start a supervisor that goes on when this process ends."""
    with pool.log.open("wb") as log:
        scratch = "disk" if options.disk else "memory"
        words = [sys.executable, str(HERE), "supervise", str(pool.folder)]
        words += [str(options.until), scratch, *shared]
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE
    while not pool.running():
        if process.poll() is not None or time.monotonic() > deadline:
            raise PoolError(f"The daemons did not start: {last_words(pool)}")
        time.sleep(0.05)


def supervise(pool: Pool, until: int, words: Sequence[str]) -> int:
    """Keep the daemons in namespaces of their own, which end with this process."""
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL"]
    child = subprocess.Popen(
        [*unshare, "sh", str(HERE / "inside.sh"), str(pool.root), *words], env=CLEAN
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        master = 0
        while not master and child.poll() is None:
            master = next(iter(children(child.pid)), 0)
            time.sleep(0.01)
        if not master:
            return child.poll() or 1
        running = {"supervisor": os.getpid(), "since": started(os.getpid()), "master": master}
        pool.state.write_text(json.dumps(running))
        born = started(until) if until else 0
        while child.poll() is None and (not until or is_alive(until, born)):
            time.sleep(0.2)
        return child.poll() or 0
    finally:
        shut_down(child, pool)
        pool.state.unlink(missing_ok=True)


def shut_down(child: subprocess.Popen[bytes], pool: Pool) -> None:
    """Ask the daemons to end at once; what does not, ends with its namespace."""
    with contextlib.suppress(PoolError, OSError):
        os.kill(pool.master(), signal.SIGQUIT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(5)
    child.kill()
    child.wait()


def wait_until_ready(pool: Pool, slots: int) -> None:
    """Wait until the schedd and the slots are known to the collector."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            schedd = inside(pool, "condor_status", "-schedd", "-af", "Name")
            startd = inside(pool, "condor_status", "-af", "TotalSlotCpus")
        except PoolError as error:  # the daemons have ended
            raise PoolError(f"The pool did not come up: {error} {last_words(pool)}") from None
        cpus = sum(int(word) for word in startd.stdout.split() if word.isdigit())
        if schedd.stdout.strip() and cpus >= slots:
            return
        if time.monotonic() > deadline:
            answers = f"condor_status says {startd.stderr}{schedd.stderr}"
            raise PoolError(f"The pool did not come up: {answers} {last_words(pool)}")
        time.sleep(0.2)


def last_words(pool: Pool) -> str:
    """Return the ends of the logs, for a pool that ended at once."""
    logs = [pool.log, *sorted(pool.root.glob("var/log/condor/*Log"))]
    texts = [(log.name, log.read_text(errors="replace")[-1500:]) for log in logs if log.exists()]
    return "\n".join(f"--- {name}\n{text}" for name, text in texts)


def black_hole(pool: Pool, slots: int) -> int:
    """Run a node on which every job fails at once, until this process is ended."""
    domain = socket.gethostname() or "localhost"
    script = (HERE / "black_hole.sh").read_text()  # the pool does not see this folder
    words = ["sh", "-c", script, "black-hole", domain, str(slots)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    child = subprocess.Popen(entering(pool, words))
    try:
        return child.wait()
    finally:
        for pid in children(child.pid):  # nsenter passes no signals on
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        child.wait(10)


def stop(pool: Pool) -> None:
    """End the daemons and all jobs, and wait for it."""
    running = pool.running()
    if not running:
        return
    os.kill(running["supervisor"], signal.SIGTERM)
    deadline = time.monotonic() + 30
    while pool.running():
        if time.monotonic() > deadline:
            os.kill(running["supervisor"], signal.SIGKILL)
            raise PoolError(f"The pool in {pool.folder} had to be killed.")
        time.sleep(0.05)
