"""Runs that have ended, of any size, without sending: their records are made here."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from ondine_nb import Pipeline, Run
from ondine_nb.journal.entries import Entry
from ondine_nb.models import Failure, Usage
from ondine_nb.orchestration import Row

__all__ = ["EVIL", "FAILURES", "SCHEMA", "ended_run", "journal_answer", "reviews"]

SCHEMA = "sentiment: positive|negative|neutral, score: float, stars: int, why: str"
PROMPT = "How does the writer of this review feel? {text}"
TEXTS = (
    "Broke on the second day, and nobody answers the phone.",
    "Does what it says. The box was a bit dented.",
    "<b>Great</b> value, would buy it again for my mother",
    "I wanted blue. This is not blue.",
    "مرحبا بالعالم، منتج رائع جدا 🎉",
)
FAILURES = (
    ("refusal", "RefusalError", "the model refused to answer (stop_reason: refusal)"),
    ("schema not met", "SchemaNotMetError", "score: 'very good' is not a number (asked 3 times)"),
    ("cut at max_tokens", "CutAnswerError", "the answer was cut (stop_reason: max_tokens)"),
)
# What would hurt a view that doesn't escape, or can't cope.
EVIL = (
    "<script>window.hurt = 1</script>",
    "<img src=x onerror='window.hurt = 2'></pre></table></div>",
    "\x1b[31mred\x1b[0m \x07 \x00 \r\n\u202egnp.exe",
    "x" * 100_000,
    "مرحبا بالعالم \u2066 שלום 👩‍👩‍👧 🎉",
    "a lone \ud800 surrogate \udfff",
    "{{ 7 * 7 }} {% raw %} ${1}",
)


def reviews(rows: int, kind: str = "pandas") -> Any:
    data = {
        "text": [f"{TEXTS[at % len(TEXTS)]} ({at})" for at in range(rows)],
        "stars_given": [at % 5 + 1 for at in range(rows)],
        "when": [f"2026-{at % 12 + 1:02}-{at % 28 + 1:02}" for at in range(rows)],
    }
    return pd.DataFrame(data) if kind == "pandas" else pl.DataFrame(data)


def ended_run(
    data: Any, folder: Path, prompt: str = PROMPT, failing: float = 0.01, **options: Any
) -> Run:
    """A run over `data` as if it had ended: mostly answered, some from the journal, some failed."""
    given = {"schema": SCHEMA, "base_url": "http://127.0.0.1:9", "journal": folder, **options}
    run = Run(Pipeline(data, prompt, name="reviews", **given), name="labeled")
    dice = random.Random(7)
    rows = [_row(at, dice, failing) for at in range(len(run.pipeline.frame))]
    run.plan.rowset.rows[:] = rows
    context = run.context
    context.total_rows = len(rows)
    context.failed_rows = sum(row.status == "failed" for row in rows)
    context.processed_rows = len(rows) - context.failed_rows
    context.accumulated_cost = sum((row.cost for row in rows), Decimal(0))
    run._over = True
    return run


def _row(at: int, dice: random.Random, failing: float) -> Row:
    row = Row(at, (), {})
    chance = dice.random()
    if chance < failing:
        label, error, message = FAILURES[dice.choice((0, 0, 0, 1, 1, 2))]
        row.status, row.attempts, row.latency = "failed", 1 + dice.randrange(3), dice.random() * 4
        row.failure = Failure(at, "parse", error, message, row.attempts, label)
        row.cost, row.usage = Decimal("0.000041"), Usage(121, 12)
        return row
    mood = dice.choices(("positive", "negative", "neutral"), (5, 3, 1))[0]
    row.outputs = {
        "sentiment": mood,
        "score": round(dice.betavariate(5, 2), 3),
        "stars": dice.randrange(1, 6),
        "why": None
        if chance > 0.97
        else f"The writer says so in sentence {dice.randrange(10**6)}.",
    }
    if chance < 0.13:
        row.status = "journal"
        return row
    row.status, row.attempts, row.latency = "answered", 1, dice.lognormvariate(0.4, 0.4)
    row.cost, row.usage = Decimal("0.0000521") + Decimal(at % 7) / 10**7, Usage(130 + at % 40, 22)
    return row


def journal_answer(run: Run, position: int, text: str, **fields: Any) -> None:
    """Put an answer to the row's prompt into the run's journal."""
    template = run.pipeline.template
    ((values,),) = run.pipeline.frame.iter_rows(template.columns, positions=[position])
    lookup = run.plan.asker.lookup
    usage = {"input_tokens": 130, "output_tokens": 22}
    body = {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
    known = {"latency": 1.9, "model": run.model, "cost": "0.000024", **fields}
    entry = Entry(
        lookup.key(template.render(values)), run.id, json.dumps(body).encode(), 1024, **known
    )
    asyncio.run(lookup.journal.append(entry))
