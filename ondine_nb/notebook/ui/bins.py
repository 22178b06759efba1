"""How a plot counts a column's values, one by one or in bins: on the card as in the results.

Everything here is pure.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

__all__ = [
    "BINS",
    "FEW",
    "MOST",
    "bin_edges",
    "bin_of",
    "counts_texts",
    "date_bin_edges",
    "edge_date",
    "number_text",
    "seconds_of",
    "value_kind",
]

BINS = 24
FEW = 12  # so many distinct whole numbers are counted, not put into bins
MOST = 8  # different texts that are counted although none comes again
DAY = 86_400.0
_NUMBERS = {int, float, Decimal}
_EPOCH = datetime(1970, 1, 1)


def value_kind(kinds: Iterable[type], choices: Sequence[Any] | None) -> str:
    """What the values of these types are: `choice bool number date list text` or `json`."""
    if choices is not None:
        return "choice"
    found = set(kinds)
    if found == {bool}:
        return "bool"
    if found and found <= _NUMBERS:
        return "number"
    if found and found <= {date, datetime}:
        return "date"
    if found == {list}:
        return "list"
    return "json" if found & {list, dict} else "text"


def counts_texts(different: int, rows: int) -> bool:
    """Whether so many different texts in so many rows are counted; else their lengths are."""
    return different <= MOST or different <= rows // 4


def bin_edges(low: float, high: float, whole: bool) -> list[float]:
    """Round ends of about `BINS` bins that hold everything from `low` to `high`; none where these
    are alike, or further apart than a float can say. `whole`: there are only whole numbers."""
    if low == high or not math.isfinite(high - low):
        return []
    raw = (high - low) / BINS
    size = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 0.0
    if not size or not math.isfinite(size):
        return [low, high]
    step = next(size * it for it in (1, 2, 2.5, 5, 10) if size * it >= raw * 0.999)
    step = float(max(1, math.ceil(step))) if whole else step
    first = math.floor(low / step)
    count = max(1, math.ceil(high / step + (0.5 if whole else 0) - first - 1e-9))
    edges = [round((first + at) * step, 12) for at in range(count + 1)]
    if edges[-1] < high or (whole and edges[-1] == high):
        edges.append(round((first + count + 1) * step, 12))
    alike = len(edges) > 4 * BINS or len(set(edges)) < len(edges)  # steps too small for a float
    if edges[0] > low or alike or not math.isfinite(edges[-1]):
        return [low, high]
    return edges


def date_bin_edges(low: float, high: float) -> list[float]:
    """Bins between two moments, in seconds since 1970: of whole days where there are days enough,
    else of even lengths; none where the moments are alike."""
    days = math.floor(high / DAY) - math.floor(low / DAY) + 1
    if days > 2:
        unit, step = DAY, DAY * max(1, math.ceil(days / BINS))
    elif high > low:
        unit, step = 60.0, max(60.0, math.ceil((high - low) / BINS / 60) * 60.0)
    else:
        return []
    first = math.floor(low / unit) * unit
    count = math.floor((high - first) / step) + 1
    return [first + at * step for at in range(count + 1)]


def bin_of(edges: Sequence[float], value: float) -> int:
    """The bin that holds a value between the first and the last edge, which the last bin holds."""
    return min(bisect_right(edges, value), len(edges) - 1) - 1


def seconds_of(value: date) -> float:
    """A date's or a moment's seconds since 1970, in UTC where it says its zone."""
    if not isinstance(value, datetime):
        return (value - _EPOCH.date()).days * DAY
    if value.tzinfo is not None:
        value = (value - value.utcoffset()).replace(tzinfo=None)  # type: ignore[operator]
    return (value - _EPOCH).total_seconds()


def edge_date(edges: Sequence[float], at: int) -> str:
    """An end of a date's bin as text: a day where all ends are days."""
    moment = _EPOCH + timedelta(seconds=edges[at])
    days = all(not edge % DAY for edge in edges)
    return moment.date().isoformat() if days else moment.isoformat(" ", "minutes")


def number_text(value: Any) -> str:
    """Up to four digits that matter; large ones whole and with separators."""
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{float(value):.3g}"
    return f"{value:.4g}"
