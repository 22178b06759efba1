"""Two runs, or two tries, over the same rows: their answers, and by labels which are right.

Rows are known by the content of the columns that the prompts read: the first row of one that says
the same as the first of the other is the same row, whatever their order, then the second ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from ...data import Column, Frame
from ...errors import ColumnError, nearest
from ...evaluation import (
    Change,
    Pair,
    Paired,
    Scores,
    Try,
    changes,
    class_of,
    key_text,
    pair,
    same_answer,
    score_pairs,
    told,
)
from ...prompts import Field
from ..ui import clean, row_count
from .side import Side, told_apart

__all__ = ["STATES", "ComparedRow", "Comparison", "FieldAgreement"]

# What became of a row by its label, in the order in which rows are looked at; and without one.
STATES = ("broke", "fixed", "wrong", "differ", "no answer", "right", "same")
MOST_CLASSES = 12  # of which a confusion matrix is shown


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One row: its positions in both frames, its label, and the answers of the field compared.

    `scored` is one with a label, unless it served as an example. `rights` say whether each answer
    is the label (None: not scored, or no answer); `state` is one of `STATES`: of a scored row
    broke, fixed, wrong or right by both; else differ, same or no answer.
    """

    at: int
    other: int
    label: Any
    answers: tuple[Any, Any]
    answered: tuple[bool, bool]
    rights: tuple[bool | None, bool | None]
    differs: bool
    state: str
    scored: bool


@dataclass(frozen=True, slots=True)
class FieldAgreement:
    """A field on which both answered `rows` rows, `same` of them alike; of numbers the medians."""

    name: str
    rows: int
    same: int
    medians: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.medians is not None:
            return f"median {self.medians[0]:.3g} → {self.medians[1]:.3g}"
        return f"{self.same:,} of {self.rows:,} the same"


class Comparison:
    """What `b` answers otherwise than `a`, and which of the two is right where there is a label.

    `truths` has by field a label (or None) for each row of `a`; `field` is the one compared, by
    itself the first one with labels, else the first that tells rows apart. `frame` has a row for
    each row of both, `test` is the paired test; `pairs` are the positions of the rows of both in
    each (found by content where they aren't given). Rows of `a` that are `served` were shown to one
    of the two as examples, or nearly so: no score is taken on them. Raises `ColumnError` for a
    field that one of them lacks, and where they have no row in common.
    """

    def __init__(
        self,
        a: Side,
        b: Side,
        truths: Mapping[str, Sequence[Any]] | None = None,
        field: str | None = None,
        *,
        pairs: list[tuple[int, int]] | None = None,
        served: Collection[int] = (),
    ) -> None:
        a, b = told_apart(a, b)
        self.a: Side = a
        self.b: Side = b
        self.truths: dict[str, Sequence[Any]] = dict(truths or {})
        names = {it.name for it in b.fields}
        self.fields: list[Field] = [it for it in a.fields if it.name in names]
        if not self.fields:
            raise ColumnError(
                f"{self.a.name} and {self.b.name} have no field in common: "
                f"{', '.join(it.name for it in a.fields)} and "
                f"{', '.join(it.name for it in b.fields)}"
            )
        self.served: frozenset[int] = frozenset(served)
        self.pairs: list[tuple[int, int]] = _joined(self.a, self.b) if pairs is None else pairs
        self.field: Field = self._field(field)

    def _field(self, wanted: str | None) -> Field:
        known = {it.name: it for it in self.fields}
        if wanted is None:
            labelled = [it for it in self.fields if it.name in self.truths]
            decided = [it for it in self.fields if it.kind in ("choice", "bool")]
            return (labelled or decided or self.fields)[0]
        if wanted not in known:
            near = nearest(wanted, known)
            hint = f": did you mean {near!r}?" if near else f" ({', '.join(known)})"
            raise ColumnError(f"both have no field {wanted!r}{hint}")
        return known[wanted]

    def of(
        self,
        field: str | None,
        truths: Mapping[str, Sequence[Any]] | None = None,
        served: Collection[int] | None = None,
    ) -> Comparison:
        """The same two by another field, or by other labels."""
        known = self.truths if truths is None else truths
        shown = self.served if served is None else served
        return Comparison(self.a, self.b, known, field, pairs=self.pairs, served=shown)

    # -- rows

    @cached_property
    def rows(self) -> list[ComparedRow]:
        """The rows of both, in the order of the first."""
        known, truths = self.field, self.truths.get(self.field.name)
        ones, twos = self.a.answers[known.name], self.b.answers[known.name]
        found = []
        for at, other in self.pairs:
            answers = ones[at], twos[other]
            answered = self.a.answered[at], self.b.answered[other]
            label = None if truths is None else truths[at]
            scored = label is not None and at not in self.served
            rights = tuple(
                same_answer(known, label, answer) if there and scored else None
                for answer, there in zip(answers, answered, strict=True)
            )
            differs = answered[0] != answered[1] or not same_answer(known, *answers)
            state = _state(rights, answered, differs)
            found.append(
                ComparedRow(
                    at,
                    other,
                    label,
                    answers,
                    answered,
                    (rights[0], rights[1]),
                    differs,
                    state,
                    scored,
                )
            )
        return found

    @property
    def only(self) -> tuple[int, int]:
        """How many rows only the first has, and only the second."""
        pairs = len(self.pairs)
        return len(self.a.frame) - pairs, len(self.b.frame) - pairs

    @property
    def labelled(self) -> int:
        """How many rows of both have a label to be scored by."""
        return sum(row.scored for row in self.rows)

    @property
    def unscored(self) -> int:
        """How many rows of both have a label, but served as examples."""
        return sum(row.label is not None and not row.scored for row in self.rows)

    def tab(self, name: str) -> list[ComparedRow]:
        """The rows of a tab: all, wrong (by the second), fixed, broke or differ."""
        if name == "all":
            return self.rows
        if name == "wrong":
            return [row for row in self.rows if row.rights[1] is False]
        if name == "differ":
            return [row for row in self.rows if row.differs]
        return [row for row in self.rows if row.state == name]

    @property
    def tabs(self) -> dict[str, int]:
        """How many rows each tab has; those that need labels only where there are some."""
        names = ["all", *(["wrong", "fixed", "broke"] if self.labelled else []), "differ"]
        return {name: len(self.tab(name)) for name in names}

    # -- figures

    @cached_property
    def test(self) -> Paired:
        """The paired test by the labelled rows that both answered."""
        rows = [row for row in self.rows if row.scored]
        sides = [[row.rights[at] for row in rows] for at in (0, 1)]
        return pair(self.a.name, self.b.name, *sides)

    @cached_property
    def scores(self) -> tuple[Scores, Scores]:
        """The scores of each by the labels of these rows; rows without an answer don't count."""
        one, two = (
            score_pairs(
                self.field,
                [
                    Pair(row.label, row.answers[at])
                    for row in self.rows
                    if row.scored and row.answered[at]
                ],
            )
            for at in (0, 1)
        )
        return one, two

    def matrix(self, side: int) -> tuple[list[str], list[str], dict[tuple[str, str], int]]:
        """Labels, answers and the rows of each cell for one side (0 or 1), choices in their order.

        Nothing without labels, for numbers and lists, and of more than `MOST_CLASSES` classes.
        """
        rows = [row for row in self.rows if row.rights[side] is not None]
        if self.field.kind in ("float", "json") or self.field.kind.startswith("list["):
            return [], [], {}
        cells = Counter((class_of(row.label), class_of(row.answers[side])) for row in rows)
        order = [class_of(it) for it in self.field.choices or ()]
        every = {name for cell in cells for name in cell}
        names = [*(it for it in order if it in every), *sorted(every - set(order))]
        if not 0 < len(names) <= MOST_CLASSES:
            return [], [], {}
        used = {truth for truth, _ in cells}
        return [it for it in names if it in used], names, dict(cells)

    @cached_property
    def others(self) -> list[FieldAgreement]:
        """The other fields without a label: on how many rows they agree."""
        return [
            self._agreement(it)
            for it in self.fields
            if it.name != self.field.name and it.name not in self.truths
        ]

    @cached_property
    def agreement(self) -> FieldAgreement:
        """On how many rows both give the same answer in the field compared."""
        return self._agreement(self.field)

    def _agreement(self, known: Field) -> FieldAgreement:
        ones, twos = self.a.answers[known.name], self.b.answers[known.name]
        both = [
            (ones[at], twos[other])
            for at, other in self.pairs
            if self.a.answered[at] and self.b.answered[other]
        ]
        same = sum(same_answer(known, *each) for each in both)
        numbers = [[it for it in side if it is not None] for side in zip(*both, strict=True)]
        medians = None
        if known.kind == "float" and len(numbers) == 2 and all(numbers):
            medians = float(median(numbers[0])), float(median(numbers[1]))
        return FieldAgreement(known.name, len(both), same, medians)

    @cached_property
    def changes(self) -> list[Change]:
        """What the second asks otherwise than the first."""
        if not (self.a.settings or self.b.settings):
            return []
        return changes(Try(self.a.settings), Try(self.b.settings))

    # -- as a frame and as text

    @cached_property
    def frame(self) -> Any:
        """The rows of both as a frame like the first one's: its columns, then for the field
        compared `FIELD_label`, an answer each as `FIELD_NAME`, and the row's `comparison`."""
        known, rows = self.field, self.rows
        frame = self.a.frame.take([row.at for row in rows])
        names = [f"{known.name}_label", *(f"{known.name}_{it.name}" for it in (self.a, self.b))]
        values = [
            [row.label for row in rows],
            *([row.answers[at] for row in rows] for at in (0, 1)),
        ]
        columns = [
            _column(known, _free(name, frame), cells)
            for name, cells in zip(names, values, strict=True)
            if name != names[0] or known.name in self.truths
        ]
        states = [row.state for row in rows]
        columns.append(Column(_free("comparison", frame), "choice", states, STATES))
        return frame.with_columns(columns)

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """The comparison in a few lines of text."""
        a, b, name = self.a.name, self.b.name, clean(self.field.name, 60)
        yield f"{b} against {a}: {name} of {row_count(len(self.rows))}{self.told_apart()}"
        if self.changes:
            yield f"changed: {told(self.changes, 160)}"
        if self.labelled:
            for side, scores in zip((self.a, self.b), self.scores, strict=True):
                yield f"{side.name}: {score_line(scores)}"
            counts = self.tabs
            yield f"fixed {counts['fixed']:,} · broke {counts['broke']:,}"
            yield f"{self.test.sentence}."
        else:
            yield f"no row has a label of {name}; the answers: {self.agreement}"
        if self.unscored:
            yield f"not scored: {row_count(self.unscored)} that served as examples"
        yield from (f"{clean(it.name, 60)}: {it}" for it in self.others)

    def told_apart(self) -> str:
        """ " (3 rows only in A)", or ""."""
        parts = [
            f"{row_count(rows)} only in {side.name}"
            for rows, side in zip(self.only, (self.a, self.b), strict=True)
            if rows
        ]
        return f" ({', '.join(parts)})" if parts else ""


def score_line(scores: Scores) -> str:
    """ "34 of 40 right, 0.85 (0.71 to 0.93)", or of numbers the mean error."""
    if not scores.n:
        return "no labelled row is answered"
    low, high = scores.interval or (None, None)
    between = "" if low is None else f" ({low:.2f} to {high:.2f})"
    if scores.accuracy is None:
        return f"mean error {scores.mae:.3g}{between} on {row_count(scores.n)}"
    right = round(scores.accuracy * scores.n)
    return f"{right:,} of {scores.n:,} right, {scores.accuracy:.2f}{between}"


# --- which rows are the same


def _joined(a: Side, b: Side) -> list[tuple[int, int]]:
    """The rows of both: by what the prompts read, where both frames have it; equal ones in turn."""
    read = dict.fromkeys([*a.columns, *b.columns])
    shared = [name for name in read if name in a.frame.columns and name in b.frame.columns]
    if not shared:
        if len(a.frame) != len(b.frame):
            raise ColumnError(
                f"{a.name} and {b.name} share no column that a prompt reads, and have other "
                "numbers of rows: which rows are the same can't be told"
            )
        return [(at, at) for at in range(len(a.frame))]
    places: dict[tuple[str, ...], list[int]] = {}
    for at, key in reversed(list(enumerate(_keys(b.frame, shared)))):
        places.setdefault(key, []).append(at)
    pairs = []
    for at, key in enumerate(_keys(a.frame, shared)):
        if left := places.get(key):
            pairs.append((at, left.pop()))
    if not pairs and len(a.frame) and len(b.frame):
        raise ColumnError(
            f"no row of {a.name} is in {b.name}, by {', '.join(shared)}: give two over the same "
            "rows"
        )
    return pairs


def _keys(frame: Frame, columns: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for chunk in frame.iter_rows(list(columns)):
        for cells in chunk:
            yield tuple(map(key_text, cells))


def _state(rights: Sequence[bool | None], answered: tuple[bool, bool], differs: bool) -> str:
    one, two = rights
    if one is not None and two is not None:
        return ("right" if two else "broke") if one else ("fixed" if two else "wrong")
    if not all(answered):
        return "no answer"
    return "differ" if differs else "same"


def _column(known: Field, name: str, values: Sequence[Any]) -> Column:
    if known.kind != "choice":
        return Column(name, known.kind, list(values))
    choices = dict.fromkeys([*(known.choices or ()), *(it for it in values if it is not None)])
    return Column(name, "choice", list(values), tuple(choices))


def _free(name: str, frame: Frame) -> str:
    while name in frame.columns:
        name += "_"
    return name
