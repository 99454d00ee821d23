"""Talking to HTCondor through its bindings, and turning their errors into ours."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eventflock.errors import PoolError, nearest, plural
from eventflock.failures.codes import FailureCode

__all__ = ["EventLog", "Schedd", "bindings"]

T = TypeVar("T")
_INSTALL = "Install HTCondor's Python bindings: pip install 'eventflock[htcondor]'"
_STRANGER = (
    "HTCondor does not know you: get a token ('condor_token_fetch'), a Kerberos ticket (kinit) or "
    "a proxy, as your site asks, and try again."
)
_NOT_YOURS = "Their owner, or an administrator, can do it with 'condor_rm'."
COMMON_SINCE = (24, 9)
_NOT_REMOVED = {"TotalPermissionDenied": "they are not yours", "TotalError": "it had an error"}


def bindings() -> Any:
    """Import HTCondor's bindings.

    Raises
    ------
    PoolError
        They are not installed, or CONDOR_CONFIG names no file, at which they end the process.
    """
    config = os.environ.get("CONDOR_CONFIG", "")
    # Where there is no configuration, the bindings themselves set it to /dev/null.
    if config not in {"", "ONLY_ENV", os.devnull} and not Path(config).is_file():
        raise PoolError(
            f"CONDOR_CONFIG is {config!r}, and there is no such file.",
            remedy="Set it to HTCondor's configuration file, or unset it.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import htcondor2
    except ImportError as error:
        raise PoolError(f"HTCondor cannot be used from here: {error}.", remedy=_INSTALL) from None
    return htcondor2


def _call(what: str, function: Callable[..., T], *words: Any, **named: Any) -> T:
    """Call the bindings, whose errors are of many classes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*words, **named)
    except (RuntimeError, ValueError, OSError, KeyError, IndexError, TypeError) as error:
        raise _explain(what, str(error).strip() or type(error).__name__) from None
    except Exception as error:
        if type(error).__name__ == "HTCondorException":
            raise _explain(what, str(error).strip()) from None
        raise


def _ask(what: str, function: Callable[..., T], *words: Any, **named: Any) -> T:
    """Call what needs an answer of a daemon, which may be away for a while."""
    try:
        return _call(what, function, *words, **named)
    except PoolError as error:
        error.code = FailureCode.UNREACHABLE
        raise


def _explain(what: str, text: str) -> PoolError:
    """Explain what a failure of the bindings means, with what to do."""
    line = " ".join(text.split())
    low = line.lower()
    remedy = "See 'condor_q' and 'condor_status'; what was done is kept, and 'resume' goes on."
    if "authenticat" in low or "authoriz" in low or "permission" in low or "token" in low:
        remedy = _STRANGER
    elif "performing action" in low:
        remedy = _NOT_YOURS
    elif "collector" in low or "locate" in low or "communicat" in low or "connect" in low:
        remedy = "Is HTCondor running here? Try 'condor_status'; --collector HOST names another."
    return PoolError(f"{what}: {line}", remedy=remedy)


class Schedd:
    """One schedd.

    Parameters
    ----------
    name
        Its name; empty for the one of this machine, or the only one there is.
    collector
        Of the pool that it is known to; empty for the configured one.

    Raises
    ------
    PoolError
        There is none, or several to choose from.
    """

    def __init__(self, name: str = "", collector: str = "") -> None:
        self._condor = bindings()
        self._collector_name = collector
        self._is_local = not name and not collector
        self.ad = self._locate(name)
        self.name = str(self.ad.get("Name", "schedd"))
        self._schedd = _call("The schedd cannot be used", self._condor.Schedd, self.ad)

    def _collector(self) -> Any:
        words = [self._collector_name] if self._collector_name else []
        return _call("The collector cannot be used", self._condor.Collector, *words)

    def _locate(self, name: str) -> Any:
        kind = self._condor.DaemonType.Schedd
        if not name and not self._collector_name:
            with contextlib.suppress(Exception):  # this machine's own, found without the collector
                return self._collector().locate(kind)
        found = _call("No HTCondor can be reached", self._collector().locateAll, kind)
        names = [str(one.get("Name", "")) for one in found]
        if not names:
            raise PoolError(
                "The HTCondor pool has no schedd.", remedy="Is it running? See 'condor_status'."
            )
        if name:
            chosen = [one for one in found if one.get("Name") == name]
            if not chosen:
                raise PoolError(
                    f"There is no schedd {name!r}; {nearest(name, names)}".rstrip("; "),
                    remedy=f"Choose one with --schedd: {_some(names)}.",
                )
            return chosen[0]
        here = {socket.gethostname(), socket.getfqdn()}
        near = [one for one in found if one.get("Machine") in here]
        for choice in (near, found):
            if len(choice) == 1:
                return choice[0]
        raise PoolError(
            f"The pool has {len(names)} schedds, and none of them is this machine's.",
            remedy=f"Choose one with --schedd: {_some(names)}.",
        )

    @property
    def version(self) -> tuple[int, ...]:
        """Version of the daemon, such as `(23, 9, 6)`."""
        words = str(self.ad.get("CondorVersion", "")).split()
        number = next((word for word in words if word[:1].isdigit()), "0")
        return tuple(int(one) for one in number.split(".") if one.isdigit())

    def check_allowed(self) -> None:
        """Check that jobs may be submitted.

        Raises
        ------
        PoolError
            The schedd does not know who asks.
        """
        try:
            self._condor.ping(self.ad, "WRITE")
        except Exception as error:  # noqa: BLE001 -- all that it says is that it did not work
            raise PoolError(
                f"The schedd {self.name} does not take jobs from here: {error}", remedy=_STRANGER
            ) from None

    def why_not_common(self) -> str:
        """Explain why files cannot be sent once per node; empty if they can."""
        if self.version < COMMON_SINCE:
            version = ".".join(map(str, self.version))
            return f"The schedd is HTCondor {version}, and files are sent once per node from 24.9."
        without = _ask(
            "The collector does not answer",
            self._collector().query,
            self._condor.AdType.Startd,
            constraint='HasCommonFilesTransfer is undefined && SlotType =!= "Dynamic"',
            projection=["Name"],
        )
        if without:
            name = without[0].get("Name", "?")
            return f"{len(without):,} slots, such as {name}, cannot take files once per node."
        return ""

    def submit(self, folder: Path, text: str, *, spool: bool) -> int:
        """Submit a wave from its folder, to which the names in the description are relative.

        Returns
        -------
        int
            The cluster.
        """

        def submit() -> int:
            with contextlib.chdir(folder):
                description = self._condor.Submit(text)
                self._get_tokens(description)
                result = self._schedd.submit(description, spool=spool)
                if spool:
                    self._schedd.spool(result)
                return int(result.cluster())

        return _call(f"The schedd {self.name} did not take the jobs", submit)

    def _get_tokens(self, description: Any) -> None:
        """Get the tokens that jobs ask for, as condor_submit does; elsewhere they are in place."""
        if not self._is_local or "use_oauth_services" not in description:
            return
        page = description.issue_credentials()
        if page:
            raise PoolError(
                f"HTCondor needs your consent to get tokens for the jobs: {page}",
                remedy="Open that page in a browser, give it, and go on with 'eventflock resume'.",
            )

    def find_cluster(self, constraint: str) -> int | None:
        """Return the cluster for which the constraint is true, if it is in the queue.

        It may have no jobs yet: those that are made late are not there at first.
        """
        found = _call(
            f"The schedd {self.name} does not answer",
            self._schedd.query,
            constraint=constraint,
            projection=["ClusterId"],
            opts=self._condor.QueryOpt.IncludeClusterAd,
        )
        return int(found[0]["ClusterId"]) if found else None

    def jobs(self, constraint: str, projection: Sequence[str]) -> list[dict[str, Any]]:
        """Return attributes of the jobs in the queue for which the constraint is true."""
        found = _ask(
            f"The schedd {self.name} does not answer",
            self._schedd.query,
            constraint=constraint,
            projection=list(projection),
        )
        return [dict(one) for one in found]

    def cluster(self, constraint: str) -> dict[str, Any]:
        """Return the attributes that the jobs of a cluster share, while it is in the queue."""
        found = _ask(
            f"The schedd {self.name} does not answer",
            self._schedd.query,
            constraint=f"{constraint} && ProcId is undefined",
            opts=self._condor.QueryOpt.IncludeClusterAd,
        )
        return dict(found[0]) if found else {}

    def full_job(self, constraint: str) -> Any:
        """Return all of one job, as a ClassAd; None if there is none."""
        found = _ask(
            f"The schedd {self.name} does not answer",
            self._schedd.query,
            constraint=constraint,
            limit=1,
        )
        return found[0] if found else None

    def remove(self, constraint: str, reason: str) -> None:
        """Remove jobs from the queue. Of a cluster that fits as a whole, no more are made either.

        Raises
        ------
        PoolError
            The schedd does not answer, or it did not do it.
        """
        answer = _ask(
            f"The schedd {self.name} has not removed the jobs",
            self._schedd.act,
            self._condor.JobAction.Remove,
            constraint,
            reason=(reason, 0),  # the bindings drop a reason that is not with a code
        )
        for what, why in _NOT_REMOVED.items():
            number = int(answer.get(what, 0)) if answer is not None else 0
            if number:
                raise PoolError(
                    f"The schedd {self.name} has not removed {plural(number, 'job')}: {why}.",
                    remedy=_NOT_YOURS,
                )

    def restrict(self, constraint: str, clause: str) -> None:
        """Add a clause to the requirements of jobs in the queue."""
        jobs = self.jobs(constraint, ["ClusterId", "ProcId", "Requirements"])
        for requirements in {str(job["Requirements"]) for job in jobs}:
            if clause in requirements:
                continue
            which = [one for one in jobs if str(one["Requirements"]) == requirements]
            _ask(
                f"The schedd {self.name} does not answer",
                self._schedd.edit,
                [f"{one['ClusterId']}.{one['ProcId']}" for one in which],
                "Requirements",
                f"({requirements}) && ({clause})",
            )

    def retrieve(self, constraint: str) -> None:
        """Fetch the files of jobs that were spooled."""
        _ask(f"The schedd {self.name} does not hand out results", self._schedd.retrieve, constraint)

    def slots(self) -> list[Any]:
        """Return the ads of the slots of the pool."""
        return list(
            _ask(
                "The collector does not answer",
                self._collector().query,
                self._condor.AdType.Startd,
                constraint='SlotType =!= "Dynamic"',
            )
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class EventLog:
    """The event log of a wave, read on from where the last reading ended.

    Parameters
    ----------
    path
        It may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log: Any = None
        self.broken = ""

    def read(self) -> Iterator[Mapping[str, Any]]:
        """Yield the events that are new. A log that cannot be read ends here, and says why."""
        if self._log is None:
            if not self._path.is_file():
                return
            self._log = bindings().JobEventLog(str(self._path))
        try:
            yield from self._log.events(stop_after=0)
        except Exception as error:  # noqa: BLE001 -- the bindings raise several kinds
            self.broken = str(error) or type(error).__name__

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()
