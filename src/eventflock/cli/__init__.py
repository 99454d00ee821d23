"""The command line: each command parses, calls one function of the library, and prints.

Uses everything. Nothing else in the package prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventflock._version import __version__
from eventflock.cli.mapping import map_rows, repeat
from eventflock.cli.options import (
    ACCEPTANCE,
    AS_JSON,
    FILES,
    FOLDER,
    LIMITS,
    PACKING,
    PLACE,
    PUBLISH,
    RUN_FOLDER,
    SHOW,
    SUBMISSION,
    SUBMIT_COMMANDS,
    number,
    pool_options,
)

__all__ = ["app"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="eventflock", message="%(prog)s %(version)s")
def app() -> None:
    """Run a Python analysis over every event of ROOT files, exactly once."""


@app.command()
@click.argument("analysis")
@click.argument("files", nargs=-1, required=True)
@pool_options("local")
@number("--jobs", "Number of jobs.")
@number("--events-per-job", "Exact number of events in each job.")
@click.option(
    "--target-time",
    default="",
    metavar="TIME",
    help="Cut jobs so that each takes about this time, as in 20m, by a trial on this machine.",
)
@number("--chunk", "Exact number of events in each call.")
@click.option(
    "--range",
    "entries",
    default="",
    metavar="START:STOP",
    help="Only these entries, counted through the files of each dataset.",
)
@click.option("--param", multiple=True, metavar="[DATASET:]NAME=VALUE", help="A parameter.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Of random numbers, which are the same for the same seed, files and chunks.",
)
@click.option("--tree", default="", help="Name of the tree, where files do not say.")
@click.option("--dataset", default="", help="Name of the dataset, where files do not say.")
@click.option("--schema", default="", help="Makes objects of branches, as nanoaod or physlite.")
@click.option(
    "--lumis", default="", metavar="RUN,LUMI", help="Collect these two branches: see 'lumis'."
)
@PLACE
@SUBMISSION
@FILES
@LIMITS
@ACCEPTANCE
@SHOW
@PUBLISH
def run(
    analysis: str,
    files: tuple[str, ...],
    param: tuple[str, ...],
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    publish: str,
    packed: bool,
    target_time: str,
    dry_run: bool,
    **options: Any,
) -> None:
    """Plan, run, merge and plot ANALYSIS over FILES.

    ANALYSIS is path.py, path.py:name or package.module:name; more analyses of files (.py) may
    follow. FILES are paths, globs, folders, URLs, @list.txt, NAME=path, or fileset.json.
    """
    from eventflock.cli import commands, reading
    from eventflock.runs.work import EventsWork

    chosen = reading.read_options(
        {**options, "dry_run": dry_run},
        packed,
        parameters=reading.read_parameters(param),
        text=True,
        target_seconds=reading.read_target(target_time),
    )
    work = EventsWork(*reading.split_analyses(analysis, files, needed=True))
    if dry_run:
        commands.show_submission(work, chosen, as_json=as_json, quiet=quiet)
        return
    commands.run(work, chosen, commands.Show(as_json, quiet, not no_plot, log, publish))


@app.command()
@RUN_FOLDER
@pool_options("")
@SUBMIT_COMMANDS
@LIMITS
@ACCEPTANCE
@SHOW
@PUBLISH
def resume(
    path: Path,
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    publish: str,
    profile: str,
    submit: tuple[str, ...],
    stall: str,
    time_limit: str,
    accept: float,
    accept_files: float,
    strict: bool,
    **options: Any,
) -> None:
    """Do the jobs of RUN that have no result yet, then merge and plot.

    On a batch system, --submit and --profile replace what was said before under the same names.
    """
    from eventflock.cli import commands, reading
    from eventflock.core.options import Options, SubmitOptions

    chosen = Options(
        submission=SubmitOptions(profile=profile, submit=submit),
        limits=reading.read_limits(stall, time_limit),
        acceptance=reading.read_acceptance(accept, strict, accept_files),
        **options,
    )
    commands.resume(path, chosen, commands.Show(as_json, quiet, not no_plot, log, publish))


@app.command()
@RUN_FOLDER
@ACCEPTANCE
@SHOW
@PUBLISH
def watch(
    path: Path,
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    publish: str,
    accept: float,
    accept_files: float,
    strict: bool,
) -> None:
    """Follow RUN to its end, then merge and plot. Nothing is submitted."""
    from eventflock.cli import commands, reading
    from eventflock.core.options import Options

    chosen = Options(acceptance=reading.read_acceptance(accept, strict, accept_files))
    commands.watch(path, chosen, commands.Show(as_json, quiet, not no_plot, log, publish))


@app.command()
@RUN_FOLDER
@AS_JSON
def stop(path: Path, as_json: bool) -> None:
    """Remove the jobs of RUN from the queue. What is done is kept; resume goes on."""
    from eventflock.cli import commands

    commands.stop(path, as_json)


@app.command()
@RUN_FOLDER
@AS_JSON
def status(path: Path, as_json: bool) -> None:
    """Show how far RUN is, from what is on the disk."""
    from eventflock.cli import commands

    commands.status(path, as_json)


@app.command()
@RUN_FOLDER
@AS_JSON
def why(path: Path, as_json: bool) -> None:
    """Show what failed in RUN and why, most events first, and how to repeat each case here."""
    from eventflock.cli import explaining

    explaining.show(path, as_json)


@app.command()
@RUN_FOLDER
@ACCEPTANCE
@SHOW
@click.option(
    "--out", type=FOLDER, help="Merge what there is so far into this folder, and leave RUN alone."
)
def merge(
    path: Path,
    out: Path | None,
    no_plot: bool,
    log: bool,
    as_json: bool,
    quiet: bool,
    accept: float,
    accept_files: float,
    strict: bool,
) -> None:
    """Merge again the result files that RUN has, and plot. A complete result is kept.

    With --out FOLDER, also while a process works on RUN, and by users who may only read it.
    """
    from eventflock.cli import commands, reading
    from eventflock.core.options import Options

    show = commands.Show(as_json, quiet, not no_plot, log)
    if out is not None:
        commands.merge_so_far(path, out, show)
        return
    chosen = Options(acceptance=reading.read_acceptance(accept, strict, accept_files))
    commands.merge(path, chosen, show)


@app.command()
@RUN_FOLDER
@click.argument("url")
@click.option("--name", default="", help="Of the run there; by default that of its folder.")
@AS_JSON
def publish(path: Path, url: str, name: str, as_json: bool) -> None:
    """Copy result, plots and files of RUN to URL, with a page and an index of the runs there.

    URL is a folder, root://HOST//PATH, https://HOST/PATH (WebDAV), s3://BUCKET/PATH, or
    ssh://HOST/PATH. Each file gets its name there when its copy has been read back and compared.
    """
    from eventflock.cli import publishing

    publishing.publish(path, url, name, as_json=as_json)


@app.command()
@RUN_FOLDER
@click.option("--result", "name", default="", help="The set that has them, if there are several.")
@click.option("--dataset", default="", help="Of this dataset only.")
def lumis(path: Path, name: str, dataset: str) -> None:
    """Print the runs and luminosity sections in the result of RUN, as a golden JSON.

    They are in a set of pairs that the analysis returns, or were collected by --lumis.
    """
    from eventflock.cli import luminosity

    luminosity.show(path, name, dataset)


@app.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="Folder for the result, which is new.")
@click.option("--name", default="hist", help="For a result that has no name in its pickle.")
@AS_JSON
def import_pickles(files: tuple[str, ...], out: Path, name: str, as_json: bool) -> None:
    """Add up results that other programs pickled, in FILES, without running what is in them."""
    from eventflock.cli import importing

    importing.show(files, out, name, as_json)


@app.command()
@RUN_FOLDER
@click.option("--log", is_flag=True, help="Logarithmic scale.")
@click.option("--format", "formats", default="png", help="png, pdf or svg, or several with commas.")
@click.option("--out", type=FOLDER, help="Folder for the pictures; by default RUN/plots.")
@AS_JSON
def plot(path: Path, log: bool, formats: str, out: Path | None, as_json: bool) -> None:
    """Draw every histogram of RUN, or of a single result file."""
    from eventflock.cli import commands

    commands.plot(path, log=log, formats=formats.split(","), out=out, as_json=as_json)


@app.command()
@click.argument("file")
@AS_JSON
def inspect(file: str, as_json: bool) -> None:
    """Show the trees of a ROOT FILE: entries, clusters, branches with types and sizes."""
    from eventflock.cli import commands

    commands.inspect(file, as_json)


@app.command()
@click.argument("analysis")
@click.argument("files", nargs=-1)
@PACKING
@click.option("--param", multiple=True, metavar="[DATASET:]NAME=VALUE", help="A parameter.")
@click.option("--tree", default="", help="Name of the tree, where files do not say.")
@click.option("--schema", default="", help="Makes objects of branches, as nanoaod or physlite.")
@click.option("--out", type=FOLDER, help="A folder for copies of the archives.")
@click.option(
    "--to", type=FOLDER, help="A folder that nodes see: unpack it there, for --node-cache."
)
@AS_JSON
def pack(
    analysis: str,
    files: tuple[str, ...],
    param: tuple[str, ...],
    tree: str,
    schema: str,
    out: Path | None,
    to: Path | None,
    as_json: bool,
    **packing: Any,
) -> None:
    """Pack the environment of ANALYSIS: interpreter, packages, native libraries, your code.

    With FILES, the analysis is tried on their first events, to see all that it loads.
    """
    from eventflock.cli import packing as packing_commands
    from eventflock.cli.reading import split_analyses

    chosen = packing_commands.options(param, tree, schema, packing)
    packing_commands.pack(*split_analyses(analysis, files), chosen, out, to, as_json)


@app.command()
@click.argument("analysis")
@click.argument("files", nargs=-1)
@click.option("--in", "root", type=FOLDER, metavar="ROOT", help="Check in this root file system.")
@PACKING
@click.option("--param", multiple=True, metavar="[DATASET:]NAME=VALUE", help="A parameter.")
@click.option("--tree", default="", help="Name of the tree, where files do not say.")
@click.option("--schema", default="", help="Makes objects of branches, as nanoaod or physlite.")
@AS_JSON
def check(
    analysis: str,
    files: tuple[str, ...],
    root: Path | None,
    param: tuple[str, ...],
    tree: str,
    schema: str,
    as_json: bool,
    **packing: Any,
) -> None:
    """Prove the packed environment of ANALYSIS: import all of it, and run a chunk.

    With FILES, the chunk is the first of theirs.
    """
    from eventflock.cli import packing as packing_commands
    from eventflock.cli.reading import split_analyses

    chosen = packing_commands.options(param, tree, schema, packing)
    packing_commands.check(*split_analyses(analysis, files), chosen, root, as_json)


@app.command()
@click.option(
    "--keep",
    default="30d",
    metavar="TIME",
    help="What was used within this time stays: 12h, 30d; 0 for nothing.",
)
@AS_JSON
def clean(keep: str, as_json: bool) -> None:
    """Remove what the cache of packed environments has not needed for a while."""
    from eventflock.cli import packing as packing_commands

    packing_commands.clean(keep, as_json)


@app.command()
@click.option("--out", type=FOLDER, default="demo", help="Folder for all that it makes.")
@number("--workers", "Worker processes; by default all usable cores.")
def demo(out: Path, workers: int | None) -> None:
    """Make a sample file, run an analysis on it in ten jobs, and plot the result."""
    from eventflock.cli import commands

    commands.demo(out, workers)


app.add_command(map_rows)
app.add_command(repeat)
