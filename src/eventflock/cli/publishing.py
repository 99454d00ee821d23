"""`eventflock publish`, and `--publish` at the end of a run."""

from __future__ import annotations

from pathlib import Path

from eventflock.cli.printing import print_json
from eventflock.cli.progress import choose_observer
from eventflock.errors import UsageError
from eventflock.publishing.publish import check_place
from eventflock.publishing.publish import publish as publish_run

__all__ = ["check", "publish", "publish_at_end"]


def check(url: str, *, detach: bool = False) -> None:
    """Check before a run that its result can be published at its end."""
    if url and detach:
        raise UsageError(
            f"--detach leaves before there is anything to publish at {url}.",
            remedy="Give --publish to 'eventflock watch' later.",
        )
    if url:
        check_place(url)


def publish(path: Path, url: str, name: str, *, as_json: bool) -> None:
    """Publish a run, and print the addresses."""
    found = publish_run(path, url, choose_observer(quiet=as_json), name=name)
    if as_json:
        print_json(found)
        return
    for what, address in found.items():
        print(f"{what:<9} {address}")


def publish_at_end(path: Path, url: str, *, quiet: bool) -> dict[str, str]:
    """Publish a run that has just ended, and return the addresses."""
    return publish_run(path, url, choose_observer(quiet=quiet)) if url else {}
