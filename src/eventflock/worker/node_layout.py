"""Where everything lies in a packed environment on a node, and how its launcher ends.

`launch.sh`, `packing/sitecustomize.py` and `packing/boot.py` run before this can be imported, and
so repeat a few of the names; a test proves that they agree.
"""

from __future__ import annotations

from pathlib import Path

from eventflock._version import PACKAGE
from eventflock.core.model import AnalysisRef

__all__ = [
    "ANALYSIS",
    "BOOT",
    "BOOT_PROGRAM",
    "BUNDLES",
    "CERTIFICATES",
    "CODE_DEMANDS",
    "CODE_PACKAGES",
    "CONTAINER",
    "CONTENTS",
    "DEMANDS",
    "DIED",
    "FRONT",
    "GLIBC",
    "HEADERS",
    "LAUNCHER",
    "NATIVE",
    "PACKAGES",
    "PROGRAMS",
    "REST",
    "SETUP",
    "START_PROGRAM",
    "UNSUITABLE",
    "WORKING",
    "place_of",
    "unpacked_root",
]

CONTAINER = PACKAGE / "worker" / "container.sh"
"""What runs the launcher in a container, on this machine."""
LAUNCHER = PACKAGE / "worker" / "launch.sh"
"""The launcher, on this machine."""
UNSUITABLE = 85
"""Exit status of the launcher on a node that cannot run the job; the receipt says why."""
DIED = 70
"""Exit status of the launcher if the program died without a receipt of its own."""

# --- the archive of the environment: its members ------------------------------------------------

DEMANDS = "demands"
"""What the environment demands of a node, in lines that a shell can read."""
CONTENTS = "contents.json"
"""What is in it."""
BOOT = "boot.tgz"
"""What unpacks the rest: the interpreter, the C library and zstandard."""
REST = "rest.tar.zst"
"""Everything else."""

# --- the folder into which both archives are unpacked -----------------------------------------

PROGRAMS = "libexec"
"""The interpreter, and what the launcher runs."""
BOOT_PROGRAM = f"{PROGRAMS}/boot.py"
"""Unpacks `REST`."""
START_PROGRAM = f"{PROGRAMS}/start.sh"
"""Starts Python, after the set-up of the site's software."""
FRONT = f"{PROGRAMS}/front/sitecustomize.py"
"""Puts the packed packages before those of the node, where it is the node's Python that runs."""
PACKAGES = "packages"
"""Installed packages."""
NATIVE = "native"
"""Native libraries, but for those of the C library."""
GLIBC = "glibc"
"""The C library, for nodes with an older one."""
BUNDLES = "bundles"
"""Files with the modules of the standard library and of packages: one, and one for each layer."""
HEADERS = "headers"
"""C++ headers, where a package compiles: folders in the order of the search, and `bin/c++`."""
CERTIFICATES = "certificates.pem"
"""Certificates of this machine, for nodes without any."""
CODE_DEMANDS = "code/demands"
"""What the user's code demands of a node."""
ANALYSIS = "code/analysis"
"""The analysis, and what lies beside it."""
SETUP = "code/setup.sh"
"""What sets up the site's software, in shell."""
WORKING = "code/working"
"""Data files that lay in the working folder, but not beside the analysis."""
CODE_PACKAGES = "code/packages"
"""Packages that are not installed here but found: editable ones, and folders of the user's."""


def unpacked_root() -> Path:
    """Return the folder into which both archives are unpacked, seen from a job."""
    return PACKAGE.parents[1]


def place_of(file: Path, ref: AnalysisRef) -> str:
    """Return where a file that an analysis uses is packed; empty if it lies elsewhere."""
    if ref.search and file.is_relative_to(ref.search[0]):
        return f"{ANALYSIS}/{file.relative_to(ref.search[0])}"
    if ref.working and file.is_relative_to(ref.working):
        return f"{WORKING}/{file.relative_to(ref.working)}"
    return ""
