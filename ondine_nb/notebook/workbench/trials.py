"""Trials of a prompt on some rows: drafts, outcomes, and how two (or one and labels) agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median
from typing import Any

from ...data import Frame
from ...models import NO_USAGE, Prompt, Usage
from ...orchestration import NewColumn, Row
from ...prompts import as_text, is_missing
from ..ui import clean, safe

__all__ = [
    "NO_ANSWER",
    "Agreement",
    "Draft",
    "Outcome",
    "Score",
    "Trial",
    "agreement",
    "cells_at",
    "decisive",
    "score",
    "target",
    "token",
]


@dataclass(frozen=True)
class Draft:
    """What is asked: the prompt, and options named as Pipeline's (set ones only, `params` too)."""

    prompt: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def told_beside(self, other: Draft) -> str:
        """What this draft has that the other hasn't, in short: `strictness 5 · effort low`."""
        mine, theirs = self._parts(), other._parts()
        names = dict.fromkeys([*mine, *theirs])
        words = [
            name
            if name in ("prompt", "system", "schema")
            else f"{name} {mine.get(name, 'default')}"
            for name in names
            if mine.get(name) != theirs.get(name)
        ]
        return clean(" · ".join(words), 80)

    def _parts(self) -> dict[str, Any]:
        options = {name.replace("_", " "): it for name, it in self.options.items()}
        params = options.pop("params", {})
        return {"prompt": self.prompt, **params, **options}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of a trial; `cost` in USD, `latency` in seconds, None where it was not measured."""

    status: str = "not_run"
    answer: Mapping[str, Any] | None = None
    failure: str = ""
    cost: Decimal = Decimal(0)
    latency: float | None = None
    usage: Usage = NO_USAGE

    @classmethod
    def of(cls, row: Row | None) -> Outcome:
        """What became of `row`; None is one that was not run."""
        if row is None:
            return cls()
        failure = row.failure
        reason = "" if failure is None else f"{failure.label}: {safe(failure.message)}"
        return cls(row.status, row.outputs or None, reason, row.cost, row.latency, row.usage)


@dataclass(frozen=True)
class Trial:
    """A draft over the rows at `positions`, as far as it has come.

    `inputs` are the cells of the prompt's `columns`, `prompts` what was sent (None: skipped),
    `worth` what all answers cost when they were paid for, `cost` what they cost this time (USD;
    both None where the price is unknown), `labels` the rows' index as text ("" without one).
    """

    draft: Draft
    positions: tuple[int, ...]
    columns: tuple[str, ...]
    inputs: tuple[tuple[Any, ...], ...]
    prompts: tuple[str | None, ...]
    fields: tuple[NewColumn, ...]
    outcomes: tuple[Outcome, ...]
    cost: Decimal | None = None
    worth: Decimal | None = None
    seconds: float = 0.0
    state: str = "running"
    message: str = ""
    note: str = ""
    labels: tuple[str, ...] = ()

    def row_name(self, at: int) -> str:
        """The position of the sample's row `at`, with its index where there is one."""
        label = self.labels[at] if self.labels else ""
        known = label and label != str(self.positions[at])  # a sample's index is the position
        return f"{self.positions[at]:,} · {label}" if known else f"{self.positions[at]:,}"

    @property
    def answers(self) -> tuple[Mapping[str, Any] | None, ...]:
        """Each row's answer, or None, in the sample's order."""
        return tuple(outcome.answer for outcome in self.outcomes)

    @property
    def done(self) -> int:
        """How many rows are through, whatever became of them."""
        return sum(outcome.status != "not_run" for outcome in self.outcomes)

    @property
    def answered(self) -> int:
        """How many rows have an answer."""
        return sum(outcome.answer is not None for outcome in self.outcomes)

    @property
    def from_journal(self) -> int:
        """How many rows had an answer in the journal."""
        return sum(outcome.status == "journal" for outcome in self.outcomes)

    @property
    def failed(self) -> int:
        """How many rows failed."""
        return sum(outcome.status == "failed" for outcome in self.outcomes)

    @property
    def latencies(self) -> list[float]:
        """Seconds that the answers took, ascending."""
        return sorted(it.latency for it in self.outcomes if it.latency is not None)

    @property
    def latency(self) -> float | None:
        """The middle latency of the rows that were asked, in seconds."""
        measured = self.latencies
        return median(measured) if measured else None

    @property
    def ended(self) -> bool:
        """Whether the preview is over."""
        return self.state in ("done", "stopped", "failed")

    @classmethod
    def start(cls, draft: Draft, pipeline: Any, positions: Sequence[int]) -> Trial:
        """The trial before its first answer; `pipeline` is over the rows at `positions` alone."""
        template = pipeline.template
        inputs = tuple(cells_at(pipeline.frame, template.columns, range(len(positions))))
        prompts = tuple(_rendered(template, values) for values in inputs)
        fields = (
            tuple(pipeline.schema.fields)
            if pipeline.schema
            else (_PlainTextField(pipeline.options.column),)
        )
        empty = (Outcome(),) * len(positions)
        columns = tuple(template.columns)
        labels = tuple(
            ", ".join(clean(value, 40) for value in values)
            for values in pipeline.frame.labels(range(len(positions)))
        )
        return cls(draft, tuple(positions), columns, inputs, prompts, fields, empty, labels=labels)

    def now(self, run: Any) -> Trial:
        """The same trial, as far as `run` has come."""
        context = run.context
        known = run.priced
        return Trial(
            self.draft,
            self.positions,
            self.columns,
            self.inputs,
            self.prompts,
            self.fields,
            tuple(Outcome.of(row) for row in list(run.plan.rowset.rows)),
            cost=context.accumulated_cost if known else None,
            worth=context.accumulated_cost + context.metrics.saved if known else None,
            seconds=context.duration,
            state=run.state,
            message=safe(run.error) if run.error is not None else safe(context.metrics.message),
            note=clean(run.note, 400),
            labels=self.labels,
        )


@dataclass(frozen=True, slots=True)
class _PlainTextField:
    name: str
    kind: str = "str"
    choices: tuple[Any, ...] | None = None


def _rendered(template: Any, values: Sequence[Any]) -> str | None:
    try:
        prompt: Prompt | None = template.render(values)
    except Exception as error:  # a cell's own __str__ may raise anything; the run tells it too
        return f"({type(error).__name__}: {safe(error)})"
    return None if prompt is None else prompt.text


def cells_at(
    frame: Frame, columns: Sequence[str], positions: Sequence[int]
) -> list[tuple[Any, ...]]:
    """The cells of `columns` in the rows at `positions`."""
    chunks = frame.iter_rows(list(columns), positions=list(positions))
    return [row for chunk in chunks for row in chunk]


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
