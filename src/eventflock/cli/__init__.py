"""The command line: each command parses, calls one function of the library, and prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from eventflock._version import __version__

__all__ = ["app"]

Command = Callable[..., None]
FOLDER = click.Path(path_type=Path)


def _whole(text: str) -> int:
    """Read a whole number, and name what is none."""
    try:
        return int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a whole number.") from None


def _number(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(name, type=_whole, metavar="N", help=text)


def _pool_options(default: str) -> Callable[[Command], Command]:
    """Add where jobs run; where there is no default, it is the pool that the run has had."""

    def add(command: Command) -> Command:
        for option in (
            click.option("--detach", is_flag=True, help="Submit, and do not wait (htcondor)."),
            _number("--workers", "Worker processes here; by default all usable cores."),
            click.option(
                "--pool",
                default=default,
                metavar="local|inline|htcondor",
                help="Where jobs run: worker processes here, this process, or HTCondor.",
            ),
        ):
            command = option(command)
        return command

    return add


def _site_options(command: Command) -> Command:
    """Add what says how jobs are submitted to HTCondor."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Show what would be submitted."),
        click.option("--spool", is_flag=True, help="The schedd shares no disk with this machine."),
        click.option("--collector", default="", metavar="HOST", help="Of another pool."),
        click.option("--schedd", default="", metavar="NAME", help="Another than this machine's."),
    ):
        command = option(command)
    return _submit_options(command)


def _submit_options(command: Command) -> Command:
    """Add what says which submit commands jobs have."""
    for option in (
        click.option("--profile", default="", help="Submit commands of a site: cern, ospool, ..."),
        click.option(
            "--submit",
            multiple=True,
            metavar="NAME=VALUE",
            help="A submit command of HTCondor, such as request_memory=4GB or +ProjectName=top.",
        ),
    ):
        command = option(command)
    return command


def _limit_options(command: Command) -> Command:
    """Add what says when a job has failed."""
    for option in (
        click.option(
            "--time-limit", default="", metavar="TIME", help="A job may not take longer than this."
        ),
        click.option(
            "--stall",
            default="10m",
            metavar="TIME",
            help="A job without any progress for this long gives up; 0 for never.",
        ),
    ):
        command = option(command)
    return command


def _accept_options(command: Command) -> Command:
    """Add what says when a partial result is good enough."""
    for option in (
        click.option(
            "--strict/--no-strict",
            default=True,
            help="Whether --accept is not for events for which the analysis raised.",
        ),
        click.option(
            "--accept",
            type=click.FloatRange(0, 1, min_open=True),
            default=1.0,
            metavar="FRACTION",
            help="Be content with this fraction of the events, as 0.999; the result says so.",
        ),
    ):
        command = option(command)
    return command


def _show_options(command: Command) -> Command:
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option("--log", is_flag=True, help="Logarithmic scale in the pictures."),
        click.option("--no-plot", is_flag=True, help="Draw no pictures."),
    ):
        command = option(command)
    return command


def _packing_options(command: Command) -> Command:
    """Add what says how the environment is packed."""
    for option in (
        click.option(
            "--glibc",
            default="auto",
            metavar="auto|never|always",
            help="When the bundled glibc is used: by default where the node's is too old.",
        ),
        click.option(
            "--python",
            default="",
            metavar="standalone",
            help="Pack a Python that uv manages instead of the one that runs.",
        ),
        click.option("--everything", is_flag=True, help="Pack all that is installed here."),
        click.option(
            "--requirements",
            default="",
            metavar="FILE",
            help="Install and pack these: requirements.txt, pylock.toml or uv.lock.",
        ),
        click.option(
            "--with",
            "include",
            multiple=True,
            metavar="NAME|PATH",
            help="Pack this as well: an installed package, or a folder or file of yours.",
        ),
    ):
        command = option(command)
    return command


_as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_run_folder = click.argument("path", metavar="RUN", type=FOLDER)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="eventflock", message="%(prog)s %(version)s")
def app() -> None:
    """Run a Python analysis over every event of ROOT files, exactly once."""


@app.command()
@click.argument("analysis")
@click.argument("files", nargs=-1, required=True)
@_pool_options("local")
@_number("--jobs", "Number of jobs.")
@_number("--events-per-job", "Exact number of events in each job.")
@click.option(
    "--target-time",
    default="",
    metavar="TIME",
    help="Cut jobs so that each takes about this time, as in 20m, by a trial on this machine.",
)
@_number("--chunk", "Exact number of events in each call.")
@click.option(
    "--range",
    "entries",
    default="",
    metavar="START:STOP",
    help="Only these entries, counted through the files of each dataset.",
)
@click.option("--param", multiple=True, metavar="NAME=VALUE", help="A parameter of the analysis.")
@click.option("--tree", default="", help="Name of the tree, where files do not say.")
@click.option("--dataset", default="", help="Name of the dataset, where files do not say.")
@click.option("--out", type=FOLDER, help="The run folder; by default runs/NAME-001, -002, ...")
@click.option("--packed", is_flag=True, help="Let jobs bring their environment, as on a node.")
@_packing_options
@_site_options
@_limit_options
@_accept_options
@_show_options
def run(
    analysis: str,
    files: tuple[str, ...],
    param: tuple[str, ...],
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    packed: bool,
    include: tuple[str, ...],
    requirements: str,
    everything: bool,
    python: str,
    glibc: str,
    target_time: str,
    profile: str,
    submit: tuple[str, ...],
    schedd: str,
    collector: str,
    spool: bool,
    dry_run: bool,
    stall: str,
    time_limit: str,
    accept: float,
    strict: bool,
    **options: Any,
) -> None:
    """Plan, run, merge and plot ANALYSIS over FILES.

    ANALYSIS is path.py, path.py:name or package.module:name. FILES are paths, globs, folders, URLs,
    @list.txt, NAME=path, or fileset.json.
    """
    from eventflock.cli import commands
    from eventflock.core.options import Options, SubmitOptions

    wish = commands.read_wish(include, requirements, everything, python, glibc)
    site = SubmitOptions(
        profile=profile, submit=submit, schedd=schedd, collector=collector, spool=spool
    )
    commands.check_pool(options["pool"], site, detach=options["detach"], dry_run=dry_run)
    chosen = Options(
        parameters=commands.read_parameters(param),
        text=True,
        packing=commands.packing_for(options["pool"], packed, wish),
        target_seconds=commands.read_target(target_time),
        submission=site,
        limits=commands.read_care(stall, time_limit),
        acceptance=commands.read_acceptance(accept, strict),
        **options,
    )
    if dry_run:
        commands.show_submission(analysis, files, chosen, as_json=as_json, quiet=quiet)
        return
    commands.run(analysis, files, chosen, commands.Show(as_json, quiet, not no_plot, log))


@app.command()
@_run_folder
@_pool_options("")
@_submit_options
@_limit_options
@_accept_options
@_show_options
def resume(
    path: Path,
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    profile: str,
    submit: tuple[str, ...],
    stall: str,
    time_limit: str,
    accept: float,
    strict: bool,
    **options: Any,
) -> None:
    """Do the jobs of RUN that have no result yet, then merge and plot.

    On HTCondor, --submit and --profile replace what was said before under the same names.
    """
    from eventflock.cli import commands
    from eventflock.core.options import Options, SubmitOptions

    chosen = Options(
        submission=SubmitOptions(profile=profile, submit=submit),
        limits=commands.read_care(stall, time_limit),
        acceptance=commands.read_acceptance(accept, strict),
        **options,
    )
    commands.resume(path, chosen, commands.Show(as_json, quiet, not no_plot, log))


@app.command()
@_run_folder
@_accept_options
@_show_options
def watch(
    path: Path,
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    accept: float,
    strict: bool,
) -> None:
    """Follow RUN to its end, whoever works on it, then merge and plot. Nothing is submitted."""
    from eventflock.cli import commands
    from eventflock.core.options import Options

    chosen = Options(acceptance=commands.read_acceptance(accept, strict))
    commands.watch(path, chosen, commands.Show(as_json, quiet, not no_plot, log))


@app.command()
@_run_folder
@_as_json
def stop(path: Path, as_json: bool) -> None:
    """Remove the jobs of RUN from HTCondor's queue. What is done is kept; resume goes on."""
    from eventflock.cli import commands

    commands.stop(path, as_json)


@app.command()
@_run_folder
@_as_json
def status(path: Path, as_json: bool) -> None:
    """Say where RUN stands, from what is on the disk."""
    from eventflock.cli import commands

    commands.status(path, as_json)


@app.command()
@_run_folder
@_as_json
def why(path: Path, as_json: bool) -> None:
    """Say what failed in RUN and why, most events first, and how to repeat each case here."""
    from eventflock.cli import explaining

    explaining.show(path, as_json)


@app.command()
@_run_folder
@_accept_options
@_show_options
def merge(
    path: Path,
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    accept: float,
    strict: bool,
) -> None:
    """Merge again the result files that RUN has, and plot. A complete result is kept."""
    from eventflock.cli import commands
    from eventflock.core.options import Options

    chosen = Options(acceptance=commands.read_acceptance(accept, strict))
    commands.merge(path, chosen, commands.Show(as_json, quiet, not no_plot, log))


@app.command()
@_run_folder
@click.option("--log", is_flag=True, help="Logarithmic scale.")
@click.option("--format", "formats", default="png", help="png, pdf or svg, or several with commas.")
@click.option("--out", type=FOLDER, help="Folder for the pictures; by default RUN/plots.")
@_as_json
def plot(path: Path, log: bool, formats: str, out: Path | None, as_json: bool) -> None:
    """Draw every histogram of RUN, or of a single result file."""
    from eventflock.cli import commands

    commands.plot(path, log=log, formats=formats.split(","), out=out, as_json=as_json)


@app.command()
@click.argument("file")
@_as_json
def inspect(file: str, as_json: bool) -> None:
    """Show the trees of a ROOT FILE: entries, clusters, branches with types and sizes."""
    from eventflock.cli import commands

    commands.inspect(file, as_json)


@app.command()
@click.argument("analysis")
@click.argument("files", nargs=-1)
@_packing_options
@click.option("--param", multiple=True, metavar="NAME=VALUE", help="A parameter of the analysis.")
@click.option("--tree", default="", help="Name of the tree, where files do not say.")
@click.option("--out", type=FOLDER, help="A folder for copies of the two archives.")
@_as_json
def pack(
    analysis: str,
    files: tuple[str, ...],
    param: tuple[str, ...],
    tree: str,
    out: Path | None,
    as_json: bool,
    **wish: Any,
) -> None:
    """Pack the environment of ANALYSIS: interpreter, packages, native libraries, your code.

    With FILES, the analysis is tried on their first events, to see all that it loads.
    """
    from eventflock.cli import packing

    packing.pack(analysis, files, packing.options(param, tree, wish), out, as_json)


@app.command()
@click.argument("analysis")
@click.argument("files", nargs=-1)
@click.option("--in", "root", type=FOLDER, metavar="ROOT", help="Check in this root file system.")
@_packing_options
@click.option("--param", multiple=True, metavar="NAME=VALUE", help="A parameter of the analysis.")
@click.option("--tree", default="", help="Name of the tree, where files do not say.")
@_as_json
def check(
    analysis: str,
    files: tuple[str, ...],
    root: Path | None,
    param: tuple[str, ...],
    tree: str,
    as_json: bool,
    **wish: Any,
) -> None:
    """Prove the packed environment of ANALYSIS: import all of it, and run a chunk.

    With FILES, the chunk is the first of theirs.
    """
    from eventflock.cli import packing

    packing.check(analysis, files, packing.options(param, tree, wish), root, as_json)


@app.command()
@click.option("--out", type=FOLDER, default="demo", help="Folder for all that it makes.")
@_number("--workers", "Worker processes; by default all usable cores.")
def demo(out: Path, workers: int | None) -> None:
    """Make a sample file, run an analysis on it in ten jobs, and plot the result."""
    from eventflock.cli import commands

    commands.demo(out, workers)
