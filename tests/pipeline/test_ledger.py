"""A run has cost what the price table makes of each billed request, to the last digit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Run
from ondine_nb.journal.journal import shared
from ondine_nb.pipeline.spending import read_spending
from ondine_nb.sending.retry import Backoff
from ondine_nb.stages.batch import BatchPolicy
from ondine_nb.stages.batch import plan as batching
from tests.asking import CHAT, MESSAGES, Asker, ended, texts
from tests.server import MessagesServer
from tests.server.batches import BatchRules
from tests.server.ledger import Billed
from tests.server.packs import Garbler
from tests.table import HEAD, cost_of

SCHEMA = "mood: good|bad, n: int"
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "caching": {"prompt": HEAD + "Tell: {text}", "system": HEAD},
    "batch": {"batch": True},
    "batch and caching": {"batch": True, "system": HEAD},
    "packing": {"pack": 10},
    "packing and caching": {"pack": 10, "prompt": HEAD + "Tell: {text}"},
    "packs of plain text": {"pack": 7, "schema": None},
}
MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2")


def uneven(body: Any, text: str) -> dict[str, int]:
    """Prompts of all lengths, some far in the dear tier; the same for the same request."""
    rng = random.Random(str(body["messages"]))
    return {
        "input_tokens": rng.choice([7, 1_013, 99_999, 100_001, 250_003]),
        "output_tokens": rng.randrange(1, 2_000),
    }


def spoiling(pack: bool) -> Callable[[Any, int], str | None]:
    """A third of the first answers break the schema, and now and then one can't be delivered."""

    def plan(body: Any, attempt: int) -> str | None:
        drawn = random.Random(f"{attempt}{body['messages']}").random()
        if drawn < 0.1:
            return "500"
        return "bad_schema" if attempt == 1 and drawn < 0.4 and not pack else None

    return plan


@pytest.mark.parametrize(
    ("way", "model"),
    [
        *((way, model) for way in WAYS for model in MODELS),
        *((way, "openai:gpt-4.1-mini") for way in WAYS if "batch" in way),
    ],
)
def test_each_answered_request_at_the_real_table_adds_up_to_the_costs_of_the_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, way: str, model: str
) -> None:
    monkeypatch.setattr(batching, "PACE", BatchPolicy(first=0.02, longest=0.1))
    options = {"schema": SCHEMA, "model": model, **WAYS[way]}
    prompt = options.pop("prompt", "Tell: {text}")
    with MessagesServer(
        usage=None if "caching" in way else uneven,
        plan=spoiling("pack" in options),
        answer=Garbler(0.5) if "pack" in options else None,
        batches=BatchRules(delay=0.05),
    ) as server:
        asker = Asker(server, home, CHAT if model.startswith("openai:") else MESSAGES)
        run = Run(asker.pipeline(texts(120), prompt, **options))
        stage: Any = run.plan.stages[2]
        stage.backoff = Backoff(base=0.01, longest=0.05)
        asyncio.run(ended(run))
        assert run.state == "done"
        assert run.context.failed_rows == 0
        entries = server.ledger.entries
    wanted = sum(map(cost_of, entries), Decimal(0))
    costs = run.costs
    assert costs.total_cost == wanted
    for parts in (
        costs.breakdown_by_stage,
        costs.breakdown_by_kind,
        costs.breakdown_by_attempt,
    ):
        assert sum(parts.values()) == wanted  # type: ignore[arg-type]
    rows = [row for row in run.plan.rowset.rows if row is not None]
    assert sum((row.cost for row in rows), Decimal(0)) == wanted
    assert costs.output_tokens == sum(entry.output_tokens for entry in entries)
    assert costs.input_tokens == sum(row.usage.prompt_tokens for row in rows)
    (spent,) = read_spending(shared(asker.folder), "run")
    assert (spent.cost, spent.unpriced) == (wanted, 0)
    assert way == "plain" or any(special(entry, way) for entry in entries)


def special(entry: Billed, way: str) -> bool:
    """Whether the way was really gone."""
    if "caching" in way and not entry.cache_read_input_tokens:
        return False
    if "batch" in way or "caching" in way:
        return entry.batch == ("batch" in way)
    return "The requests:" in entry.prompt
