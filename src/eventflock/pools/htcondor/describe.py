"""The submit description of a wave: a pure function, so that it can be shown and tested."""

from __future__ import annotations

from pathlib import Path

from eventflock.errors import UsageError
from eventflock.model import Frozen
from eventflock.pools.htcondor.settings import Settings
from eventflock.worker.once import RESULT

__all__ = ["Needs", "check_folder", "describe"]

FAILED_FOR_GOOD = 1
"""Exit status of a job that left a receipt of its own: another try would end alike."""
RETRIES = 3
"""For a node that cannot run it, and a process that died without a word."""


class Needs(Frozen, frozen=True):
    """What is asked for on behalf of a job, unless the user asks for something else.

    Attributes
    ----------
    memory_mb, disk_mb
        In units of 2**20 bytes.
    seconds
        How long the job will take; 0 if that is not known.
    """

    memory_mb: int
    disk_mb: int
    seconds: float = 0.0


def check_folder(path: Path) -> None:
    """Check that HTCondor can work in a folder.

    Raises
    ------
    UsageError
        Its name has what HTCondor would take for a macro of its own, or for a separator.
    """
    bad = next((one for one in ("$(", "$$", "\\") if one in str(path)), None)
    if bad is not None:
        raise UsageError(
            f"The run folder {path} has {bad!r} in its name, which HTCondor replaces by something "
            "else.",
            remedy="Choose another place with --out.",
        )


def describe(
    name: str,
    identity: str,
    archives: tuple[str, str],
    glibc: str,
    needs: Needs,
    settings: Settings,
    *,
    common: bool = False,
) -> str:
    """Write the submit description of a wave. All paths in it are relative to the wave's folder.

    Parameters
    ----------
    name
        Of the run, for people who look at the queue.
    identity
        Of the wave.
    archives
        Base names of the archives of environment and code.
    glibc
        When the bundled glibc is used.
    needs
        What to ask for.
    settings
        What the user says; it wins over what is asked for here.
    common
        Send the archives once per node, not with each job. Then all jobs are made at once:
        HTCondor 25.14 makes none of them late that has common files.

    Returns
    -------
    str
        In HTCondor's submit language, with its `queue` statement.
    """
    words = [
        *("--join", "--job", "$(job)", "--glibc", glibc, *archives, "template.json", RESULT),
        *("-m", "eventflock.worker.once", "jobs-$(shard).jsonl", RESULT, "$(line)"),
    ]
    inputs = ["template.json", *settings.inputs, "$(inputs)"]
    fixed = {
        "universe": "vanilla",
        "executable": "launch.sh",
        "arguments": f'"{" ".join(words)}"',
        "log": "events.log",
        "output": "job-$(job).log",
        "should_transfer_files": "YES",
        "when_to_transfer_output": "ON_EXIT",
        "transfer_input_files": ", ".join(inputs if common else [*archives, *inputs]),
        "transfer_output_files": RESULT,
        "transfer_output_remaps": f'"{RESULT} = job-$(job).zip"',
        "batch_name": "".join(one if one.isalnum() or one in "-_." else "-" for one in name),
        "request_cpus": "1",
        "request_memory": f"{needs.memory_mb} MB",
        "request_disk": f"{needs.disk_mb} MB",
        "max_retries": str(RETRIES),
        "retry_until": f"ExitCode =?= {FAILED_FOR_GOOD}",
        "+EventflockWave": f'"{identity}"',
    }
    if common:
        fixed["+CommonInputFiles"] = f'"{", ".join(archives)}"'
    elif settings.max_idle and not settings.spool:  # jobs that are sent off exist from the start
        fixed["max_idle"] = str(settings.max_idle)
    fixed.update(settings.commands)
    lines = [f"{key} = {value}" for key, value in fixed.items()]
    return "\n".join([*lines, "queue job, shard, line, inputs from items.txt", ""])
