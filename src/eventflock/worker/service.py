"""Answering the requests of the client, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

import msgspec

from eventflock.core.manifest import Failure, Manifest
from eventflock.core.model import AnalysisRef, WantedTree
from eventflock.core.states import ResultStatus
from eventflock.core.structs import to_json
from eventflock.errors import EventflockError
from eventflock.events.credentials import credential_files
from eventflock.events.open_files import OpenFiles
from eventflock.usercode.data_files import declared_files, watch_opened
from eventflock.usercode.decorator import Analysis
from eventflock.usercode.loading import check_helpers, helpers_of
from eventflock.usercode.parameters import check_parameters
from eventflock.usercode.processors import has_postprocess
from eventflock.usercode.programs import RowWork, load_work
from eventflock.worker.messages import (
    Describe,
    Described,
    Done,
    DryCall,
    DryCalled,
    Failed,
    Progress,
    Reply,
    Request,
    Run,
    Scan,
    ScanMany,
    Scanned,
    ScannedMany,
)
from eventflock.worker.runner import Runner

__all__ = ["Service"]

Send = Callable[[Reply], None]


class Service:
    """Answers one request after the other; keeps the analysis and the last file open.

    Parameters
    ----------
    end
        Ends this process in the middle of a job that hangs; None to let it hang, in a process
        that is not a worker's own.
    """

    def __init__(self, end: Callable[[], object] | None = None) -> None:
        self._end = end
        self._files = OpenFiles()
        self._runner = Runner(files=self._files)
        self._loaded: dict[bytes, Analysis | RowWork] = {}

    def answer(self, request: Request, send: Send) -> None:
        """Carry out one request. The last message sent is its answer, others are progress."""
        try:
            send(self._answer(request, send))
        except EventflockError as error:
            send(Failed(failure=Failure.of(error)))

    def _answer(self, request: Request, send: Send) -> Reply:
        match request:
            case Describe():
                return self._describe(request)
            case Scan():
                from eventflock.events.scan import scan_file  # imports uproot

                return Scanned(
                    entry=scan_file(
                        request.path, request.tree, request.columns, request.second, self._files
                    )
                )
            case ScanMany():
                from eventflock.worker.scanning import scan_many

                return ScannedMany(replies=scan_many(request.scans, self._files))
            case DryCall():
                return self._dry_call(request)
            case Run():
                return self._run(request, send)

    def _describe(self, request: Describe) -> Described:
        with watch_opened([request.folder, *credential_files()]) as opened:
            found = self._load(request.analysis, request.folder)
        if not isinstance(found, Analysis):
            helpers = {**helpers_of(request.analysis), **opened.read}
            return Described(
                name=request.analysis.name, tree="", columns=(), helpers=helpers, parameters={}
            )
        folders = [Path(place) for place in request.analysis.search[:1]] + [Path.cwd()]
        declared = declared_files(found.data, folders)
        for one in (found, *found.second.values()):
            if one.schema:
                from eventflock.objects.schemas import find_schema  # loads coffea

                find_schema(one.schema)
        return Described(
            name=found.name,
            schema=found.schema,
            postprocess=has_postprocess(found),
            tree=found.tree,
            columns=found.columns,
            second=tuple(
                WantedTree(name=name, tree=one.tree, columns=one.columns)
                for name, one in found.second.items()
            ),
            helpers={**helpers_of(request.analysis), **opened.read, **declared},
            parameters=check_parameters(found, request.parameters, text=request.text),
        )

    def _dry_call(self, request: DryCall) -> DryCalled:
        found = self._load(request.assignment.analysis, request.folder)
        if not isinstance(found, Analysis):
            return DryCalled()
        inputs = [file.path for file in request.assignment.files]
        with watch_opened([request.folder, *inputs, *credential_files()]) as opened:
            called = self._runner.trial(request.assignment, found)
        if request.clean:
            opened.remove_created()
        return msgspec.structs.replace(called, opened=opened.read, written=tuple(opened.written))

    def _run(self, request: Run, send: Send) -> Reply:
        if request.fresh:
            self._runner.close()
            _forget_peak_memory()

        def last_words(manifest: Manifest) -> None:
            if manifest.error is not None and self._end is not None:
                send(Failed(failure=manifest.error, last=True))
                self._end()

        manifest = self._runner.run(
            request.assignment,
            lambda: self._load(request.assignment.analysis, request.folder),
            Path(request.result),
            lambda events: send(Progress(events=events)),
            last_words if self._end is not None else None,
        )
        return _answer_of(manifest)

    def _load(self, ref: AnalysisRef, folder: str) -> Analysis | RowWork:
        key = to_json([ref, folder if ref.task is not None else ""])  # a script is run from there
        if key not in self._loaded:
            self._loaded[key] = load_work(ref, Path(folder) if folder else None)
        else:
            check_helpers(ref)
        return self._loaded[key]

    def close(self) -> None:
        """Let go of what is open."""
        self._runner.close()


def _answer_of(manifest: Manifest) -> Reply:
    if manifest.error is not None:
        return Failed(failure=manifest.error)
    return Done(events=manifest.counters.events, partial=manifest.status == ResultStatus.PARTIAL)


def _forget_peak_memory() -> None:
    """Count the peak of this process from now on, where Linux allows it (see proc(5))."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
