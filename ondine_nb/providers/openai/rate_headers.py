"""Rate limits as `x-ratelimit-*` headers tell them, in the names that the rate limiter reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

__all__ = ["allows_nothing", "limits_told", "seconds_of", "until_reset"]

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
# What limits are of, by how servers call them: OpenAI and who follows it, then Mistral (no resets),
# then Cerebras. Limits of a month, which Mistral tells too, say nothing of how fast to go.
_KINDS = {
    "requests": "requests",
    "tokens": "tokens",
    "project-tokens": "tokens",
    "req-minute": "requests",
    "tokens-minute": "tokens",
    "requests-minute": "requests",
}
_DAY = 86_400.0  # seconds: no request waits longer because a header says so
_MINUTE = 61.0  # seconds: a limit whose reset is further away isn't one of a minute


def limits_told(headers: Mapping[str, str]) -> dict[str, str]:
    """The limits a minute of requests and tokens, and what is left, under the limiter's names.

    `headers` find names in any case. What says nothing (-1, 0) and limits of a day are left out: a
    429 tells of those.
    """
    told: dict[str, str] = {}
    for kind, limit, remaining in _kinds(headers):
        at = f"anthropic-ratelimit-{kind}"
        before = told.get(f"{at}-remaining")
        if before is None or float(remaining) < float(before):  # of two, what is met first
            told[f"{at}-limit"], told[f"{at}-remaining"] = limit, remaining
    for name in ("retry-after", "retry-after-ms"):
        if value := headers.get(name):
            told[name] = value
    return told


def until_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until what is used up is there again, by a refusal's headers; None if none says."""
    empty = [
        seconds_of(headers.get(f"x-ratelimit-reset-{name}"))
        for name in _KINDS
        if _number(headers.get(f"x-ratelimit-remaining-{name}")) == 0
    ]
    told = (seconds for seconds in empty if seconds is not None and 0 <= seconds <= _DAY)
    return max(told, default=None)


def allows_nothing(headers: Mapping[str, str]) -> bool:
    """Whether a refusal says that this key may send no request at all, as Mistral tells it.

    Others have told 0 where they meant that there is no limit, so only its own name counts.
    """
    return _number(headers.get("x-ratelimit-limit-req-minute")) == 0


def seconds_of(duration: str | None) -> float | None:
    """A duration like "6m0s", "1s" or "120ms" (or a plain number) in seconds, or None."""
    if not duration:
        return None
    found = _DURATION.fullmatch(duration.strip())
    if found is not None and any(found.groups()):
        parts = zip(found.groups(), _UNITS, strict=True)
        seconds = sum(float(count) * unit for count, unit in parts if count)
        return seconds if math.isfinite(seconds) else None
    return _number(duration)


def _kinds(headers: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, kind in _KINDS.items():
        most = headers.get(f"x-ratelimit-limit-{name}")
        left = headers.get(f"x-ratelimit-remaining-{name}")
        limit, remaining = _number(most), _number(left)
        if limit is None or remaining is None or limit < 1 or remaining < 0:
            continue
        reset = seconds_of(headers.get(f"x-ratelimit-reset-{name}"))
        if reset is None or reset <= _MINUTE:
            yield kind, str(most), str(left)


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
