"""Publishing a run: its result, plots, files and pages, each whole or not at all.

PLACE/index.html, index.json    the runs that are published there
PLACE/RUN/index.html            what the run is, with its plots
PLACE/RUN/published.json        its files, with sizes and checksums
PLACE/RUN/result.zip, plots/, kept/, outputs/, logs/
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from eventflock.core.manifest import Manifest
from eventflock.core.model import Plan
from eventflock.core.observer import Observer
from eventflock.core.structs import digest_file, from_json, to_json
from eventflock.core.units import say_bytes
from eventflock.errors import ResultError, UsageError, plural
from eventflock.publishing.pages import Entry, Published, index_page, run_page
from eventflock.publishing.place import Place, open_place
from eventflock.results.cover import count
from eventflock.results.reader import read_manifest
from eventflock.results.result import label_of
from eventflock.runs.folder import RunFolder

__all__ = ["check_place", "publish"]

INDEX = "index.json"
PROOF = "published.json"
PAGE = "index.html"


def check_place(url: str) -> None:
    """Check that a place can be reached, before there is anything to publish.

    Raises
    ------
    UsageError, InputError
        See `publish`.
    """
    with contextlib.closing(open_place(url)) as place:
        place.read(INDEX)


def publish(
    path: Path, url: str, observer: Observer | None = None, *, name: str = ""
) -> dict[str, str]:
    """Copy what a run has given to a place where others see it.

    Parameters
    ----------
    path
        The run folder.
    url
        A folder, or an address that `open_place` knows.
    observer
        Receives what is done.
    name
        The name of the run there; by default that of its folder.

    Returns
    -------
    dict
        The addresses: `page`, `result`, and `index`.

    Raises
    ------
    UsageError
        There is no such run, it has no result yet, or another run has that name there.
    InputError
        A file cannot be written there. Nothing is left under its name.
    """
    name = name or path.resolve().name
    if "/" in name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for a run.", remedy="Use letters, digits, - and _.")
    run = RunFolder(path)
    plan = run.load_plan().plan  # says what is wrong if this is no run
    manifest = _manifest_of(run)
    with contextlib.closing(open_place(url)) as place:
        files = _publish(run, plan, manifest, place, name)
        found = {
            "page": place.address(f"{name}/{PAGE}"),
            "result": place.address(f"{name}/{run.merged.name}"),
            "index": place.address(PAGE),
        }
    if observer is not None:
        size = say_bytes(sum(one.size for one in files))
        observer.note(f"published {plural(len(files), 'file')}, {size}, at {found['page']}")
    return found


def _publish(
    run: RunFolder, plan: Plan, manifest: Manifest, place: Place, name: str
) -> list[Published]:
    """Copy what is new, then write the pages that name it."""
    earlier = _earlier(place, name)
    if earlier is not None and earlier.plan != manifest.plan:
        raise UsageError(
            f"{place.address(name)} has another run, published {earlier.published}.",
            remedy="Give this one another name with --name.",
        )
    there = {one.name: one for one in earlier.files} if earlier is not None else {}
    files = []
    for one, file in _files_of(run):
        fact = Published(name=one, size=file.stat().st_size, sha256=digest_file(file))
        if there.get(one) != fact:
            place.copy(file, f"{name}/{one}", fact.sha256)
        files.append(fact)
    entry = _entry(plan, manifest, name, tuple(files))
    place.write(f"{name}/{PROOF}", msgspec.json.format(to_json(entry)))
    place.write(f"{name}/{PAGE}", run_page(entry))
    _list(place, entry)
    return files


def _manifest_of(run: RunFolder) -> Manifest:
    if not run.merged.is_file():
        raise UsageError(
            f"{run.path} has no result yet.",
            remedy=f"'eventflock merge {run.path}' makes one of what there is.",
        )
    return read_manifest(run.merged)


def _files_of(run: RunFolder) -> Iterator[tuple[str, Path]]:
    """Yield the files to publish, by their names below the folder of the run."""
    yield run.merged.name, run.merged
    for folder in (run.plots, run.kept, run.outputs, run.logs):
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder).parts
            if file.is_file() and not any(part.startswith(".") for part in inside):
                yield file.relative_to(run.path).as_posix(), file


def _entry(plan: Plan, manifest: Manifest, name: str, files: tuple[Published, ...]) -> Entry:
    datasets = {one.name: plural(len(one.files), "file") for one in plan.datasets}
    facts = {
        "analysis": str(manifest.analysis.origin or manifest.analysis.name),
        "parameters": ", ".join(f"{k}={v!r}" for k, v in manifest.parameters.items()),
        f"{plan.noun}s": f"{count(manifest.coverage):,} of {manifest.planned:,}, each exactly once",
        "datasets": ", ".join(f"{key} ({value})" for key, value in datasets.items()),
        "not read": "; ".join(one.path for one in manifest.unread),
        "made": manifest.started,
        "software": ", ".join(f"{key} {value}" for key, value in manifest.software.items()),
        "plan": manifest.plan,
    }
    return Entry(
        name=name,
        plan=manifest.plan,
        published=datetime.now(UTC).isoformat(timespec="seconds"),
        analysis=manifest.analysis.name,
        label=label_of(manifest),
        facts=tuple((key, value) for key, value in facts.items() if value),
        files=files,
    )


def _earlier(place: Place, name: str) -> Entry | None:
    """Return what was published under a name before."""
    found = place.read(f"{name}/{PROOF}")
    return None if found is None else _decoded(found, Entry, place.address(f"{name}/{PROOF}"))


def _list(place: Place, entry: Entry) -> None:
    """Put the run into the index of the place."""
    found = place.read(INDEX)
    address = place.address(INDEX)
    known = () if found is None else _decoded(found, tuple[Entry, ...], address)
    short = msgspec.structs.replace(entry, files=(), facts=())
    entries = (*(one for one in known if one.name != entry.name), short)
    place.write(INDEX, to_json(entries))
    place.write(PAGE, index_page(entries))


def _decoded(data: bytes, kind: type, where: str):  # type: ignore[no-untyped-def]
    try:
        return from_json(data, kind)
    except msgspec.MsgspecError as error:
        raise ResultError(
            f"{where} is damaged: {error}.", remedy="Move it away, and publish again."
        ) from None
