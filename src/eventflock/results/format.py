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
from eventflock.core.manifest import Item, KeyPath, Manifest, Payload
from eventflock.core.structs import to_json
from eventflock.errors import AnalysisError
from eventflock.results.kinds import AllOf, AnyOf, Column

__all__ = ["DELTAS", "MANIFEST", "sha256_of", "write_result"]

MANIFEST = "manifest.json"
KEPT = "kept/"
PROCESSED = "processed.zip"
"""Beside the merged result: what `postprocess` of a processor made of it."""
DELTAS = "_sum_of_deltas.npy"
"""Beside the UHI form of a profile. That has variances instead, undefined for one entry and rounded
for others, so that the sum of what was read would not be the sum of what was written."""
PACKED_MAX = 2**29
"""Results of more bytes are not compressed: mostly empty ones would shrink so much that a reader
could not tell them from an attack."""
COLLECTION_MAX = 2**26
"""Bytes of a set or a list as JSON."""
INLINE_MAX = 2**20
"""Characters of a text or a number, which are in the manifest."""
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
    values: Mapping[KeyPath, Any],
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
        By key path: what `addition` gives, and finished skims (paths of Parquet files).
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
            for index, key in enumerate(sorted(values, key=_order))
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


def _order(path: KeyPath) -> list[tuple[bool, str | int]]:
    """Return by what paths are sorted: texts first, then integers."""
    return [(isinstance(name, int), name) for name in path]


def _size(value: Any) -> int:
    """Bytes that a histogram or an array takes; anything else counts for nothing."""
    if hasattr(value, "_to_uhi_"):
        value = value.view(flow=True)
    return int(getattr(value, "nbytes", 0))


def _write_item(archive: _Zip, index: int, key: KeyPath, value: Any) -> Item:
    inline = _inline(value)
    if inline is not None:
        if len(inline[1]) > INLINE_MAX:
            raise _too_large(key, f"has {len(inline[1]):,} digits or characters")
        return Item(path=key, kind=inline[0], value=inline[1])
    words = "-".join(map(str, key[1:] or key))
    name = f"items/{index:04d}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', words).strip('-.')[:40]}"
    if isinstance(value, Path):
        with value.open("rb") as source, archive.open(f"{name}.parquet", "w") as target:
            shutil.copyfileobj(source, target)
        return Item(path=key, kind="skim", name=name)
    if hasattr(value, "_to_uhi_"):
        return _write_histogram(archive, key, name, value)
    if isinstance(value, set | list):
        return _write_collection(archive, key, name, value)
    is_column = isinstance(value, Column)
    _write_array(archive, f"{name}.npy", value.whole() if is_column else value)
    return Item(path=key, kind="column" if is_column else "array", name=name)


def _inline(value: Any) -> tuple[str, str] | None:
    """Return kind and text of what is written into the manifest; None for a payload."""
    if isinstance(value, int | float | complex):
        return type(value).__name__, repr(value)
    if isinstance(value, str):
        return "text", value
    if isinstance(value, AnyOf | AllOf):
        return ("any" if isinstance(value, AnyOf) else "all"), str(value.value)
    return ("mapping", "") if isinstance(value, dict) else None


def _write_collection(archive: _Zip, key: KeyPath, name: str, value: set[Any] | list[Any]) -> Item:
    """Write a set, sorted by what is written, or a list, in its order."""
    from eventflock.results.plain import encode

    is_set = isinstance(value, set)
    what = f"{'set' if is_set else 'list'} {key[-1]!r}"
    texts = [encode(one, f"element of the {what}") for one in value]
    data = f"[{','.join(sorted(texts) if is_set else texts)}]".encode()
    if len(data) > COLLECTION_MAX:
        raise _too_large(key, f"has {len(value):,} elements, {len(data) / 1e6:,.0f} MB of text")
    archive.json_bytes += len(data)
    archive.writestr(_info(f"{name}.json", packed=archive.json_bytes <= JSON_PACKED), data)
    return Item(path=key, kind="set" if is_set else "list", name=name)


def _too_large(key: KeyPath, what: str) -> AnalysisError:
    return AnalysisError(
        f"The result {key[-1]!r} {what}, which is too much to be merged.",
        remedy="Return rows to keep as an awkward array, which is written as it comes, or "
        "summarise them.",
    )


def _write_array(archive: _Zip, name: str, value: Any) -> None:
    import numpy as np

    with archive.open(name, "w") as file:
        np.save(file, value, allow_pickle=False)


def _write_histogram(archive: _Zip, key: KeyPath, name: str, value: Any) -> Item:
    import uhi.io.zip

    from eventflock.results.payloads import described, sum_of_deltas

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


def _payload(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Payload:
    return Payload(size=info.file_size, sha256=sha256_of(archive, info))


def sha256_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """Compute the SHA-256 of one member, without holding it in memory."""
    hashed = hashlib.sha256()
    with archive.open(info) as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()
