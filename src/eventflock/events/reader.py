"""Reading chunks of the entries of a tree, and finding what cannot be read of them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from eventflock.core.model import FileEntry
from eventflock.errors import InputError
from eventflock.events.files import (
    branch_names,
    clusters_of,
    is_readable,
    is_url,
    modified,
    same_file,
    size_of,
    why_unreadable,
)
from eventflock.events.naming import BranchNames
from eventflock.events.open_files import OpenFile, OpenFiles
from eventflock.failures.codes import FailureCode

if TYPE_CHECKING:
    from eventflock.events.ntuple import NTupleFields
    from eventflock.events.read_ahead import ReadAhead

__all__ = ["Damage", "TreeReader", "reader_of"]

_DAMAGED = "The file may be damaged: copy it again, or leave it out."
_REWRITE = "Use other branches, or write the file anew with ROOT, its objects split."


def reader_of(
    files: OpenFiles, place: str, entry: FileEntry, columns: Sequence[str] = ()
) -> TreeReader:
    """Return a reader for a tree of a file that is kept open, the same as the last time.

    Parameters
    ----------
    files
        Keeps the file open, also after this reader is done.
    place
        Where the file is.
    entry, columns
        See `TreeReader`.

    Raises
    ------
    InputError
        See `TreeReader`.
    """
    opened = files.open(place)
    key = (entry.tree, tuple(columns))
    reader: TreeReader | None = opened.readers.get(key)
    if reader is None or reader.entry != entry:
        try:
            reader = opened.readers[key] = TreeReader(entry, columns, opened)
        except BaseException:
            files.drop(place)
            raise
    return reader


class Damage(NamedTuple):
    """Entries `[start, stop)` that cannot be read, and what holds them."""

    start: int
    stop: int
    what: str


def _broken_baskets(branch: Any, name: str, start: int, stop: int) -> list[Damage]:
    found = []
    try:
        edges = [int(offset) for offset in branch.entry_offsets]
    except Exception as error:  # noqa: BLE001 -- what is damaged raises anything
        return [Damage(start, stop, f"the branch {name!r} ({_first_line(error)})")]
    for number, (first, last) in enumerate(pairwise(edges)):
        if first >= stop or last <= start:
            continue
        try:
            branch.basket(number)
        except Exception as error:  # noqa: BLE001 -- what is damaged raises anything
            why = _first_line(error)
            found.append(Damage(first, last, f"basket {number} of the branch {name!r} ({why})"))
    return found


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"


class _Chunk:
    """Some entries of a tree, as `LazyEvents` asks for them."""

    def __init__(self, reader: TreeReader, start: int, stop: int) -> None:
        self._reader = reader
        self._range = start, stop

    def fields(self) -> list[str]:
        return self._reader.fields

    def branch(self, name: str) -> Any:
        return self._reader.branch(name, *self._range)

    def whole(self) -> Any:
        return self._reader.whole(*self._range)


def _is_numeric(branch: Any) -> bool:
    """Check whether a branch has a number, or a list of numbers, for each entry."""
    from uproot.interpretation.jagged import AsJagged
    from uproot.interpretation.numerical import AsDtype

    try:
        found = branch.interpretation
    except Exception:  # noqa: BLE001 -- each kind of unknown class raises its own
        return False
    found = found.content if type(found) is AsJagged else found
    return type(found) is AsDtype and found.to_dtype.names is None


class TreeReader:
    """One open tree, from which chunks are read.

    Parameters
    ----------
    entry
        The file and tree; the file must still be the one that was scanned.
    columns
        The only branches to offer; all readable ones if empty.
    opened
        The file, if it is open, or not where it was scanned.

    Raises
    ------
    InputError
        The file cannot be opened, or is not the one that was planned.
    """

    def __init__(
        self, entry: FileEntry, columns: Sequence[str] = (), opened: OpenFile | None = None
    ) -> None:
        self.entry = entry
        self._file = opened or OpenFile(entry.path)
        self.columns = frozenset(columns)
        self._log: list[Any] = []
        self._touched: set[str] = set()
        self._readable: set[str] = set()
        self.views: dict[str, Any] = {}
        """Of the same tree, as schemas see it: kept here by those who make them."""
        self._bytes = 0
        self._ahead: ReadAhead | None = None
        self._root, self._cache = self._file.root, self._file.cache
        try:
            self._check_unchanged()
            self._tree = self._file.tree(entry.tree)
        except BaseException:
            self._file.close()
            raise

    def _check_unchanged(self) -> None:
        uuid, size = str(self._root.file.uuid), size_of(self._file.place, self._root)
        here = self._file.place == self.entry.path  # a copy has a time of its own
        anew = here and self.entry.modified not in {0, modified(self.entry.path)}
        if same_file(self.entry, uuid, size) and not anew:
            return
        if uuid != self.entry.uuid:
            what = f"UUID {uuid}, planned {self.entry.uuid}"
        elif anew:
            what = "it has no UUID, and was written at another time"
        else:
            what = f"{size:,} bytes, planned {self.entry.size:,}"
        raise InputError(
            f"{self.entry.path} changed since the run was planned ({what}).",
            remedy="Restore the file and resume, or start a new run.",
        )

    @property
    def is_ttree(self) -> bool:
        """Whether this is a TTree, not an RNTuple."""
        return hasattr(self._tree, "common_entry_offsets")

    @functools.cached_property
    def filter(self) -> Any:
        """A filter of branch names, or None where all can be offered."""
        if self.columns:
            return self.columns.__contains__
        if not self.is_ttree:
            return None
        names = branch_names(self._tree)
        readable = {name for name in names if is_readable(self._root, self._tree, name)}
        return None if len(readable) == len(set(names)) else readable.__contains__

    @functools.cached_property
    def fields(self) -> list[str]:
        """Names of what can be read, as fields of the events."""
        return [str(name) for name in self.whole(0, 0).fields]

    @functools.cached_property
    def _names(self) -> BranchNames | None:
        return BranchNames(self._tree) if self.is_ttree else None

    @functools.cached_property
    def _ntuple(self) -> NTupleFields | None:
        from eventflock.events.ntuple import NTupleFields

        return None if self.is_ttree else NTupleFields(self._tree)

    @property
    def tree(self) -> Any:
        """The TTree or RNTuple, from uproot."""
        return self._tree

    def begin(self) -> None:
        """Begin a chunk: let go what is left of the one before."""
        self._cache.clear()
        self._log = []
        self._touched = set()

    def chunk(self, start: int, stop: int) -> Any:
        """Return entries `[start, stop)` as an awkward array that reads what is touched.

        Returns
        -------
        ak.Array
            Of length `stop - start`, one record per entry.
        """
        from eventflock.events.lazy import LazyEvents

        self.begin()
        return LazyEvents(_Chunk(self, start, stop), stop - start)

    def expect(self, names: Sequence[str], ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch branches of ranges ahead, if the file is far: a near one does not make us wait.

        Parameters
        ----------
        names
            Of branches that will be asked for.
        ranges
            This chunk, and those that follow.
        """
        if not is_url(self._file.place) or self._names is None or self._names.collide:
            return
        if self._ahead is None:
            from eventflock.events.read_ahead import ReadAhead

            found = {name: self._names.find(name) for name in names}
            # What uproot calls it is what we will look for.
            plain = {
                name: branch
                for name, branch in found.items()
                if branch is not None and branch.name == name and _is_numeric(branch)
            }
            self._ahead = ReadAhead(self._tree, plain)
        self._ahead.expect(ranges)

    def whole(self, start: int, stop: int) -> Any:
        """Make virtual arrays of all branches for entries `[start, stop)`."""
        if self._names is not None and self._names.collide:
            return self._whole_by_hand(self._names, start, stop)
        if self._ntuple is not None and not all(map(self._ntuple.is_plain, self._ntuple.names)):
            return self._whole_ntuple(self._ntuple, start, stop)
        select = {} if self.filter is None else {"filter_name": self.filter}
        return self._tree.arrays(
            entry_start=start, entry_stop=stop, virtual=True, access_log=self._log, **select
        )

    def _whole_by_hand(self, names: BranchNames, start: int, stop: int) -> Any:
        """Read all branches, for a tree in which uproot finds two of the same name."""
        import awkward as ak

        found = {}
        for name, branch in names.shortest():
            offered = not self.columns or name in self.columns
            with contextlib.suppress(Exception):  # one that cannot be read is not offered
                branch.interpretation.awkward_form(self._root.file)
                if offered:
                    found[name] = branch.array(entry_start=start, entry_stop=stop, library="ak")
        return ak.zip(found, depth_limit=1)

    def _whole_ntuple(self, ntuple: NTupleFields, start: int, stop: int) -> Any:
        """Read all fields, for an RNTuple in which uproot's virtual arrays are wrong for some."""
        import awkward as ak

        offered = dict.fromkeys(column.split(".")[0] for column in self.columns) or ntuple.names
        found = {name: ntuple.read(name, start, stop, self._log) for name in offered}
        return ak.zip(found, depth_limit=1)

    def branch(self, name: str, start: int, stop: int) -> Any:
        """Read a field of an RNTuple, or a branch with data of its own; None for any other.

        Raises
        ------
        InputError
            The name stands for more than one branch, or the branch cannot be read.
        """
        if self.columns and name not in self.columns:
            return None
        if self._ntuple is not None and name in self._ntuple:
            return self._field(self._ntuple, name, start, stop)
        if self._names is None:
            return None
        branch = self._names.find(name)
        return None if branch is None else self._read(name, branch, start, stop)

    def column(self, name: str, start: int, stop: int) -> Any:
        """Read a branch or field by its full name, as a schema has it.

        Raises
        ------
        InputError
            It cannot be read.
        """
        if self._ntuple is None:
            return self._read(name, self._tree[name], start, stop)
        if name in self._ntuple:
            return self._field(self._ntuple, name, start, stop)
        self._touched.add(name)
        with self._reading(f"field {name!r}", start, stop):
            return self._tree[name].array(entry_start=start, entry_stop=stop, library="ak")

    def _read(self, name: str, branch: Any, start: int, stop: int) -> Any:
        self._check_readable(name, branch)
        self._touched.add(name)
        if start == stop:  # uproot would read a basket for that
            import awkward as ak

            form = branch.interpretation.awkward_form(self._root.file)
            return ak.Array(form.length_zero_array(highlevel=False))
        ahead = None if self._ahead is None else self._ahead.get(name, start, stop)
        if ahead is not None:
            return ahead
        with self._reading(f"branch {name!r}", start, stop):
            return branch.array(entry_start=start, entry_stop=stop, library="ak")

    def _field(self, ntuple: NTupleFields, name: str, start: int, stop: int) -> Any:
        if not ntuple.is_plain(name):
            self._touched.add(name)
        with self._reading(f"field {name!r}", start, stop):
            return ntuple.read(name, start, stop, self._log)

    def _check_readable(self, name: str, branch: Any) -> None:
        """Raise `InputError` for a branch that cannot be read anywhere in the file."""
        if name not in self._readable:
            why = why_unreadable(self._root, self._tree, branch)
            if why:
                raise InputError(
                    f"{self.entry.path}: the branch {name!r} of {self.entry.tree!r} cannot be "
                    f"read: {why}.",
                    remedy=_REWRITE,
                    code=FailureCode.BRANCH,
                )
            self._readable.add(name)

    @contextlib.contextmanager
    def _reading(self, what: str, start: int, stop: int) -> Iterator[None]:
        """Say which entries of what cannot be read."""
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            unknown = isinstance(error, NotImplementedError)  # not damaged: uproot cannot do it
            raise InputError(
                f"{self.entry.path}: entries {start:,} to {stop:,} of the {what} cannot "
                f"be read: {_first_line(error)}",
                remedy=_REWRITE if unknown else _DAMAGED,
                code=FailureCode.BRANCH if unknown else FailureCode.READ,
            ) from error

    def done(self) -> tuple[int, set[str]]:
        """Let the last chunk's arrays go.

        Returns
        -------
        int
            Bytes requested from the file since the last call (at first, since it was opened).
        set of str
            Names of the branches that the chunk touched.
        """
        touched = self._touched
        for access in self._log:
            name = getattr(access, "branch", None) or getattr(access, "field_name", "")
            if name and not name.startswith("_"):
                touched.add(str(name))
        self._log, self._touched = [], set()
        self._cache.clear()
        total = int(self._root.file.source.performance_counters.num_requested_bytes)
        new, self._bytes = total - self._bytes, total
        return new, touched

    def share_of(self, names: AbstractSet[str]) -> float:
        """Return the share of the uncompressed bytes that branches have; 1 if it is not known."""
        if not self.is_ttree or not names:
            return 1.0
        total = self.entry.entry_bytes * self.entry.entries
        try:
            found = sum(float(self._tree[name].uncompressed_bytes) for name in names)
        except (KeyError, ValueError):
            return 1.0
        return min(1.0, found / total) if found and total else 1.0

    def damages(self, start: int, stop: int) -> list[Damage]:
        """Find what cannot be read of entries `[start, stop)`, in any branch that is offered.

        Returns
        -------
        list of Damage
            Baskets of a TTree; clusters of an RNTuple, where all count that have to do with it.
        """
        if not self.is_ttree:
            edges = clusters_of(self._tree)
            numbered = enumerate(pairwise(edges))
            return [
                Damage(a, b, f"cluster {n}") for n, (a, b) in numbered if a < stop and b > start
            ]
        found = []
        for name in dict.fromkeys(branch_names(self._tree)):
            if self.filter is None or self.filter(name):
                found += _broken_baskets(self._tree[name], name, start, stop)
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()
