"""A sample file shaped like the one of a 2014 ATLAS tutorial: jets in simulated top-pair events.

The jets are drawn at random and hold no physics beyond their kinematics. Their energies follow
the spectrum which that tutorial found in 10,000 events, so that its plot can be made again
without its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eventflock.core.atomic import atomic_path
from eventflock.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["COLLECTION", "FIELDS", "TREE", "write_sample"]

TREE: Final = "TTbar_14TeV_MU80/mytree"
COLLECTION: Final = "jet_AntiKt10LCTopo"
FIELDS: Final = ("E", "pt", "m", "eta", "phi")

# The fraction of jets above an energy in GeV. Down to 2000 GeV these are the counts of the
# tutorial's histogram; above, where it ends, the curve falls to nothing at the beam energy.
_FRACTION_ABOVE: Final = {
    20: 1.0,
    30: 0.97149,
    40: 0.9049,
    50: 0.83363,
    60: 0.76519,
    70: 0.69692,
    80: 0.6339,
    90: 0.57539,
    100: 0.52317,
    120: 0.43244,
    140: 0.36016,
    160: 0.30421,
    180: 0.26027,
    200: 0.22508,
    230: 0.1826,
    260: 0.1509,
    300: 0.11923,
    350: 0.09217,
    400: 0.07403,
    500: 0.04858,
    600: 0.03519,
    800: 0.01956,
    1000: 0.01139,
    1400: 0.00381,
    2000: 0.00075,
    3500: 1e-5,
    7000: 1e-9,
}
_JETS_PER_EVENT: Final = 3.9874
_LOWEST_PT: Final = 20.0  # GeV, of a jet without mass
_HIGHEST_ETA: Final = 4.5
_HIGHEST_MASS: Final = 0.6  # of pt; heavier is rare for a radius of 1.0
_MEV: Final = 1000.0


def write_sample(
    path: Path,
    events: int = 10_000,
    *,
    seed: int = 2014,
    cluster: int = 1000,
    compression: str = "zlib",
    level: int = 1,
) -> Path:
    """Write a ROOT file of simulated jets like the input of the 2014 tutorial.

    The tree `TTbar_14TeV_MU80/mytree` has one jagged float32 branch for each of `E`, `pt`, `m`
    (MeV), `eta` and `phi` (radians) named `jet_AntiKt10LCTopo_*`, and their common counter
    `jet_AntiKt10LCTopo_n`. An event has about four jets, some have none; they are sorted by
    falling pt, and ``E**2 == (pt * cosh(eta))**2 + m**2``.

    The values depend only on `seed`: a longer file begins with the events of a shorter one,
    whatever `cluster` is. The file appears under its name only when it is complete.

    Parameters
    ----------
    path
        The file to write; it is replaced if it exists. Its folder is made.
    events
        How many events, 0 or more.
    seed
        Of the random numbers, 0 or more.
    cluster
        Events in one basket of each branch; this many are in memory at a time.
    compression
        One of ``zlib``, ``lz4``, ``lzma``, ``zstd``, ``none``.
    level
        Of the compression: 1 is fastest.

    Returns
    -------
    Path
        `path`, as it was given.

    Raises
    ------
    UsageError
        If an argument is not as above, or the file cannot be written.
    """
    _check(events, seed, cluster, compression, level)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            _write(temporary, events, seed, cluster, (compression, level))
    except OSError as error:
        raise UsageError(
            f"The sample cannot be written to {path}: {error.strerror or error}.",
            remedy="Give a file in a folder that you can write to and that has space left.",
        ) from error
    return path


def _check(events: int, seed: int, cluster: int, compression: str, level: int) -> None:
    for name, value, least in (
        ("events", events, 0),
        ("seed", seed, 0),
        ("cluster", cluster, 1),
        ("level", level, 1),
    ):
        if value < least:
            raise UsageError(
                f"{name} is {value}, expected {least} or more.",
                remedy=f"Give a whole number from {least} on.",
            )
    # Only LZ4 has levels above 9 that anyone uses, and ROOT keeps two digits.
    highest = {"zlib": 9, "lz4": 12, "lzma": 9, "zstd": 22, "none": 99}
    if compression not in highest:
        raise UsageError(
            f"compression is {compression!r}, expected one of {', '.join(highest)}.",
            remedy="Leave it out for zlib, which every version of ROOT reads.",
        )
    if level > highest[compression]:
        raise UsageError(
            f"level is {level}, {compression} has none above {highest[compression]}.",
            remedy="Leave it out for level 1, the fastest.",
        )


def _write(path: Path, events: int, seed: int, cluster: int, compression: tuple[str, int]) -> None:
    import uproot

    name, level = compression
    code = None if name == "none" else getattr(uproot, name.upper())(level)
    fields = ", ".join(f"{field}: float32" for field in FIELDS)
    with uproot.recreate(path, compression=code) as file:
        tree = file.mktree(
            TREE,
            {COLLECTION: f"var * {{{fields}}}"},
            title="simulated jets, not ATLAS data",
            counter_name=lambda counted: f"{counted}_n",
            field_name=lambda outer, inner: f"{outer}_{inner}" if outer else inner,
            # room for every basket at once: the header need not be written again and again
            initial_basket_capacity=max(1, -(-events // cluster)),
        )
        for jets in _clusters(events, seed, cluster):
            tree.extend({COLLECTION: jets})


def _clusters(events: int, seed: int, cluster: int) -> Iterator[Any]:
    """Yield the jets of `cluster` events at a time, as awkward arrays of records."""
    import awkward as ak
    import numpy as np

    # A stream for each quantity: where a cluster ends then shifts no random number.
    streams = np.random.default_rng(seed).spawn(5)
    for start in range(0, events, cluster):
        counts = streams[0].poisson(_JETS_PER_EVENT, min(cluster, events - start))
        jets = _jets(int(counts.sum()), streams[1:])
        event = np.repeat(np.arange(counts.size), counts)
        order = np.lexsort((-jets["pt"], event))
        yield ak.unflatten(ak.zip({name: jets[name][order] for name in FIELDS}), counts)


def _jets(
    number: int, streams: list[np.random.Generator]
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Draw jets whose energy is given and whose direction and mass leave pt near or above 20 GeV.

    Returns
    -------
    dict
        One float32 array of shape ``(number,)`` for each of `FIELDS`, in MeV and radians.
    """
    import numpy as np

    for_energy, for_eta, for_mass, for_phi = streams
    # -log of a uniform number is an exponential one: this inverts the curve on logarithmic scales
    depth = -np.log(list(_FRACTION_ABOVE.values()))
    energy = np.exp(
        np.interp(for_energy.standard_exponential(number), depth, np.log(list(_FRACTION_ABOVE)))
    )
    reach = np.minimum(np.arccosh(np.maximum(energy / _LOWEST_PT, 1)), _HIGHEST_ETA)
    eta = reach * (for_eta.random((number, 2)).sum(axis=1) - 1)
    mass_to_pt = _HIGHEST_MASS * for_mass.beta(1.5, 4, number)
    pt = energy / np.hypot(np.cosh(eta), mass_to_pt)
    # float32(pi) is above pi, so the float below it is the end of (-pi, pi]
    edge = np.nextafter(np.float32(np.pi), np.float32(0))
    phi = edge * (1 - 2 * for_phi.random(number))
    return {
        "E": (energy * _MEV).astype(np.float32),
        "pt": (pt * _MEV).astype(np.float32),
        "m": (mass_to_pt * pt * _MEV).astype(np.float32),
        "eta": eta.astype(np.float32),
        "phi": phi.astype(np.float32),
    }
