"""What `pack` and `check` do: call the library, and print what it says."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eventflock.cli.printing import print_json
from eventflock.cli.progress import choose_observer
from eventflock.cli.reading import read_packing, read_parameters
from eventflock.core.atomic import atomic_path
from eventflock.core.options import Options
from eventflock.core.units import parse_duration, say_bytes
from eventflock.errors import EnvError, UsageError, plural
from eventflock.packing.cache import Cache
from eventflock.packing.check import CheckReport
from eventflock.packing.pack import PackReport
from eventflock.packing.unpacking import unpack_to
from eventflock.runs.environment import check_analysis, pack_analysis
from eventflock.usercode.together import Target
from eventflock.worker.prove import Proof

__all__ = ["check", "clean", "options", "pack"]


def options(param: Sequence[str], tree: str, schema: str, packing: dict[str, Any]) -> Options:
    """Read the options that both commands have."""
    return Options(
        parameters=read_parameters(param),
        text=True,
        tree=tree,
        schema=schema,
        packing=read_packing(**packing),
    )


def pack(
    analysis: Target,
    files: Sequence[str],
    chosen: Options,
    out: Path | None,
    to: Path | None,
    as_json: bool,
) -> None:
    """Pack an environment."""
    observer = choose_observer(quiet=as_json)
    packed, _ = pack_analysis(analysis, list(files), chosen, observer)
    archives = packed.archives(Cache())
    if out is not None:
        archives = _copy(archives, out)
    tree = unpack_to(archives, to) if to is not None else None
    if as_json:
        print_json(_summary(packed, archives) | {"tree": tree and str(tree)})
        return
    _print_rows(packed)
    for note in packed.notes:
        print(f"note      {note}")
    _print_sizes(packed, archives)
    if tree is not None:
        print(f"tree      {tree}")
        print(f"          jobs use it in place: --node-cache {tree.parent}")
    if not files:
        print("tried     imported only; with FILES, it is tried on their first events")


def clean(keep: str, as_json: bool) -> None:
    """Remove what was not used for a while from the cache."""
    seconds = 0.0 if keep.strip() == "0" else parse_duration(keep)
    cache = Cache()
    removed, freed, left = cache.prune(seconds)
    if as_json:
        print_json({"cache": str(cache.path), "removed": removed, "freed": freed, "left": left})
        return
    print(f"removed   {plural(removed, 'archive')}, {say_bytes(freed)}")
    print(f"cache     {cache.path}: {say_bytes(left)}")


def _copy(archives: Sequence[Path], out: Path) -> tuple[Path, ...]:
    """Copy the archives into a folder, each whole or not at all."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for archive in archives:
            with atomic_path(out / archive.name) as partial:
                shutil.copyfile(archive, partial)
    except FileExistsError:
        raise UsageError(f"--out {out} is not a folder.", remedy="Name a folder.") from None
    except OSError as error:
        raise EnvError(
            f"The archives cannot be copied to {out}: {error.strerror}.",
            remedy=f"They are in the cache: {archives[0].parent}",
        ) from None
    return tuple(out / archive.name for archive in archives)


def _summary(packed: PackReport, archives: Sequence[Path]) -> dict[str, Any]:
    return {
        "environment": str(archives[0]),
        "code": str(archives[1]),
        "layers": dict(zip(packed.environment.layers, map(str, archives[2:]), strict=True)),
        "python": packed.python,
        "size": packed.environment.size,
        "unpacked": packed.environment.unpacked,
        "code_size": packed.code.size,
        "demands": packed.environment.demands,
        "parts": packed.rows,
        "notes": packed.notes,
    }


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120, highlight=False)


def _print_rows(packed: PackReport) -> None:
    """Print what goes in and why, the largest first."""
    table = Table(box=None, pad_edge=False)
    for name in ("package", "version"):
        table.add_column(name)
    table.add_column("MB", justify="right")
    table.add_column("why")
    for row in sorted(packed.rows, key=lambda one: (one.layer != "packages", -one.size)):
        table.add_row(row.name, row.version, f"{row.size / 1e6:.2f}", row.why)
    _console().print(table)


def _print_sizes(packed: PackReport, archives: Sequence[Path]) -> None:
    layer, demands = packed.environment, packed.environment.demands
    level = f", x86-64-v{demands.level} ({demands.level_file})" if demands.level > 1 else ""
    print(f"packages  {archives[0]}")
    for name, file in layer.layers.items():
        print(f"          {file}  {name}")
    print(f"          {layer.size / 1e6:.2f} MB, {layer.unpacked / 1e6:.0f} MB when unpacked")
    print(f"code      {archives[1]}")
    print(f"          {packed.code.size / 1e3:.1f} kB")
    print(f"demands   {demands.machine}{level}")
    print(
        f"          glibc {demands.glibc[0]}.{demands.glibc[1]} ({demands.glibc_file}); "
        "an older node uses the one that is packed"
    )


def check(
    analysis: Target, files: Sequence[str], chosen: Options, root: Path | None, as_json: bool
) -> None:
    """Check an environment."""
    observer = choose_observer(quiet=as_json)
    report = check_analysis(analysis, list(files), chosen, root, observer)
    error = report.error()
    if as_json:
        print_json(_report(report))
    else:
        _print_report(report, bool(files))
    if error is not None:
        raise error


def _report(report: CheckReport) -> dict[str, Any]:
    return {
        "where": report.where,
        "libc": report.proof.libc,
        "python": report.proof.python,
        "imported": report.proof.imported,
        "broken": report.broken,
        "elsewhere": report.elsewhere,
        "events": report.proof.events,
        "seconds_to_python": report.seconds_to_python,
        "seconds_to_first_event": report.seconds_to_first_event,
        "site": report.proof.site or (),
        "root_program": report.proof.root_program,
        "root_version": report.proof.root_version,
        "root_module": report.proof.root_module,
        "environment": report.packed.environment.name,
        "size": report.packed.environment.size,
        "unpacked": report.packed.environment.unpacked,
        "code_size": report.packed.code.size,
    }


def _print_modules(proof: Proof) -> None:
    """Print what was imported, how fast, and from where."""
    table = Table(box=None, pad_edge=False)
    for name in ("module", "version"):
        table.add_column(name)
    table.add_column("ms", justify="right")
    table.add_column("from")
    for module in proof.imported:
        place = module.error or module.file.removeprefix(f"{proof.root}/")
        table.add_row(module.name, module.version, f"{1000 * module.seconds:.0f}", place)
    _console().print(table)


def _print_site(report: CheckReport) -> None:
    """Print what a job sees of the site's software, and from where."""
    proof = report.proof
    print(f"python    {_place(proof.program, proof.root)}")
    program = f"{proof.root_version} {proof.root_program}".strip() or "no program"
    module = _place(proof.root_module, proof.root) if proof.root_module else "it has none"
    print(f"ROOT      {program}; import ROOT: {module}")
    if not proof.site:
        print("site      the set-up offers no packages of Python")
        return
    for one in proof.site:  # a table would fold long paths
        name = f"{one.name} {one.version}".rstrip()
        print(f"site      {name}: {_place(one.file, proof.root)}")


def _place(file: str, root: str) -> str:
    """Return where a module is, for people."""
    inside = file.removeprefix(f"{root}/")
    return inside if inside == file else f"{inside} (packed)"


def _print_report(report: CheckReport, real: bool) -> None:
    _print_modules(report.proof)
    what = "your first chunk" if real else "a small sample"
    layer = report.packed.environment
    print(
        f"where     {report.where}: Python {report.proof.python}, {report.proof.libc or 'libc ?'}"
    )
    if report.proof.site is not None:
        _print_site(report)
    print(f"chunk     {report.proof.events:,} events of {what}")
    print(
        f"start-up  {report.seconds_to_python:.2f} s to Python, "
        f"{report.seconds_to_first_event:.2f} s to the end of the first chunk"
    )
    print(
        f"size      {layer.size / 1e6:.2f} MB packed, {layer.unpacked / 1e6:.0f} MB unpacked, "
        f"code {report.packed.code.size / 1e3:.1f} kB"
    )
