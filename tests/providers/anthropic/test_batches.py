"""Batches on the wire: what is sent, where results are looked for, and what errors mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ondine_nb.errors import ConnectionLostError, FatalProviderError, OverloadedError
from ondine_nb.providers import BatchResult, ServerBatch, Settings
from ondine_nb.providers.anthropic import MessageBatches
from ondine_nb.providers.anthropic.client import AnthropicProvider
from tests.server import MessagesServer, echo_of
from tests.server.batches import BatchRules

Work = Callable[[MessageBatches], Awaitable[Any]]


def by(server: MessagesServer, work: Work, key: str = "secret-key") -> Any:
    async def scenario() -> Any:
        provider = AnthropicProvider("claude-haiku-5-5", base_url=server.url, api_key=key)
        await provider.open(Settings("claude-haiku-5-5"), 8)
        try:
            return await work(MessageBatches(provider))
        finally:
            await provider.close()

    return asyncio.run(scenario())


async def made(wire: MessageBatches, names: str = "abc") -> ServerBatch:
    return await wire.create("p", [wire.request(name, f"say {name}") for name in names])


async def outcomes(wire: MessageBatches, batch: ServerBatch) -> list[BatchResult]:
    return [each async for some in wire.results(batch) for each in some]


def test_results_carry_the_answers_by_their_ids_in_whatever_order() -> None:
    async def work(wire: MessageBatches) -> list[BatchResult]:
        batch = await made(wire)
        await asyncio.sleep(0.1)
        found = await wire.retrieve(batch.id)
        assert found is not None
        assert found.ended
        return await outcomes(wire, found)

    with MessagesServer(batches=BatchRules(delay=0.05)) as server:
        found = {each.custom_id: json.loads(each.body) for each in by(server, work)}
    texts = {name: message["content"][0]["text"] for name, message in found.items()}
    assert texts == {name: echo_of(f"say {name}") for name in "abc"}


def test_all_batches_since_a_time_are_listed_over_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    from ondine_nb.providers.anthropic import batches

    monkeypatch.setattr(batches, "_PAGE", 2)

    async def work(wire: MessageBatches) -> None:
        all_of_them = [await made(wire, "ab"[: 1 + at % 2]) for at in range(5)]
        since = all_of_them[1].created
        listed = await wire.created_since(since)
        assert [each.id for each in listed] == [each.id for each in all_of_them[1:]]
        assert [each.count for each in listed] == [2, 1, 2, 1]

    with MessagesServer() as server:
        by(server, work)


@pytest.mark.parametrize("url", ["http://127.0.0.2:9/v1/x", "https://127.0.0.1/v1/x", None])
def test_the_key_goes_to_no_other_host_than_the_configured_one(url: str | None) -> None:
    async def work(wire: MessageBatches) -> None:
        batch = ServerBatch("msgbatch_1", 1, True, 0.0, (url,) if url else ())
        assert wire._results_url(batch) == "/v1/messages/batches/msgbatch_1/results"
        own = ServerBatch("msgbatch_1", 1, True, 0.0, (f"{server.url}/somewhere/else",))
        assert wire._results_url(own) == f"{server.url}/somewhere/else"

    with MessagesServer() as server:
        by(server, work)


def test_a_batch_that_is_not_there_is_none() -> None:
    with MessagesServer() as server:
        assert by(server, lambda wire: wire.retrieve("msgbatch_9")) is None


def test_a_key_that_is_refused_ends_the_run_and_is_not_shown() -> None:
    with MessagesServer(key="other") as server, pytest.raises(FatalProviderError) as error:
        by(server, made)
    assert "refused the key (401" in str(error.value)
    assert "secret-key" not in str(error.value)


def test_a_create_call_that_is_invalid_ends_the_run() -> None:
    with (
        MessagesServer() as server,
        pytest.raises(FatalProviderError, match="batch of 2 requests was refused"),
    ):
        by(server, lambda wire: made(wire, "aa"))


def test_an_overloaded_server_is_worth_another_attempt() -> None:
    with MessagesServer(batches=BatchRules(refused=1)) as server, pytest.raises(OverloadedError):
        by(server, made)


def test_a_lost_create_answer_says_that_it_may_be_billed() -> None:
    with (
        MessagesServer(batches=BatchRules(lost=1)) as server,
        pytest.raises(ConnectionLostError) as error,
    ):
        by(server, made)
    assert error.value.possibly_billed
    assert len(server.batches.made) == 1
