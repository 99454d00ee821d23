"""The pool that is this process: for the debugger, and for repeating one chunk."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from eventflock.errors import PoolError
from eventflock.pools.local import LocalExecutor, LocalPool
from eventflock.pools.roles import Abilities, Listener, Workers
from eventflock.worker.messages import Progress, Reply, Request
from eventflock.worker.service import Service

__all__ = ["POOL", "InlineExecutor", "InlinePool", "InlineWorkers"]


class InlineWorkers(Workers):
    """Answers requests in this process, one after the other."""

    count = 1

    def __init__(self) -> None:
        self._service = Service()

    def ask(
        self, requests: Iterable[Request], listener: Listener | None = None
    ) -> Generator[tuple[int, Reply], None, None]:
        """Answer requests in their order."""
        for index, request in enumerate(requests):
            yield index, self._answer(index, request, listener)

    def _answer(self, index: int, request: Request, listener: Listener | None) -> Reply:
        answers: list[Reply] = []
        events = 0

        def send(reply: Reply) -> None:
            nonlocal events
            if isinstance(reply, Progress):
                events += reply.events
                if listener is not None:
                    listener.on_progress(index, events)
            else:
                answers.append(reply)

        self._service.answer(request, send)
        if not answers:
            raise PoolError(f"The request {type(request).__name__} was not answered.")
        return answers[0]

    def close(self) -> None:
        """Close the file that is open."""
        self._service.close()


class InlineExecutor(LocalExecutor):
    """Does jobs in this process. A debugger stops where something fails, and only once."""

    abilities = Abilities(retries=False)


class InlinePool(LocalPool):
    """Workers and executor in this process, for debugging."""

    name = "inline"
    plain = InlineExecutor

    def open_workers(
        self,
        count: int | None = None,  # noqa: ARG002
        python: str = "",  # noqa: ARG002
        *,
        events: bool = True,  # noqa: ARG002
    ) -> InlineWorkers:
        """Return this process: number and interpreter are what they are."""
        return InlineWorkers()


POOL = InlinePool()
