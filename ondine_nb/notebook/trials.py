"""What a draft asks, and what came of trying it on some rows: values without widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import median
from typing import Any

from ..frames import Frame
from ..models import Usage
from ..rows import NO_USAGE, NewColumn, Row
from .html.texts import clean, safe

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
        return cls(row.status, row.outputs, reason, row.cost, row.latency, row.usage)


@dataclass(frozen=True)
class Trial:
    """A draft over the rows at `positions`, as far as it has come.

    `inputs` are the cells of the prompt's `columns`, `prompts` what was sent (None: skipped),
    `worth` what all answers cost when they were paid for, `cost` what they cost this time (USD;
    both None where the price is unknown).
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
            else (_Column(pipeline.options.column),)
        )
        empty = (Outcome(),) * len(positions)
        columns = tuple(template.columns)
        return cls(draft, tuple(positions), columns, inputs, prompts, fields, empty)

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
            tuple(Outcome.of(row) for row in list(run.job.rowset.rows)),
            cost=context.accumulated_cost if known else None,
            worth=context.accumulated_cost + context.gauges.saved if known else None,
            seconds=context.duration,
            state=run.state,
            message=safe(run.error) if run.error is not None else safe(context.gauges.message),
            note=clean(run.note, 400),
        )


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: str = "str"
    choices: tuple[Any, ...] | None = None


def _rendered(template: Any, values: Sequence[Any]) -> str | None:
    try:
        text: str | None = template.render(values)
    except Exception as error:  # a cell's own __str__ may raise anything; the run tells it too
        return f"({type(error).__name__}: {safe(error)})"
    return text


def cells_at(
    frame: Frame, columns: Sequence[str], positions: Sequence[int]
) -> list[tuple[Any, ...]]:
    """The cells of `columns` in the rows at `positions`."""
    chunks = frame.iter_rows(list(columns), positions=list(positions))
    return [row for chunk in chunks for row in chunk]
