"""What is said of batches: what became of a request, what is waited for, what is left behind."""

from __future__ import annotations

from collections.abc import Sequence

from .batches import Batch
from .errors import (
    BatchCanceledError,
    BatchErroredError,
    BatchExpiredError,
    RejectedRequestError,
    RowError,
)
from .providers.batches import Outcome

__all__ = ["error_of", "left_behind", "waiting"]


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
