"""The commands for rows: `map` runs a script for each row of a table, `repeat` does one again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventflock.cli.options import (
    ACCEPTANCE,
    AS_JSON,
    FOLDER,
    LIMITS,
    PLACE,
    PUBLISH,
    RUN_FOLDER,
    SUBMISSION,
    group,
    number,
    pool_options,
)

__all__ = ["map_rows", "repeat"]

ROWS = group(
    click.option("--over", default="", metavar="TABLE", help="A .csv, .json or .jsonl file."),
    number("--count", "So many rows, which are told apart by {index} only."),
    click.option(
        "--files",
        multiple=True,
        metavar="PATTERN",
        help="A row for each file: {file} is its path, {stem} its name without ending.",
    ),
    click.option("--rows", default="", metavar="START:STOP", help="Only these rows, from 0."),
)
PROGRAM = group(
    click.option("--executable", default="", metavar="FILE", help="A program instead of a script."),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="FILE",
        help="Copied into the folder of each row; may name a {column}.",
    ),
    click.option(
        "--output",
        "outputs",
        multiple=True,
        metavar="GLOB",
        help="Files that must be there and come back; by default all come back.",
    ),
    click.option(
        "--output-limit", default="2GB", metavar="SIZE", help="The most that a row may leave."
    ),
    click.option("--ok-codes", default="0", metavar="N,...", help="Exit codes that mean success."),
    click.option("--then", default="", metavar="SCRIPT", help="Run here when all rows are done."),
)


@click.command("map")
@click.argument("words", nargs=-1, metavar="SCRIPT -- ARGS...")
@ROWS
@PROGRAM
@number("--group", "Rows for each job; by default one.")
@click.option(
    "--target-time",
    default="",
    metavar="TIME",
    help="So many rows for each job that it takes about this time, by a trial of the first.",
)
@pool_options("local")
@PLACE
@SUBMISSION
@LIMITS
@ACCEPTANCE
@AS_JSON
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@PUBLISH
def map_rows(
    words: tuple[str, ...],
    over: str,
    count: int | None,
    files: tuple[str, ...],
    rows: str,
    executable: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    output_limit: str,
    ok_codes: str,
    then: str,
    group: int | None,
    target_time: str,
    as_json: bool,
    quiet: bool,
    publish: str,
    packed: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Run SCRIPT once for each row of a table, in a folder of its own.

    In ARGS, {column} and {index} stand for the row. What the script leaves in its folder comes back
    to RUN/outputs/INDEX, what it prints to RUN/logs.
    """
    from eventflock.cli import commands, reading
    from eventflock.runs.work import MapCall, script_work

    chosen = reading.read_options({**options, "dry_run": dry_run}, packed)
    script, arguments = ("", words) if executable else ("".join(words[:1]), words[1:])
    call = MapCall(
        script=script,
        executable=executable,
        arguments=arguments,
        over=over,
        count=count,
        files=files,
        inputs=inputs,
        outputs=outputs,
        ok_codes=reading.read_codes(ok_codes),
        output_bytes=reading.read_size(output_limit),
        sizing=reading.read_sizing(group, target_time, rows),
        then=then,
    )
    work = script_work(call)
    if dry_run:
        commands.show_submission(work, chosen, as_json=as_json, quiet=quiet)
        return
    show = commands.Show(as_json, quiet, plots=False, log=False, publish=publish)
    commands.run(work, chosen, show)


@click.command()
@RUN_FOLDER
@click.argument("row", type=int)
@click.option("--out", type=FOLDER, help="The folder to run in; by default row-ROW.")
def repeat(path: Path, row: int, out: Path | None) -> None:
    """Do one ROW of RUN again, here, with what it prints on the terminal.

    Nothing in RUN changes.
    """
    from eventflock.errors import AnalysisError
    from eventflock.runs.repeating import repeat_row

    ended = repeat_row(path, row, out or Path(f"row-{row}"))
    if ended.value is not None:
        print(repr(ended.value))
        return
    print(
        f"row {row} ended with exit code {ended.code} after {ended.seconds:.3g} s: {ended.folder}"
    )
    if not ended.ok:
        click.get_current_context().exit(AnalysisError.exit_code)
