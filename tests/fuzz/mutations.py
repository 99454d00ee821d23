"""Kinds of mutations: of the bytes of a file, and of what is in it, with its checksums corrected."""

from __future__ import annotations

import io
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

from eventflock.results.format import MANIFEST
from tests.fuzz.content import change_json, change_npy, deep, false_claim, pack, scramble
from tests.fuzz.seeds import Seed, manifest_of

NUMBERS = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF]


class Mutant(NamedTuple):
    """A mutated file.

    `touched` are the members that were changed so that it can still be a valid file; None if
    anything was, but no checksum was corrected: if it is read at all, then as before.
    """

    data: bytes
    touched: frozenset[str] | None = None
    manifest: bytes | None = None


Mutation = Callable[[random.Random, Seed], Mutant]


# --- bytes ---------------------------------------------------------------------------------------


def flip(rng: random.Random, seed: Seed) -> Mutant:
    """Turn some bits."""
    data = bytearray(seed.data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return Mutant(bytes(data))


def cut(rng: random.Random, seed: Seed) -> Mutant:
    """Leave out the end, the beginning, or something between."""
    data, size = seed.data, len(seed.data)
    start = rng.randrange(size)
    stop = rng.choice([size, size, min(size, start + rng.choice([1, 4, 64]))])
    return Mutant(data[:start] + data[stop:] if rng.random() < 0.8 else data[start:])


def insert(rng: random.Random, seed: Seed) -> Mutant:
    """Repeat something, or put something random in."""
    data = seed.data
    at, start = rng.randrange(len(data)), rng.randrange(len(data))
    more = rng.choice([rng.randbytes(rng.randrange(1, 40)), data[start : start + 200], data])
    return Mutant(data[:at] + more + data[at:])


def number(rng: random.Random, seed: Seed) -> Mutant:
    """Write an extreme number somewhere."""
    return Mutant(scramble(rng, seed.data, 1))


def splice(rng: random.Random, seed: Seed) -> Mutant:
    """Put the beginning of a file before the end of the next."""
    other = seed.second or bytes(reversed(seed.data))
    start = rng.randrange(len(seed.data))
    stop = rng.choice([min(start, len(other)), rng.randrange(len(other))])
    spliced = seed.data[:start] + other[stop:]
    return Mutant(seed.data if spliced == other else spliced)


def headers(rng: random.Random, seed: Seed) -> Mutant:
    """Change fields of the ZIP itself: sizes, methods, flags, offsets, counts."""
    data = bytearray(seed.data)
    for _ in range(rng.choice([1, 1, 2, 3])):
        found = [match.start() for match in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06)", data)]
        if not found:
            break
        field = rng.choice(found) + rng.randrange(4, 46, 2)
        form, mask = rng.choice([("<H", 0xFFFF), ("<I", 0xFFFFFFFF)])
        if field + 4 <= len(data):
            old = struct.unpack_from(form, data, field)[0]
            new = rng.choice([*NUMBERS, old + 1, old - 1, old ^ (1 << rng.randrange(16)), 2 * old])
            struct.pack_into(form, data, field, new & mask)
    return Mutant(bytes(data))


def zip64(rng: random.Random, seed: Seed) -> Mutant:
    """Let a member claim terabytes in the fields of ZIP64."""
    claims = [2**33, 2**42, 2**63, 2**64 - 1, rng.randrange(100)]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        chosen = rng.choice([*seed.members, "more.npy"])
        for name, data in [*seed.members.items(), ("more.npy", b"")][: len(seed.members) + 1]:
            info = zipfile.ZipInfo(name)
            info.compress_type = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            if name == chosen:
                sizes = struct.pack("<QQQ", *rng.choices(claims, k=3))
                info.extra = struct.pack("<HH", 1, rng.choice([8, 16, 24])) + sizes
            archive.writestr(info, data)
    lying = bytearray(out.getvalue())
    for match in re.finditer(rb"PK\x01\x02", bytes(lying)):
        if rng.random() < 0.5 and match.start() + 28 <= len(lying):
            struct.pack_into("<II", lying, match.start() + 20, *rng.choices([0xFFFFFFFF, 5], k=2))
    return Mutant(bytes(lying))


# --- members -------------------------------------------------------------------------------------


def shuffle(rng: random.Random, seed: Seed) -> Mutant:
    """Swap, leave out, rename, add or change members, with the checksums as they were."""
    members = list(seed.members.items())
    a, b = rng.randrange(len(members)), rng.randrange(len(members))
    (first, one), (second, two) = members[a], members[b]
    match rng.randrange(6):
        case 0 if first != MANIFEST and one:
            at = rng.randrange(len(one))
            members[a] = (first, one[:at] + bytes([one[at] ^ 1]) + one[at + 1 :])
        case 0 | 5:
            members[a], members[b] = (first, two), (second, one)
        case 1:
            members.pop(a)
        case 2:
            members[a] = (rng.choice(["", "../x", "/x", first + "/", first.upper(), "é"]), one)
        case 3:
            members.append((rng.choice([first, "../x", "items/", "x\\y"]), two))
        case _:
            members.append((first, rng.choice([one, one[:-1], two])))
    return Mutant(_zip(rng, members))


def swap(rng: random.Random, seed: Seed) -> Mutant:
    """Swap two payloads, and correct the checksums."""
    names = _payloads(seed)
    if len(names) < 2:
        return flip(rng, seed)
    a, b = rng.sample(names, 2)
    changed = {a: seed.members[b], b: seed.members[a]}
    return Mutant(pack(rng, seed, changed), frozenset(changed))


def _zip(rng: random.Random, members: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    kind = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(out, "w", kind) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same name twice is what is wanted
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return out.getvalue()


def bomb(rng: random.Random, seed: Seed) -> Mutant:
    """Return a member more zeros than a file of this size should hold, or than it says."""
    name = rng.choice(list(seed.members))
    zeros = bytes(rng.choice([10, 100]) * 2**20)
    if rng.random() < 0.3:
        zeros = zipfile_of(zeros)
    if name != MANIFEST and rng.random() < 0.3:
        return Mutant(pack(rng, seed, {name: zeros}), frozenset({name}))
    members = [(one, zeros if one == name else data) for one, data in seed.members.items()]
    lying = bytearray(_zip(rng, members))
    # The list of members, which is at the end, has the size and checksum that it should have.
    at = lying.rindex(name.encode()) - 46
    struct.pack_into("<I", lying, at + 24, len(seed.members[name]))
    struct.pack_into("<I", lying, at + 16, zlib.crc32(seed.members[name]))
    return Mutant(bytes(lying))


def zipfile_of(data: bytes) -> bytes:
    """Pack it once more."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, data)
    return out.getvalue()


# --- contents, with the checksums corrected ------------------------------------------------------


def manifest(rng: random.Random, seed: Seed) -> Mutant:
    """Change values of the manifest."""
    document = change_json(rng, manifest_of(seed))
    if not seed.members:
        return Mutant(document, frozenset(), document)
    return Mutant(pack(rng, seed, {MANIFEST: document}), frozenset(), document)


def _payloads(seed: Seed) -> list[str]:
    return [member for member in seed.members if member != MANIFEST]


def _member(ending: str, change: Callable[[random.Random, bytes], bytes]) -> Mutation:
    def mutate(rng: random.Random, seed: Seed) -> Mutant:
        name = rng.choice([payload for payload in _payloads(seed) if payload.endswith(ending)])
        changed = change(rng, seed.members[name])
        return Mutant(pack(rng, seed, {name: changed}), frozenset({name}))

    mutate.__doc__ = f"Change the content of a {ending} file: {change.__doc__}"
    return mutate


def nesting(rng: random.Random, seed: Seed) -> Mutant:
    """Nest JSON deeply, or make it long."""
    names = [member for member in seed.members if member.endswith(".json")]
    if not names:
        document = deep(rng, seed.data)
        return Mutant(document, frozenset(), document)
    name = rng.choice(names)
    document = deep(rng, seed.members[name])
    touched = frozenset({name} - {MANIFEST})
    changed = pack(rng, seed, {name: document})
    return Mutant(changed, touched, document if name == MANIFEST else None)


MUTATIONS: dict[str, Mutation] = {
    "flip": flip,
    "cut": cut,
    "insert": insert,
    "number": number,
    "splice": splice,
    "headers": headers,
    "zip64": zip64,
    "shuffle": shuffle,
    "swap": swap,
    "bomb": bomb,
    "manifest": manifest,
    "nesting": nesting,
    "json": _member(".json", change_json),
    "npy": _member(".npy", change_npy),
    "claim": _member(".npy", false_claim),
    "parquet": _member(".parquet", scramble),
}
RARE = {"bomb": 0.05, "nesting": 0.2, "parquet": 2.0}
"""How often they are chosen, against 1: some take long, some find more."""


def choose(rng: random.Random) -> str:
    """Choose a kind of mutation."""
    return rng.choices(list(MUTATIONS), [RARE.get(one, 1.0) for one in MUTATIONS])[0]


def mutate(kind: str, rng: random.Random, seeds: list[Seed]) -> tuple[Seed, Mutant]:
    """Choose a file that this kind applies to, and mutate it."""
    ending = {"claim": ".npy"}.get(kind, f".{kind}")
    if kind in {"json", "npy", "claim", "parquet"}:
        seeds = [one for one in seeds if any(name.endswith(ending) for name in _payloads(one))]
    elif kind in {"zip64", "shuffle", "swap", "bomb"}:
        seeds = [one for one in seeds if one.members]
    seed = rng.choice(seeds)
    return seed, MUTATIONS[kind](rng, seed)
