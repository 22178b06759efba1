"""How far two sets of answers agree, and how well each fits the labels that are known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..prompts import as_text, is_missing
from ..rows import NewColumn
from .html.texts import clean

__all__ = ["NO_ANSWER", "Agreement", "Score", "agreement", "decisive", "score", "target", "token"]

NO_ANSWER = "no answer"
Answers = Sequence[Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Rows that both answered, those on which they agree, and by which columns that is told."""

    rows: int
    same: int
    columns: tuple[str, ...]
    differing: frozenset[int]

    @property
    def rate(self) -> float | None:
        """0.0 to 1.0, None where no row has both answers."""
        return self.same / self.rows if self.rows else None


@dataclass(frozen=True, slots=True)
class Score:
    """Predictions against labels: `table[i][j]` rows of label `labels[i]` were `predicted[j]`.

    A row without an answer counts as wrong; a row without a label doesn't count.
    """

    rows: int
    accuracy: float
    macro_f1: float
    labels: tuple[str, ...]
    predicted: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]


def token(value: Any) -> str:
    """What two values are compared by: `Positive.` and `positive` are one, as are 1 and 1.0."""
    if is_missing(value):
        return ""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    return " ".join(as_text(value).split()).strip(".! ").casefold()


def decisive(fields: Sequence[NewColumn]) -> tuple[str, ...]:
    """The columns on which answers agree or don't.

    Choices where there are any, else whole numbers and dates, else all: free text and fractions
    hardly ever come out alike.
    """
    for kinds in (("choice", "bool"), ("int", "date", "datetime")):
        found = tuple(field.name for field in fields if field.kind in kinds)
        if found:
            return found
    return tuple(field.name for field in fields)


def agreement(a: Answers, b: Answers, columns: Sequence[str]) -> Agreement:
    """Where the answers `a` and `b` of the same rows agree on `columns`.

    A row that only one of them answered differs, without counting for the rate.
    """
    both, same, differing = 0, 0, set()
    for at, (one, other) in enumerate(zip(a, b, strict=True)):
        if one is None or other is None:
            if one is not other:
                differing.add(at)
            continue
        both += 1
        if all(token(one.get(name)) == token(other.get(name)) for name in columns):
            same += 1
        else:
            differing.add(at)
    return Agreement(both, same, tuple(columns), frozenset(differing))


def target(fields: Sequence[NewColumn], labels: Sequence[Any]) -> str:
    """The new column that the labels are about: the one whose choices fit them best."""
    known = {token(label) for label in labels}

    def fit(field: NewColumn) -> tuple[int, bool]:
        choices = field.choices or (("True", "False") if field.kind == "bool" else ())
        return len({token(choice) for choice in choices} & known), field.kind == "choice"

    return max(fields, key=fit).name


def score(answers: Answers, labels: Sequence[Any], column: str) -> Score | None:
    """How well `column` of the answers fits the labels; None where no row has a label.

    Macro F1 is the mean over every label that occurs, among the labels or among the answers.
    """
    pairs: list[tuple[str, str]] = []
    shown: dict[str, str] = {"": NO_ANSWER}
    for answer, label in zip(answers, labels, strict=True):
        if is_missing(label):
            continue
        value = None if answer is None else answer.get(column)
        for text in (label, value):
            shown.setdefault(token(text), clean(as_text(text), 40))
        pairs.append((token(label), token(value)))
    return _score(Counter(pairs), shown) if pairs else None


def _score(pairs: Counter[tuple[str, str]], shown: Mapping[str, str]) -> Score:
    wanted = sorted({label for label, _ in pairs})
    given = sorted({value for _, value in pairs} - set(wanted) - {""})
    columns = [*wanted, *given, *([""] if any(value == "" for _, value in pairs) else [])]
    total = pairs.total()
    right = sum(rows for (label, value), rows in pairs.items() if label == value)
    f1s = [_f1(pairs, name) for name in (*wanted, *given)]
    return Score(
        rows=total,
        accuracy=right / total,
        macro_f1=sum(f1s) / len(f1s),
        labels=tuple(shown[name] for name in wanted),
        predicted=tuple(shown[name] for name in dict.fromkeys(columns)),
        table=tuple(
            tuple(pairs[name, value] for value in dict.fromkeys(columns)) for name in wanted
        ),
    )


def _f1(pairs: Counter[tuple[str, str]], name: str) -> float:
    hits = pairs[name, name]
    wanted = sum(rows for (label, _), rows in pairs.items() if label == name)
    given = sum(rows for (_, value), rows in pairs.items() if value == name)
    return 2 * hits / (wanted + given)
