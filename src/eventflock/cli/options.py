"""The options that several commands share, in groups; `--help` shows them in this order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from eventflock.pools.names import NAMES

__all__ = [
    "ACCEPTANCE",
    "AS_JSON",
    "FOLDER",
    "LIMITS",
    "PACKING",
    "PLACE",
    "PUBLISH",
    "RUN_FOLDER",
    "SHOW",
    "SUBMISSION",
    "SUBMIT_COMMANDS",
    "group",
    "number",
    "pool_options",
]

Command = Callable[..., None]
Option = Callable[[Command], Command]
FOLDER = click.Path(path_type=Path)


def group(*options: Option) -> Option:
    """Return one decorator for several options."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _whole(text: str) -> int:
    """Read a whole number; the error names what is none."""
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a whole number.") from None


def number(name: str, text: str) -> Option:
    """Return an option that is a whole number."""
    return click.option(name, type=_whole, metavar="N", help=text)


def pool_options(default: str) -> Option:
    """Return the options for where jobs run; without a default, it is the pool the run had."""
    return group(
        click.option(
            "--pool",
            default=default,
            metavar="|".join(NAMES),
            help="Where jobs run: worker processes here, this process, HTCondor, or Slurm.",
        ),
        number("--workers", "Worker processes here; by default all usable cores."),
        click.option("--detach", is_flag=True, help="Submit, and do not wait (htcondor, slurm)."),
    )


SUBMIT_COMMANDS = group(
    click.option(
        "--submit",
        multiple=True,
        metavar="NAME=VALUE",
        help="A submit command, as request_memory=4GB, or an option of sbatch, as mem=4G.",
    ),
    click.option("--profile", default="", help="What a site or you have named: cern, ospool, ..."),
)
SUBMISSION = group(
    SUBMIT_COMMANDS,
    click.option("--schedd", default="", metavar="NAME", help="Another than this machine's."),
    click.option("--collector", default="", metavar="HOST", help="Of another pool."),
    click.option("--spool", is_flag=True, help="The schedd shares no disk with this machine."),
    click.option("--dry-run", is_flag=True, help="Show what would be submitted."),
)
FILES = group(
    click.option("--strict-files", is_flag=True, help="Refuse to run if a file cannot be read."),
    click.option(
        "--redirector",
        "redirectors",
        multiple=True,
        metavar="root://HOST",
        help="Where to look for files that cannot be read where they are named; several in order.",
    ),
    click.option(
        "--check",
        default="",
        metavar="EXPECTED.json",
        help="The numbers of entries that files should have, as a catalogue gives them.",
    ),
)
LIMITS = group(
    click.option(
        "--stall",
        default="10m",
        metavar="TIME",
        help="A job without any progress for this long gives up; 0 for never.",
    ),
    click.option(
        "--time-limit", default="", metavar="TIME", help="A job may not take longer than this."
    ),
)
ACCEPTANCE = group(
    click.option(
        "--accept",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        metavar="FRACTION",
        help="Be content with this fraction of the events, as 0.999; the result says so.",
    ),
    click.option(
        "--accept-files",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        metavar="FRACTION",
        help="Be content if this fraction of the files could be read.",
    ),
    click.option(
        "--strict/--no-strict",
        default=True,
        help="Whether --accept is not for events for which the analysis raised.",
    ),
)
SHOW = group(
    click.option("--no-plot", is_flag=True, help="Draw no pictures."),
    click.option("--log", is_flag=True, help="Logarithmic scale in the pictures."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
)
PUBLISH = click.option(
    "--publish",
    default="",
    metavar="URL",
    help="Copy result and plots there at the end: a folder, root://, https:// (WebDAV), s3://.",
)
PACKING = group(
    click.option(
        "--with",
        "include",
        multiple=True,
        metavar="NAME|PATH",
        help="Pack this as well: an installed package, or a folder or file of yours.",
    ),
    click.option(
        "--without",
        "exclude",
        multiple=True,
        metavar="NAME",
        help="Leave this package out, although another one names it.",
    ),
    click.option(
        "--requirements",
        default="",
        metavar="FILE",
        help="Install and pack these: requirements.txt, pylock.toml or uv.lock.",
    ),
    click.option("--everything", is_flag=True, help="Pack all that is installed here."),
    click.option(
        "--python",
        default="",
        metavar="standalone|site",
        help="Pack a Python that uv manages, or use the one of the node or of its set-up, with "
        "the packed packages before its own.",
    ),
    click.option(
        "--glibc",
        default="auto",
        metavar="auto|never|always",
        help="When the bundled glibc is used: by default where the node's is too old.",
    ),
    click.option(
        "--node-cache",
        default="",
        metavar="FOLDER|auto",
        help="Keep the environment unpacked in this folder of the nodes, for all jobs there.",
    ),
    click.option(
        "--setup",
        default="",
        metavar="FILE|lcg:VIEW",
        help="Shell that is sourced on the node first: it sets up the site's software.",
    ),
    click.option(
        "--container",
        default="",
        metavar="IMAGE",
        help="Run jobs in this image: a .sif file, a folder, or docker://NAME.",
    ),
)
PLACE = group(
    click.option("--out", type=FOLDER, help="The run folder; by default runs/NAME-001, -002, ..."),
    click.option("--packed", is_flag=True, help="Let jobs bring their environment, as on a node."),
    PACKING,
)
"""Where a run is, and what its jobs bring along."""
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
RUN_FOLDER = click.argument("path", metavar="RUN", type=FOLDER)
