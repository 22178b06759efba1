"""Trials of a prompt on some rows: what is asked, and what has become of each row so far."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median
from typing import Any

from ...data import Frame
from ...evaluation import Try, key_text
from ...models import NO_USAGE, Prompt, Usage
from ...orchestration import Row
from ...prompts import Field, as_text, is_missing
from ..comparison import Side
from ..ui import Pictures, clean, safe

__all__ = ["Draft", "Outcome", "Trial", "cells_at"]


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
    `served` are the positions of rows that stood before prompts as examples, or that nearly equal
    one: what is answered to them says nothing of how right a prompt is.
    """

    draft: Draft
    positions: tuple[int, ...]
    columns: tuple[str, ...]
    inputs: tuple[tuple[Any, ...], ...]
    prompts: tuple[str | None, ...]
    fields: tuple[Field, ...]
    outcomes: tuple[Outcome, ...]
    cost: Decimal | None = None
    worth: Decimal | None = None
    seconds: float = 0.0
    state: str = "running"
    message: str = ""
    note: str = ""
    labels: tuple[str, ...] = ()
    served: frozenset[int] = frozenset()
    pictures: Pictures | None = field(default=None, compare=False, repr=False)

    def row_name(self, at: int) -> str:
        """The position of the sample's row `at`, with its index where there is one."""
        label = self.labels[at] if self.labels else ""
        known = label and label != str(self.positions[at])  # a sample's index is the position
        return f"{self.positions[at]:,} · {label}" if known else f"{self.positions[at]:,}"

    def texts(self, most: int, media: Collection[str] = ()) -> list[int]:
        """The places of the columns that are read: of the prompt's, long and varying ones first.

        Those of `media` are looked at.
        """

        def weight(at: int) -> tuple[int, int]:
            cells = [as_text(row[at]) for row in self.inputs if not is_missing(row[at])]
            return len(set(cells)) * sum(map(len, cells)), -at

        read = [at for at, name in enumerate(self.columns) if name not in media]
        return sorted(read, key=weight, reverse=True)[:most]

    @property
    def content(self) -> str:
        """A digest of what the prompt reads in these rows."""
        digest = hashlib.sha256()
        for row in self.inputs:
            for cell in row:
                digest.update(key_text(cell).encode() + b"\0")
        return digest.hexdigest()[:16]

    @property
    def answers(self) -> tuple[Mapping[str, Any] | None, ...]:
        """Each row's answer, or None, in the sample's order."""
        return tuple(outcome.answer for outcome in self.outcomes)

    @property
    def scorable(self) -> dict[int, Mapping[str, Any] | None]:
        """The answers by position, of the rows that weren't shown as examples."""
        answers = zip(self.positions, self.answers, strict=True)
        return {at: answer for at, answer in answers if at not in self.served}

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

    def side(self, kept: Try, frame: Frame) -> Side:
        """It as one side of a comparison: as what it was `kept`, over rows of `frame`."""
        answers = self.answers
        return Side(
            kept.name,
            frame.take(self.positions),
            self.fields,
            {
                it.name: [None if answer is None else answer.get(it.name) for answer in answers]
                for it in self.fields
            },
            [answer is not None for answer in answers],
            self.columns,
            kept.settings,
            {at: clean(it.failure, 200) for at, it in enumerate(self.outcomes) if it.failure},
            self.worth,
            self.positions,
        )

    @classmethod
    def start(cls, draft: Draft, pipeline: Any, positions: Sequence[int]) -> Trial:
        """The trial before its first answer; `pipeline` is over the rows at `positions` alone."""
        template = pipeline.template
        inputs = tuple(cells_at(pipeline.frame, template.columns, range(len(positions))))
        prompts = tuple(_rendered(pipeline, values) for values in inputs)
        fields = (
            tuple(pipeline.schema.fields)
            if pipeline.schema
            else (Field(pipeline.options.column, "str"),)
        )
        empty = (Outcome(),) * len(positions)
        columns = tuple(template.columns)
        labels = tuple(
            ", ".join(clean(value, 40) for value in values)
            for values in pipeline.frame.labels(range(len(positions)))
        )
        known = pipeline.examples
        shown = [False] * len(positions) if known is None else known.served(inputs)
        served = frozenset(at for at, it in zip(positions, shown, strict=True) if it)
        asked = (draft, tuple(positions), columns, inputs, prompts, fields, empty)
        return cls(*asked, labels=labels, served=served, pictures=Pictures.of(pipeline))

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
            served=self.served,
            pictures=self.pictures,
        )


def _rendered(pipeline: Any, values: Sequence[Any]) -> str | None:
    """A row's prompt as it is sent, with its examples; None where there is nothing to ask."""
    try:
        prompt: Prompt | None = pipeline.template.render(values)
        if prompt is not None and pipeline.examples is not None:
            prompt = Prompt(*pipeline.examples.before([values]), *prompt.parts)
    except Exception as error:  # a cell's own __str__ may raise anything; the run tells it too
        return f"({type(error).__name__}: {safe(error)})"
    return None if prompt is None else prompt.text


def cells_at(
    frame: Frame, columns: Sequence[str], positions: Sequence[int]
) -> list[tuple[Any, ...]]:
    """The cells of `columns` in the rows at `positions`."""
    chunks = frame.iter_rows(list(columns), positions=list(positions))
    return [row for chunk in chunks for row in chunk]
