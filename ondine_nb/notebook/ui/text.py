"""Formats values as short, harmless texts: data, money, durations, rates and counts.

Whatever comes from data, model or provider passes `clean` before any view shows it. That makes it
one line without tricks; escaping for HTML is left to jinja2's autoescape.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Sequence
from decimal import Decimal

from ...text import HARMLESS, one_line

__all__ = [
    "CELL",
    "MESSAGE",
    "MISSING",
    "clean",
    "has_key",
    "lines",
    "money",
    "points",
    "rate",
    "row_count",
    "safe",
    "short",
    "span",
    "time_left",
]

CELL, MESSAGE = 200, 400  # characters shown of a cell, of a message
MISSING = "–"

_LINES = {code: to for code, to in HARMLESS.items() if code not in (0x09, 0x0A)}
# How keys begin: Anthropic's and OpenAI's, Groq's, xAI's, Google's, Fireworks', Together's, AWS's.
_SECRET = re.compile(r"\b(sk-|gsk_|xai-|AIza|fw_|tgp_|ABSK|dapi)[\w-]{6,}")
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = CELL
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxset = 20


def clean(value: object, limit: int = CELL) -> str:
    """`value` as one harmless line of at most `limit` characters; "" for a missing value.

    White space and line breaks are folded; control characters are shown as their pictures (so that
    an escape sequence is seen, not obeyed), bidi overrides dropped, lone surrogates replaced.
    """
    return one_line(_text(value), limit)


def lines(value: object, limit: int, *, whole: bool = False) -> str:
    """`value` as harmless text of at most `limit` characters that keeps its line breaks.

    For a small place it is stripped, and ends in "…" where it is cut. As a `whole` every character
    counts: nothing is stripped, and what is left out is counted on a line of its own.
    """
    text = _text(value)
    shown, rest = text[:limit].replace("\r\n", "\n").translate(_LINES), len(text) - limit
    if whole:
        return f"{shown}\n… and {rest:,} more characters" if rest > 0 else shown
    kept = shown.replace("\t", "    ").strip()
    return f"{kept}…" if rest > 0 else kept


def _text(value: object) -> str:
    try:
        if isinstance(value, str):
            return str(value)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, list | tuple | dict | set | frozenset | bytes):
            return _BRIEF.repr(value)
        text = str(value)
        return "" if text in ("<NA>", "NaT", "nan") else text
    except Exception:  # a value that can't be shown must not end the view of all others
        return f"<{type(value).__name__}>"


def safe(value: object) -> str:
    """A message of a provider, which might quote the key that it was sent."""
    return _SECRET.sub(r"\1…", clean(value, MESSAGE))


def has_key(text: str) -> bool:
    """Whether something in a text looks like a provider's key."""
    return _SECRET.search(text) is not None


def row_count(count: int) -> str:
    """`1 row`, `1,204 rows`."""
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def money(amount: Decimal, places: int = 4) -> str:
    """`$0.5391`, `$2.00`, `$0`; small amounts keep two digits, so that no cost looks like none."""
    if not amount.is_finite():
        return "unknown"
    if not amount:
        return "$0"
    if amount == amount.quantize(Decimal("0.01")) or abs(amount) >= 100:
        return f"${amount:,.2f}"
    if abs(amount) < Decimal(1).scaleb(1 - places):
        return f"${Decimal(f'{amount:.1e}').normalize():f}"
    return f"${amount:,.{places}f}"


def span(seconds: float) -> str:
    """`340 ms`, `4.2 s`, `41 s`, `2 min 41 s`, `1 h 04 min`."""
    if seconds < 0.995:
        return f"{max(0, seconds) * 1000:.0f} ms" if seconds > 0 else "0 s"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 and seconds % 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def time_left(seconds: float) -> str:
    """Time left, as coarse as it is known."""
    if seconds < 10:
        return "a few seconds left"
    step = 5 if seconds < 60 else 10 if seconds < 600 else 60
    text = span(math.ceil(seconds / step) * step)
    return f"about {text.removesuffix(' 0 s')} left"


def rate(rate: float | None) -> tuple[str, str]:
    """A rate and its unit: a slow model is counted by the minute."""
    if rate is None:
        return MISSING, "rows/s"
    if 0 < rate < 0.1:
        return f"{rate * 60:.1f}", "rows/min"
    return f"{rate:,.{0 if rate >= 100 else 1 if rate >= 10 else 2}f}", "rows/s"


def short(count: int) -> str:
    """`812`, `92 k`, `1.21 M`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):g} {unit}"
    return str(count)


def points(trend: Sequence[float]) -> str:
    """SVG points in a box of 100 by 20, the newest at the right edge."""
    top, step = max(trend), 100 / (len(trend) - 1)
    return " ".join(f"{at * step:.0f},{19 - 18 * rate / top:.0f}" for at, rate in enumerate(trend))
