"""A whole HTCondor pool on this machine, to try things out on: start it, stop it, nothing is left.

    python3 tools/minipool start FOLDER [--suite trixie|sid] [--share PATH] [--user NAME]
                                        [--slots N] [--set NAME=VALUE] [--disk] [--until PID]
    python3 tools/minipool build FOLDER [--suite trixie|sid]   only make the root file system
    python3 tools/minipool env FOLDER                print what the shell of a client needs
    python3 tools/minipool exec FOLDER -- COMMAND... run a command in the pool, as root
    python3 tools/minipool black-hole FOLDER         add a node on which every job fails at once,
                                                     until this command is ended
    python3 tools/minipool stop FOLDER

The daemons run in a root file system of their own in FOLDER/root, which mmdebstrap makes the first
time: Debian 13 ("trixie", HTCondor 23.9) or unstable ("sid", HTCondor 25). So a node has another
distribution and another Python. Of this machine, the daemons see the folders that --share names,
at the same path. They listen on the loopback only. The scratch folders of jobs are in memory, or
with --disk in FOLDER. It needs root, for mounts and namespaces; jobs belong to the user NAME.
Only the standard library is used.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from building import build
from daemons import black_hole, start, stop, supervise
from pool import Pool, PoolError, entering


def client_lines(pool: Pool) -> str:
    """Return what the shell of a client has to evaluate."""
    pool.master()
    return f"export CONDOR_CONFIG={shlex.quote(str(pool.client))}"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 tools/minipool",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "build", "env", "exec", "black-hole", "stop", "supervise"):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        if name in {"start", "build"}:
            command.add_argument("--suite", default="trixie", choices=["trixie", "sid"])
        if name == "start":
            command.add_argument("--share", action="append", default=[])
            command.add_argument("--user", default="")
            command.add_argument("--slots", type=int, default=2)
            command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
            command.add_argument("--disk", action="store_true")
            command.add_argument("--until", type=int, default=0, metavar="PID")
        if name == "black-hole":
            command.add_argument("--slots", type=int, default=2)
        if name == "supervise":
            command.add_argument("until", type=int)
        if name in {"exec", "supervise"}:
            command.add_argument("words", nargs=argparse.REMAINDER)
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    """Carry out one command."""
    options = parse(words)
    pool = Pool(options.folder)
    try:
        match options.command:
            case "start":
                start(pool, options)
            case "build":
                build(pool, options.suite)
            case "stop":
                stop(pool)
            case "env":
                print(client_lines(pool))
            case "exec":
                rest = [word for word in options.words if word != "--"]
                return subprocess.run(entering(pool, rest), check=False).returncode
            case "black-hole":
                return black_hole(pool, options.slots)
            case "supervise":
                return supervise(pool, options.until, options.words)
    except PoolError as error:
        print(f"tools/minipool: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
