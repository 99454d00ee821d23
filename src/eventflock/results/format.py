"""The result file: a ZIP with `manifest.json` and payloads, written by workers, trusted by nobody.

Histograms are in the UHI serialization (https://uhi.readthedocs.io/en/latest/serialization.html),
which other tools read too, arrays are `.npy` (https://numpy.org/neps/nep-0001-npy-format.html)
without objects, skims are Parquet. Nothing in it is ever unpickled. A reader checks sizes,
checksums and shapes before it allocates anything for them, and refuses what it does not know.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from eventflock.errors import AnalysisError, ResultError
from eventflock.files import atomic_path
from eventflock.model import FORMAT, Item, Manifest, Payload, from_json, to_json

__all__ = ["ResultFile", "read_manifest", "write_result"]

MANIFEST = "manifest.json"
MANIFEST_MAX = 256 * 2**20
UNPACKED_MAX = 2**30
"""A file may unpack to this many bytes, or to `UNPACKED_RATIO` times its own size if larger."""
UNPACKED_RATIO = 20
DELTAS = "_sum_of_deltas.npy"
"""Beside the UHI form of a profile. That has variances instead, undefined for one entry and rounded
for others, so that the sum of what was read would not be the sum of what was written."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)


class _Zip(zipfile.ZipFile):
    """A ZIP whose bytes do not depend on when it was written."""

    def open(self, name: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> IO[bytes]:
        if mode == "w" and isinstance(name, str):
            name = _info(name)
        return super().open(name, mode, *args, **kwargs)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    # A Parquet file is compressed already.
    packed = not name.endswith(".parquet")
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    return info


def write_result(path: Path, manifest: Manifest, values: Mapping[tuple[str, ...], Any]) -> Manifest:
    """Write a result file, at once or not at all.

    Parameters
    ----------
    path
        Where to.
    manifest
        What the file says of itself; `items` and `payloads` are filled in here.
    values
        Histograms, arrays, numbers, and finished skims (paths of Parquet files), by key path.

    Returns
    -------
    Manifest
        As written.

    Raises
    ------
    AnalysisError
        A histogram carries metadata that cannot be written as JSON.
    """
    with atomic_path(path) as temporary, _Zip(temporary, "w", compresslevel=1) as archive:
        items = tuple(
            _write_item(archive, index, key, value)
            for index, (key, value) in enumerate(values.items())
        )
        payloads = {info.filename: _payload(archive, info) for info in archive.infolist()}
        manifest = msgspec.structs.replace(manifest, items=items, payloads=payloads)
        archive.writestr(_info(MANIFEST), to_json(manifest), compresslevel=1)
    return manifest


def _write_item(archive: _Zip, index: int, key: tuple[str, ...], value: Any) -> Item:
    if isinstance(value, int | float | complex):
        return Item(path=key, kind=type(value).__name__, value=repr(value))
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(key[1:] or key)).strip("-.")[:40]
    name = f"items/{index:04d}-{slug}"
    if isinstance(value, Path):
        with value.open("rb") as source, archive.open(f"{name}.parquet", "w") as target:
            shutil.copyfileobj(source, target)
        return Item(path=key, kind="skim", name=name)
    if hasattr(value, "_to_uhi_"):
        return _write_histogram(archive, key, name, value)
    _write_array(archive, f"{name}.npy", value)
    return Item(path=key, kind="array", name=name)


def _write_array(archive: _Zip, name: str, value: Any) -> None:
    import numpy as np

    with archive.open(name, "w") as file:
        np.save(file, value, allow_pickle=False)


def _write_histogram(archive: _Zip, key: tuple[str, ...], name: str, value: Any) -> Item:
    import uhi.io.zip

    from eventflock.results.payloads import sum_of_deltas

    try:
        uhi.io.zip.write(archive, name, value)
        deltas = sum_of_deltas(value)
        if deltas is not None:
            _write_array(archive, f"{name}{DELTAS}", deltas)
    except TypeError as error:
        raise AnalysisError(
            f"The histogram {key[-1]!r} carries metadata that cannot be written as JSON: {error}.",
            remedy="Keep text, numbers, lists and mappings of these in the metadata of axes.",
        ) from None
    return Item(path=key, kind="histogram", name=name)


def _payload(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Payload:
    return Payload(size=info.file_size, sha256=_sha256(archive, info))


def _sha256(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    hashed = hashlib.sha256()
    with archive.open(info) as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read what a result file says of itself, without its payloads.

    Raises
    ------
    ResultError
        Not a result file, damaged, or of a format that is not known here.
    """
    with ResultFile(path) as result:
        return result.manifest


class ResultFile:
    """A result file that is open; opening it checks the manifest and the list of members.

    Raises
    ------
    ResultError
        In one sentence, for whatever is wrong with the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise ResultError(f"There is no result file {path}.") from None
        except _DAMAGE as error:
            raise self._damaged(f"not a readable ZIP: {error}") from None
        try:
            self.manifest = self._read_manifest()
            self._check_members()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zip.close()

    def _damaged(self, why: str) -> ResultError:
        return ResultError(
            f"The result file {self.path} is damaged or foreign ({why}).",
            remedy="Resume the run: jobs without a readable result are done again.",
        )

    def _read_manifest(self) -> Manifest:
        try:
            info = self._zip.getinfo(MANIFEST)
        except KeyError:
            raise self._damaged("it has no manifest.json") from None
        if info.file_size > MANIFEST_MAX:
            raise self._damaged(f"its manifest claims {info.file_size:,} bytes")
        try:
            data = self._read(info)
            version = msgspec.json.decode(data, type=_Version).format
            if version != FORMAT:
                raise ResultError(
                    f"The result file {self.path} has format {version}; this eventflock reads "
                    f"format {FORMAT}.",
                    remedy="Use the eventflock that wrote it, or a newer one.",
                )
            return from_json(data, Manifest)
        except msgspec.MsgspecError as error:
            raise self._damaged(f"manifest: {error}") from None

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        """Read one member, never more than it claims."""
        try:
            with self._zip.open(info) as file:
                data = file.read(info.file_size + 1)
        except (*_DAMAGE, RuntimeError) as error:
            raise self._damaged(f"{info.filename}: {error}") from None
        if len(data) != info.file_size:
            raise self._damaged(f"{info.filename} has {len(data)} bytes, not {info.file_size}")
        return data

    def _check_members(self) -> None:
        """Check that the members are those of the manifest, and of a reasonable size."""
        infos = self._zip.infolist()
        names = [info.filename for info in infos if info.filename != MANIFEST]
        if sorted(names) != sorted(self.manifest.payloads) or len(infos) != len(names) + 1:
            raise self._damaged("its members are not those that its manifest lists")
        if any(len(item.path) < 2 for item in self.manifest.items):
            raise self._damaged("an item has no name")
        for info in infos:
            listed = self.manifest.payloads.get(info.filename)
            if listed is not None and listed.size != info.file_size:
                raise self._damaged(f"{info.filename} has {info.file_size} bytes")
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise self._damaged(f"{info.filename} is compressed in an unknown way")
        total = sum(info.file_size for info in infos)
        if total > max(UNPACKED_MAX, UNPACKED_RATIO * self.path.stat().st_size):
            raise self._damaged(f"it claims to unpack to {total:,} bytes")

    def check(self) -> None:
        """Check all payloads against their checksums, and arrays against their headers.

        Raises
        ------
        ResultError
            The first one that differs.
        """
        for name, payload in self.manifest.payloads.items():
            try:
                found = _sha256(self._zip, self._zip.getinfo(name))
            except (*_DAMAGE, RuntimeError) as error:
                raise self._damaged(f"{name}: {error}") from None
            if found != payload.sha256:
                raise self._damaged(f"{name}: checksum differs")
            if name.endswith(".npy"):
                self._array(name)

    def values(self, scratch: Path | None = None) -> Iterator[tuple[Item, Any]]:
        """Give the items with their values; call `check` first.

        Parameters
        ----------
        scratch
            Folder into which skims are unpacked: their value is then the path of the Parquet
            file. Without it, they are read whole, as awkward arrays.

        Raises
        ------
        ResultError
            A payload is not what its item says.
        """
        for item in self.manifest.items:
            try:
                yield item, self._value(item, scratch)
            except ResultError:
                raise
            except Exception as error:
                raise self._damaged(f"{item.kind} {item.path[-1:]}: {error}") from error

    def _value(self, item: Item, scratch: Path | None) -> Any:
        match item.kind:
            case "int":
                return int(item.value)
            case "float":
                return float(item.value)
            case "complex":
                return complex(item.value)
            case "array":
                return self._array(f"{item.name}.npy")
            case "histogram":
                return self._histogram(item.name)
            case "skim":
                return self._skim(item, scratch)
        raise self._damaged(f"it has an item of the unknown kind {item.kind!r}")

    def _array(self, name: str) -> Any:
        from eventflock.results.payloads import check_npy

        try:
            return check_npy(self._read(self._zip.getinfo(name)))
        except (ValueError, SyntaxError, ResultError) as error:
            raise self._damaged(f"{name}: {error}") from None

    def _histogram(self, name: str) -> Any:
        import uhi.io.zip

        from eventflock.results.payloads import to_histogram

        deltas = self._array(name + DELTAS) if name + DELTAS in self.manifest.payloads else None
        return to_histogram(uhi.io.zip.read(self._zip, name), deltas)

    def _skim(self, item: Item, scratch: Path | None) -> Any:
        member = f"{item.name}.parquet"
        if scratch is None:
            from eventflock.results.skim import read_skim

            return read_skim(io.BytesIO(self._read(self._zip.getinfo(member))), item.path[-1])
        target = scratch / f"{Path(item.name).name}.parquet"
        with self._zip.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
        return target


class _Version(msgspec.Struct):
    format: int
