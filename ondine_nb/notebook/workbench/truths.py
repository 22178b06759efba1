"""Labels at hand: what the rows of a sample ought to be, by a column or by what people have said.

A label that was given here, by a key, is the same as one of a review: it lies on disk under the
name of the result, is found by the row's content, and holds before what the column says.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...data import Frame
from ...errors import ConfigurationError
from ...evaluation import Label, LabelSet, Pair, RowLabels, Scores, same_answer, score_pairs, typed
from ...prompts import Field, as_text, is_missing

__all__ = ["Truths", "decisive", "target"]

_LOOKED_AT = 1_000  # labels of a column by which its field is known
Answers = Mapping[int, Mapping[str, Any] | None]  # by position


class Truths:
    """The true values of a frame's rows: those of the set `name`, and of the column of labels.

    `on` are the columns that a new label is known by, `fields` what can be labelled.
    """

    def __init__(
        self,
        frame: Frame,
        labels: LabelSet,
        on: Sequence[str],
        fields: Sequence[Field],
        column: str | None = None,
    ) -> None:
        self.frame: Frame = frame
        self.column: str | None = column
        self.fields: dict[str, Field] = {field.name: field for field in fields}
        self.rows: RowLabels | None = RowLabels(labels, frame, on) if on else None
        self._column: list[Any] = [] if column is None else _cells(frame, column)
        about = "" if column is None or not fields else target(fields, self._column)
        self.about: str = about

    @property
    def version(self) -> int:
        """Grows with each label."""
        return 0 if self.rows is None else self.rows.labels.version

    @property
    def judged(self) -> str:
        """The field that keys are about: the column's, else the one with most labels."""
        if self.about:
            return self.about
        there = Counter(name for at in self._said() for name in self.said(at))
        known = [name for name, _ in there.most_common() if name in self.fields]
        return known[0] if known else next(iter(decisive(list(self.fields.values()))), "")

    def _said(self) -> Mapping[int, Any]:
        return {} if self.rows is None else self.rows.lines()

    def said(self, position: int) -> dict[str, Any]:
        """What people have said of a row, by field."""
        if self.rows is None or position not in self.rows.lines():
            return {}
        return {name: value for name, (value, _) in self.rows.values(position).items()}

    def of(self, position: int, field: str) -> Any:
        """The true value of a row as the field's type; None where nobody knows it."""
        said = self.said(position)
        if field in said:
            value = said[field]
        elif field == self.about and position < len(self._column):
            value = self._column[position]
        else:
            return None
        known = self.fields.get(field)
        try:
            return None if known is None else typed(known, value)
        except ValueError:
            return None  # no value of this type: such a label says nothing

    def labelled(self, positions: Sequence[int] | None = None) -> list[int]:
        """The rows with a label of the judged field, ascending; of all, or of `positions`."""
        field = self.judged
        if positions is None:
            by_column = [at for at, it in enumerate(self._column) if not is_missing(it)]
            positions = sorted({*by_column, *self._said()})
        return [at for at in positions if self.of(at, field) is not None]

    def sample(self, rows: int) -> list[int]:
        """Positions of `rows` rows, ascending: those with a label first, else as `--sample` has it.

        A label more changes nothing as long as its row was in the sample.
        """
        usual = self.frame.sample_positions(rows)
        labelled = self.labelled()
        if not labelled:
            return usual
        drawn, within = set(usual), set(labelled)
        others = [at for at in labelled if at not in drawn]
        random.Random(0).shuffle(others)  # noqa: S311
        first = [*(at for at in usual if at in within), *others]
        return sorted([*first, *(at for at in usual if at not in within)][:rows])

    def add(self, position: int, field: str, value: Any) -> Label:
        """Keep `value` as the label of a row, durably. Raises `ConfigurationError`."""
        if self.rows is None or field not in self.fields:
            raise ConfigurationError("there is no field to label yet: preview first")
        return self.rows.add(position, {field: typed(self.fields[field], value)})

    def right(self, position: int, field: str, answer: Mapping[str, Any] | None) -> bool | None:
        """Whether an answer is what its label says; None where one lacks, or it's a fraction."""
        truth = self.of(position, field)
        if truth is None or answer is None or self.fields[field].kind == "float":
            return None
        return same_answer(self.fields[field], truth, answer.get(field))

    def scores(self, field: str, answers: Answers) -> Scores | None:
        """How right the answers of `field` are; None where no labelled row is answered."""
        known = self.fields.get(field)
        truths = {at: self.of(at, field) for at in answers}
        labelled = {at: truth for at, truth in truths.items() if truth is not None}
        pairs = []
        for at, truth in labelled.items():
            answer = answers[at]
            if answer is not None:
                pairs.append(Pair(truth, answer.get(field)))
        if known is None or not pairs:
            return None
        return score_pairs(known, pairs, unanswered=len(labelled) - len(pairs))


def decisive(fields: Sequence[Field]) -> tuple[str, ...]:
    """The fields on which answers agree or don't.

    Choices where there are any, else whole numbers and dates, else all: free text and fractions
    hardly ever come out alike.
    """
    for kinds in (("choice", "bool"), ("int", "date", "datetime")):
        found = tuple(field.name for field in fields if field.kind in kinds)
        if found:
            return found
    return tuple(field.name for field in fields)


def target(fields: Sequence[Field], labels: Sequence[Any]) -> str:
    """The field that the labels are about: the one whose choices fit them best."""
    there = (it for it in labels if not is_missing(it))
    known = {_plain(label) for label, _ in zip(there, range(_LOOKED_AT), strict=False)}

    def fit(field: Field) -> tuple[int, bool]:
        choices = field.choices or (("True", "False") if field.kind == "bool" else ())
        return len({_plain(choice) for choice in choices} & known), field.kind == "choice"

    return max(fields, key=fit).name


def _plain(value: Any) -> str:
    return as_text(value).strip().casefold()


def _cells(frame: Frame, column: str) -> list[Any]:
    return [cell for chunk in frame.iter_rows([column]) for (cell,) in chunk]
