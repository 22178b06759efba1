"""What went wrong on the wire, read from statuses, headers and what the SDK raised."""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import Any

from ...errors import OverloadedError, RateLimitedError, RowError, ServerError, TimedOutError

__all__ = ["causes", "retry_after", "said", "timed_out", "transient"]

_BELIEVED = 86_400.0  # seconds: no request waits longer than a day because a header says so


def timed_out(seconds: float, error: BaseException) -> TimedOutError:
    """No answer came within so many seconds; `error` is what said so.

    Where there was no connection yet, nothing was sent. A cell that holds the loop up brings this
    about: when it goes on, connections that were being made are overdue.
    """
    if any(type(cause).__name__ == "ConnectionTimeoutError" for cause in causes(error)):
        return TimedOutError(f"no connection within {seconds:g} s (--timeout), nothing was sent")
    return TimedOutError(
        f"no answer within {seconds:g} s (--timeout), it may have been billed", possibly_billed=True
    )


def transient(status: int, told: str, headers: Any) -> RowError:
    """What a status means that may go well another time; `told` is the server's own word."""
    after = retry_after(headers)
    if status == 429:
        names = {name.lower(): value for name, value in headers.items()}
        return RateLimitedError(f"rate limited (429: {told})", retry_after=after, headers=names)
    if status == 529:
        return OverloadedError(f"overloaded (529: {told})", retry_after=after)
    return ServerError(f"the server failed ({status}: {told})", retry_after=after)


def said(error: Any) -> str:
    """The server's own word in one line, without what may be a page of HTML."""
    text = error.api_message or ("" if isinstance(error.body, str) else str(error.body or ""))
    return " ".join(str(text).split())[:300] or "no message"


def retry_after(headers: Any) -> float | None:
    """Seconds by `retry-after-ms` or `retry-after` (a number or an HTTP date), or None.

    More than a day can't be meant and counts as not told; what has passed already is 0.
    """
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            seconds = float(milliseconds) / 1000
        elif value:
            seconds = _seconds(value)
        else:
            return None
    except (ValueError, TypeError, OverflowError):  # dates can lie beyond what a date can hold
        return None
    return max(0.0, seconds) if seconds <= _BELIEVED and math.isfinite(seconds) else None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return parsedate_to_datetime(value).timestamp() - time.time()


def causes(error: BaseException) -> list[BaseException]:
    """The error and what it wraps, down to what the socket said."""
    found = [error]
    while found[-1].__cause__ is not None:
        found.append(found[-1].__cause__)
    return found
