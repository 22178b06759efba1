"""What went wrong on the wire, read from statuses, headers and what the SDK raised."""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from ...errors import OverloadedError, RateLimitedError, RowError, ServerError, TimedOutError

__all__ = ["causes", "is_spent", "retry_after", "said", "timed_out", "transient"]

_SPENT_KINDS = {
    "billing_error",
    "insufficient_quota",
    "budget_exceeded",
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
}
# At the beginning of what the server says: further on it may repeat a row's text.
_SPENT_WORDS = re.compile(
    r".{0,80}?((credit|account|prepaid) balance (is |was )?(too low|insufficient|exhausted|used up)"
    r"|(insufficient|not enough|no (more )?|out of) ((prepaid|account|remaining) )?"
    r"(credits?|funds|balance|quota)\b"
    r"|(spend(ing)?|billing|usage|budget|credit) limits? (is |has been |was )?"
    r"(reached|exceeded|exhausted)"
    r"|(reached|exceeded|hit|over) (your|the|its|this) (\w+ ){0,3}?"
    r"(spend(ing)?|usage|billing|budget|credit)( limits?| cap)"
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


def transient(status: int, told: str, headers: Any) -> RowError:
    """What a status means that may go well another time; `told` is the server's own word."""
    after = retry_after(headers)
    names = {name.lower(): value for name, value in headers.items()}
    if status == 429:
        return RateLimitedError(f"rate limited (429: {told})", retry_after=after, headers=names)
    if status == 529:
        return OverloadedError(f"overloaded (529: {told})", retry_after=after, headers=names)
    return ServerError(f"the server failed ({status}: {told})", retry_after=after, headers=names)


def is_spent(status: int, error: Any) -> bool:
    """Whether an error of the SDK says, by type or words, that the account can't pay for more."""
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error")
    kinds = [getattr(error, "error_code", None)]
    kinds += [inner.get("type"), inner.get("code")] if isinstance(inner, dict) else []
    if status == 402 or any(isinstance(kind, str) and kind in _SPENT_KINDS for kind in kinds):
        return True
    return status in (400, 403, 429) and _SPENT_WORDS.match(said(error)) is not None


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
