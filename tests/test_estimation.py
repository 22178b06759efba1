"""Estimates: what they count, how they say how sure they are, and that they cost nothing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb.providers.anthropic import AnthropicProvider
from tests.asking import Asker, texts
from tests.server import MessagesServer

SCHEMA = "mood: good|bad, score: float, tags: list[str]"


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def lengths(n: int) -> pd.DataFrame:
    """Texts from a word to a page, sorted by length."""
    return pd.DataFrame({"text": [f"{at} " + "word " * (at * 7) for at in range(n)]})


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["text", "schema"])
@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-opus-5-5"])
@pytest.mark.parametrize("data", [texts(1), texts(40), lengths(60)], ids=["one", "short", "sorted"])
def test_what_a_run_costs_lies_between_low_and_high(
    asker: Asker, data: pd.DataFrame, model: str, schema: str | None
) -> None:
    pipeline = asker.pipeline(data, schema=schema, model=model)
    estimate = pipeline.estimate()
    assert asker.server.arrived == 0
    actual = pipeline.execute().costs
    assert actual.total_cost is not None
    assert estimate.low is not None
    assert estimate.low <= actual.total_cost <= (estimate.high or 0)
    assert estimate.low <= (estimate.total_cost or 0) <= (estimate.high or 0)
    assert estimate.rows == estimate.requests == len(data) == asker.server.arrived
    assert estimate.input_tokens == pytest.approx(actual.input_tokens, rel=0.2)
    assert estimate.total_tokens == estimate.input_tokens + estimate.output_tokens


def test_the_ceiling_holds_where_every_answer_is_as_dear_as_it_can_be(home: Path) -> None:
    def usage(body: Any, _text: str) -> dict[str, int]:
        return {"output_tokens": body["max_tokens"], "input_tokens": len(str(body).encode())}

    with MessagesServer(usage=usage) as server:
        pipeline = Asker(server, home).pipeline(lengths(30), max_tokens=300)
        estimate = pipeline.estimate()
        actual = pipeline.execute().costs.total_cost
    assert actual is not None
    assert actual <= (estimate.high or 0)


def test_an_estimate_says_whether_it_is_counted_or_rough(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = asker.pipeline(texts(20)).estimate()
    assert counted.confidence == "estimate"
    assert any("counted by the API on 8 prompts" in note for note in counted.notes)
    assert asker.server.calls["POST /v1/messages/count_tokens"] == 8

    async def unknown(self: Any, prompt: str) -> None:
        return None

    monkeypatch.setattr(AnthropicProvider, "count_tokens", unknown)
    rough = asker.pipeline(texts(20)).estimate()
    assert rough.confidence == "rough"
    assert any("rough" in note for note in rough.notes)
    assert any("1,024" in note for note in rough.notes)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_rows_journaled_doubled_or_skipped_are_not_counted_as_requests(
    asker: Asker, kind: Any
) -> None:
    asker.run(texts(10))
    cells = [*texts(30)["text"], None, "text 12", "text 3", "text 12"]
    pipeline = asker.pipeline(kind({"text": cells}))
    before = asker.server.arrived
    estimate = pipeline.estimate()
    assert (estimate.rows, estimate.requests) == (34, 20)
    pipeline.execute()
    assert asker.server.arrived - before == estimate.requests


def test_an_estimate_of_what_is_in_the_journal_is_nothing(asker: Asker) -> None:
    asker.run(texts(5))
    estimate = asker.pipeline(texts(5)).estimate()
    assert (estimate.requests, estimate.total_cost, estimate.high) == (0, 0, 0)
    fresh = asker.pipeline(texts(5), fresh=True).estimate()
    assert fresh.requests == 5
    assert fresh.total_cost is not None
    assert fresh.total_cost > 0


def test_paid_failures_are_free_and_cut_rows_count_where_they_would_be_sent(home: Path) -> None:
    with MessagesServer(faults={"cut": 1}) as server:
        asker = Asker(server, home)
        asker.run(texts(5), max_tokens=100)
        assert asker.pipeline(texts(5), max_tokens=100).estimate().requests == 0
        assert asker.pipeline(texts(5), max_tokens=200).estimate().requests == 5


def test_an_empty_frame_is_estimated_at_nothing(asker: Asker) -> None:
    estimate = asker.pipeline(texts(0)).estimate()
    assert (estimate.rows, estimate.requests, estimate.total_cost) == (0, 0, 0)


def test_an_unknown_price_leaves_the_costs_unknown_and_the_tokens_known(asker: Asker) -> None:
    estimate = asker.pipeline(texts(5), model="my-model").estimate()
    assert (estimate.total_cost, estimate.low, estimate.high) == (None, None, None)
    assert estimate.input_tokens > 0
    given = asker.pipeline(texts(5), model="my-model", price_in=1, price_out=2).estimate()
    tokens = Decimal(given.input_tokens + 2 * given.output_tokens)
    assert given.total_cost == pytest.approx(tokens / 1_000_000, rel=Decimal("0.01"))


def test_a_bad_key_makes_an_estimate_rough_not_an_error(home: Path) -> None:
    with MessagesServer(key="right") as server:
        estimate = Asker(server, home).pipeline(texts(5)).estimate()
    assert estimate.confidence == "rough"


async def test_an_estimate_works_inside_a_running_loop_in_both_ways(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(12))
    assert pipeline.estimate() == await pipeline.estimate_async()
    assert asker.server.ledger.requests == 0


def test_an_estimate_says_that_its_ceiling_leaves_out_what_is_asked_again(asker: Asker) -> None:
    notes = asker.pipeline(texts(5), schema="n: int").estimate().notes
    assert any("asked again, 2 times at most" in note for note in notes)
    assert not any("asked again" in note for note in asker.pipeline(texts(5)).estimate().notes)
