"""Estimates: what they count, how they say how sure they are, and that they cost nothing."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.models import Usage
from ondine_nb.orchestration import ExecutionContext
from ondine_nb.pipeline.estimate import projected
from ondine_nb.providers import BatchLimits
from ondine_nb.providers.anthropic import MessageBatches
from ondine_nb.providers.anthropic.client import AnthropicProvider
from tests.asking import Asker, texts
from tests.server import MessagesServer
from tests.table import HEAD

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


def test_the_ceiling_has_room_for_what_is_asked_again_and_says_so(home: Path) -> None:
    def usage(body: Any, _text: str) -> dict[str, int]:
        return {"output_tokens": body["max_tokens"], "input_tokens": len(str(body).encode())}

    with MessagesServer(faults={"bad_schema": 1}, usage=usage) as server:
        pipeline = Asker(server, home).pipeline(texts(10), schema="n: int")
        estimate = pipeline.estimate()
        assert any("asked again 2 times" in note for note in estimate.notes)
        actual = pipeline.execute().costs.total_cost
        assert server.ledger.requests == 30
        assert actual is not None
        assert (estimate.high or 0) / 3 < actual <= (estimate.high or 0)
        plain = Asker(server, home).pipeline(texts(5)).estimate()
        assert not any("asked again" in note for note in plain.notes)


KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "schema": {"schema": SCHEMA},
    "schema broken now and then": {"schema": SCHEMA, "faults": {"bad_schema": 0.3}},
    "cut": {"faults": {"cut": 0.5}, "max_tokens": 200},
    "failures and retries": {"faults": {"500": 0.1, "429": 0.1, "refusal": 0.1}},
    "cached head": {"prompt": HEAD + "Tell: {text}"},
    "cached system": {"system": HEAD},
    "cached already": {"system": HEAD, "warm": True},
    "cached on a dear model": {"system": HEAD, "model": "claude-opus-5-5"},
    "thinking": {"thinking": "auto", "model": "claude-sonnet-5-5"},
    "half in the journal": {"before": 30},
    "with history": {"before": 30, "fresh": True},
}


@pytest.mark.parametrize("how", [{}, {"executor": "sync"}], ids=["async", "sync"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_ledger_has_of_any_kind_of_run_lies_in_the_range_told_before(
    home: Path, kind: str, how: dict[str, Any]
) -> None:
    options = {**KINDS[kind], **how}
    prompt, before = options.pop("prompt", "Tell: {text}"), options.pop("before", 0)
    warm, faults = options.pop("warm", False), options.pop("faults", {})
    with MessagesServer(faults=faults, thinking=kind == "thinking", latency=0.01) as server:
        asker = Asker(server, home)
        if before or warm:
            asker.run(texts(before or 3, start=0 if before else 900), prompt, **options)
        billed = len(server.ledger.entries)
        pipeline = asker.pipeline(lengths(60) if not before else texts(60), prompt, **options)
        estimate = pipeline.estimate()
        run = asker.run(pipeline.frame.native, prompt, **options)
        price = pipeline.provider.price
        assert price is not None
        actual = sum(
            price.cost(
                Usage(
                    entry.input_tokens,
                    entry.output_tokens,
                    entry.cache_read_input_tokens,
                    entry.cache_creation_input_tokens,
                )
            )
            for entry in server.ledger.entries[billed:]
        )
    assert actual == run.cost
    for told in (estimate, run.estimate):
        assert told is not None
        assert told.low is not None
        assert told.total_cost is not None
        assert told.low <= actual <= (told.high or 0)
        assert told.low <= told.total_cost <= (told.high or 0)


def test_earlier_answers_to_the_prompt_tell_the_length_of_the_next_ones(asker: Asker) -> None:
    by_rule = asker.pipeline(texts(50, start=500)).estimate()
    assert "output tokens by a rule of thumb: 150 an answer" in by_rule.notes
    first = asker.run(texts(20))
    known = asker.pipeline(texts(50, start=500)).estimate()
    assert "output tokens by 20 earlier answers to this prompt" in known.notes
    assert known.output_tokens == 50 * first.costs.output_tokens // 20
    other = asker.pipeline(texts(50, start=500), "Another prompt: {text}").estimate()
    assert other.output_tokens == by_rule.output_tokens
    settings = asker.pipeline(texts(50, start=500), system="Other settings").estimate()
    assert settings.output_tokens == by_rule.output_tokens


def test_earlier_answers_count_after_their_kernel_has_ended_and_with_fresh(asker: Asker) -> None:
    asker.run(texts(20))
    asker.end_process()
    estimate = asker.pipeline(texts(20), fresh=True).estimate()
    assert "output tokens by 20 earlier answers to this prompt" in estimate.notes
    assert estimate.requests == 20


def test_a_previewed_prompt_is_estimated_by_its_preview(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(300))
    pipeline.preview(8)
    assert "output tokens by 8 earlier answers to this prompt" in pipeline.estimate().notes


def test_a_cached_beginning_makes_the_estimate_about_as_cheap_as_the_run(home: Path) -> None:
    with MessagesServer(latency=0.01) as server:
        asker = Asker(server, home)
        asker.run(texts(10), system=HEAD)
        pipeline = asker.pipeline(texts(200, start=100), system=HEAD)
        estimate = pipeline.estimate()
        uncached = asker.pipeline(texts(200, start=100), system=HEAD, cache="off").estimate()
        actual = pipeline.execute().costs.total_cost
    assert actual is not None
    # The server bills what JSON adds to the texts too, and never from its cache.
    assert estimate.total_cost == pytest.approx(actual, rel=Decimal("0.4"))
    assert (uncached.total_cost or 0) > 4 * actual


def test_the_estimate_of_a_run_is_there_while_it_goes_and_asks_the_server_nothing(
    asker: Asker,
) -> None:
    run = asker.run(lengths(1000))
    assert asker.server.calls["POST /v1/messages/count_tokens"] == 0
    assert run.estimate is not None
    assert run.cost is not None
    assert (run.estimate.rows, run.estimate.requests) == (1000, 1000)
    assert run.estimate.confidence == "rough"
    assert run.estimate.low is not None
    assert run.estimate.low <= run.cost <= (run.estimate.high or 0)
    assert asker.run(texts(3), model="my-model").estimate is None


# -- while it goes


def under_way(costs: list[Decimal], total: int) -> ExecutionContext:
    context = ExecutionContext(total_rows=total, processed_rows=len(costs))
    for cost in costs:
        context.add_usage(cost, Usage(1, 1), "invoke")
        context.metrics.add_paid(cost)
    return context


@given(st.lists(st.decimals("0.0001", "0.01", places=6), min_size=5, max_size=40))
def test_the_projection_holds_what_is_spent_and_ends_at_it(costs: list[Decimal]) -> None:
    half = projected(under_way(costs, 2 * len(costs)))
    assert half is not None
    assert sum(costs) <= half[0] <= half[1]
    assert projected(under_way(costs, len(costs))) == (sum(costs), sum(costs))


def test_the_projection_narrows_with_every_answer_and_has_the_end_in_it() -> None:
    rng = random.Random(7)
    costs = [Decimal(rng.randint(100, 300)) / 1_000_000 for _ in range(400)]
    widths = []
    for n in (5, 20, 80, 200, 300, 400):
        low, high = projected(under_way(costs[:n], 400)) or (Decimal(0), Decimal(0))
        assert low <= sum(costs) <= high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 0


def test_nothing_is_projected_from_too_little_or_without_a_price() -> None:
    assert projected(under_way([Decimal(1)] * 4, 10)) is None
    unpriced = under_way([Decimal(0)] * 9, 10)
    unpriced.price_known = False
    assert projected(unpriced) is None


def test_rows_that_will_come_from_the_journal_are_not_projected() -> None:
    context = under_way([Decimal(1)] * 10, 1000)
    assert projected(context, requests=20) == (20, 20)
    assert projected(context, requests=5) == (10, 10)


def test_rows_that_are_left_count_as_their_share_of_a_pack() -> None:
    context = ExecutionContext(total_rows=1000, processed_rows=200)
    for _ in range(10):
        context.add_usage(Decimal(1), Usage(1, 1), "invoke")
        context.metrics.add_paid(Decimal(1), 20)
    assert projected(context) == (50, 50)
    assert projected(context, requests=50) == (50, 50)


# -- each request by its own tier


def test_short_rows_and_long_ones_are_priced_each_by_its_own_tier(home: Path) -> None:
    """Haiku 5.5 costs five times as much from 100,000 tokens of one prompt on."""
    cells = [*(f"text {at}" for at in range(20)), *(f"{at} " + "word " * 120_000 for at in (1, 2))]
    with MessagesServer(usage=lambda body, text: {"output_tokens": 20}) as server:
        pipeline = Asker(server, home).pipeline(pd.DataFrame({"text": cells}))
        estimate = pipeline.estimate()
        paid = pipeline.execute().costs.total_cost
    assert paid is not None
    assert estimate.total_cost == pytest.approx(paid, rel=Decimal("0.25"))
    assert (estimate.low or 0) <= paid <= (estimate.high or 0)


@pytest.mark.parametrize(
    ("requests", "said"), [(40, "in one batch ("), (7, "in about 6 batches (")]
)
def test_an_estimate_says_how_many_batches_the_limits_make(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, requests: int, said: str
) -> None:
    monkeypatch.setattr(MessageBatches, "limits", BatchLimits(requests, 200_000_000))
    notes = asker.pipeline(texts(40), batch=True).estimate().notes
    assert f"{said}each takes {requests} requests, 200 MB)" in notes
    monkeypatch.setattr(MessageBatches, "limits", BatchLimits(40, 3_000))
    (told,) = [each for each in asker.pipeline(texts(40), batch=True).estimate().notes
               if "each takes" in each]  # fmt: skip
    assert int(told.removeprefix("in about ").split()[0]) >= 40 * 100 // 3_000  # by their bytes


def test_a_small_budget_says_into_how_many_batches_it_cuts_a_run(asker: Asker) -> None:
    data = texts(40)
    whole = asker.pipeline(data, batch=True, budget=5).estimate()
    assert not any("makes one" in note for note in whole.notes)
    small = asker.pipeline(data, batch=True, budget="0.003").estimate()
    (said,) = [note for note in small.notes if "makes one" in note]
    batches = int(said.split("about ")[1].split()[0])
    assert 1 < batches < 40
    one = said.split(": $")[1].split()[0]
    enough = asker.pipeline(data, batch=True, budget=Decimal(one) * Decimal("1.01")).estimate()
    assert not any("makes one" in note for note in enough.notes)
