"""Corrections of a run's answers: the labels of its rows, and what stands for an answer by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import OndineError
from ...evaluation import RowLabels, json_value, typed
from ...pipeline import JudgedRun
from .review_form import FormField, form_fields
from .review_queue import confidence_of

__all__ = ["REVIEWER", "Correction", "Corrections"]

REVIEWER = "reviewer"  # who reviews, where nobody says


@dataclass(frozen=True, slots=True)
class Correction:
    """What a label says of one field of a row: its value, in the field's type, and by whom.

    `word` is "right" where the model's answer is the same, "corrected" where it is another, and
    "filled in" where the row has no answer.
    """

    value: Any
    reviewer: str
    word: str


class Corrections:
    """The labels of a run's rows, by position and field; new ones are durable when `say` returns.

    `fields` are the forms of the fields that can be corrected, by name. Labels that aren't of
    their field's type are left out, as in `run.corrected`.
    """

    def __init__(self, run: Any, reviewer: str) -> None:
        self.reviewer: str = reviewer
        self.judged: JudgedRun = JudgedRun(run)
        self.rows: RowLabels = self.judged.rows
        sure = confidence_of(run, None)
        known = (FormField(it) for it in form_fields(run) if it.name != sure)
        self.fields: dict[str, FormField] = {field.name: field for field in known}
        self._known: tuple[int, dict[int, dict[str, Correction]]] = (-1, {})

    @classmethod
    def of(cls, run: Any, reviewer: str) -> Corrections | None:
        """Those of `run`; None where its rows can't be labelled: it keeps none of them."""
        try:
            return cls(run, reviewer)
        except OndineError:
            return None

    @property
    def version(self) -> int:
        """Grows with each label that is read."""
        return self.rows.labels.version

    def refresh(self) -> bool:
        """Read what was said elsewhere since; gives whether there was anything."""
        before = self.version
        self.rows.labels.refresh()
        return self.version != before

    @property
    def found(self) -> Mapping[int, Mapping[str, Correction]]:
        """The labelled fields of each labelled row, by position."""
        version = self.version
        if self._known[0] != version:
            lines = self.rows.lines()
            self._known = version, {at: made for at in lines if (made := self._of_row(at))}
        return self._known[1]

    def _of_row(self, position: int) -> dict[str, Correction]:
        made = {}
        answers = self.judged.answer(position)
        for name, (said, reviewer) in self.rows.values(position).items():
            if name not in self.fields:
                continue
            try:
                value = typed(self.fields[name].known, said)
            except ValueError:
                continue
            word = "filled in"
            if name in answers:
                word = "right" if json_value(answers[name]) == json_value(value) else "corrected"
            made[name] = Correction(value, reviewer, word)
        return made

    def word(self, position: int) -> str | None:
        """What the review came to for a row as a whole; None for one that nobody judged."""
        words = {it.word for it in self.found.get(position, {}).values()}
        return next((it for it in ("filled in", "corrected", "right") if it in words), None)

    def say(self, position: int, name: str, held: Any) -> Sequence[int]:
        """Keep what the control of field `name` holds as a label of the row at `position`.

        Gives the rows that have this content. Raises `FormError` for what is no value of the field.
        """
        value = self.fields[name].value(held)
        label = self.rows.add(position, {name: value}, reviewer=self.reviewer)
        return self.rows.positions(label)

    def take_back(self, position: int, name: str) -> Sequence[int]:
        """Undo this reviewer's last label of the field alone; gives the rows that it was about."""
        label = self._own(position, name)
        if label is None:
            return []
        self.rows.undo(label, reviewer=self.reviewer)
        return self.rows.positions(label)

    def _own(self, position: int, name: str) -> Any:
        """The label that holds for a field, where it is this reviewer's and of nothing else."""
        said = [it for it in self.rows.lines().get(position, []) if name in it.fields]
        last = max(said, key=lambda label: label.order, default=None)
        own = last is not None and last.reviewer == self.reviewer and set(last.fields) == {name}
        return last if own else None

    def told(self, position: int) -> list[dict[str, Any]]:
        """The fields of a row as forms, for JSON: what each holds, and what was said of it."""
        answers, found = self.judged.answer(position), self.found.get(position, {})
        made = []
        for name, field in self.fields.items():
            model = field.shown(answers[name]) if name in answers else None
            said = found.get(name)
            label = None
            if said is not None:
                by = "" if said.reviewer == REVIEWER else said.reviewer
                label = {"word": said.word, "by": by}
            made.append(
                {
                    **field.described(),
                    "held": model if said is None else field.shown(said.value),
                    "was": field.word(answers[name]) if name in answers else "",
                    "label": label,
                    "undo": self._own(position, name) is not None,
                }
            )
        return made
