"""Distributions of a column's values: counts of few values, a histogram of many numbers.

Everything here is pure; what is counted, and what goes into which bins, is as in the results. Each
distribution has a text that says the same as its plot.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ...prompts import as_text
from ..ui import (
    FEW,
    bin_edges,
    bin_of,
    clean,
    counts_texts,
    date_bin_edges,
    edge_date,
    number_text,
    seconds_of,
    value_kind,
)

__all__ = ["Bar", "Distribution", "ascending", "distribution"]

MOST = 8  # values that have a bar each
LABEL = 40  # characters of a value
STEP = 5_000  # values counted in one go


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its rows, its height against the highest and its share of all rows, in percent."""

    label: str
    rows: int
    height: float
    share: str
    kind: str = ""  # "" or "rest"


@dataclass(frozen=True, slots=True)
class Distribution:
    """A column's values: `kind` is `counts` (bars lie) or `histogram` (bars stand side by side).

    `low` and `high` are the ends of a histogram, `note` says what the bars don't, `text` all of it.
    """

    name: str
    kind: str
    bars: tuple[Bar, ...]
    missing: int
    low: str = ""
    high: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """The distribution in one line of plain text."""
        ends = f"{self.low} to {self.high}" if self.low else ""
        parts = [text for text in (ends, self.note) if text]
        if self.kind == "counts":
            parts = [*(f"{bar.label} {bar.rows:,} ({bar.share})" for bar in self.bars), *parts]
        if self.missing:
            parts.append(f"{self.missing:,} missing")
        return " · ".join(parts) or "no rows"


def distribution(
    name: str, values: Sequence[Any], choices: Sequence[Any] | None = None, most: int = MOST
) -> Distribution:
    """The distribution of a column's `values`, None or NaN where there is none.

    The `choices` of a schema keep its order, and those that nobody chose are there. Of others the
    `most` frequent ones have a bar.
    """
    shown = clean(name, LABEL)
    present = [value for value in values if value is not None and value == value]
    missing = len(values) - len(present)
    kind = value_kind(set(map(type, present)), choices)
    if not present and choices is None:
        return Distribution(shown, "counts", (), missing)
    if kind == "bool":
        choices = (True, False)
    if choices is not None:
        counts = _count([*choices, *present])
        counts.subtract(choices)
        ordered = Counter({value: counts[value] for value in counts})
        return _counted(shown, ordered, missing, len(values), "", most=most, by_size=False)
    if kind == "list":
        return _lists(shown, present, missing)
    if kind == "number":
        return _numbers(shown, present, missing)
    if kind == "date":
        return _dates(shown, present, missing)
    return _texts(shown, present, missing, most)


def _lists(name: str, present: Sequence[Any], missing: int) -> Distribution:
    """What the lists hold, by the rows that hold it."""
    items = [item for value in present for item in {as_text(it) for it in value}]
    mean = sum(map(len, present)) / len(present)
    note = f"{mean:.1f} items a row"
    return _counted(name, _count(items), missing, len(present) + missing, note)


def _numbers(name: str, present: Sequence[Any], missing: int) -> Distribution:
    finite = [value for value in present if _is_finite(value)]
    odd = len(present) - len(finite)
    counts = _count(finite) if all(type(value) is int for value in finite) else Counter[Any]()
    if 0 < len(counts) <= FEW:
        ordered = Counter({value: counts[value] for value in sorted(counts)})
        return _counted(name, ordered, missing, len(present) + missing, "", most=FEW, by_size=False)
    if not finite:
        return Distribution(name, "counts", (), missing, note=f"{odd:,} not finite")
    whole = all(value == math.floor(value) for value in finite)
    edges = bin_edges(float(min(finite)), float(max(finite)), whole)
    if not edges:
        return _counted(name, _count(present), missing, len(present) + missing, "")
    note = f"median {number_text(_middle(finite))}"
    note += f" · {odd:,} not finite" if odd else ""
    labels = [number_text(edge) for edge in edges]
    return _histogram(name, finite, edges, labels, missing, len(present) + missing, note)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _dates(name: str, present: Sequence[Any], missing: int) -> Distribution:
    seconds = list(map(seconds_of, present))
    edges = date_bin_edges(min(seconds), max(seconds))
    if not edges:
        return _counted(name, _count(present), missing, len(present) + missing, "")
    labels = [edge_date(edges, at) for at in range(len(edges))]
    return _histogram(name, seconds, edges, labels, missing, len(present) + missing)


def _texts(name: str, present: Sequence[Any], missing: int, most: int) -> Distribution:
    """Short texts that come again are counted; of others only the length can be told."""
    plain = set(map(type, present)) == {str}
    texts = list(present) if plain else [as_text(value) for value in present]
    counts = _count(texts)
    if counts_texts(len(counts), len(texts)):
        note = f"{len(counts):,} different" if len(counts) > MOST else ""
        return _counted(name, counts, missing, len(present) + missing, note, most=most)
    lengths = [len(text) for text in texts]
    edges = bin_edges(min(lengths), max(lengths), whole=True)
    if not edges:
        note = f"{len(counts):,} different, all of {lengths[0]:,} characters"
        return Distribution(name, "counts", (), missing, note=note)
    note = f"{len(counts):,} different, median {_middle(lengths):,.0f}"
    labels = [number_text(edge) for edge in edges]
    labels[-1] += " characters"
    return _histogram(name, lengths, edges, labels, missing, len(present) + missing, note)


def _count(values: Sequence[Any]) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for start in range(0, len(values), STEP):
        counts.update(values[start : start + STEP])
    return counts


def _counted(
    name: str, counts: Counter[Any], missing: int, total: int, note: str,
    most: int = MOST, by_size: bool = True,
) -> Distribution:  # fmt: skip
    ranked = counts.most_common()
    top, rest = ranked[:most], ranked[most:]
    if not by_size:
        kept = dict(top)
        top = [(value, rows) for value, rows in counts.items() if value in kept]
    highest = max((rows for _, rows in top), default=0)
    bars = [
        Bar(_label(value), rows, 100 * rows / (highest or 1), _share(rows, total))
        for value, rows in top
    ]
    others = sum(rows for _, rows in rest)
    if others:
        height = min(100.0, 100 * others / (highest or 1))
        bars.append(Bar(f"{len(rest):,} others", others, height, _share(others, total), "rest"))
    return Distribution(name, "counts", tuple(bars), missing, note=note)


def _label(value: Any) -> str:
    return clean(as_text(value), LABEL) or "(empty)"


def _histogram(
    name: str,
    values: Sequence[float],
    edges: Sequence[float],
    labels: Sequence[str],
    missing: int,
    total: int,
    note: str = "",
) -> Distribution:
    """A bar for each bin, which goes up to the next of `labels`, the texts of the edges."""
    counts = Counter(bin_of(edges, value) for value in values)
    highest = max(counts.values())
    bars = tuple(
        Bar(
            f"{labels[at]} to {labels[at + 1]}",
            counts[at],
            100 * counts[at] / highest,
            _share(counts[at], total),
        )
        for at in range(len(edges) - 1)
    )
    return Distribution(name, "histogram", bars, missing, labels[0], labels[-1], note)


def _share(rows: int, total: int) -> str:
    percent = 100 * rows / total if total else 0.0
    return f"{percent:.0f} %" if percent >= 1 or not rows else "< 1 %"


def _middle(values: Sequence[Any]) -> Any:
    return ascending(values)[len(values) // 2]


def ascending(values: Sequence[Any]) -> list[Any]:
    """`values` in ascending order. Sorted in steps: one long sort would hold all threads."""
    runs = [sorted(values[start : start + STEP]) for start in range(0, len(values), STEP)]
    return sorted(chain.from_iterable(runs))
