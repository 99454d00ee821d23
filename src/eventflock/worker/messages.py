"""What is said between the client and its worker processes, as JSON, one message per line."""

from __future__ import annotations

from typing import Any

import msgspec

from eventflock.core.manifest import Failure
from eventflock.core.model import AnalysisRef, Assignment, FileEntry, WantedTree

__all__ = [
    "Describe",
    "Described",
    "Done",
    "DryCall",
    "DryCalled",
    "Failed",
    "Progress",
    "Reply",
    "Request",
    "Run",
    "Scan",
    "ScanMany",
    "Scanned",
    "ScannedMany",
]


class _Message(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Base of all messages: the name of the class says which it is."""


class Describe(_Message, frozen=True):
    """Import the analysis and say what it is; `parameters` are checked (text if `text`)."""

    analysis: AnalysisRef
    folder: str = ""
    parameters: dict[str, Any] = {}
    text: bool = False


class Described(_Message, frozen=True):
    """Name, trees, columns and schema of the analysis, its parameters, and its helper modules."""

    name: str
    tree: str
    columns: tuple[str, ...]
    parameters: dict[str, Any]
    helpers: dict[str, str] = {}
    second: tuple[WantedTree, ...] = ()
    schema: str = ""
    postprocess: bool = False


class Scan(_Message, frozen=True):
    """Look at one file.

    Attributes
    ----------
    known, stamp
        What was found in it before, and what its server or this machine said of it then.
    """

    path: str
    tree: str = ""
    columns: tuple[str, ...] = ()
    second: tuple[WantedTree, ...] = ()
    known: FileEntry | None = None
    stamp: str = ""


class Scanned(_Message, frozen=True):
    """What a file holds; of one at a server, with what that says of it."""

    entry: FileEntry
    stamp: str = ""


class ScanMany(_Message, frozen=True):
    """Look at several files at servers, at the same time."""

    scans: tuple[Scan, ...]


class DryCall(_Message, frozen=True):
    """Call the analysis on no events of one file, to find what is wrong before a job starts.

    Attributes
    ----------
    clean
        Remove files that it makes: jobs will run elsewhere. Here, they may count on them.
    """

    assignment: Assignment
    folder: str = ""
    clean: bool = False


class DryCalled(_Message, frozen=True):
    """What the analysis asked for.

    Attributes
    ----------
    branches, share
        The branches, and their share of the bytes; 1 if it is not known.
    opened
        Data files that it opened, with their SHA-256.
    written
        Files that it has written.
    """

    branches: tuple[str, ...] = ()
    share: float = 1.0
    opened: dict[str, str] = {}
    written: tuple[str, ...] = ()


class Run(_Message, frozen=True):
    """Do one job and write its result file.

    Attributes
    ----------
    fresh
        Without what earlier jobs left open.
    memory, disk
        How many times what jobs ask for otherwise, on a pool where they ask for any.
    avoid
        Machines that are not to be used.
    """

    assignment: Assignment
    folder: str
    result: str
    log: str = ""
    fresh: bool = False
    memory: float = 1.0
    disk: float = 1.0
    avoid: tuple[str, ...] = ()


class Progress(_Message, frozen=True):
    """Events of the job that were done since the last message."""

    events: int


class Done(_Message, frozen=True):
    """The request was carried out; after `Run`, the result file is there, perhaps `partial`."""

    events: int = 0
    partial: bool = False


class Failed(_Message, frozen=True):
    """The request failed, for a reason that was understood; if `last`, the worker ends with it."""

    failure: Failure
    last: bool = False


class ScannedMany(_Message, frozen=True):
    """The answers to `ScanMany`, in its order."""

    replies: tuple[Scanned | Failed, ...]


Request = Describe | Scan | ScanMany | DryCall | Run
Reply = Described | Scanned | ScannedMany | DryCalled | Done | Failed | Progress
