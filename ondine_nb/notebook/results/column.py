"""A column made ready for the results view: codes or numbers in arrays, to filter, sort and count.

A column is counted by its values where they are few or come again, and by bins where they are
numbers, dates or texts that are all different (then by their length).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from ...data import is_nan_or_none
from ...prompts import as_text
from ..ui import (
    FEW,
    bin_edges,
    counts_texts,
    date_bin_edges,
    edge_date,
    number_text,
    seconds_of,
    value_kind,
)

__all__ = ["ColumnIndex", "in_order", "value_text"]

STEP = 2_000  # values in one go
PARTS = 64  # that a long column is sorted in


class ColumnIndex:
    """The values of one column. `kind` is `choice bool number date list text` or `json`.

    `bars` says whether it is counted by value: then `labels` are the values' texts and `codes` the
    place in them of each row (-1: missing; of a list column use `items`). Else `edges` are the ends
    of its bins, as numbers, and `numbers` each row's number (NaN: missing). `like` is an earlier
    index of the column, whose bins are kept as long as they hold all values.
    """

    def __init__(
        self,
        values: Sequence[Any],
        choices: tuple[Any, ...] | None = None,
        like: ColumnIndex | None = None,
    ) -> None:
        import numpy

        self._np = numpy
        self.choices = choices
        self._values: Sequence[Any] = values
        self.missing: Any = numpy.fromiter(map(is_nan_or_none, values), bool, len(values))
        types = {type(value) for value in values if not is_nan_or_none(value)}
        self.kind: str = value_kind(types, choices)
        self._orders: dict[bool, Any] = {}
        alike = like is not None and like.kind == self.kind and "edges" in vars(like)
        self._known_edges: list[float] = like.edges if like is not None and alike else []

    def __len__(self) -> int:
        return len(self._values)

    # -- by value

    @cached_property
    def _coded(self) -> tuple[Any, list[str]]:
        """Each row's code, and the texts of the codes in the order of their first row."""
        known: dict[Any, int] = {}
        texts: dict[str, int] = {}
        codes = self._np.full(len(self), -1, dtype="i4")
        for at, value in enumerate(self._values):
            if self.missing[at]:
                continue
            try:
                code = known.get((type(value), value))
            except TypeError:  # a list or a dict
                code = texts.setdefault(value_text(value), len(texts))
            else:
                if code is None:
                    code = texts.setdefault(value_text(value), len(texts))
                    known[type(value), value] = code
            codes[at] = code
        return codes, list(texts)

    @cached_property
    def labels(self) -> list[str]:
        """The texts of the values, in the order of the schema, of numbers, or by their rows."""
        return [self._raw_labels[code] for code in self._order_of_codes]

    @property
    def _raw_labels(self) -> list[str]:
        return self.items[2] if self.kind == "list" else self._coded[1]

    @cached_property
    def _order_of_codes(self) -> list[int]:
        labels = self._raw_labels
        if self.choices is not None:
            wanted = [value_text(choice) for choice in self.choices]
            places = {text: at for at, text in enumerate(labels)}
            for text in wanted:
                if text not in places:
                    places[text] = len(labels)
                    labels.append(text)
            rest = [at for text, at in places.items() if text not in set(wanted)]
            return [places[text] for text in dict.fromkeys(wanted)] + rest
        if self.kind == "bool":
            return sorted(range(len(labels)), key=lambda code: labels[code].lower() != "true")
        if self.kind == "number":
            return sorted(range(len(labels)), key=lambda code: float(labels[code]))
        counts = self._np.bincount(self._raw_codes, minlength=len(labels))
        return sorted(range(len(labels)), key=lambda code: -counts[code])

    @property
    def _raw_codes(self) -> Any:
        if self.kind == "list":
            return self.items[0]
        codes = self._coded[0]
        return codes[codes >= 0]

    @cached_property
    def codes(self) -> Any:
        """Of each row the place of its value in `labels`; -1 where it is missing."""
        return self._places[self._coded[0]]

    @cached_property
    def _places(self) -> Any:
        """From a raw code to its place in `labels`; the last one is for -1."""
        order = self._order_of_codes
        places = self._np.full(len(order) + 1, -1, dtype="i4")
        places[order] = self._np.arange(len(order), dtype="i4")
        places[-1] = -1
        return places

    @cached_property
    def items(self) -> tuple[Any, Any, list[str]]:
        """Of a list column: the raw code and the row of each item (one for each row), the texts."""
        known: dict[str, int] = {}
        codes, rows = [], []
        for at, value in enumerate(self._values):
            if not self.missing[at]:
                for text in dict.fromkeys(map(value_text, value)):
                    codes.append(known.setdefault(text, len(known)))
                    rows.append(at)
        return self._np.array(codes, "i4"), self._np.array(rows, "i8"), list(known)

    @cached_property
    def bars(self) -> bool:
        """Whether the column is counted by its values."""
        if self.kind in ("choice", "bool", "list"):
            return True
        if self.kind == "number":
            present = self._values_present()
            whole = all(type(value) is int for value in present)
            return len(set(present)) <= (FEW if whole else 1)
        if self.kind in ("text", "json"):
            different, rows = len(self._coded[1]), int((~self.missing).sum())
            return counts_texts(different, rows)
        return len(self.edges) < 2

    def _values_present(self) -> list[Any]:
        return [it for it, gone in zip(self._values, self.missing, strict=True) if not gone]

    def count(self, mask: Any = None) -> Any:
        """Rows of each of `labels`, where `mask` holds; of lists the rows that have the item."""
        np, size = self._np, len(self.labels)
        if self.kind == "list":
            codes, rows, _ = self.items
            picked = codes if mask is None else codes[mask[rows]]
            return np.bincount(self._places[picked], minlength=size)
        picked = self.codes if mask is None else self.codes[mask]
        return np.bincount(picked[picked >= 0], minlength=size)

    def holds(self, labels: Iterable[str], missing: bool = False) -> Any:
        """A mask of the rows whose value is one of `labels` (whose list has one), or missing."""
        np = self._np
        places = {text: at for at, text in enumerate(self.labels)}
        wanted = [places[text] for text in labels if text in places]
        if self.kind == "list":
            codes, rows, _ = self.items
            found = np.zeros(len(self), bool)
            found[rows[np.isin(self._places[codes], wanted)]] = True
        else:
            found = np.isin(self.codes, wanted)
        return found | self.missing if missing else found

    # -- by number

    @cached_property
    def numbers(self) -> Any:
        """Each row's number: of a date its seconds since 1970, of a text its length."""
        if self.kind == "number" and set(map(type, self._values)) <= {float, type(None)}:
            return self._np.array(self._values, "f8")  # None becomes NaN
        reads: dict[str, Callable[[Any], float]] = {"number": float, "date": seconds_of}
        read = reads.get(self.kind, _length)
        pairs = zip(self._values, self.missing, strict=True)
        return self._np.array([math.nan if gone else _float(read, it) for it, gone in pairs], "f8")

    @cached_property
    def edges(self) -> list[float]:
        """The ends of the bins, ascending; none where the values are all alike or not finite."""
        finite = self.numbers[self._np.isfinite(self.numbers)]
        if not len(finite):
            return []
        low, high = float(finite.min()), float(finite.max())
        known = self._known_edges
        if known and known[0] <= low and high <= known[-1]:
            return known
        whole = bool((finite == self._np.floor(finite)).all()) and self.kind != "date"
        if self.kind == "date":
            return date_bin_edges(low, high)
        return bin_edges(low, high, whole)

    def bins(self, mask: Any = None) -> Any:
        """Rows in each bin, where `mask` holds. The last bin has its upper end in it."""
        picked = self._bin if mask is None else self._bin[mask]
        return self._np.bincount(picked[picked >= 0], minlength=len(self.edges) - 1)

    @cached_property
    def _bin(self) -> Any:
        np = self._np
        places = np.searchsorted(np.array(self.edges), self.numbers, side="right") - 1
        last = len(self.edges) - 2
        places[self.numbers == self.edges[-1]] = last
        places[~np.isfinite(self.numbers) | (places < 0) | (places > last)] = -1
        return places

    def between(self, low: int, high: int) -> Any:
        """A mask of the rows in the bins from `low` up to, not with, `high`."""
        return (self._bin >= low) & (self._bin < high)

    def edge_text(self, at: int) -> str:
        """An end of a bin as text."""
        return edge_date(self.edges, at) if self.kind == "date" else number_text(self.edges[at])

    @cached_property
    def in_unit(self) -> bool:
        """Whether all its numbers are between 0 and 1, as a confidence is."""
        if self.kind != "number" or not (~self.missing).any():
            return False
        finite = self.numbers[~self.missing]
        whole = (finite == self._np.floor(finite)).all()
        return bool(((finite >= 0) & (finite <= 1)).all()) and not bool(whole)

    # -- in order

    def order(self, descending: bool) -> Any:
        """The positions of all rows by their value, equal ones as they were, missing ones last."""
        if descending not in self._orders:
            self._orders[descending] = self._ordered(descending)
        return self._orders[descending]

    def _ordered(self, descending: bool) -> Any:
        np, ranks = self._np, self._ranks
        present = np.flatnonzero(~self.missing)
        keys = ranks[present]
        if descending:  # equal rows keep their order: sort the reversed, and turn it round
            places = len(keys) - 1 - np.argsort(keys[::-1], kind="stable")[::-1]
        else:
            places = np.argsort(keys, kind="stable")
        return np.concatenate([present[places], np.flatnonzero(self.missing)])

    @cached_property
    def _ranks(self) -> Any:
        """Numbers that are in the order of the values."""
        np = self._np
        if self.kind == "date":
            return self.numbers
        if self.kind == "number":
            return self._exact()
        codes, labels = self._coded
        if self.kind in ("choice", "bool"):
            rank = self._places.copy()
            rank = -rank if self.kind == "bool" else rank  # true stands first, but is the larger
            return rank[codes]
        folded = [text.casefold() for text in labels]
        ranks = np.zeros(len(labels) + 1, dtype="i8")
        last, rank = None, 0
        for code in in_order(range(len(labels)), folded.__getitem__):
            rank += folded[code] != last
            ranks[code], last = rank, folded[code]
        return ranks[codes]

    def _exact(self) -> Any:
        """Whole numbers stay whole, as long as the machine has room for them."""
        pairs = list(zip(self._values, self.missing, strict=True))
        if all(gone or type(value) is int for value, gone in pairs):
            try:
                return self._np.array([0 if gone else value for value, gone in pairs], "i8")
            except OverflowError:
                pass
        return self.numbers


def in_order(places: Sequence[int], key: Callable[[int], Any]) -> Iterator[int]:
    """`places` sorted by their key, equal ones as they were.

    Put into `PARTS` by the keys of a sample first: one long sort would hold all threads.
    """
    if len(places) <= STEP:
        yield from sorted(places, key=key)
        return
    sample = sorted(map(key, places[:: max(1, len(places) // STEP)]))
    bounds = sample[:: max(1, len(sample) // PARTS)]
    parts: list[list[int]] = [[] for _ in range(len(bounds) + 1)]
    for place in places:
        parts[bisect_right(bounds, key(place))].append(place)
    yield from chain.from_iterable(sorted(part, key=key) for part in parts)


def value_text(value: Any) -> str:
    """The text of any value; a value that has none is named by its type."""
    if type(value) is str:
        return value
    try:
        return as_text(value)
    except Exception:  # a cell's own __str__ may raise anything
        return f"<{type(value).__name__}>"


def _float(read: Callable[[Any], float], value: Any) -> float:
    try:
        return read(value)
    except (OverflowError, ValueError):
        return math.inf


def _length(value: Any) -> float:
    return len(value_text(value))
