"""What went wrong on the wire, read from statuses, headers and what HTTP libraries raised."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

from ...errors import (
    ConnectionLostError,
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    RowError,
    ServerError,
    TimedOutError,
    UnreadAnswerError,
)

__all__ = [
    "causes",
    "no_eyes",
    "not_answered",
    "retry_after",
    "says_spent",
    "timed_out",
    "transient",
]

# Both at the beginning of what the server says: further on it may repeat a row's text.
_NO_EYES = re.compile(
    r".{0,60}?(image input is not supported|not a multimodal model|missing data required for image"
    r"|not support (image|vision|multimodal)|image_url.{0,20} is only supported by)",
    re.IGNORECASE,
)
_SPENT_WORDS = re.compile(
    r".{0,80}?((credit|account|prepaid) balance (is |was )?(too low|insufficient|exhausted|used up)"
    r"|(insufficient|not enough|no (more )?|out of) ((prepaid|account|remaining) )?"
    r"(credits?|funds|balance|quota)\b"
    r"|(spend(ing)?|billing|usage|budget|credit) limits? (is |has been |was )?"
    r"(reached|exceeded|exhausted)"
    r"|(reached|exceed(ed)?|hit|over) (your|the|its|this) ([\w'’]+ ){0,3}?"
    r"(spend(ing)?|billing|budget|credit)( limits?| cap)"
    r"|(reached|exceeded|hit|over) (your|the|its|this) (\w+ ){0,3}?usage( limits?| cap)"
    r"|budget has been exceeded|check your (plan and )?billing)",
    re.IGNORECASE | re.DOTALL,
)

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


def not_answered(
    error: BaseException, where: str, *, unreachable: str, hide: Callable[[str], str]
) -> RowError | FatalProviderError:
    """What a connection that failed or was cut means; of our own checks' errors the error itself.

    `where` is what the server is called, `unreachable` what is said where nobody listens, `hide`
    takes keys out of a text.
    """
    chain = causes(error)
    for cause in chain:
        if isinstance(cause, FatalProviderError | UnreadAnswerError):  # by our own checks
            return cause
    told = " ".join((hide(str(chain[-1])) or type(chain[-1]).__name__).split())
    # Not by httpx2's ConnectError: a connection reset after the request went out is one too.
    kinds = {kind.__name__ for cause in chain for kind in type(cause).__mro__}
    if "ClientConnectorError" in kinds:
        return ConnectionLostError(unreachable, unreachable=True)
    # Headers that can't be sent: a key with a line break in it, or with a letter beyond ASCII.
    if type(chain[-1]) in (ValueError, UnicodeEncodeError):
        return FatalProviderError(
            f"no request can be sent to {where}: {told[:200].rstrip('.')}. Check the key and "
            "--base-url"
        )
    return ConnectionLostError(f"the connection was cut: {told[:200]}", possibly_billed=True)


def transient(status: int, told: str, headers: Any) -> RowError:
    """What a status means that may go well another time; `told` is the server's own word."""
    after = retry_after(headers)
    names = {name.lower(): value for name, value in headers.items()}
    if status == 429:
        return RateLimitedError(f"rate limited (429: {told})", retry_after=after, headers=names)
    if status == 529:
        return OverloadedError(f"overloaded (529: {told})", retry_after=after, headers=names)
    return ServerError(f"the server failed ({status}: {told})", retry_after=after, headers=names)


def says_spent(status: int, told: str) -> bool:
    """Whether an error's words say that the account can't pay for more."""
    return status in (400, 403, 429) and _SPENT_WORDS.match(told) is not None


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


def no_eyes(status: int, told: str, where: str, model: str) -> FatalProviderError | None:
    """What ends the run where the server says that its model sees no pictures; else None.

    Some say so by a 500, which would be tried again and again.
    """
    if status not in (400, 415, 422, 500, 501) or not _NO_EYES.match(told):
        return None
    return FatalProviderError(
        f"{where} takes no pictures for '{model}' ({status}: {told}): name a model with eyes by -m"
    )
