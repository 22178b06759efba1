"""OpenAI's Batch API on the wire: what goes up, what is found again, and what errors mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ondine_nb.errors import ConnectionLostError, FatalProviderError, OverloadedError
from ondine_nb.providers import BatchResult, OpenAIProvider, ServerBatch, Settings, capabilities
from ondine_nb.providers.openai import batches
from ondine_nb.providers.openai.batches import ChatBatches
from tests.server import MessagesServer, echo_of
from tests.server.batches import BatchRules

Work = Callable[[ChatBatches, OpenAIProvider], Awaitable[Any]]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def by(server: MessagesServer, work: Work, key: str = "secret-key") -> Any:
    async def scenario() -> Any:
        url = f"{server.url}/v1"
        provider = OpenAIProvider("gpt-4.1-mini", base_url=url, api_key=key)
        await provider.open(Settings("gpt-4.1-mini", system="Be «brief».", schema=SCHEMA), 8)
        try:
            return await work(ChatBatches(provider), provider)
        finally:
            await provider.close()

    return asyncio.run(scenario())


async def made(wire: ChatBatches, prefix: str = "pre", requests: int = 3) -> ServerBatch:
    return await wire.create(
        prefix, [wire.request(f"{prefix}-{at}", f"say {at}") for at in range(requests)]
    )


async def ended(wire: ChatBatches, batch: ServerBatch) -> ServerBatch:
    while not batch.ended:
        await asyncio.sleep(0.02)
        found = await wire.retrieve(batch.id)
        assert found is not None
        batch = found
    return batch


async def outcomes(wire: ChatBatches, batch: ServerBatch) -> list[BatchResult]:
    return [each async for some in wire.results(batch) for each in some]


def test_a_request_in_a_batch_is_the_one_that_would_be_sent_alone() -> None:
    async def work(wire: ChatBatches, provider: OpenAIProvider) -> None:
        prompt = 'say "ü"\n\u2028 and \x7f'
        await provider.send(prompt)
        line = wire.request("pre-0", prompt)
        assert b"\n" not in line
        given = json.loads(line)
        assert given.pop("body") == server.requests[0].body
        assert given == {"custom_id": "pre-0", "method": "POST", "url": "/v1/chat/completions"}

    with MessagesServer() as server:
        by(server, work)


def test_results_carry_the_answers_by_their_ids_in_whatever_order() -> None:
    fates = {"say 1": "expired", "say 2": "invalid", "say 3": "errored", "say 4": None}

    async def work(wire: ChatBatches, provider: OpenAIProvider) -> None:
        batch = await ended(wire, await made(wire, requests=5))
        assert (batch.count, batch.succeeded, batch.done) == (5, 2, 5)
        told = {each.custom_id: each for each in await outcomes(wire, batch)}
        assert {name: each.kind for name, each in sorted(told.items())} == {
            "pre-0": "succeeded",
            "pre-1": "expired",
            "pre-2": "rejected",
            "pre-3": "errored",
            "pre-4": "succeeded",
        }
        read = capabilities(provider).read
        assert read(told["pre-4"].body).text == read((await provider.send("say 4")).body).text

    rules = BatchRules(delay=0.05, plan=lambda body: fates.get(body["messages"][-1]["content"]))
    with MessagesServer(batches=rules) as server:
        by(server, work)


def test_all_batches_since_a_time_are_listed_over_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_PAGE", 2)

    async def work(wire: ChatBatches, _: OpenAIProvider) -> None:
        all_of_them = [await made(wire, f"p{at}") for at in range(5)]
        for at, batch in enumerate(server.batches.made):
            batch.created += 10 * at
        listed = await wire.created_since(server.batches.made[1].created)
        assert [each.id for each in listed] == [each.id for each in all_of_them[1:]]
        assert [each.prefix for each in listed] == ["p1", "p2", "p3", "p4"]
        assert server.batches.calls["GET batches"] == 3
        server.batches.made.reverse()  # a server that lists the oldest first
        listed = await wire.created_since(server.batches.made[1].created)
        assert [each.prefix for each in listed] == ["p3", "p4"]

    with MessagesServer() as server:
        by(server, work)


def test_a_batch_of_somebody_else_has_no_prefix_of_ours() -> None:
    async def work(wire: ChatBatches, provider: OpenAIProvider) -> None:
        name = (await made(wire)).id
        for metadata in (None, {}, {"team": "research"}):
            server.batches.chat.about(name).metadata = metadata
            found = await wire.retrieve(name)
            assert found is not None
            assert found.prefix == ""

    with MessagesServer() as server:
        by(server, work)


@pytest.mark.parametrize("lost", [True, False])
def test_what_was_sent_up_for_a_batch_that_never_came_to_be_is_deleted(lost: bool) -> None:
    async def work(wire: ChatBatches, provider: OpenAIProvider) -> None:
        with pytest.raises(ConnectionLostError):
            await made(wire)
        assert server.batches.chat.uploads() == ["ondine-pre.jsonl"]
        await (wire if lost else ChatBatches(provider)).discard("pre")  # another process's, too
        assert server.batches.chat.uploads() == []
        await wire.discard("never sent up")

    with MessagesServer(batches=BatchRules(lost_uploads=1)) as server:
        by(server, work)


def test_an_upload_is_found_among_many_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_FILES", 2)

    async def work(wire: ChatBatches, _: OpenAIProvider) -> None:
        with pytest.raises(ConnectionLostError):
            await made(wire)
        for at in range(5):
            await made(wire, f"other{at}")
        await made(wire)
        assert server.batches.chat.uploads().count("ondine-pre.jsonl") == 1
        assert server.batches.calls["POST files"] == 6

    with MessagesServer(batches=BatchRules(lost_uploads=1)) as server:
        by(server, work)


def test_a_file_of_results_that_was_deleted_is_short_of_what_the_server_counts() -> None:
    async def work(wire: ChatBatches, _: OpenAIProvider) -> None:
        batch = await ended(wire, await made(wire))
        server.batches.chat.files.clear()
        assert await outcomes(wire, batch) == []
        assert batch.succeeded == 3

    with MessagesServer(batches=BatchRules(delay=0.02)) as server:
        by(server, work)


def test_a_batch_that_failed_when_it_was_looked_over_says_why() -> None:
    async def work(wire: ChatBatches, _: OpenAIProvider) -> ServerBatch:
        return await ended(wire, await made(wire))

    rules = BatchRules(delay=0.02, failing=1)
    with MessagesServer(batches=rules) as server:
        crowded = by(server, work)
        assert crowded.crowded
        assert "Enqueued token limit" in crowded.refused
        assert "(token_limit_exceeded)" in crowded.refused
        rules.failing, rules.why = 1, "model_not_found"
        refused = by(server, work)
        assert refused.refused
        assert not refused.crowded


def test_a_batch_that_is_not_there_is_none() -> None:
    with MessagesServer() as server:
        assert by(server, lambda wire, _: wire.retrieve("batch_9")) is None


def test_a_key_that_is_refused_ends_the_run_and_is_not_shown() -> None:
    with MessagesServer(key="other") as server, pytest.raises(FatalProviderError) as error:
        by(server, lambda wire, _: made(wire))
    assert "refused the key (401" in str(error.value)
    assert "secret-key" not in str(error.value)


def test_a_create_call_that_is_invalid_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_WINDOW", "48h")
    with (
        MessagesServer() as server,
        pytest.raises(FatalProviderError, match="batch of 3 requests was refused"),
    ):
        by(server, lambda wire, _: made(wire))


def test_an_overloaded_server_is_worth_another_attempt() -> None:
    with MessagesServer(batches=BatchRules(refused=1)) as server, pytest.raises(OverloadedError):
        by(server, lambda wire, _: made(wire))


def test_a_lost_create_answer_says_that_it_may_be_billed() -> None:
    with (
        MessagesServer(batches=BatchRules(lost=1)) as server,
        pytest.raises(ConnectionLostError) as error,
    ):
        by(server, lambda wire, _: made(wire))
    assert error.value.possibly_billed
    assert len(server.batches.made) == 1


def test_answers_of_a_batch_are_those_of_requests_alone() -> None:
    async def work(wire: ChatBatches, provider: OpenAIProvider) -> None:
        await provider.open(Settings("gpt-4.1-mini"), 8)
        batch = await ended(wire, await made(wire, requests=1))
        (told,) = await outcomes(wire, batch)
        assert capabilities(provider).read(told.body).text == echo_of("say 0")

    with MessagesServer(batches=BatchRules(delay=0.02)) as server:
        by(server, work)
