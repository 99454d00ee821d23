"""A whole Slurm cluster on this machine, to try things out on; nothing is left of it.

    python3 tools/minislurm.py FOLDER [--nodes N] [--cpus N] [--memory MB] [--set NAME=VALUE]
        [--accounting]

It runs until its standard input ends, or it is ended itself. When the nodes are ready, it prints
what a client needs: `export SLURM_CONF=...`, and an empty line. It needs root, Debian's packages
slurm-wlm and munge, and a folder that the users of jobs may enter. There are the partitions "main"
and "short" (a minute at most, on one node). With accounting, which needs slurmdbd and
mariadb-server as well, sacct knows the jobs that squeue has forgotten. A daemon that is killed is
started again. All of it is in a namespace of processes, which ends with it, and listens on the
loopback only. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

PATIENCE = 60.0
"""Seconds for the nodes to come up."""
LOOK_EVERY = 0.2
CONFIG = """\
ClusterName=mini
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={control}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
{accounting}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=2,sched_interval=5
ReturnToService=1
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=3
{more}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 State=UP
PartitionName=short Nodes=n1 MaxTime=1 PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=10 State=UP
"""

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStoreFlags=job_comment"""
DATABASE_CONFIG = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage}
StorageUser=slurm
StoragePass={password}
"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 tools/minislurm.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2, help="of each node")
    parser.add_argument("--memory", type=int, default=20000, help="of each node, in MB")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB")
    return parser.parse_args(words)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def configure(options: argparse.Namespace) -> list[list[str]]:
    """Write the files of a cluster, and return the commands of its daemons in their order."""
    folder: Path = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("munge", "state"):
        (folder / name).mkdir(parents=True)
    key = folder / "munge/key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    control, database, storage, *ports = free_ports(options.nodes + 3)
    names = [f"n{number + 1}" for number in range(options.nodes)]
    size = f"CPUs={options.cpus} RealMemory={options.memory}"
    nodes = [
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} {size}"
        for name, port in zip(names, ports, strict=True)
    ]
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            folder=folder,
            control=control,
            accounting=ACCOUNTING.format(port=database, folder=folder)
            if options.accounting
            else NO_ACCOUNTING,
            nodes="\n".join(nodes),
            more="\n".join(options.set),
        )
    )
    munge = [f"--{one}={folder}/munge/{one.partition('-')[0]}" for one in ("key-file", "socket")]
    munge += [f"--{one}-file={folder}/munge/{one}" for one in ("pid", "log", "seed")]
    return [
        ["munged", "--foreground", "--force", *munge],
        *(keep_accounts(folder, database, storage) if options.accounting else []),
        ["slurmctld", "-D", "-f", str(config)],
        *(["slurmd", "-D", "-N", name, "-f", str(config)] for name in names),
    ]


def keep_accounts(folder: Path, port: int, storage: int) -> list[list[str]]:
    """Make an empty database for accounting, and return the commands of its daemons."""
    password, data = secrets.token_hex(16), folder / "database"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    first, config = folder / "first.sql", folder / "slurmdbd.conf"  # it reads no other file
    for path in (first, config):
        path.touch(mode=0o600)
    first.write_text(
        f"CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';\n"
    )
    config.write_text(
        DATABASE_CONFIG.format(folder=folder, port=port, storage=storage, password=password)
    )
    places = {"datadir": data, "socket": data / "socket", "pid-file": data / "pid"}
    here = [f"--port={storage}", "--bind-address=127.0.0.1", f"--init-file={first}"]
    return [
        ["mariadbd", "--no-defaults", "--user=root", *here]
        + [f"--{name}={path}" for name, path in places.items()],
        ["slurmdbd", "-D"],
    ]


def launch(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a daemon; of the variables of a client it needs one."""
    with log.open("ab") as out:
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "SLURM_CONF": str(log.parent / "slurm.conf"),
        }
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)


def idle_nodes(config: Path) -> int:
    """Count the nodes that can run jobs."""
    told = subprocess.run(
        ["sinfo", "-h", "-N", "-p", "main", "-o", "%t"],
        env={**os.environ, "SLURM_CONF": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.split().count("idle")


def is_up(daemon: str, options: argparse.Namespace) -> bool:
    """Check whether a daemon is ready for those that come after it."""
    sockets = {"munged": "munge/socket", "mariadbd": "database/socket"}
    if daemon == "slurmdbd":  # the controller needs to be known to it
        env = {**os.environ, "SLURM_CONF": str(options.folder / "slurm.conf")}
        words = ["sacctmgr", "--immediate", "--quiet", "add", "cluster", "mini"]
        return subprocess.run(words, env=env, capture_output=True, check=False).returncode == 0
    return daemon not in sockets or (options.folder / sockets[daemon]).exists()


def wait_for(ready: Callable[[], bool], log: Path) -> bool:
    """Wait until something is ready, and say if it does not come to that."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            print(f"The cluster did not come up: {log.read_text()[-2000:]}", file=sys.stderr)
            return False
        time.sleep(LOOK_EVERY)
    return True


def serve(options: argparse.Namespace) -> int:
    """Run the daemons, as the first process of a namespace, until standard input ends."""
    commands = configure(options)
    config, log = options.folder / "slurm.conf", options.folder / "daemons.log"
    daemons: dict[int, list[str]] = {}
    for command in commands:
        daemons[launch(command, log).pid] = command
        if not wait_for(partial(is_up, command[0], options), log):
            return 1
    if not wait_for(lambda: idle_nodes(config) == options.nodes, log):
        return 1
    print(f"export SLURM_CONF={config}\n", flush=True)
    while True:
        if select.select([0], [], [], LOOK_EVERY)[0] and not os.read(0, 1):
            return 0
        while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:  # orphans are ours, too
            if ended in daemons:
                command = daemons.pop(ended)
                daemons[launch(command, log).pid] = command


def main(words: Sequence[str]) -> int:
    """Run a cluster, in a namespace of processes that ends with this one."""
    options = parse(words)
    options.folder = options.folder.resolve()
    if os.geteuid() != 0:
        print("tools/minislurm.py: this needs root, for namespaces and daemons.", file=sys.stderr)
        return 1
    programs = ["munged", "slurmctld", "slurmd"]
    programs += ["mariadbd", "slurmdbd"] if options.accounting else []
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        needed = "apt-get install slurm-wlm munge" + " slurmdbd mariadb-server" * options.accounting
        print(f"tools/minislurm.py: there is no {', '.join(missing)}: {needed}", file=sys.stderr)
        return 1
    if os.getpid() != 1:
        apart = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        os.execvp("unshare", [*apart, sys.executable, __file__, *words])
    return serve(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
