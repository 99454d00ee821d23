"""The command line: each command parses, calls one function of the library, and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eventflock._version import __version__

__all__ = ["app"]

app = typer.Typer(
    name="eventflock",
    help="Run a Python analysis over every event of ROOT files, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _number(name: str, help: str) -> Any:  # noqa: A002 -- as typer calls it
    return typer.Option(name, metavar="N", parser=_whole, help=help)


def _whole(text: str) -> int:
    """Read a whole number, and name what is none."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number.") from None


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.")]
Pool = Annotated[str, typer.Option("--pool", help="Where jobs run: local or inline.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        parser=_whole,
        help="Worker processes. [default: the cores this process may use]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
NoPlot = Annotated[bool, typer.Option("--no-plot", help="Draw no pictures.")]
Log = Annotated[bool, typer.Option("--log", help="Logarithmic scale in the pictures.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"eventflock {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Run a Python analysis over every event of ROOT files, exactly once."""


@app.command()
def run(
    analysis: Annotated[
        str,
        typer.Argument(metavar="ANALYSIS", help="path.py, path.py:name or module:name."),
    ],
    files: Annotated[
        list[str],
        typer.Argument(help="Paths, globs, folders, URLs, @list.txt, NAME=path, or fileset.json."),
    ],
    pool: Pool = "local",
    workers: Workers = None,
    jobs: Annotated[int | None, _number("--jobs", help="Number of jobs.")] = None,
    events_per_job: Annotated[
        int | None,
        typer.Option(
            "--events-per-job",
            metavar="N",
            parser=_whole,
            help="Exact number of events in each job.",
        ),
    ] = None,
    entries: Annotated[
        str,
        typer.Option(
            "--range",
            metavar="START:STOP",
            help="Only these entries, counted through the files of each dataset.",
        ),
    ] = "",
    chunk: Annotated[
        int | None,
        typer.Option(
            "--chunk", metavar="N", parser=_whole, help="Exact number of events in each call."
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the analysis."),
    ] = None,
    tree: Annotated[str, typer.Option("--tree", help="Name of the tree.")] = "",
    dataset: Annotated[str, typer.Option("--dataset", help="Name of the dataset.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="The run folder. [default: runs/NAME-001, ...]")
    ] = None,
    no_plot: NoPlot = False,
    log: Log = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Plan, run, merge and plot an analysis over ROOT files."""
    from eventflock.cli import commands
    from eventflock.run import Options

    options = Options(
        pool=pool,
        workers=workers,
        jobs=jobs,
        events_per_job=events_per_job,
        entries=entries,
        chunk=chunk,
        parameters=commands.read_parameters(param or []),
        text=True,
        tree=tree,
        dataset=dataset,
        out=out,
    )
    commands.run(analysis, files, options, commands.Show(as_json, quiet, not no_plot, log))


@app.command()
def resume(
    path: RunFolder,
    pool: Pool = "local",
    workers: Workers = None,
    no_plot: NoPlot = False,
    log: Log = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Do the jobs of a run that have no result yet, then merge and plot."""
    from eventflock.cli import commands
    from eventflock.run import Options

    options = Options(pool=pool, workers=workers)
    commands.resume(path, options, commands.Show(as_json, quiet, not no_plot, log))


@app.command()
def status(path: RunFolder, as_json: AsJson = False) -> None:
    """Say where a run stands, from what is on the disk."""
    from eventflock.cli import commands

    commands.status(path, as_json)


@app.command()
def merge(path: RunFolder, no_plot: NoPlot = True, as_json: AsJson = False) -> None:
    """Merge again from the result files that are there."""
    from eventflock.cli import commands

    commands.merge(path, commands.Show(as_json, False, not no_plot, False))


@app.command()
def plot(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a result file.")],
    log: Log = False,
    formats: Annotated[
        str, typer.Option("--format", help="png, pdf or svg, or several with commas.")
    ] = "png",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the pictures. [default: RUN/plots]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw every histogram of a run."""
    from eventflock.cli import commands

    commands.plot(path, log=log, formats=formats.split(","), out=out, as_json=as_json)


@app.command()
def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A ROOT file: a path or a URL.")],
    as_json: AsJson = False,
) -> None:
    """Show the trees of a ROOT file: entries, clusters, branches with types and sizes."""
    from eventflock.cli import commands

    commands.inspect(file, as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for all that it makes.")] = Path(
        "demo"
    ),
    workers: Workers = None,
) -> None:
    """Make a sample file, run an analysis on it in ten jobs, and plot the result."""
    from eventflock.cli import commands

    commands.demo(out, workers)
