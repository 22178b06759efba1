"""Queries the table of the results view: conditions, order, and what each plot counts of it.

Each plot is a filter. A column's plot counts the rows that meet the conditions on all *other*
columns, so that its own condition only dims its bars; beside that, the rows of the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from ..ui import clean, number_text
from .column import ColumnIndex
from .table import EVIDENCE, Head, Results

__all__ = ["Condition", "Query", "Selection", "facet_of", "plotted"]

LABEL = 60  # characters of a value
MOST_TEXTS = 6  # of the values of a text, before the rest are folded
MOST_CHOICES = 12  # of a schema's choices, before the rest are folded
MOST_WIDE = 200  # values of an unfolded plot
MOST_PLOTS = 12


@dataclass(frozen=True, slots=True)
class Condition:
    """What rows must meet: one of `values` in a column (or `missing`), bins from `low` up to
    `high`, not with it, or `text` anywhere."""

    name: str = ""
    values: tuple[str, ...] = ()
    missing: bool = False
    low: int | None = None
    high: int | None = None
    text: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Condition:
        """The condition that the browser told as JSON."""
        known = dict(told)
        known["values"] = tuple(map(str, known.get("values", ())))
        return cls(**known)

    def told(self) -> dict[str, Any]:
        """The same for JSON."""
        pairs = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: list(it) if name == "values" else it for name, it in pairs}


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows, in which order. `sort` is a column's name, "" for the order of the frame."""

    conditions: tuple[Condition, ...] = ()
    sort: str = ""
    descending: bool = False


@dataclass
class Selection:
    """The rows of `results` that meet `query`.

    `mask` is over all rows, `positions` are those in view that did not fail, in order. Failed rows
    have no answer: no condition on one can tell of them, so `failed` keeps those that meet the
    others, and `kept` says whether it is more of them than meet all.
    """

    results: Results
    query: Query
    searched: Sequence[str] = ()
    _masks: dict[Condition, Any] = field(default_factory=dict)
    _read: int = -1  # when the results were read that the masks are of

    def __post_init__(self) -> None:
        self._read = self.results.renewed

    @cached_property
    def mask(self) -> Any:
        """Whether each row meets all conditions."""
        return self._all_but(None)

    @cached_property
    def failed(self) -> list[int]:
        """The failed rows that are kept in view."""
        told = [it for it in self.query.conditions if not self._of_answers(it)]
        mask = self._meeting(told)
        return [at for at in self.results.failed if mask[at]]

    @property
    def kept(self) -> bool:
        """Whether failed rows are in view that meet no condition on their answers."""
        return any(self._of_answers(it) for it in self.query.conditions)

    @cached_property
    def ordered(self) -> Any:
        """The positions of all rows that meet the conditions, in order: failed ones too."""
        import numpy

        if not self.query.sort:
            return numpy.flatnonzero(self.mask)
        order = self.results.index(self.query.sort).order(self.query.descending)
        return order[self.mask[order]]

    @cached_property
    def positions(self) -> Any:
        """The positions in view that did not fail, in order."""
        import numpy

        if not self.results.failed:
            return self.ordered
        failed = numpy.zeros(len(self.results), bool)
        failed[self.results.failed] = True
        return self.ordered[~failed[self.ordered]]

    def __len__(self) -> int:
        return int(self.mask.sum())

    def others(self, name: str) -> Any:
        """Whether each row meets the conditions on all columns but this one."""
        return self._all_but(name)

    def condition_on(self, name: str) -> Condition | None:
        """The condition on a column."""
        return next((it for it in self.query.conditions if it.name == name), None)

    def hits(self, needle: str) -> list[int]:
        """The places in `positions` of the rows that have `needle` in them."""
        import numpy

        found = numpy.zeros(len(self.results), bool)
        found[self.results.search(needle, self.searched)] = True
        hits: list[int] = numpy.flatnonzero(found[self.positions]).tolist()
        return hits

    def after(self, earlier: Selection | None) -> Selection:
        """Itself, with what an earlier selection of the same results found out."""
        alike = earlier is not None and earlier.results is self.results
        if earlier is not None and alike and earlier._read == self._read:
            kept = {it: mask for it, mask in earlier._masks.items() if not it.text}
            self._masks.update(dict(list(kept.items())[-8:]))
        return self

    def kept_as(self, earlier: Selection) -> Selection:
        """Itself, with the same rows in view as an earlier selection by the same query."""
        self._masks.update(earlier._masks)
        self._read = earlier._read
        vars(self).update(ordered=earlier.ordered, positions=earlier.positions)
        return self

    def _all_but(self, name: str | None) -> Any:
        return self._meeting([it for it in self.query.conditions if it.text or it.name != name])

    def _meeting(self, conditions: Sequence[Condition]) -> Any:
        import numpy

        mask = numpy.ones(len(self.results), bool)
        for condition in conditions:
            mask &= self._mask(condition)
        return mask

    def _mask(self, condition: Condition) -> Any:
        if condition not in self._masks:
            self._masks[condition] = self._found(condition)
        return self._masks[condition]

    def _found(self, condition: Condition) -> Any:
        import numpy

        if condition.text:
            mask = numpy.zeros(len(self.results), bool)
            mask[self.results.search(condition.text, self.searched)] = True
            return mask
        index = self.results.index(condition.name)
        if condition.low is None or condition.high is None:
            return index.holds(condition.values, condition.missing)
        return index.between(condition.low, condition.high)

    def _of_answers(self, condition: Condition) -> bool:
        if condition.text:
            return True
        return self.results.head(condition.name).role == "answer"

    # -- in words

    def chips(self) -> list[str]:
        """Each condition in words: `urgency = high`, `confidence < 0.60`."""
        return [self._words(it) for it in self.query.conditions]

    def _words(self, condition: Condition) -> str:
        if condition.text:
            return f"has “{clean(condition.text, LABEL)}”"
        name = clean(condition.name, LABEL)
        index = self.results.index(condition.name)
        if condition.low is None or condition.high is None:
            known = [it for it in index.labels if it in condition.values]
            rest = [it for it in condition.values if it not in known]
            told = [clean(it, LABEL) or "(empty)" for it in (*known, *rest)]
            told += ["no answer" if self._of_answers(condition) else "missing"] * condition.missing
            sign = "has" if index.kind == "list" else "="
            return f"{name} {sign} {' or '.join(told)}"
        low, high, last = condition.low, condition.high, len(index.edges) - 1
        if index.kind in ("text", "json"):
            name = f"length of {name}"
        if low <= 0 and high >= last:
            return f"{name}: any number"
        if low <= 0:
            return f"{name} < {index.edge_text(high)}"
        if high >= last:
            return f"{name} ≥ {index.edge_text(low)}"
        return f"{index.edge_text(low)} ≤ {name} < {index.edge_text(high)}"


# --- plots ---------------------------------------------------------------------------------------


def facet_of(selection: Selection, head: Head, wide: bool = False) -> dict[str, Any] | None:
    """What a column's plot shows, for JSON; None for a column that has nothing to plot.

    `bars`: each value with its rows in view and in all, the rest as one line. `bins`: as many rows
    in view and in all, with their ends; the bins that are picked are `[low, high]`.
    """
    index = selection.results.index(head.name)
    if index.missing.all() and head.choices is None:
        return None
    if not index.bars and len(index.edges) < 2:  # texts that differ in all but their length
        return None
    mask = selection.others(head.name)
    condition = selection.condition_on(head.name)
    gone = index.missing & mask
    told = {
        "name": head.name,
        "kind": _kind(index, head),
        "role": head.role,
        "gone": [int(gone.sum()), int(index.missing.sum())],
        "picked_gone": condition is not None and condition.missing,
        "none": "no answer" if head.role == "answer" else "missing",
    }
    if index.bars:
        return {**told, **_bars(index, mask, condition, wide)}
    return {**told, **_bins(index, mask, condition)}


def _kind(index: ColumnIndex, head: Head) -> str:
    if not index.bars and index.kind in ("text", "json"):
        return "length"
    return "choice" if head.choices is not None else index.kind


def _bars(index: ColumnIndex, mask: Any, condition: Condition | None, wide: bool) -> dict[str, Any]:
    counts, totals = index.count(mask), index.count()
    picked = set() if condition is None else set(condition.values)
    by_schema = index.choices is not None or index.kind in ("bool", "number")
    most = MOST_WIDE if wide else MOST_CHOICES if by_schema else MOST_TEXTS
    shown = list(range(min(most, len(totals))))
    if len(totals) == most + 1:  # "1 other" takes as much room as the value itself
        shown.append(most)
    shown += [at for at, text in enumerate(index.labels) if text in picked and at >= len(shown)]
    bars = [
        {
            "value": index.labels[at],
            "text": clean(index.labels[at], LABEL) or "(empty)",
            "rows": int(counts[at]),
            "all": int(totals[at]),
            "on": index.labels[at] in picked,
        }
        for at in shown
    ]
    rest = len(totals) - len(shown)
    others = int(counts.sum() - counts[shown].sum()), int(totals.sum() - totals[shown].sum())
    return {
        "bars": bars,
        "others": [rest, *others] if rest else None,
        "wide": wide,
        "on": condition is not None,
    }


def _bins(index: ColumnIndex, mask: Any, condition: Condition | None) -> dict[str, Any]:
    brush = None
    if condition is not None and condition.low is not None and condition.high is not None:
        brush = [condition.low, condition.high]
    return {
        "bins": [index.bins(mask).tolist(), index.bins().tolist()],
        "edges": [index.edge_text(at) for at in range(len(index.edges))],
        "brush": brush,
        "note": _note(index),
    }


def _note(index: ColumnIndex) -> str:
    """What the bins don't say: the middle, the texts that are all different, odd numbers."""
    import numpy

    present = index.numbers[~index.missing]
    finite = present[numpy.isfinite(present)]
    parts = []
    if index.kind in ("text", "json"):
        parts.append(f"{len(index.labels):,} different, characters")
    elif index.kind == "number" and len(finite):
        parts.append(f"median {number_text(float(numpy.median(finite)))}")
    if len(present) > len(finite):
        parts.append(f"{len(present) - len(finite):,} not finite")
    return " · ".join(parts)


def plotted(results: Results) -> Iterator[Head]:
    """The columns that have a plot from the start: a run's answers, or of a frame all that fit."""
    if results.run is not None:
        yield from results.named("answer")[:MOST_PLOTS]
        yield from (head for head in results.named("fact") if head.name == EVIDENCE)
        return
    fitting = (head for head in results.named("text", "input") if _fits(results.index(head.name)))
    yield from islice(fitting, MOST_PLOTS)


def _fits(index: ColumnIndex) -> bool:
    return index.bars or index.kind in ("number", "date")
