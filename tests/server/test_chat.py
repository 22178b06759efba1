"""Chat Completions of the loopback server, seen through the real SDK."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest

from tests.patience import PATIENCE
from tests.server import CHAT_MODELS, MessagesServer, echo_of, value_of
from tests.server.answers import FAULTS
from tests.server.chat import CHAT_ERRORS, duration
from tests.server.rules import ERRORS

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mood": {"type": "string", "enum": ["good", "bad"]},
        "score": {"type": ["number", "null"]},
    },
    "required": ["mood", "score"],
    "additionalProperties": False,
}
UNBILLED = {
    "400": (openai.BadRequestError, "context_length_exceeded"),
    "401": (openai.AuthenticationError, "invalid_api_key"),
    "402": (openai.APIStatusError, None),
    "403": (openai.PermissionDeniedError, None),
    "404": (openai.NotFoundError, "model_not_found"),
    "408": (openai.APIStatusError, None),
    "409": (openai.ConflictError, None),
    "413": (openai.APIStatusError, None),
    "429": (openai.RateLimitError, "rate_limit_exceeded"),
    "429_spend": (openai.RateLimitError, "insufficient_quota"),
    "500": (openai.InternalServerError, None),
    "529": (openai.InternalServerError, "overloaded"),
    "html_502": (openai.InternalServerError, None),
}


@asynccontextmanager
async def sdk(server: MessagesServer, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    options = {"api_key": "test-key", "max_retries": 0, **options}
    # The other SDK's client: this one's takes a cut connection for a time-out.
    http_client = anthropic.DefaultAioHttpClient(verify=False)
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", http_client=http_client, **options
    ) as client:
        yield client


async def say(server: MessagesServer, prompt: str = "hello", **body: Any) -> Any:
    request = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": prompt}], **body}
    async with sdk(server, timeout=PATIENCE) as client:
        return await client.chat.completions.create(**request)


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    inner = {"name": "answer", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": inner}}


def always(fault: str, **options: Any) -> MessagesServer:
    return MessagesServer(plan=lambda _body, _attempt: fault, **options)


async def test_an_answer_follows_from_the_last_user_text_and_is_billed_once() -> None:
    """The same words and books as by the Messages API."""
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}]
    with MessagesServer() as server:
        answer = await say(server, messages=turns, max_completion_tokens=100)
        (entry,) = server.ledger.entries
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (echo_of("What?"), "stop")
    assert (entry.prompt, entry.model, entry.max_tokens) == ("What?", "gpt-5-mini", 100)
    assert entry.input_tokens == answer.usage.prompt_tokens
    assert entry.output_tokens == answer.usage.completion_tokens
    assert entry.request_id == answer._request_id
    assert entry.delivered


async def test_a_strict_schema_is_answered_by_a_value_that_meets_it() -> None:
    with MessagesServer() as server:
        answer = await say(server, **strict(SCHEMA))
    assert json.loads(answer.choices[0].message.content) == value_of(SCHEMA, "hello")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"additionalProperties": True}, "additionalProperties"),
        ({"required": ["mood"]}, "'required'"),
        ({"type": "array", "items": {"type": "string"}}, "at the root"),
        ({"oneOf": []}, "oneOf"),
        ({"properties": {"mood": {"type": "string", "default": "good"}}}, "default"),
        ({"properties": {"mood": {"type": "string", "format": "uri"}}}, "uri"),
        ({"properties": {"mood": {}}}, "type"),
    ],
)
async def test_what_strict_mode_cannot_say_is_refused(change: dict[str, Any], said: str) -> None:
    schema = {**SCHEMA, **change}
    if "properties" in change:
        schema["required"] = ["mood"]
    with MessagesServer() as server:
        with pytest.raises(openai.BadRequestError, match=said) as caught:
            await say(server, **strict(schema))
        assert server.ledger.requests == 0
    assert caught.value.code == "invalid_json_schema"


@pytest.mark.parametrize(
    "body",
    [
        {"max_tokens": 100},  # a reasoning model's limit has another name
        {"max_completion_tokens": 0},
        {"reasoning_effort": "huge"},
        {"extra_body": {"thinking": {"type": "disabled"}}},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
    ],
)
async def test_a_body_that_the_api_would_refuse_is_refused(body: dict[str, Any]) -> None:
    with MessagesServer() as server:
        with pytest.raises(openai.BadRequestError):
            await say(server, **body)
        assert server.ledger.requests == 0


@pytest.mark.parametrize(("fault", "expected"), UNBILLED.items(), ids=list(UNBILLED))
async def test_a_failure_raises_its_error_and_is_not_billed(fault: str, expected: Any) -> None:
    """By the SDK's own class, with the code that programs go by."""
    with always(fault) as server:
        with pytest.raises(expected[0]) as caught:
            await say(server)
        assert (server.arrived, server.ledger.requests) == (1, 0)
    assert caught.value.code == expected[1]


def test_every_fault_of_the_one_api_is_one_of_the_other() -> None:
    assert CHAT_ERRORS.keys() == ERRORS.keys()
    assert UNBILLED.keys() <= FAULTS


@pytest.mark.parametrize("fault", ["reset_before", "reset_after", "half"])
async def test_a_connection_that_is_cut_is_no_time_out(fault: str) -> None:
    """Billed where the request had been answered."""
    with always(fault) as server:
        with pytest.raises(openai.APIConnectionError) as caught:
            await say(server)
        assert server.ledger.requests == (fault != "reset_before")
    assert not isinstance(caught.value, openai.APITimeoutError)


@pytest.mark.parametrize(
    ("fault", "reason", "text", "refusal"),
    [
        ("refusal", "content_filter", None, None),
        ("refusal_text", "stop", None, "I can't help with that."),
        ("empty", "stop", "", None),
        ("cut", "length", echo_of("hello")[:9], None),
        ("bad_schema", "stop", '{"unexpected": [1]}', None),
    ],
)
async def test_a_useless_answer_is_billed_and_delivered(
    fault: str, reason: str, text: str | None, refusal: str | None
) -> None:
    with always(fault) as server:
        (choice,) = (await say(server)).choices
        (entry,) = server.ledger.entries
    assert (choice.finish_reason, choice.message.content) == (reason, text)
    assert choice.message.refusal == refusal
    assert (entry.delivered, entry.fault) == (True, fault)


async def test_a_long_beginning_is_cached_without_a_mark_and_counted_in_the_prompt() -> None:
    system = {"role": "system", "content": "rule " * 2_000}
    with MessagesServer() as server:
        counts = [
            (await say(server, messages=[system, {"role": "user", "content": text}])).usage
            for text in ("one", "two")
        ]
        entries = server.ledger.entries
    cached = [it.prompt_tokens_details.cached_tokens for it in counts]
    assert cached[0] == 0
    assert cached[1] >= 2_000
    assert [it.cache_read_input_tokens for it in entries] == cached
    assert [it.input_tokens + it.cache_read_input_tokens for it in entries] == [
        it.prompt_tokens for it in counts
    ]


async def test_reasoning_is_billed_as_output_and_told() -> None:
    with MessagesServer(thinking=True) as server:
        thought = (await say(server)).usage
        plain = (await say(server, reasoning_effort="none")).usage
    assert thought.completion_tokens_details.reasoning_tokens == 40
    assert plain.completion_tokens_details.reasoning_tokens == 0
    assert thought.completion_tokens == plain.completion_tokens + 40


async def test_limits_are_told_in_headers_with_durations() -> None:
    with MessagesServer(limits={"requests": 600, "tokens": 60_000}) as server:
        async with sdk(server) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model="gpt-5-mini", messages=[{"role": "user", "content": "hello"}]
            )
    told = {name: value for name, value in raw.headers.items() if name.startswith("x-ratelimit")}
    assert told["x-ratelimit-limit-requests"] == "600"
    assert told["x-ratelimit-remaining-requests"] in ("599", "600")
    assert told["x-ratelimit-reset-requests"].endswith("ms")
    assert told["x-ratelimit-limit-tokens"] == "60000"
    assert not [name for name in raw.headers if name.startswith("anthropic")]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.12, "120ms"), (0.0, "0ms"), (1, "1s"), (8.64, "8.64s"), (360, "6m0s"), (3_690, "1h1m30s")],
)
def test_a_duration_is_written_as_the_api_writes_it(seconds: float, told: str) -> None:
    assert duration(seconds) == told


async def test_each_client_is_given_the_models_of_its_api() -> None:
    with MessagesServer() as server:
        async with sdk(server) as client:
            assert tuple([model.id async for model in client.models.list()]) == CHAT_MODELS
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("claude-haiku-5-5")
        with anthropic.Anthropic(base_url=server.url, api_key="k", max_retries=0) as other:
            assert CHAT_MODELS[0] not in {model.id for model in other.models.list()}


async def test_a_wrong_key_and_an_unknown_model_are_refused() -> None:
    with MessagesServer(key="right", models=["gpt-5-mini"]) as server:
        with pytest.raises(openai.AuthenticationError):
            await say(server)
        async with sdk(server, api_key="right") as client:
            with pytest.raises(openai.NotFoundError, match="gpt-9"):
                await client.chat.completions.create(
                    model="gpt-9", messages=[{"role": "user", "content": "hello"}]
                )
        assert server.ledger.requests == 0


async def test_a_server_that_fails_inside_a_200_gives_an_answer_without_choices() -> None:
    """As routers do when the model behind them fails: no exception of the SDK says so."""
    body = {"choices": None, "error": {"code": 502, "message": "the provider failed"}}
    with MessagesServer(answer=lambda _body: dict(body)) as server:
        answer = await say(server)
    assert answer.choices is None
