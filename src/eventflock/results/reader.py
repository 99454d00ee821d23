"""Reading result files, which come from other machines: nothing in them is taken on trust.

Sizes, checksums and shapes are checked before anything is allocated for them, nothing is ever
unpickled, and what is not known is refused. Whatever is wrong ends in one `ResultError`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from eventflock.core.atomic import atomic_path
from eventflock.core.manifest import Item, Manifest, Payload
from eventflock.core.model import FORMATS
from eventflock.core.states import ResultStatus
from eventflock.core.structs import digest, digest_file, from_json
from eventflock.core.task import RowFile
from eventflock.errors import AnalysisError, EventflockError, ResultError
from eventflock.results.format import DELTAS, JSON_PACKED, MANIFEST, sha256_of
from eventflock.results.kinds import AllOf, AnyOf, Column, element
from eventflock.results.plain import decode
from eventflock.results.sandbox import SkimSandbox

if TYPE_CHECKING:
    from eventflock.results.payloads import Templates

__all__ = ["ResultFile", "read_manifest"]

JSON_MAX = 4 * JSON_PACKED
"""Bytes that the manifest, and the JSON of all histograms, may have beyond the size of the file.
A byte of JSON can cost 30 in memory; what an honest file has more of, it has unpacked."""
RECEIPT_MAX = 2**24
UNPACKED_MAX = 2**30
"""A file may unpack to this many bytes, or to `UNPACKED_RATIO` times its own size if larger."""
UNPACKED_RATIO = 20
DEPTH_MAX = 60
JSON_DEPTH = 50
"""Levels of the JSON of a histogram with its metadata, and of parameters, which are copied level by
level."""
NUMBER_MAX = 2**62
SMALL, KEPT_MAX = 2**17, 100
"""So many members of at most so many bytes are read once only."""
_NOT_THE_FILE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EACCES}
"""Errors of this machine, which say nothing about the file."""


def read_manifest(path: Path) -> Manifest:
    """Read what a result file says of itself, without its payloads.

    Raises
    ------
    ResultError
        Not a result file, damaged, or of a format that is not known here.
    """
    with ResultFile(path) as result:
        return result.manifest


class _Version(msgspec.Struct):
    format: int


class _RefusedError(ResultError):
    """A whole sentence that names the file, to be passed on as it is."""


class ResultFile:
    """A result file that is open; opening it checks the manifest and the list of members.

    Parameters
    ----------
    path
        The file.
    manifest_max
        Bytes that its manifest may have at most, whatever the size of the file.

    Raises
    ------
    ResultError
        In one sentence, for whatever is wrong with the file.
    """

    def __init__(self, path: Path, manifest_max: int = NUMBER_MAX) -> None:
        self.path = path
        self._manifest_max = manifest_max
        self._taken: set[str] = set()
        self._kept: dict[str, bytes] = {}
        self._templates: Templates | None = None
        self._receipt = False
        if not path.exists():
            raise ResultError(f"There is no result file {path}.", remedy="Check the path.")
        self._size = path.stat().st_size
        self._zip = self._open()
        try:
            self.manifest = self._read_manifest()
            self._check_members()
            self._check_items()
        except BaseException:
            self._zip.close()
            raise

    def _open(self) -> zipfile.ZipFile:
        """Open the ZIP. A receipt that a launcher wrote is the manifest alone, as it has no zip."""
        with self._guard("not a readable ZIP"):
            with self.path.open("rb") as file:
                begin = file.read(SMALL)
                if begin[:1] != b"{":
                    # What is small is read once: a ZIP is read in dozens of small pieces.
                    is_all = len(begin) == self._size
                    return zipfile.ZipFile(io.BytesIO(begin) if is_all else self.path)
                file.seek(0)
                receipt = file.read(RECEIPT_MAX)
            self._receipt = True
            made = zipfile.ZipFile(io.BytesIO(), "w")
            made.writestr(MANIFEST, receipt)
            return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zip.close()

    def _damaged(self, why: str) -> ResultError:
        return _RefusedError(
            f"The result file {self.path} is damaged or foreign ({why}).",
            remedy="Resume the run: jobs without a readable result are done again.",
        )

    @contextlib.contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        """Make one error of all that zipfile, NumPy, uhi or pyarrow raise for a damaged file."""
        try:
            yield
        except ResultError as error:
            if isinstance(error, _RefusedError):
                raise
            raise self._damaged(f"{what}: {error.message}") from error
        except (EventflockError, MemoryError):  # this machine lacks something
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NOT_THE_FILE:
                raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise self._damaged(f"{what}: {lines[0][:200]}") from error

    def _read_manifest(self) -> Manifest:
        if MANIFEST not in self._zip.namelist():
            raise self._damaged("it has no manifest.json")
        info = self._zip.getinfo(MANIFEST)
        if info.file_size > min(self._manifest_max, JSON_MAX + self._size):
            raise self._damaged(f"its manifest claims {info.file_size:,} bytes")
        with self._guard("manifest"):
            data = self._read(info)
            version = msgspec.json.decode(data, type=_Version).format
            if version not in FORMATS:
                raise _RefusedError(
                    f"The result file {self.path} has format {version}; this eventflock reads "
                    f"formats {' and '.join(map(str, FORMATS))}.",
                    remedy="Use the eventflock that wrote it, or a newer one.",
                )
            manifest = from_json(data, Manifest)
        if _is_deeper(manifest.parameters, JSON_DEPTH):
            raise self._damaged("its parameters are nested too deeply")
        return manifest

    def _check_members(self) -> None:
        """Check that the members are those of the manifest, and of a reasonable size."""
        infos = self._zip.infolist()
        names = [info.filename for info in infos if info.filename != MANIFEST]
        if sorted(names) != sorted(self.manifest.payloads) or len(infos) != len(names) + 1:
            raise self._damaged("its members are not those that its manifest lists")
        for info in infos:
            listed = self.manifest.payloads.get(info.filename)
            if listed is not None and listed.size != info.file_size:
                raise self._damaged(f"{info.filename} has {info.file_size} bytes")
        total = sum(info.file_size for info in infos)
        if total > max(UNPACKED_MAX, UNPACKED_RATIO * self._size):
            raise self._damaged(f"it claims to unpack to {total:,} bytes")
        total = sum(self._zip.getinfo(name).file_size for name in names if name.endswith(".json"))
        if total > JSON_MAX + self._size:
            raise self._damaged(f"it claims to have {total:,} bytes of JSON")

    def _check_items(self) -> None:
        """Check the status, that items have their own names, and that numbers can be counted."""
        manifest = self.manifest
        failed = manifest.status == ResultStatus.FAILED
        if (self._receipt and not failed) or (failed and manifest.error is None):
            raise self._damaged(f"its status is {manifest.status.value!r}")
        paths = [item.path for item in manifest.items]
        if any(not 2 <= len(path) <= DEPTH_MAX for path in paths) or len(set(paths)) != len(paths):
            raise self._damaged("an item has no name, or that of another")
        above = {path[:depth] for path in paths for depth in range(1, len(path))}
        if not above.isdisjoint(paths):
            raise self._damaged("an item lies inside another")
        self._check_kept()
        self._check_rows()
        ranges = (*manifest.coverage, *manifest.missing, *(one.of for one in manifest.kept))
        counters = msgspec.structs.astuple(manifest.counters)
        numbers = (manifest.job + 1, manifest.planned, *counters)
        # NaN is not in between either.
        if not all(0 <= part.start <= part.stop < NUMBER_MAX for part in ranges) or not all(
            0 <= number < NUMBER_MAX for number in numbers
        ):
            raise self._damaged("its numbers make no sense")

    def _check_kept(self) -> None:
        """Check that kept files have plain names, places of their own, and in a job their bytes."""
        kept = self.manifest.kept
        if any(one.name in {"", ".", ".."} or set(one.name) & {"/", "\0"} for one in kept):
            raise self._damaged("a kept file has no plain name")
        if len({one.place for one in kept}) != len(kept):
            raise self._damaged("two kept files have one place")
        if self.manifest.job < 0:
            return
        for one in kept:
            if self.manifest.payloads.get(one.member) != Payload(size=one.size, sha256=one.sha256):
                raise self._damaged(f"the kept file {one.name!r} is not in it")

    def _check_rows(self) -> None:
        """Check that files of rows lie inside their folders, and that a job has their bytes."""
        rows = self.manifest.rows
        if len({row.number for row in rows if row.ok}) != sum(row.ok for row in rows):
            raise self._damaged("it has a row twice")
        for row in rows:
            names = {(one.is_log, one.name) for one in row.files}
            if len(names) != len(row.files) or not all(map(_lies_inside, row.files)):
                raise self._damaged(f"row {row.number} has a file outside of its folder")
            for one in row.files if self.manifest.job >= 0 else ():
                known = self.manifest.payloads.get(one.member)
                if known != Payload(size=one.size, sha256=one.sha256):
                    raise self._damaged(f"the file {one.name!r} of row {row.number} is not in it")

    def _sha256(self, info: zipfile.ZipInfo) -> str:
        """Compute the checksum of a member; what is small is kept, and need not be read again."""
        if info.file_size > SMALL or len(self._kept) > KEPT_MAX:
            return sha256_of(self._zip, info)
        data = self._kept[info.filename] = self._read(info)
        return digest(data)

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        """Read one member, never more than it claims."""
        if info.filename in self._kept:
            return self._kept.pop(info.filename)
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise self._damaged(f"{info.filename} is compressed in an unknown way")
        with self._zip.open(info) as file:
            data = file.read(info.file_size + 1)
        if len(data) != info.file_size:
            raise self._damaged(f"{info.filename} has {len(data)} bytes, not {info.file_size}")
        return data

    def unpack(self, member: str, target: Path, *, flush: bool = True) -> None:
        """Write one member to a file, at once or not at all.

        Parameters
        ----------
        member, target
            Its name, and where it goes.
        flush
            Whether a power cut must not cost it.

        Raises
        ------
        ResultError
            It is not what the manifest says.
        """
        with self._guard(member):
            payload = self.manifest.payloads[member]
            with atomic_path(target, flush=flush) as temporary:
                with self._zip.open(member) as source, temporary.open("wb") as file:
                    shutil.copyfileobj(source, file)
                if digest_file(temporary) != payload.sha256:
                    raise self._damaged(f"{member}: checksum differs")

    def values(
        self,
        sandbox: SkimSandbox,
        scratch: Path | None = None,
        templates: Templates | None = None,
    ) -> list[tuple[Item, Any]]:
        """Read all items, after checking all payloads against their checksums.

        Parameters
        ----------
        sandbox
            Reads skims before they are read here.
        scratch
            Folder into which skims are unpacked: their value is then the path of the Parquet
            file, which has been read through once. Without it, they are read whole, as awkward
            arrays.
        templates
            Histograms of earlier files; those of this one are added.

        Returns
        -------
        list of (Item, value)
            Histograms as `hist.Hist`, arrays as `np.ndarray`, skims, and all else in the types
            of `addition`, in which it can be added.

        Raises
        ------
        ResultError
            The first payload that is not what the manifest says.
        """
        for name, payload in self.manifest.payloads.items():
            with self._guard(name):
                info = self._zip.getinfo(name)
                if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                    raise self._damaged(f"{name} is compressed in an unknown way")
                if self._sha256(info) != payload.sha256:
                    raise self._damaged(f"{name}: checksum differs")
        self._taken.clear()
        self._templates = templates
        found = []
        for item in self.manifest.items:
            with self._guard(f"{item.kind} {'/'.join(map(str, item.path))}"):
                found.append((item, self._value(item, sandbox, scratch)))
        return found

    def _value(self, item: Item, sandbox: SkimSandbox, scratch: Path | None) -> Any:
        match item.kind:
            case "int":
                return int(item.value)
            case "float":
                return float(item.value)
            case "complex":
                return complex(item.value)
            case "text":
                return item.value
            case "any" | "all":
                flag = {"True": True, "False": False}[item.value]
                return AnyOf(flag) if item.kind == "any" else AllOf(flag)
            case "mapping":
                return {}
            case "array":
                return self._array(f"{item.name}.npy")
            case "column":
                return Column([self._array(f"{item.name}.npy")])
            case "set" | "list":
                return self._collection(item)
            case "histogram":
                return self._histogram(item.name)
            case "skim":
                return self._skim(item, sandbox, scratch)
        raise self._damaged(f"it has an item of the unknown kind {item.kind!r}")

    def _collection(self, item: Item) -> Any:
        found = decode(self._read(self._take(f"{item.name}.json")))
        if not isinstance(found, list):
            raise self._damaged(f"{item.name}.json is no list")
        if item.kind == "list":
            return found
        try:
            return {element(repr(item.path[-1]), one) for one in found}
        except AnalysisError as error:
            raise ResultError(error.message) from error

    def _take(self, name: str) -> zipfile.ZipInfo:
        """Find a payload, once: shared by thousands of items, it would be thousandfold."""
        if name in self._taken:
            raise self._damaged(f"two items share {name}")
        self._taken.add(name)
        return self._zip.getinfo(name)

    def _array(self, name: str) -> Any:
        from eventflock.results.payloads import check_npy

        return check_npy(self._read(self._take(name)))

    def _histogram(self, name: str) -> Any:
        """Read what `uhi.io.zip` has written; its own reader loads what the JSON names, unseen."""
        from eventflock.results.payloads import ARRAY_KEYS, fields_of, to_histogram

        described = self._read(self._take(f"{name}.json"))
        places = self._templates.arrays(described) if self._templates is not None else {}
        if self._templates is not None and places and name + DELTAS not in self.manifest.payloads:
            arrays = {field: self._array(place) for field, place in places.items()}
            filled = self._templates.fill(described, arrays)
            if filled is not None:
                return filled
            self._taken -= set(places.values())
        data = json.loads(described)
        if _is_deeper(data, JSON_DEPTH):
            raise self._damaged(f"{name}.json is nested too deeply")
        storage = dict(data["storage"])
        for part in (data["storage"], *data["axes"]):
            for key in ARRAY_KEYS & part.keys():
                if isinstance(part[key], str):
                    part[key] = self._array(part[key])
        deltas = self._array(name + DELTAS) if name + DELTAS in self.manifest.payloads else None
        made = to_histogram(data, deltas)
        names = {field: storage[key] for field, key in fields_of(storage).items()}
        own = all(isinstance(place, str) for place in names.values())
        if self._templates is not None and names and own and not _has_arrays(data["axes"]):
            self._templates.remember(described, names, made)
        return made

    def _skim(self, item: Item, sandbox: SkimSandbox, scratch: Path | None) -> Any:
        from eventflock.results.skims import need_pyarrow, read_skim

        need_pyarrow(str(item.path[-1]))
        info = self._take(f"{item.name}.parquet")
        if scratch is not None:
            return self._unpack(info, scratch, sandbox, whole=False)
        with tempfile.TemporaryDirectory() as folder:
            return read_skim(self._unpack(info, Path(folder), sandbox, whole=True))

    def _unpack(
        self, info: zipfile.ZipInfo, folder: Path, sandbox: SkimSandbox, *, whole: bool
    ) -> Path:
        """Unpack a skim, and let the sandbox read it."""
        target = folder / f"{len(self._taken):06d}.parquet"
        with self._zip.open(info) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        sandbox.check(target, whole=whole)
        return target


def _lies_inside(one: RowFile) -> bool:
    """Check that the name of a file of a row is a plain relative path."""
    if one.is_log:
        return one.name in {"stdout", "stderr"}
    return "\0" not in one.name and not {"", ".", ".."} & set(one.name.split("/"))


def _has_arrays(axes: list[dict[str, Any]]) -> bool:
    """Check whether an axis has edges of its own, which then belong to its description."""
    return any(hasattr(value, "dtype") for axis in axes for value in axis.values())


def _is_deeper(value: Any, most: int) -> bool:
    """Check whether something parsed from JSON has more levels than that."""
    level = [value]
    for _ in range(most):
        lists = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [inner for one in lists if isinstance(one, list) for inner in one]
        if not level:
            return False
    return True
