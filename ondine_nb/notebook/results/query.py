"""Queries a run's rows: filter, sort and page, for the results view.

Nothing here knows of widgets or HTML. Whatever takes time by the number of rows goes in steps of
`STEP` rows, so that a loop in another thread gets its turn between two of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

from ...data import is_nan_or_none
from ...models import ZERO
from ...orchestration import Row
from ...prompts import as_text

__all__ = ["FACTS", "STATUSES", "STREAMED", "Head", "Query", "Results", "rows_of", "status_word"]

STATUSES = ("answered", "journal", "failed", "skipped", "not_run")
FACTS = ("cost", "tokens", "latency", "attempts")
STREAMED = "this run keeps no record of each row: its rows went on as they were answered"
STEP = 2_000  # rows read or sorted in one go: a few milliseconds
PARTS = 64  # that a long column is sorted in
MOST_KEPT = 50_000_000  # characters
MOST_INPUTS, MOST_NEW = 8, 24  # columns shown
_WORDS = {"journal": "from journal", "not_run": "not run"}
_NUMBERS = {int, float, bool, Decimal}
_MARK = "\0"


@dataclass(frozen=True, slots=True)
class Head:
    """A shown column.

    `kind` is `label` (of the index), `status`, `in` (of the input), `new` or `fact` (see `FACTS`).
    """

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows, in which order, and how far on. `sort` is a place in `heads`; -1: as they came.

    `status` is one of `STATUSES` or "" for all, `page` counts from 0, `size` is in rows.
    """

    status: str = ""
    text: str = ""
    sort: int = -1
    descending: bool = False
    page: int = 0
    size: int = 20


def status_word(status: str) -> str:
    """A status in words."""
    return _WORDS.get(status, status)


def rows_of(run: Any) -> list[Row | None] | None:
    """The records of a run's rows as they are now; None where the run keeps none."""
    rows = getattr(getattr(run.plan, "rowset", None), "rows", None)
    return None if rows is None or run.pipeline.frame is None else list(rows)


class Results:
    """A run's rows at one moment. Rows that weren't read yet count as `not_run`."""

    def __init__(self, run: Any) -> None:
        self.run = run
        known = rows_of(run)
        self.streamed: bool = known is None
        self.rows: list[Row | None] = known or []
        self._texts: list[list[str]] | None = None
        self.heads: tuple[Head, ...] = () if self.streamed else tuple(_heads(run))
        self.hidden: int = 0 if self.streamed else _hidden(run, self.heads)

    def __len__(self) -> int:
        return len(self.rows)

    def status(self, position: int) -> str:
        """The status of the row at `position`."""
        row = self.rows[position]
        return "not_run" if row is None else row.status

    def counts(self) -> dict[str, int]:
        """Rows by status, each of `STATUSES`."""
        found = Counter("not_run" if row is None else row.status for row in self.rows)
        return {status: found[status] for status in STATUSES}

    def failures(self) -> dict[str, list[int]]:
        """The positions of the failed rows by kind of error, the most frequent kind first."""
        kinds: dict[str, list[int]] = {}
        for row in self.rows:
            if row is not None and row.failure is not None and row.status == "failed":
                kinds.setdefault(row.failure.label, []).append(row.position)
        return dict(sorted(kinds.items(), key=lambda kind: -len(kind[1])))

    def cost(self) -> Decimal | None:
        """USD that these rows cost; None where the price is unknown."""
        if not self.run.priced:
            return None
        return sum((row.cost for row in self.rows if row is not None), ZERO)

    def tokens(self) -> int:
        """The tokens of all rows' answers, input and output."""
        return sum(row.usage.total_tokens for row in self.rows if row is not None)

    # -- which rows

    def find(self, query: Query) -> Sequence[int]:
        """The positions of all rows that `query` selects, in its order (on every page)."""
        found: Sequence[int] = range(len(self))
        if query.status:
            found = [at for at in found if self.status(at) == query.status]
        if query.text.strip():
            found = list(self._with_text(found, query.text.strip().casefold().replace(_MARK, " ")))
        return found if query.sort < 0 else self._sorted(found, query.sort, query.descending)

    def _with_text(self, positions: Sequence[int], needle: str) -> Iterator[int]:
        """Those with `needle` in an input or new column, the status or the error."""
        said = {status for status in STATUSES if needle in status_word(status)}
        wanted = positions if isinstance(positions, range) else set(positions)
        for start, columns in zip(range(0, len(self), STEP), self._folded(), strict=True):
            hits = {at for column in columns for at in _hits(column, needle)}
            for at, row in enumerate(self.rows[start : start + STEP]):
                status = "not_run" if row is None else row.status
                found = at in hits or status in said or _fails_with(row, needle)
                if found and start + at in wanted:
                    yield start + at

    def get_ready(self) -> None:
        """Read what the first search for a text needs, so that it is as fast as the next one."""
        for _ in self._folded():
            pass

    def _folded(self) -> Iterator[list[str]]:
        """For every `STEP` rows the texts of each column, joined; kept unless they are large."""
        if self._texts is not None:
            yield from self._texts
            return
        names = [head.name for head in self.heads if head.kind == "in"]
        new = [head.name for head in self.heads if head.kind == "new"]
        kept, size = [], 0
        for part, cells in self._read(range(len(self)), names):
            rows = [self.rows[at] for at in part]
            labels = zip(*self.run.pipeline.frame.labels(part), strict=True)
            columns: list[Sequence[Any]] = [*labels, *zip(*cells, strict=True)]
            columns += [_outputs(rows, name) for name in new]
            texts = [_joined(column) for column in columns]
            size += sum(map(len, texts))
            if size <= MOST_KEPT:
                kept.append(texts)
            yield texts
        if size <= MOST_KEPT:
            self._texts = kept

    def _read(
        self, positions: Sequence[int], names: Sequence[str]
    ) -> Iterator[tuple[Sequence[int], list[tuple[Any, ...]]]]:
        frame = self.run.pipeline.frame
        whole = isinstance(positions, range)
        parts = frame.iter_rows(names, size=STEP, positions=None if whole else positions)
        for start, cells in zip(range(0, len(positions), STEP), parts, strict=True):
            yield positions[start : start + STEP], cells

    def _sorted(self, positions: Sequence[int], at: int, descending: bool) -> list[int]:
        values = self.column(at)
        present = [place for place in positions if not is_nan_or_none(values[place])]
        missing = [place for place in positions if is_nan_or_none(values[place])]
        keys = _keys(values)
        return [*_in_order(present, keys.__getitem__, descending), *missing]

    # -- what is in them

    def column(self, at: int) -> list[Any]:
        """The values of one shown column, for every row."""
        head = self.heads[at]
        if head.kind == "in":
            parts = self._read(range(len(self)), [head.name])
            return [cells[0] for _, part in parts for cells in part]
        if head.kind == "label":
            frame, steps = self.run.pipeline.frame, range(0, len(self), STEP)
            parts = (frame.labels(range(low, min(low + STEP, len(self)))) for low in steps)
            return [labels[at] for part in parts for labels in part]
        return [self._own(row, head) for row in self.rows]

    def cells(self, positions: Sequence[int]) -> list[list[Any]]:
        """The values of all shown columns at `positions`."""
        if not positions:
            return []
        inputs = [head.name for head in self.heads if head.kind == "in"]
        own = [head for head in self.heads if head.kind not in ("label", "status", "in")]
        found: list[list[Any]] = []
        for part, cells in self._read(list(positions), inputs):
            labels = self.run.pipeline.frame.labels(part)
            for at, label, values in zip(part, labels, cells, strict=True):
                row = self.rows[at]
                made = (self._own(row, head) for head in own)
                found.append([*label, self.status(at), *values, *made])
        return found

    def _own(self, row: Row | None, head: Head) -> Any:
        """What a row's record has for a column that isn't of the input."""
        if row is None:
            return "not_run" if head.kind == "status" else None
        if head.kind == "new":
            return (row.outputs or {}).get(head.name)
        if head.name == "tokens":
            return row.usage.total_tokens
        if head.name == "cost" and not self.run.priced:
            return None
        return getattr(row, head.name)


def _heads(run: Any) -> Iterator[Head]:
    """The index, the status, what the prompt names and more of the input, the new columns, the
    facts."""
    new = tuple(run.columns)
    named = (*run.pipeline.template.columns, *run.pipeline.frame.columns)
    yield from (Head(name, "label") for name in run.pipeline.frame.index_names)
    yield Head("status", "status")
    inputs = [name for name in dict.fromkeys(named) if name not in new]
    yield from (Head(name, "in") for name in inputs[:MOST_INPUTS])
    yield from (Head(name, "new") for name in new[:MOST_NEW])
    yield from (Head(name, "fact") for name in FACTS)


def _hidden(run: Any, heads: Sequence[Head]) -> int:
    """How many columns of the frame are not shown."""
    shown = {head.name for head in heads if head.kind in ("in", "new")}
    return len({*run.pipeline.frame.columns, *run.columns} - shown)


def _outputs(rows: Sequence[Row | None], name: str) -> list[Any]:
    return [row.outputs.get(name) if row is not None and row.outputs else None for row in rows]


def _joined(column: Sequence[Any]) -> str:
    """The texts of a column in small letters, with a mark between them."""
    kinds = set(map(type, column))
    if kinds == {str}:
        texts: Iterable[str] = column
    elif kinds <= {int, float}:
        texts = map(str, column)
    else:
        texts = ("" if value is None else _text(value) for value in column)
    joined = _MARK.join(texts)
    if joined.count(_MARK) >= len(column):  # a text has the mark in it
        joined = _MARK.join(_text(value).replace(_MARK, " ") for value in column)
    return joined.casefold()


def _hits(joined: str, needle: str) -> list[int]:
    """The places of the texts that have `needle` in them."""
    if needle not in joined:
        return []
    return [at for at, text in enumerate(joined.split(_MARK)) if needle in text]


def _fails_with(row: Row | None, needle: str) -> bool:
    failure = None if row is None or row.status != "failed" else row.failure
    return failure is not None and needle in f"{failure.label} {failure.message}".casefold()


def _text(value: Any) -> str:
    return value if type(value) is str else as_text(value)


def _keys(values: Sequence[Any]) -> list[Any]:
    """What the values are sorted by: numbers and dates as such, all else as text in small letters.

    Missing values have a key that is never compared.
    """
    kinds = {type(value) for value in values if not is_nan_or_none(value)}
    if kinds <= _NUMBERS or (kinds in ({date}, {datetime}) and _comparable(values)):
        return list(values)
    return [None if is_nan_or_none(value) else _text(value).casefold() for value in values]


def _comparable(values: Sequence[Any]) -> bool:
    """Whether no moment with an offset meets one without."""
    return len({getattr(value, "tzinfo", None) is None for value in values if value}) < 2


def _in_order(places: Sequence[int], key: Callable[[int], Any], descending: bool) -> Iterable[int]:
    """`places` sorted by their key, equal ones as they were.

    Put into `PARTS` by the keys of a sample first: one long sort would hold all threads.
    """
    if len(places) <= STEP:
        return sorted(places, key=key, reverse=descending)
    sample = sorted(map(key, places[:: max(1, len(places) // STEP)]))
    bounds = sample[:: max(1, len(sample) // PARTS)]
    parts: list[list[int]] = [[] for _ in range(len(bounds) + 1)]
    for place in places:
        parts[bisect_right(bounds, key(place))].append(place)
    ordered = reversed(parts) if descending else iter(parts)
    return chain.from_iterable(sorted(part, key=key, reverse=descending) for part in ordered)
