"""Prompt caching: what is marked, who goes ahead, and what it costs to the last digit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb import Pipeline
from ondine_nb.errors import ConfigurationError
from ondine_nb.providers import Settings
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.sending.prompt_cache import CachePoints, CacheWarmUp, cache_points, least_tokens
from ondine_nb.sending.question import question_key
from tests.asking import Asker, echoes, texts
from tests.patience import PATIENCE
from tests.server import MessagesServer, echo_of
from tests.table import HEAD, cost_of

PROMPT = HEAD + "Tell: {text}"
MODEL = "claude-haiku-5-5"


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def content(server: MessagesServer, at: int = 0) -> Any:
    return server.requests[at].body["messages"][0]["content"]


# -- what is marked


@pytest.mark.parametrize(
    ("model", "least"),
    [
        (MODEL, 512),
        ("claude-opus-5-5", 512),
        ("claude-sonnet-5-5", 1024),
        ("claude-haiku-4-5-20251001", 4096),
        ("claude-opus-4-7", 2048),
        ("claude-sonnet-4-6", 1024),
        ("eu.anthropic.claude-sonnet-4-6", 1024),
        ("my-llama", None),
    ],
)
def test_a_model_has_its_own_shortest_text_and_others_than_claude_have_none(
    model: str, least: int | None
) -> None:
    assert least_tokens(model) == least


@given(st.text(max_size=6000), st.text(max_size=6000), st.sampled_from([MODEL, "my-llama"]))
def test_a_marked_head_begins_the_prompt_and_never_ends_in_white_space(
    system: str, head: str, model: str
) -> None:
    marks = cache_points(model, system, head)
    assert head.startswith(marks.head)
    assert marks.head == marks.head.rstrip()
    if len(system.encode("utf-8", "replace")) + len(head.encode("utf-8", "replace")) < 4 * 512:
        assert marks == CachePoints()


def test_a_short_head_behind_a_long_system_text_stays_unmarked() -> None:
    assert cache_points(MODEL, HEAD, "Tell: ") == CachePoints(True, "")
    assert cache_points(MODEL, HEAD, HEAD) == CachePoints(True, HEAD.rstrip())
    assert cache_points(MODEL, "short", HEAD) == CachePoints(False, HEAD.rstrip())


def test_marks_dont_change_the_journals_key() -> None:
    plain = Settings(MODEL, system="s")
    marked = Settings(MODEL, system="s", cached_system=True, cached_head="h")
    assert question_key("x", plain).digest() == question_key("x", marked).digest()


# -- what is sent


def test_the_head_is_a_marked_block_and_the_blocks_together_are_the_prompt(asker: Asker) -> None:
    data = texts(3)
    run = asker.run(data, PROMPT)
    head, rest = content(asker.server)
    assert head["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in rest
    assert head["text"] + rest["text"] == PROMPT.replace("{text}", "text 0")
    assert list(run.frame["response"]) == echoes(data, PROMPT)


def test_a_long_system_text_is_marked_as_a_block(asker: Asker) -> None:
    asker.run(texts(2), system=HEAD)
    assert asker.server.requests[0].body["system"] == [
        {"type": "text", "text": HEAD, "cache_control": {"type": "ephemeral"}}
    ]
    assert content(asker.server) == "Tell: text 0"


@pytest.mark.parametrize(
    "options",
    [{"cache": "off"}, {"model": "my-llama"}, {"price_in": 1}, {"model": "claude-haiku-4-5"}],
    ids=str,
)
def test_nothing_is_marked_where_it_is_off_too_short_or_of_unknown_price(
    asker: Asker, options: dict[str, Any]
) -> None:
    asker.run(texts(2), PROMPT, system="Be brief.", **options)
    assert "cache_control" not in str(asker.server.requests[0].body)


def test_a_row_whose_rest_is_only_white_space_is_sent_in_one_piece(asker: Asker) -> None:
    data = pd.DataFrame({"text": ["  ", "a word"]})
    run = asker.run(data, HEAD + "{text}")
    assert list(run.frame["response"]) == [echo_of(HEAD + "  "), echo_of(HEAD + "a word")]
    assert sorted(type(arrival.body["messages"][0]["content"]) is str for arrival in
                  asker.server.requests) == [False, True]  # fmt: skip


def test_an_unknown_way_of_caching_is_an_error(asker: Asker) -> None:
    with pytest.raises(ConfigurationError, match="--cache is 'always'"):
        asker.pipeline(texts(1), cache="always")


def test_no_request_has_more_input_tokens_than_its_bytes_with_marks_too(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(1), PROMPT, system=HEAD)
    provider = pipeline.provider
    assert isinstance(provider, AnthropicProvider)
    pipeline.execute()
    body = asker.server.requests[0].body
    sent = sum(len(block["text"]) for block in [*body["system"], *content(asker.server)])
    provider._prepare(pipeline.settings, 1)
    assert provider.request_bytes(PROMPT.replace("{text}", "text 0")) >= sent


# -- who goes ahead, and what it costs


def test_nearly_every_request_reads_the_cache_and_the_cost_is_the_ledgers_to_the_last_digit(
    home: Path,
) -> None:
    with MessagesServer(latency=0.01) as server:
        run = Asker(server, home).run(texts(500), PROMPT)
        entries = server.ledger.entries
        reads = sum(entry.cache_read_input_tokens > 0 for entry in entries)
        assert len(entries) == 500
        assert reads >= 490
        assert run.cost == sum(map(cost_of, entries))
        saved = run.context.metrics.saved_by_cache
        uncached = sum(
            (e.input_tokens + e.cache_read_input_tokens + e.cache_creation_input_tokens)
            * Decimal("0.1") + e.output_tokens * Decimal("0.5") for e in entries
        )  # fmt: skip
        assert run.cost is not None
        assert saved == uncached / 1_000_000 - run.cost > 0


def test_one_request_goes_ahead_and_the_others_follow_its_answer(home: Path) -> None:
    with MessagesServer(latency=0.2) as server:
        Asker(server, home).run(texts(30), PROMPT)
        writes = [e for e in server.ledger.entries if e.cache_creation_input_tokens]
        assert len(writes) == 1
        assert server.requests[1].at >= writes[0].at


def test_without_the_lead_those_of_the_opening_would_all_write(home: Path) -> None:
    with MessagesServer(latency=0.2) as server:
        pipeline = Asker(server, home).pipeline(texts(30), PROMPT)
        plan = pipeline.plan()
        plan.asker.endpoints[0].warm_up.wanted = False
        asyncio.run(plan.executor.execute(plan.stages, plan.context))
        assert sum(e.cache_creation_input_tokens > 0 for e in server.ledger.entries) == 8


def test_where_the_first_fails_the_next_goes_ahead(home: Path) -> None:
    def plan(_body: Any, attempt: int) -> str | None:
        return "500" if attempt == 1 and server.arrived == 1 else None

    with MessagesServer(plan=plan, latency=0.02) as server:
        run = Asker(server, home).run(texts(30), PROMPT)
        assert run.state == "done"
        assert sum(e.cache_creation_input_tokens > 0 for e in server.ledger.entries) == 1


def test_an_entry_of_the_cache_dies_after_five_minutes_without_use(asker: Asker) -> None:
    now = [0.0]
    asker.server.cache._clock = lambda: now[0]
    for seconds, wrote in [(0.0, True), (250.0, False), (500.0, False), (801.0, True)]:
        now[0] = seconds
        asker.run(texts(1, start=int(seconds)), PROMPT)
        entry = asker.server.ledger.entries[-1]
        assert (entry.cache_creation_input_tokens > 0) is wrote
        assert (entry.cache_read_input_tokens > 0) is not wrote


def test_the_budget_reserves_the_dearer_tokens_of_a_cache_that_is_written(home: Path) -> None:
    def usage(body: Any, _text: str) -> dict[str, int]:
        return {"output_tokens": body["max_tokens"]}

    with MessagesServer(usage=usage, latency=0.01) as server:
        budget = Decimal("0.02")
        run = Asker(server, home).run(texts(200), PROMPT, budget=budget)
        spent = sum(map(cost_of, server.ledger.entries))
        assert 0 < spent <= budget
        assert run.cost == spent


# -- the lead by itself


@contextlib.asynccontextmanager
async def follow(lead: CacheWarmUp) -> AsyncIterator[None]:
    """As a permit does around a request."""
    leads = await lead.turn()
    try:
        yield
    finally:
        if leads:
            lead.led()


async def test_the_others_follow_after_a_while_where_the_first_takes_too_long() -> None:
    lead, went = CacheWarmUp(wanted=True, seconds=0.05), asyncio.Event()

    async def first() -> None:
        async with follow(lead):
            await asyncio.wait_for(went.wait(), PATIENCE)

    async def other() -> None:
        async with follow(lead):
            went.set()

    await asyncio.gather(first(), other())
    assert went.is_set()


async def test_all_follow_a_success_at_once_and_nobody_waits_where_nothing_is_marked() -> None:
    lead = CacheWarmUp(wanted=True, seconds=60)
    order: list[str] = []

    async def ask(name: str) -> None:
        async with follow(lead):
            order.append(name)
            await asyncio.sleep(0.01)
            if name == "a":
                assert order == ["a"]
            lead.succeeded()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(ask(name) for name in "abc"))
    unwanted = CacheWarmUp(wanted=False)
    async with asyncio.timeout(PATIENCE), follow(unwanted), follow(unwanted), follow(unwanted):
        assert order == ["a", "b", "c"]


async def test_one_that_is_cancelled_while_it_leads_or_waits_leaves_the_lead_to_the_next() -> None:
    lead = CacheWarmUp(wanted=True, seconds=60)

    async def forever() -> None:
        async with follow(lead):
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(forever()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(PATIENCE), follow(lead):
        assert lead._leading


def test_a_stream_goes_ahead_once_for_all_of_its_chunks(home: Path) -> None:
    with MessagesServer(latency=0.02) as server:
        given = {"base_url": server.url, "journal": home, "chunk_size": 10}
        frames = list(Pipeline(texts(40), PROMPT, **given).stream())
        assert sum(map(len, frames)) == 40
        assert sum(e.cache_creation_input_tokens > 0 for e in server.ledger.entries) == 1
