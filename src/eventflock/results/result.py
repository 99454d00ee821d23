"""Opening results: `eventflock.load` and what it gives."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eventflock.core.html import table
from eventflock.core.manifest import Coverage, KeptFile, KeyPath, Manifest
from eventflock.core.model import UnreadFile
from eventflock.core.states import ResultStatus
from eventflock.core.structs import digest
from eventflock.core.task import VALUE, Row
from eventflock.errors import ResultError, nearest, plural
from eventflock.results.cover import count
from eventflock.results.format import KEPT, PROCESSED
from eventflock.results.kinds import AllOf, AnyOf, Column, insert
from eventflock.results.outputs import OUTPUTS
from eventflock.results.plain import decode
from eventflock.results.reader import ResultFile
from eventflock.results.sandbox import SkimSandbox

__all__ = ["Result", "label_of", "load", "read_result"]


class Result(Mapping[str, Any]):
    """A result: what the analysis has returned, added up for each dataset, and its proof.

    `result["ttbar", "E"]` is the result `E` of the dataset `ttbar`; where there is one dataset,
    `result["E"]` is enough. As a mapping, it goes from datasets to their results.

    Attributes
    ----------
    path
        The file it was read from.
    manifest
        What the file says of itself.
    """

    def __init__(self, path: Path, manifest: Manifest, values: dict[str, dict[str, Any]]) -> None:
        self.path = path
        self.manifest = manifest
        self._values = values

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets."""
        return tuple(self._values)

    @property
    def complete(self) -> bool:
        """Whether it contains every planned entry of the run exactly once."""
        return self.manifest.status == ResultStatus.COMPLETE

    @property
    def coverage(self) -> tuple[Coverage, ...]:
        """The ranges of entries that it contains."""
        return self.manifest.coverage

    @property
    def missing(self) -> tuple[Coverage, ...]:
        """The planned ranges that it does not contain."""
        return self.manifest.missing

    @property
    def unread(self) -> tuple[UnreadFile, ...]:
        """The files that could not be read, and why. What is in them is not planned either."""
        return self.manifest.unread

    @property
    def metadata(self) -> dict[str, dict[str, Any]]:
        """What the fileset says about each dataset."""
        return self.manifest.metadata

    @property
    def kept(self) -> dict[Path, KeptFile]:
        """The files that the analysis kept, by where they are, with entries and checksums."""
        return {self.path.parent / KEPT / one.place: one for one in self.manifest.kept}

    @property
    def rows(self) -> tuple[Row, ...]:
        """How each row ended, where the run did rows: exit code, times, memory, host, and files."""
        return tuple(sorted(self.manifest.rows, key=lambda row: row.number))

    @property
    def outputs(self) -> dict[int, Path]:
        """The folders with what rows left, by their numbers."""
        folder = self.path.parent / OUTPUTS
        return {row.number: folder / str(row.number) for row in self.rows if row.ok}

    def returned(self) -> Iterator[Any]:
        """Yield what a function returned for each item, in their order.

        Raises
        ------
        ResultError
            A file was changed.
        """
        for folder in self.outputs.values():
            yield decode((folder / VALUE).read_bytes())

    @property
    def processed(self) -> Result:
        """What `postprocess` of a processor of coffea made of it.

        Raises
        ------
        ResultError
            There is nothing: it has no such method, or the run is not complete.
        """
        return load(self.path.parent / PROCESSED)

    @property
    def provenance(self) -> dict[str, Any]:
        """How it came about: analysis, parameters, software, hosts, times and counters."""
        import msgspec

        shown = msgspec.to_builtins(self.manifest)
        for field in ("items", "payloads", "coverage", "missing", "kept", "rows"):
            del shown[field]
        return dict(shown)

    @property
    def label(self) -> str:
        """What has to be said where a partial result is shown; empty for a complete one."""
        return label_of(self.manifest)

    def __getitem__(self, key: str | int | tuple[str | int, ...]) -> Any:
        path = tuple(key) if isinstance(key, tuple | list) else (key,)
        if len(self._values) == 1:
            (inner,) = self._values.values()
            found = _lookup(inner, path)
            if found is not None:
                return found
        found = _lookup(self._values, path)
        if found is not None:
            return found
        known = [" ".join(map(str, one)) for one in self._paths()]
        near = (
            nearest(" ".join(map(str, path)), known)
            or f"there are {', '.join(map(repr, known[:10]))}."
        )
        raise KeyError(f"There is no result {key!r}; {near}")

    def _paths(self) -> Iterator[KeyPath]:
        for item in self.manifest.items:
            yield item.path[1:] if len(self._values) == 1 else item.path

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        rows = []
        for item in self.manifest.items:
            value = _lookup(self._values, item.path)
            rows.append((" / ".join(map(str, item.path)), item.kind, _brief(value)))
        about = self.manifest.analysis.name
        return table(f"Result of {about!r}: {self.label or 'complete'}", rows, str(self.path))

    def __repr__(self) -> str:
        lines = [f"Result of {self.manifest.analysis.name!r}: {self.label or 'complete'}"]
        lines += [
            f"  {item.kind:9} {', '.join(map(repr, item.path))}" for item in self.manifest.items
        ]
        return "\n".join(lines)


def label_of(manifest: Manifest) -> str:
    """Return the label of a partial result: how much of it is there; empty for a complete one."""
    if manifest.status == ResultStatus.COMPLETE:
        return ""
    if manifest.status == ResultStatus.IMPORTED:
        return f"IMPORTED from {plural(len(manifest.imported), 'file')}"
    if manifest.job >= 0:
        return f"JOB {manifest.job} ONLY: {count(manifest.coverage):,} events"
    events, planned = count(manifest.coverage), manifest.planned
    share = 100 * events / planned if planned else 0.0
    # Rounded down, so that 99.99 % never reads as all.
    accepted = ", accepted" if manifest.accepted else ""
    files = f", {plural(len(manifest.unread), 'file')} not read" if manifest.unread else ""
    noun = "event" if manifest.analysis.task is None else "row"
    much = f"{int(share * 10) / 10:.1f} %{files}{accepted}"
    return f"PARTIAL: {events:,} of {planned:,} {noun}s ({much})"


def _lookup(values: Any, path: KeyPath) -> Any:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return None
        values = values[key]
    return values


def _brief(value: Any) -> str:
    """Return a value in a few words."""
    if hasattr(value, "axes") and hasattr(value, "sum"):
        names = ", ".join(f"{one.name or 'axis'} ({len(one)})" for one in value.axes)
        total = value.sum(flow=True)
        return f"{names}: {getattr(total, 'value', total):g}"
    if isinstance(value, set | list | dict):
        return plural(len(value), "element")
    if hasattr(value, "shape"):
        return f"{value.dtype} {value.shape}"
    if hasattr(value, "layout"):
        return plural(len(value), "row")
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


def _plain(value: Any) -> Any:
    """Return a value as users know it: flags as bool, columns as arrays."""
    if isinstance(value, AnyOf | AllOf):
        return value.value
    return value.whole() if isinstance(value, Column) else value


def load(path: str | Path) -> Result:
    """Open a run folder or a result file.

    Parameters
    ----------
    path
        A run folder (its merged result is opened), or any result file.

    Returns
    -------
    Result

    Raises
    ------
    ResultError
        There is no result, it is damaged, or it is the receipt of a job that failed.
    """
    with SkimSandbox() as sandbox:
        return read_result(path, sandbox)


def read_result(path: str | Path, sandbox: SkimSandbox) -> Result:
    """Open a run folder or a result file, with a sandbox that may serve for others too."""
    file, quoted = Path(path), shlex.quote(str(path))
    if file.is_dir():
        file = file / "result.zip"
        if not file.exists():
            raise ResultError(
                f"{path} has no merged result yet.",
                remedy=f"See where it stands: eventflock status {quoted}\n"
                f"Merge what there is: eventflock merge {quoted}, or while it runs, or if it is "
                f"not yours: eventflock merge {quoted} --out FOLDER",
            )
    values: dict[str, dict[str, Any]] = {}
    with ResultFile(file) as opened:
        manifest = opened.manifest
        plan = Path(path) / "plan.json"
        if plan.exists() and manifest.plan != digest(plan.read_bytes()):
            raise ResultError(
                f"{file} is the result of another plan than {plan}.",
                remedy=f"Merge again: eventflock merge {quoted}",
            )
        if manifest.error is not None and manifest.status == ResultStatus.FAILED:
            raise ResultError(
                f"{file} is the receipt of job {manifest.job}, which failed: "
                f"{manifest.error.message}"
            )
        for item, value in opened.values(sandbox):
            insert(values, item.path, _plain(value))
    return Result(file, manifest, values)
