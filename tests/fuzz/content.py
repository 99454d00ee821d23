"""Mutations of single members, and packing them with corrected checksums."""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import zipfile
from typing import Any

from eventflock.results.format import MANIFEST
from tests.fuzz.seeds import Seed, manifest_of

NUMBERS = [0, 1, 2, -1, 3, 10, 127, 128, 255, 256, 2**15, 2**16, 10**5, 2**31 - 1, 2**31, 2**32]
LARGE = [2**33, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**12, 10**30, -(2**63)]
VALUES: list[Any] = [
    *NUMBERS,
    *LARGE,
    *[0.5, -0.0, 1e308, float("inf"), float("nan"), None, True, False],
    *[
        "",
        "x",
        "x" * 500,
        "../../x",
        "é\u0000",
        "int",
        "skim",
        "array",
        "histogram",
        "nan",
        "1e999",
    ],
    *["__class__", "view", "regular", "variable", "log", "boost-histogram", "done", "failed"],
    *[[], {}, [[]], [1, 2, 3], [0.0, 1.0], ["a", "b"], {"a": 1}, [None] * 20, [[[[[[]]]]]]],
]
PICKLE = b"cos\nsystem\n(S'true'\ntR."
"""Whoever unpickles it runs a command."""


def pack(rng: random.Random, seed: Seed, changed: dict[str, bytes]) -> bytes:
    """Write the file with changed members, whose sizes and checksums are corrected."""
    if MANIFEST not in changed:
        document = manifest_of(seed)
        for name, data in changed.items():
            digest = hashlib.sha256(data).hexdigest()
            document["payloads"][name] = {"size": len(data), "sha256": digest}
        changed = {**changed, MANIFEST: json.dumps(document).encode()}
    out = io.BytesIO()
    kind = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(out, "w", kind, compresslevel=1) as archive:
        for name, data in seed.members.items():
            archive.writestr(zipfile.ZipInfo(name), changed.get(name, data), kind)
    return out.getvalue()


def change_json(rng: random.Random, document: bytes | dict[str, Any]) -> bytes:
    """change, leave out, add or swap values; now and then, the text itself."""
    parsed = json.loads(document) if isinstance(document, bytes) else document
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        _change(rng, parsed)
    text = json.dumps(parsed)
    if rng.random() < 0.1:
        return scramble(rng, text.encode(), 1)
    if rng.random() < 0.05:  # the same key twice
        return ('{"format": 1, "axes": [], ' + text[1:]).encode()
    return text.encode()


def _change(rng: random.Random, parsed: Any) -> None:
    """Walk down to some value, and change it."""
    node = parsed
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.85:
            node = node[key]
            continue
        break
    other = rng.choice(keys)
    match rng.randrange(6):
        case 0:
            del node[key]
        case 1:
            node[key], node[other] = node[other], node[key]
        case 2 if isinstance(node, list):
            node.insert(key, node[other])
        case 2:
            node[rng.choice(["x", "", "metadata", "name", "flow", "bins"])] = node[other]
        case 3 if isinstance(node[key], int | float):
            node[key] = node[key] + rng.choice([-1, 1, 0.5, 2**31, 2**62])
        case 4 if isinstance(node[key], str):
            node[key] = node[key][: rng.randrange(len(node[key]) + 1)] + rng.choice(["", "x", "/"])
        case _:
            node[key] = json.loads(json.dumps(rng.choice(VALUES)))


def deep(rng: random.Random, document: bytes) -> bytes:
    """nest it deeply, or make it long."""
    size = rng.choice([60, 900, 20_000, 200_000])
    nested = rng.choice(
        [
            "[" * size + "]" * size,
            '{"a":' * size + "1" + "}" * size,
            "[" * size,
            "[" + "[]," * size + "[]]",
            "{" + ",".join(f'"k{n}":{{}}' for n in range(size)) + "}",
            '"' + "x" * size + '"',
            "1" * size,
        ]
    )
    parsed = json.loads(document)
    key = rng.choice([*parsed, "metadata", "parameters", "axes"])
    parsed[key] = "HERE"
    return json.dumps(parsed).replace('"HERE"', nested).encode()


def change_npy(rng: random.Random, data: bytes) -> bytes:
    """change its header or its length."""
    header = data.index(b"\n") + 1
    match rng.randrange(4):
        case 0:
            return scramble(rng, data[:header], 1) + data[header:]
        case 1:
            return scramble(rng, data, 2)
        case 2:
            return data[: rng.randrange(len(data))] + rng.randbytes(rng.choice([0, 8]))
    return false_claim(rng, data)


def false_claim(rng: random.Random, data: bytes) -> bytes:
    """give it another type or shape."""
    header = data.index(b"\n") + 1
    shapes = ["()", "(0,)", "(1000000000000,)", "(-1,)", "(2, 3)", "(1,) * 9**9", "(0, 10**12)"]
    shapes += [
        f"({len(data) - header},)",
        "(0, 99999999999999,)",
        "(" + "1, " * 40 + ")",
        "((1,),)",
    ]
    kinds = [
        "<f8",
        "<i8",
        ">f8",
        "|O",
        "|u1",
        "<c16",
        "<f2",
        "<U9",
        "|V8",
        "<M8[s]",
        "(9,)f8",
        "f99",
    ]
    text = (
        f"{{'descr': '{rng.choice(kinds)}', 'fortran_order': {rng.choice([True, False])}, "
        f"'shape': {rng.choice(shapes)}, }}"
    ).ljust(rng.choice([117, 5000])) + "\n"
    version = rng.choice([b"\x01\x00", b"\x02\x00", b"\x03\x00"])
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text) + rng.choice([0, 0, 0, 1]))
    body = rng.choice([data[header:], data[header:], PICKLE])
    return b"\x93NUMPY" + version + length + text.encode() + body


def scramble(rng: random.Random, data: bytes, times: int = 0) -> bytes:
    """turn bits, write extreme numbers, leave out or repeat a few bytes."""
    found = bytearray(data)
    for _ in range(times or rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(found):
                found[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            case 2:
                found[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF)
            case 3:
                found[at : at + 8] = struct.pack("<Q", rng.choice(LARGE) & (2**64 - 1))
            case 4:
                found[at:at] = b"\xff" * rng.choice([1, 4, 9]) + b"\x7f" * rng.choice([0, 1])
            case _:
                size = rng.choice([1, 2, 16])
                found[at:at] = found[at : at + size] if rng.random() < 0.5 else b""
                del found[at : at + size]
        if not found:
            break
    return bytes(found)
