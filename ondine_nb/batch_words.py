"""What is said of batches: what became of a request, what is waited for, what is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from .batches import Batch
from .contracts import ExecutionContext
from .errors import (
    BatchCanceledError,
    BatchErroredError,
    BatchExpiredError,
    RejectedRequestError,
    RowError,
)
from .providers.batches import Outcome

__all__ = ["Teller", "error_of", "left_behind", "waiting"]

_SECONDS_OF_A_MESSAGE = 0.5


class Teller:
    """Keeps a run's message true while it waits for batches.

    `under_way` gives the batches that haven't ended, `trouble` what goes wrong with asking for
    them ("" for nothing).
    """

    def __init__(
        self, under_way: Callable[[], Sequence[Batch]], trouble: Callable[[], str]
    ) -> None:
        self._under_way = under_way
        self._trouble = trouble
        self._context = ExecutionContext()
        self._telling: asyncio.Task[None] | None = None
        self._said = ""

    def tell(self, context: ExecutionContext) -> None:
        """Begin, on the running loop; has no effect while it tells already."""
        self._context = context
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._keep_telling())

    def hush(self) -> None:
        """End, and take back what was said, unless somebody else has said something since."""
        if self._telling is not None:
            self._telling.cancel()
            if self._context.gauges.message == self._said:
                self._context.gauges.message = ""

    async def _keep_telling(self) -> None:
        started = time.monotonic()
        while True:
            self._said = waiting(
                self._under_way(),
                time.monotonic() - started,
                trouble=self._trouble(),
                stopping=self._context.control.stopping,
            )
            self._context.gauges.message = self._said
            await asyncio.sleep(_SECONDS_OF_A_MESSAGE)


def waiting(batches: Sequence[Batch], seconds: float, *, trouble: str, stopping: bool) -> str:
    """What can be known: how many requests wait, since when. There is no progress to show."""
    requests = sum(len(batch.left) for batch in batches)
    said = f"{_counted(requests, 'request')} in {_counted(len(batches), 'batch')}"
    tail = f" ({trouble}; trying on)" if trouble else ""
    if stopping:
        return f"stopped: {said} at the provider go on. Stop again to cancel them{tail}"
    return f"waiting {_duration(seconds)} for {said}: answers come when it ends{tail}"


def error_of(outcome: Outcome) -> RowError:
    """The row error that an outcome without an answer means."""
    again = "retry_failed() sends it again"
    if outcome.kind == "expired":
        return BatchExpiredError(f"its batch expired before its turn came. {again}")
    if outcome.kind == "canceled":
        return BatchCanceledError(f"its batch was canceled before its turn came. {again}")
    if outcome.error == "invalid_request_error":
        return RejectedRequestError(f"the request was rejected ({outcome.said})")
    return BatchErroredError(f"the server failed on it ({outcome.error}: {outcome.said}). {again}")


def left_behind(batches: Sequence[Batch]) -> str:
    """What a run that was stopped leaves to the server, and how to get it."""
    requests = sum(len(batch.left) for batch in batches)
    return (
        f"{_counted(requests, 'request')} in {_counted(len(batches), 'batch')} at the provider go "
        "on: run the same cell again, and it waits for those answers instead of paying again"
    )


def _counted(number: int, noun: str) -> str:
    many = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else many}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
