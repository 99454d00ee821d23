"""The commands of Slurm: every question to it, and everything that is asked of it, is here."""

from __future__ import annotations

import math
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from eventflock.errors import PoolError
from eventflock.failures.codes import FailureCode
from eventflock.pools.slurm.states import OVER, Task

__all__ = ["Slurm", "parse_ended", "parse_limit"]

ANSWER_SECONDS = 60.0
AWAY = (
    *("Unable to contact slurm controller", "Connection refused", "Socket timed out"),
    *("Connection timed out", "No route to host", "Communication connection failure"),
    "temporarily unable",
)
FULL = ("SubmitJob", "MaxSubmit", "submit limit", "job count limit")
TASK_FIELDS = ("ArrayTaskID", "State", "NodeList", "Reason", "exit_code", "Comment")
MANY = 500
"""The most tasks that are named in one command."""
_VARIABLES = {"array": "ARRAY_INX", "time": "TIMELIMIT", "requeue": "REQUEUE"}
"""Options that sbatch also reads from variables of another name than their own."""

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_RANGES = re.compile(r"\[((?:\d+(?:-\d+)?,?)+)(?:%\d+)?\]")


class Slurm:
    """The cluster that commands of this machine reach."""

    def submit(self, script: Path, *, test: bool = False) -> int:
        """Submit a batch script from the folder that it is in, and return the number of the array.

        Parameters
        ----------
        test
            Only ask whether it would be taken; the number is 0.

        Raises
        ------
        PoolError
            Slurm cannot be reached, or does not take it.
        """
        env = _without(os.environ, _options_in(script.read_text()))
        words = ["--test-only"] if test else ["--parsable"]
        told = _run(["sbatch", *words, script.name], cwd=script.parent, env=env)
        return 0 if test else int(told.strip().splitlines()[-1].partition(";")[0])

    def tasks(self, array: int, comment: str) -> dict[int, Task]:
        """Return the tasks of an array that squeue knows, running or ended a moment ago.

        Parameters
        ----------
        comment
            Of our jobs: the number of an array may be used again after a cluster was set up anew.
        """
        try:
            lines = _rows(["squeue", "-h", "-r", "-t", "all", "-j", str(array)], TASK_FIELDS)
        except PoolError as error:
            if "Invalid job id" in error.message:  # it has forgotten all of it
                return {}
            raise
        return {
            int(number): Task(state, _node(host), reason, _exit_status(status))
            for number, state, host, reason, status, said in lines
            if said == comment and number.isdigit()
        }

    def ended(self, array: int, comment: str) -> dict[int, Task]:
        """Return the tasks of an array that accounting knows; none where there is no accounting."""
        fields = "JobID,State,NodeList,ExitCode,Comment"
        try:
            told = _run(["sacct", "-n", "-X", "-P", "-j", str(array), "-o", fields])
        except PoolError:
            return {}
        return parse_ended(told.splitlines(), comment)

    def find(self, comment: str) -> int | None:
        """Return the number of the array whose tasks have a comment."""
        lines = _rows(["squeue", "-h", "-t", "all", "-u", _me()], ("ArrayJobID", "Comment"))
        return next((int(number) for number, said in lines if said == comment), None)

    def in_queue(self) -> int:
        """Count the jobs of this user that are not over."""
        return len(_run(["squeue", "-h", "-r", "-u", _me(), "-o", "%i"]).split())

    def cancel(self, array: int, tasks: Iterable[int] | None = None) -> None:
        """Cancel tasks of an array; all of them by default."""
        names = [str(array)] if tasks is None else [f"{array}_{number}" for number in tasks]
        for first in range(0, len(names), MANY):
            _run(["scancel", "--quiet", *names[first : first + MANY]])

    def exclude(self, array: int, tasks: Sequence[int], nodes: Iterable[str]) -> None:
        """Keep tasks that wait from nodes."""
        nodes = ",".join(sorted(nodes))
        for number in tasks:
            words = ["scontrol", "update", f"JobId={array}_{number}", f"ExcNodeList={nodes}"]
            _run(words)

    def nodes(self) -> set[str]:
        """Return the names of all nodes."""
        return set(_run(["sinfo", "-h", "-N", "-o", "%N"]).split())

    def longest(self, partition: str) -> float:
        """Return how many seconds a job may take in a partition, by default the default one."""
        words = ["sinfo", "-h", *(["-p", partition] if partition else []), "-o", "%P %l"]
        rows = [line.split() for line in _run(words).splitlines()]
        found = [parse_limit(one[1]) for one in rows if partition or one[0].endswith("*")]
        return max(found, default=math.inf)

    def limits(self) -> tuple[int, int]:
        """Return how many tasks an array may have, and how many jobs the cluster holds."""
        lines = _run(["scontrol", "show", "config"]).splitlines()
        pairs = (line.partition("=") for line in lines)
        found = {key.strip(): value.strip() for key, _, value in pairs}
        return int(found.get("MaxArraySize", 1001)), int(found.get("MaxJobCount", 10_000))


def parse_ended(lines: Iterable[str], comment: str) -> dict[int, Task]:
    """Return the tasks that have ended, from lines of sacct: `7_2|FAILED|n1|3:0|COMMENT`.

    Tasks that never ran are one line, `7_[4-9,12%3]`, which still names those that have run since.
    """
    alone: dict[int, Task] = {}
    together: dict[int, Task] = {}
    for line in lines:
        name, state, host, status, said = line.split("|", 4)
        word, _, by = state.partition(" by ")
        if said not in {"", comment}:  # comments may not be stored
            continue
        task = Task(word, _node(host), "", status, _user(by))
        numbers = name.partition("_")[2]
        if numbers.isdigit():
            alone[int(numbers)] = task
        elif (found := _RANGES.fullmatch(numbers)) is not None:
            for first, last in _RANGE.findall(found[1]):
                together |= dict.fromkeys(range(int(first), int(last or first) + 1), task)
    known = together | alone
    return {number: task for number, task in known.items() if task.state in OVER}


def parse_limit(text: str) -> float:
    """Return the seconds of a time limit, such as `30:00` or `1-12:00:00`; none is infinite."""
    days, _, rest = text.rpartition("-")
    try:
        parts = [int(word) for word in rest.split(":")]
        seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
        return float(86400 * int(days or 0) + seconds)
    except ValueError:
        return math.inf


def _run(
    words: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a command of Slurm, and return what it prints.

    Raises
    ------
    PoolError
        It is not there, or says no; the message has its words.
    """
    if shutil.which(words[0]) is None:
        raise PoolError(
            f"There is no Slurm on this machine: {words[0]} is not found.",
            remedy="Log in to a machine from which jobs are submitted, or use another --pool.",
        )
    try:
        told = subprocess.run(
            words,
            cwd=cwd,
            env=_plain(os.environ) if env is None else env,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PoolError(
            f"Slurm does not answer: {words[0]} took more than {ANSWER_SECONDS:.0f} s.",
            code=FailureCode.UNREACHABLE,
        ) from None
    if told.returncode == 0:
        return told.stdout
    said = _first_words(told.stderr or told.stdout)
    if any(one in told.stderr for one in AWAY):
        raise PoolError(f"Slurm does not answer: {said}.", code=FailureCode.UNREACHABLE)
    if "configuration s" in told.stderr or "process configuration" in told.stderr:
        raise PoolError(
            f"Slurm is not set up on this machine: {said}.",
            remedy="Log in to a machine from which jobs are submitted, or set SLURM_CONF.",
        )
    remedy = ""
    if any(one in told.stderr for one in FULL):
        remedy = "Write max_jobs = 1000, or what you may have in the queue, in [slurm]."
    raise PoolError(f"{words[0]} refuses: {said}.", remedy=remedy)


def _plain(env: Mapping[str, str]) -> dict[str, str]:
    """Leave out variables by which the user filters what commands show."""
    filters = ("SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_")
    kept = {key: value for key, value in env.items() if not key.startswith(filters)}
    return {**kept, "SLURM_BITSTR_LEN": "0"}  # the numbers of tasks are not cut short


def _first_words(text: str) -> str:
    """Return the lines that say what is wrong, as one."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", line) for line in text.splitlines()]
    kept = [line.strip(" .") for line in lines if line.strip() and not line.startswith("Try ")]
    return "; ".join(dict.fromkeys(kept)) or "it does not say why"


def _rows(words: Sequence[str], fields: Sequence[str]) -> list[list[str]]:
    """Return the fields of each line of squeue; the last may have the separator in it."""
    wanted = ",".join(f"{field}:|" for field in fields)
    lines = _run([*words, "-O", wanted]).splitlines()
    rows = (line.rstrip().removesuffix("|").split("|", len(fields) - 1) for line in lines)
    return [row for row in rows if len(row) == len(fields)]


def _node(text: str) -> str:
    return "" if text in {"", "None assigned", "(null)"} else text


def _exit_status(text: str) -> str:
    """Return `STATUS:SIGNAL` for the status of wait(2) that squeue prints."""
    if not text.isdigit():
        return text
    number = int(text)
    return f"{number >> 8}:{number & 127}"


def _me() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _user(number: str) -> str:
    """Return the name of a user, of whom accounting knows the number."""
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (ValueError, KeyError):
        return number


def _options_in(script: str) -> set[str]:
    lines = (line for line in script.splitlines() if line.startswith("#SBATCH --"))
    return {line.removeprefix("#SBATCH --").partition("=")[0] for line in lines}


def _without(env: Mapping[str, str], options: Iterable[str]) -> dict[str, str]:
    """Leave out variables that would win over options of the script."""
    names = {f"SBATCH_{_VARIABLES.get(one, one.upper().replace('-', '_'))}" for one in options}
    return {key: value for key, value in env.items() if key not in names}
