"""The result file: a ZIP with `manifest.json` and payloads, written by workers.

Histograms are in the UHI serialization (https://uhi.readthedocs.io/en/latest/serialization.html),
which other tools read too, arrays are `.npy` (https://numpy.org/neps/nep-0001-npy-format.html)
without objects, skims are Parquet. `reader` opens it.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import msgspec

from eventflock.core.atomic import atomic_path
from eventflock.core.edges import edges_of
from eventflock.core.manifest import Item, Manifest, Payload
from eventflock.core.structs import to_json
from eventflock.errors import AnalysisError

__all__ = ["DELTAS", "MANIFEST", "described", "sha256_of", "write_result"]

MANIFEST = "manifest.json"
KEPT = "kept/"
DELTAS = "_sum_of_deltas.npy"
"""Beside the UHI form of a profile. That has variances instead, undefined for one entry and rounded
for others, so that the sum of what was read would not be the sum of what was written."""
PACKED_MAX = 2**29
"""Results of more bytes are not compressed: mostly empty ones would shrink so much that a reader
could not tell them from an attack."""
JSON_PACKED = 2**24
"""The manifest, and the JSON of histograms in all, are not compressed beyond these bytes: for
the same reason, and because JSON costs more memory than bytes."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class _Zip(zipfile.ZipFile):
    """A ZIP whose bytes do not depend on when it was written."""

    packed = True
    """Whether members are compressed."""
    json_bytes = 0
    """Of the JSON of histograms so far."""

    def open(self, name: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> IO[bytes]:
        if mode == "w" and isinstance(name, str):
            large = name.endswith(".json") and self.json_bytes > JSON_PACKED
            name = _info(name, packed=self.packed and not large)
        return super().open(name, mode, *args, **kwargs)


def _info(name: str, *, packed: bool = True) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    # These are compressed already, as pictures and ROOT files are.
    packed = packed and not name.endswith(".parquet") and not name.startswith(KEPT)
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    return info


def write_result(
    path: Path,
    manifest: Manifest,
    values: Mapping[tuple[str, ...], Any],
    kept: Mapping[str, Path] = MappingProxyType({}),
) -> Manifest:
    """Write a result file, at once or not at all.

    Parameters
    ----------
    path
        Where to.
    manifest
        What the file says of itself; `items` and `payloads` are filled in here.
    values
        Histograms, arrays, numbers, and finished skims (paths of Parquet files), by key path.
    kept
        Files that the analysis keeps, by their names in the ZIP; `manifest.kept` lists them.

    Returns
    -------
    Manifest
        As written.

    Raises
    ------
    AnalysisError
        A histogram carries metadata that cannot be written as JSON.
    """
    flush = manifest.error is None  # a receipt that is lost is a job to be done again, as it is
    with (
        atomic_path(path, flush=flush) as temporary,
        _Zip(temporary, "w", compresslevel=1) as archive,
    ):
        archive.packed = sum(map(_size, values.values())) < PACKED_MAX
        # Members are named and written by sorted key, whatever order the analysis made them in;
        # the items keep that order, which is what people expect of a cut flow.
        written = {
            key: _write_item(archive, index, key, values[key])
            for index, key in enumerate(sorted(values))
        }
        for name, file in kept.items():
            with file.open("rb") as source, archive.open(name, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)
        items = tuple(written[key] for key in values)
        payloads = {info.filename: _payload(archive, info) for info in archive.infolist()}
        manifest = msgspec.structs.replace(manifest, items=items, payloads=payloads)
        data = to_json(manifest)
        info = _info(MANIFEST, packed=len(data) <= JSON_PACKED)
        archive.writestr(info, data, compresslevel=1)
    return manifest


def _size(value: Any) -> int:
    """Bytes that a histogram or an array takes; anything else counts for nothing."""
    if hasattr(value, "_to_uhi_"):
        value = value.view(flow=True)
    return int(getattr(value, "nbytes", 0))


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
        uhi.io.zip.write(archive, name, described(value))
        archive.json_bytes += archive.getinfo(f"{name}.json").file_size
        deltas = sum_of_deltas(value)
        if deltas is not None:
            _write_array(archive, f"{name}{DELTAS}", deltas)
    except TypeError as error:
        raise AnalysisError(
            f"The histogram {key[-1]!r} carries metadata that cannot be written as JSON: {error}.",
            remedy="Keep text, numbers, lists and mappings of these in the metadata of axes.",
        ) from None
    return Item(path=key, kind="histogram", name=name)


def described(histogram: Any) -> Any:
    """Return what the UHI serialization says of a histogram, with the right edges."""
    found: dict[str, Any] = histogram._to_uhi_()
    for axis, one in zip(histogram.axes, found["axes"], strict=True):
        if one["type"] == "variable" and one["circular"]:
            one["edges"] = edges_of(axis)
    return found


def _payload(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Payload:
    return Payload(size=info.file_size, sha256=sha256_of(archive, info))


def sha256_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """Compute the SHA-256 of one member, without holding it in memory."""
    hashed = hashlib.sha256()
    with archive.open(info) as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()
