"""Proving a packed environment: on this machine, or in a bare root file system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from eventflock.core.manifest import Failure
from eventflock.core.model import AnalysisRef
from eventflock.core.options import SITE_PYTHON
from eventflock.core.structs import from_json, to_json
from eventflock.errors import EnvError, ErrorKind, NodeError, error_from
from eventflock.packing.cache import place_archive
from eventflock.packing.launching import NODE_PROGRAMS, launch_command, launch_flags, start_words
from eventflock.packing.layers import Layer
from eventflock.packing.processes import run_alone
from eventflock.worker.prove import Proof, ProofRequest

__all__ = ["Place", "launch", "prove_quickly"]

ROOM = "Make room, or set TMPDIR to a folder on another disk."
TEMPLATE = b'{"kind":"@KIND@","message":"@SAY@"}'


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a launcher runs.

    Attributes
    ----------
    folder
        The job's folder, seen from here.
    inside
        The same folder, seen from the program.
    enter
        The words before the command that lead inside.
    container
        An image in which it runs.
    """

    folder: Path
    inside: str
    enter: tuple[str, ...] = ()
    container: str = ""


def launch(
    place: Place,
    archives: Sequence[Path],
    words: Sequence[str],
    result: str,
    flags: Sequence[str] = (),
    template: bytes = TEMPLATE,
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Start the launcher as a node would: with no environment, in the job's folder.

    Parameters
    ----------
    archives
        Of the environment, of the code, and layers; they are linked or copied into the folder.
    words
        Arguments of Python.
    result
        Name of the file that the program is to write.
    flags
        See `launch_flags`.
    template
        The receipt for the launcher to fill in.

    Returns
    -------
    subprocess.CompletedProcess
    float
        When it was started, in seconds since 1970.
    """
    for archive in archives:
        if not (place.folder / archive.name).exists():
            place_archive([archive], place.folder / archive.name)
    for program in NODE_PROGRAMS:
        shutil.copyfile(program, place.folder / program.name)
    (place.folder / "template.json").write_bytes(template)
    names = [one.name for one in archives]
    command = launch_command(
        names[0],
        names[1],
        "template.json",
        result,
        *words,
        flags=flags,
    )
    script = 'cd "$1" && shift && exec /bin/sh "$@"'
    started = time.time()
    words = [
        *place.enter,
        "/bin/sh",
        "-c",
        script,
        "sh",
        place.inside,
        *start_words(place.container),
        *command,
    ]
    env = os.environ if place.container else {}  # what runs containers is configured there
    return run_alone(words, env, None if place.enter else place.folder), started


def read_proof(place: Place, process: subprocess.CompletedProcess[str]) -> Proof:
    """Read what the program found.

    Raises
    ------
    EnvError
        The launcher says why it could not run.
    """
    result = place.folder / "proof.json"
    data = result.read_bytes() if result.exists() else b""
    if process.returncode == 0 and data:
        return from_json(data, Proof)
    words = f"{process.stdout}\n{process.stderr}".strip()
    try:
        failure = from_json(data, Failure)
        if failure.kind == ErrorKind.NODE:
            raise NodeError(failure.message, remedy=ROOM if "MB free" in failure.message else "")
        raise EnvError(failure.message, traceback=words[-4000:])
    except msgspec.MsgspecError:
        raise EnvError(
            f"The launcher ended with exit status {process.returncode}.", traceback=words[-4000:]
        ) from None


def prove_quickly(
    archives: Sequence[Path],
    ref: AnalysisRef,
    modules: Mapping[str, str],
    environment: Layer,
    scratch: Path,
    *,
    python: str = "",
) -> None:
    """Prove that the analysis loads in the packed environment, and what it imports.

    Parameters
    ----------
    archives, environment
        The environment.
    ref
        The analysis.
    modules
        What must import; from names to versions, empty for any.
    scratch
        Folder for the proof.
    python
        One of `PYTHONS`: the packed one, as the site's software need not be on this machine, or
        that of the site, with its set-up.

    Raises
    ------
    EnvError
        It does not work.
    """
    with tempfile.TemporaryDirectory(prefix="proof-", dir=scratch) as name:
        place = Place(folder=Path(name), inside=name)
        request = ProofRequest(modules=dict(modules), analysis=ref)
        (place.folder / "request.json").write_bytes(to_json(request))
        words = ["-m", "eventflock.worker.prove", "request.json", "proof.json"]
        flags = launch_flags(python=python, setup=python == SITE_PYTHON)
        process, _ = launch(place, archives, words, "proof.json", flags)
        proof = read_proof(place, process)
    if proof.error is not None:
        raise error_from(proof.error)
    wrong = [module for module in proof.imported if module.error]
    if wrong:
        first = wrong[0]
        lacks = _lacking(first.name, environment)
        raise EnvError(
            f"Packed, {first.name!r} cannot be imported: {first.error}{lacks}",
            remedy="If a module is missing, name its distribution: --with NAME, or --everything.",
        )


def _lacking(module: str, environment: Layer) -> str:
    """Describe which file of a module was left out, if one was."""
    for file, library in environment.left_out.items():
        if re.search(rf"/{re.escape(module)}[./]", file):
            return f"\n{file} needs {library}, which is not found on this machine."
    return ""


def enter_root(root: Path) -> tuple[str, ...]:
    """Return the words that lead into a root file system.

    Raises
    ------
    EnvError
        It is not one.
    """
    if not (root / "bin/sh").exists():
        raise EnvError(
            f"--in {root} is not a root file system: it has no /bin/sh.",
            remedy="Make one: mmdebstrap --variant=essential trixie DIR",
        )
    chroot = (_tool("chroot"), str(root))
    alone = (_tool("unshare"), *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
    if (root / "proc").is_dir():  # which a node has
        proc = ("--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc")
        words = (*alone, *proc, *chroot)
        if not subprocess.run([*alone, *proc, "true"], capture_output=True, check=False).returncode:
            return words
    return chroot if os.geteuid() == 0 else (*alone, *chroot)


def _tool(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise EnvError(
            f"--in needs the command {name!r}.", remedy="It is in util-linux, coreutils."
        )
    return found
