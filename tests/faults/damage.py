"""Breaking files: results of jobs, event logs, baskets of the input."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["RESULT_KINDS", "corrupt_basket", "damage_events", "damage_result"]

Damage = Callable[[Path, "Others", random.Random], None]


class Others:
    """Result files that do not belong where they will be put.

    Parameters
    ----------
    siblings
        Of the same run.
    strangers
        Of another run.
    """

    def __init__(self, siblings: Sequence[Path], strangers: Sequence[Path]) -> None:
        self.siblings = siblings
        self.strangers = strangers


def _truncate(path: Path, _: Others, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(1, path.stat().st_size))


def _flip(path: Path, _: Others, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _number in range(chance.choice([1, 1, 1, 8])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _empty(path: Path, _: Others, _chance: random.Random) -> None:
    os.truncate(path, 0)


def _zeros(path: Path, _: Others, _chance: random.Random) -> None:
    """What a file system leaves that was cut off before it wrote the data."""
    path.write_bytes(bytes(path.stat().st_size))


def _remove(path: Path, _: Others, _chance: random.Random) -> None:
    path.unlink()


def _foreign(path: Path, others: Others, chance: random.Random) -> None:
    """Put the result of another run there: mostly of the very same job and ranges."""
    same = [stranger for stranger in others.strangers if stranger.name == path.name]
    shutil.copyfile(
        chance.choice(same if same and chance.random() < 0.7 else others.strangers), path
    )


def _duplicate(path: Path, others: Others, chance: random.Random) -> None:
    """Put the result of another job of this run there."""
    choice = [sibling for sibling in others.siblings if sibling != path and sibling.exists()]
    if choice:
        shutil.copyfile(chance.choice(choice), path)


RESULT_KINDS: dict[str, Damage] = {
    "result truncated": _truncate,
    "result bit-flipped": _flip,
    "result empty": _empty,
    "result zeroed": _zeros,
    "result removed": _remove,
    "result foreign": _foreign,
    "result duplicated": _duplicate,
}


def damage_result(kind: str, path: Path, others: Others, chance: random.Random) -> None:
    """Break one result file, which stays the file of its owner."""
    RESULT_KINDS[kind](path, others, chance)


def corrupt_basket(path: Path, chance: random.Random) -> tuple[int, int]:
    """Flip some bits of the compressed data of one basket, and give its entries."""
    import uproot

    with uproot.open(path) as file:
        branch = file["events"][chance.choice(["number", "x"])]
        basket = chance.randrange(branch.num_baskets)
        seek = int(branch.member("fBasketSeek")[basket])
        size = int(branch.member("fBasketBytes")[basket])
        start, stop = (int(offset) for offset in branch.entry_offsets[basket : basket + 2])
    data = bytearray(path.read_bytes())
    key = int.from_bytes(data[seek + 14 : seek + 16], "big")
    # Behind the key come nine bytes that say how it is compressed.
    for _ in range(chance.choice([1, 20])):
        data[chance.randrange(seek + key + 9, seek + size)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return start, stop


def damage_events(path: Path, chance: random.Random, most: int) -> tuple[int, int]:
    """Leave out some events of HTCondor's log, and repeat some, maybe later.

    The file stays the same one, as HTCondor may have it open.

    Returns
    -------
    int
        How many are missing now.
    int
        How many are there twice.
    """
    ended = "\n...\n"
    *events, rest = path.read_text().split(ended)
    missing = doubled = 0
    for _ in range(min(most, len(events))):
        index = chance.randrange(len(events))
        if chance.random() < 0.5 and len(events) > 1:
            del events[index]
            missing += 1
        else:
            events.insert(chance.randint(index, len(events)), events[index])
            doubled += 1
    with path.open("r+") as file:
        file.write("".join(event + ended for event in events) + rest)
        file.truncate()
    return missing, doubled
