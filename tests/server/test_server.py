"""The loopback server, seen through the real SDK: what other tests lean on must hold first."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import anthropic
import pytest
from anthropic.types import Message
from pydantic import BaseModel

from tests.patience import PATIENCE
from tests.server import FAULTS, MODELS, THINKING_TOKENS, MessagesServer, echo_of, rules, value_of
from tests.server.answers import Draw, latency_of


class Person(BaseModel):
    name: str
    friends: list[Person]


class Review(BaseModel):
    mood: Literal["positive", "negative", "neutral"]
    score: float
    stars: int
    day: date
    tags: list[str]
    sure: bool
    note: str | None
    who: Person
    kind: Literal["review"]


SCHEMA = anthropic.transform_schema(Review)
UNBILLED = {
    "400": anthropic.BadRequestError,
    "401": anthropic.AuthenticationError,
    "402": anthropic.PaymentRequiredError,
    "403": anthropic.PermissionDeniedError,
    "404": anthropic.NotFoundError,
    "408": anthropic.RequestTimeoutError,
    "409": anthropic.ConflictError,
    "413": anthropic.ContentTooLargeError,
    "429": anthropic.RateLimitError,
    "500": anthropic.InternalServerError,
    "529": anthropic.OverloadedError,
    "html_502": anthropic.InternalServerError,
    "reset_before": anthropic.APIConnectionError,
}


@asynccontextmanager
async def sdk(server: MessagesServer, **options: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    options = {"api_key": "test-key", "max_retries": 0, **options}
    # Loading the certificates would take longer than most of these tests.
    http_client = anthropic.DefaultAioHttpClient(verify=False)
    async with anthropic.AsyncAnthropic(
        base_url=server.url, http_client=http_client, **options
    ) as client:
        yield client


async def say(server: MessagesServer, prompt: str = "hello", **body: Any) -> Message:
    timeout = body.pop("timeout", PATIENCE)
    request: dict[str, Any] = {"model": "claude-haiku-5-5", "max_tokens": 1024, **body}
    request.setdefault("messages", [{"role": "user", "content": prompt}])
    async with sdk(server, timeout=timeout) as client:
        extra = {name: request.pop(name) for name in ("temperature", "top_p") if name in request}
        message: Message = await client.messages.create(**request, extra_body=extra)
        return message


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def always(fault: str, **options: Any) -> MessagesServer:
    return MessagesServer(plan=lambda _body, _attempt: fault, **options)


def books(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/_ledger", timeout=PATIENCE) as response:
        found: dict[str, Any] = json.load(response)
    return found


async def test_an_answer_follows_from_the_last_user_text_and_is_billed_once() -> None:
    """Alignment and cost can be computed from the prompt and the ledger alone."""
    with MessagesServer() as server:
        message = await say(server, "What is this?")
        (entry,) = server.ledger.entries
    assert text_of(message) == echo_of("What is this?")
    assert (entry.prompt, entry.model, entry.max_tokens) == (
        "What is this?",
        "claude-haiku-5-5",
        1024,
    )
    assert entry.input_tokens == message.usage.input_tokens
    assert entry.output_tokens == message.usage.output_tokens
    assert entry.delivered
    assert entry.request_id == message._request_id
    cost = server.ledger.cost("0.10", "0.50") * 1_000_000
    assert cost == entry.input_tokens * Decimal("0.1") + entry.output_tokens * Decimal("0.5")


async def test_a_schema_is_answered_by_a_value_that_meets_it() -> None:
    """The JSON in the text is exactly `value_of`, recursion and unions included."""
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    with MessagesServer() as server:
        message = await say(server, "row 7", output_config=config)
    assert json.loads(text_of(message)) == value_of(SCHEMA, "row 7")
    reviews = [Review.model_validate(value_of(SCHEMA, f"row {n}")) for n in range(50)]
    assert {review.mood for review in reviews} == {"positive", "negative", "neutral"}
    assert {review.note is None for review in reviews} == {True, False}
    stars = {value_of({"type": "integer", "minimum": 1, "maximum": 3}, str(n)) for n in range(50)}
    assert stars == {1, 2, 3}


async def test_a_callable_gives_the_text_or_overrides_the_message() -> None:
    """A str is the text; a dict is laid over the message, usage included."""
    with MessagesServer(answer=lambda body: body["model"].upper()) as server:
        assert text_of(await say(server)) == "CLAUDE-HAIKU-5-5"
    override = {"stop_reason": "pause_turn", "usage": {"cache_read_input_tokens": 9}}
    with MessagesServer(answer=lambda _body: override) as server:
        message = await say(server)
    assert (message.stop_reason, text_of(message)) == ("pause_turn", echo_of("hello"))
    assert server.ledger.entries[0].cache_read_input_tokens == 9


async def test_usage_can_be_overridden() -> None:
    """`usage(body, text)` decides what is billed."""
    with MessagesServer(usage=lambda _body, text: {"input_tokens": len(text)}) as server:
        assert (await say(server)).usage.input_tokens == len(echo_of("hello"))


@pytest.mark.parametrize(
    ("thinking", "extra"), [(None, THINKING_TOKENS), ({"type": "disabled"}, 0)]
)
async def test_thinking_comes_first_and_is_billed_unless_off(thinking: Any, extra: int) -> None:
    """A reader of content[0] fails, as it does with a model that thinks."""
    with MessagesServer(thinking=True) as server:
        message = await say(server, **({"thinking": thinking} if thinking else {}))
    assert [block.type for block in message.content] == ["thinking"] * bool(extra) + ["text"]
    assert message.usage.output_tokens == extra + len(echo_of("hello")) // 4


@pytest.mark.parametrize("thinking", [False, True])
async def test_output_never_passes_max_tokens(thinking: bool) -> None:
    """What doesn't fit is cut and billed in full; thinking can use up everything."""
    with MessagesServer(thinking=thinking) as server:
        message = await say(server, max_tokens=2)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)
    assert text_of(message) == ("" if thinking else echo_of("hello")[:8])


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": 1.0},
        {"top_p": 0.9},
        {"max_tokens": 0},
        pytest.param({"max_tokens": anthropic.omit}, id="no max_tokens"),
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
        {"model": "claude-opus-5-5", "thinking": {"type": "disabled"}},
        {"model": "claude-fable-5-2", "thinking": {"type": "disabled"}},
        {"model": "claude-sonnet-5-5", "thinking": {"type": "disabled"}},
        {
            "model": "claude-sonnet-5-5",
            "thinking": {"type": "between_tools"},
            "output_config": {"effort": "max"},
        },
        {"output_config": {"effort": "huge"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
    ],
    ids=str,
)
async def test_what_the_api_refuses_is_a_400_and_not_billed(body: dict[str, Any]) -> None:
    """A request that the real API refuses can't pass here."""
    with MessagesServer() as server:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await say(server, **body)
        assert (server.arrived, server.ledger.requests) == (1, 0)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


async def test_a_wrong_key_an_unknown_model_and_an_unknown_path_are_told_apart() -> None:
    """401, 404 and 404, each in the API's shape."""
    with MessagesServer(key="other") as server:
        with pytest.raises(anthropic.AuthenticationError):
            await say(server)
        async with sdk(server, api_key="other") as client:
            assert [model.id async for model in client.models.list()] == list(MODELS)
    with MessagesServer(models=["claude-haiku-5-5"]) as server:
        with pytest.raises(anthropic.NotFoundError, match="claude-nope"):
            await say(server, model="claude-nope")
        async with sdk(server) as client:
            with pytest.raises(anthropic.NotFoundError) as caught:
                await client.get("/v1/nowhere", cast_to=object)
    assert (caught.value.type, caught.value.request_id is None) == ("not_found_error", False)


async def test_models_and_count_tokens_parse_and_cost_nothing() -> None:
    """Lifecycle, limits and capabilities are there for each model."""
    with MessagesServer() as server:
        async with sdk(server) as client:
            models = {model.id: model async for model in client.models.list()}
            opus = await client.models.retrieve("claude-opus-5-5")
            count = await client.messages.count_tokens(
                model=opus.id, messages=[{"role": "user", "content": "x" * 400}]
            )
        assert (server.arrived, server.calls["POST /v1/messages/count_tokens"]) == (0, 1)
    haiku = models["claude-haiku-5-5"]
    assert (haiku.lifecycle, haiku.line, haiku.max_tokens) == ("active", "haiku", 128_000)
    assert haiku.capabilities
    assert opus.capabilities
    assert haiku.capabilities.thinking.types.disabled.supported
    assert not opus.capabilities.thinking.types.disabled.supported
    assert 100 < count.input_tokens < 400


@pytest.mark.parametrize(("fault", "error"), UNBILLED.items(), ids=list(UNBILLED))
async def test_a_failure_raises_its_error_and_is_not_billed(fault: str, error: type) -> None:
    """Each status arrives as the SDK's own class."""
    with always(fault) as server:
        with pytest.raises(error):
            await say(server)
        assert (server.arrived, server.ledger.requests) == (1, 0)
        assert server.requests[0].fault == fault


async def test_the_spend_cap_is_a_429_with_its_own_code() -> None:
    """It can be told from a rate limit by `error_code`."""
    with always("429_spend") as server, pytest.raises(anthropic.RateLimitError) as caught:
        await say(server)
    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert type(caught.value.details).__name__ == "EnforcedSpendLimitReachedErrorDetails"


@pytest.mark.parametrize("fault", ["429", "529"])
async def test_retry_after_is_sent_when_configured(fault: str) -> None:
    """Both spellings reach the client."""
    server = always(fault, retry_after=2, retry_after_ms=15)
    with server, pytest.raises(anthropic.APIStatusError) as caught:
        await say(server)
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "15")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset_after", anthropic.APIConnectionError),
        ("half", anthropic.APIConnectionError),
        ("malformed", json.JSONDecodeError),
    ],
)
async def test_an_answer_lost_on_the_way_is_billed_and_not_delivered(
    fault: str, error: type[Exception]
) -> None:
    """The ledger knows what the client can't."""
    with always(fault) as server:
        with pytest.raises(error):
            await say(server)
        (entry,) = server.ledger.entries
    assert (entry.delivered, entry.fault) == (False, fault)


@pytest.mark.parametrize(
    ("fault", "stop_reason", "text"),
    [
        ("refusal", "refusal", ""),
        ("refusal_text", "refusal", "I can't help with that."),
        ("empty", "end_turn", ""),
        ("cut", "max_tokens", echo_of("hello")[:9]),
        ("bad_schema", "end_turn", '{"unexpected": [1]}'),
    ],
)
async def test_a_useless_answer_is_billed_and_delivered(
    fault: str, stop_reason: str, text: str
) -> None:
    """It costs money and arrives, but holds no usable value."""
    with always(fault) as server:
        message = await say(server)
        (entry,) = server.ledger.entries
    assert (message.stop_reason, text_of(message)) == (stop_reason, text)
    assert (entry.delivered, entry.output_tokens) == (True, message.usage.output_tokens)
    assert entry.output_tokens == 1024 if fault == "cut" else entry.output_tokens < 10


async def test_an_html_page_with_status_200_is_no_message() -> None:
    """A login page of a proxy comes as text/html and is not billed."""
    with always("html") as server:
        async with sdk(server) as client:
            raw = await client.messages.with_raw_response.create(
                model="claude-haiku-5-5",
                max_tokens=9,
                messages=[{"role": "user", "content": "hello"}],
            )
        assert server.ledger.requests == 0
    assert raw.headers["content-type"].startswith("text/html")


async def test_a_hanging_request_ends_with_the_clients_patience() -> None:
    """Nothing is billed, and the server notices that the client left."""
    with always("hang") as server:
        with pytest.raises(anthropic.APITimeoutError):
            await say(server, timeout=0.2)
        await asyncio.to_thread(server.wait_idle)
        assert server.ledger.requests == 0


async def test_the_server_stops_with_hanging_held_and_slow_requests_and_ends_their_waits() -> None:
    """No client is left to its own patience."""

    def plan(body: Any, _attempt: int) -> str | None:
        return "hang" if body["max_tokens"] == 1 else None

    with MessagesServer(plan=plan, latency=0.1) as server:
        server.pause()
        asked = [say(server, max_tokens=1 + n % 2, timeout=PATIENCE) for n in range(20)]
        calls = [asyncio.create_task(call) for call in asked]
        await asyncio.to_thread(server.wait_for, 20)
        await asyncio.to_thread(server.stop)
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in ended} == {anthropic.APIConnectionError}
    assert server.ledger.requests == 0


async def test_a_paused_server_holds_requests_unbilled_until_resumed() -> None:
    """A test can stop a run at a known point."""
    with MessagesServer() as server:
        server.pause()
        calls = [asyncio.create_task(say(server, f"row {n}")) for n in range(3)]
        await asyncio.to_thread(server.wait_for, 3)
        await asyncio.sleep(0.05)
        assert (server.in_flight, server.ledger.requests) == (3, 0)
        server.resume()
        assert [text_of(m) for m in await asyncio.gather(*calls)] == [
            echo_of(f"row {n}") for n in range(3)
        ]
        assert (server.in_flight, server.peak_in_flight) == (0, 3)


async def test_a_server_told_so_holds_what_arrives_from_the_nth_request_on() -> None:
    with MessagesServer() as server:
        server.pause(at=3)
        for n in range(2):
            assert text_of(await say(server, f"row {n}")) == echo_of(f"row {n}")
        held = [asyncio.create_task(say(server, f"row {n}")) for n in range(2, 5)]
        await asyncio.to_thread(server.wait_for, 5)
        assert (server.in_flight, server.ledger.requests) == (3, 2)
        server.resume()
        await asyncio.gather(*held)
        assert server.ledger.requests == 5


async def test_a_server_that_was_let_go_before_the_nth_request_never_holds() -> None:
    with MessagesServer() as server:
        server.pause(at=2)
        server.resume()
        for n in range(3):
            assert text_of(await say(server, f"row {n}")) == echo_of(f"row {n}")


async def test_waiting_in_vain_says_what_has_arrived() -> None:
    """A stuck test ends with a count instead of a hang."""
    with MessagesServer() as server, pytest.raises(TimeoutError, match="0 arrived"):
        server.wait_for(1, timeout=0.01)


async def test_a_plan_counts_the_attempts_of_each_prompt() -> None:
    """The first attempt of one prompt fails, everything else passes."""

    def plan(body: Any, attempt: int) -> str | None:
        return "529" if attempt == 1 and body["messages"][-1]["content"] == "a" else None

    with MessagesServer(plan=plan) as server:
        with pytest.raises(anthropic.OverloadedError):
            await say(server, "a")
        await say(server, "a")
        await say(server, "b")
        assert (server.attempts("a"), server.attempts("b"), server.arrived) == (2, 1, 3)
        assert server.ledger.by_prompt() == {"a": 1, "b": 1}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the limits take for the time: it stands still unless the test moves it."""
    now = [0.0]
    monkeypatch.setattr(rules, "monotonic", lambda: now[0])
    return now


async def test_a_server_may_keep_its_limits_to_itself(clock: list[float]) -> None:
    with MessagesServer(limits={"requests": 60}, burst=1, tells=()) as server:
        await say(server)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await say(server)
    told = [name for name in caught.value.response.headers if "retry" in name or "limit" in name]
    assert told == []


async def test_a_fixed_window_is_full_again_when_the_next_one_starts(clock: list[float]) -> None:
    with MessagesServer(limits={"requests": 2}, windows=60) as server:
        for _ in range(2):
            await say(server)
        with pytest.raises(anthropic.RateLimitError):
            await say(server)
        clock[0] += 59
        with pytest.raises(anthropic.RateLimitError):
            await say(server)
        clock[0] += 1
        await say(server)
    assert server.ledger.requests == 3


async def test_the_rate_limit_answers_429_and_every_answer_tells_what_is_left(
    clock: list[float],
) -> None:
    """A burst passes, then retry-after; the headers are the API's."""
    with MessagesServer(limits={"requests": 60, "output-tokens": 60}, burst=2) as server:
        for _ in range(2):
            await say(server)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await say(server)
        assert server.ledger.requests == 2
    headers = caught.value.response.headers
    assert headers["retry-after"] == "1"
    assert headers["anthropic-ratelimit-requests-limit"] == "60"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert 50 < int(headers["anthropic-ratelimit-output-tokens-remaining"]) < 60


async def test_a_plan_that_raises_fails_the_test() -> None:
    """A mistake in a test's own plan doesn't pass for a fault."""
    server = always("misspelt").start()
    with pytest.raises(anthropic.InternalServerError):
        await say(server)
    with pytest.raises(ValueError, match="misspelt"):
        server.__exit__(None)


def test_the_same_seed_draws_the_same_faults_at_about_the_chance_asked_for() -> None:
    """The draw depends on prompt and attempt, not on the order of arrival."""
    prompts = [f"row {n}" for n in range(4_000)]
    chances = {"429": 0.1, "cut": 0.05}
    drawn = [Draw(chances, 7).fault(prompt, 1) for prompt in prompts]
    again = [Draw(chances, 7).fault(prompt, 1) for prompt in reversed(prompts)]
    assert drawn == again[::-1]
    assert 320 < drawn.count("429") < 480
    assert 140 < drawn.count("cut") < 260
    assert drawn != [Draw(chances, 8).fault(prompt, 1) for prompt in prompts]


@pytest.mark.parametrize(
    "wrong",
    [
        {"faults": {"nope": 0.1}},
        {"faults": {"429": 0.9, "500": 0.2}},
        {"limits": {"x": 1}},
        {"latency": "lognormal:1"},
    ],
    ids=str,
)
def test_a_mistaken_option_is_an_error_at_once(wrong: dict[str, Any]) -> None:
    """A misspelt fault must not make a fault test pass."""
    with pytest.raises(ValueError):
        MessagesServer(**wrong)


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        (0.2, 0.2, 0.2),
        ("0.2", 0.2, 0.2),
        ((0.1, 0.3), 0.1, 0.3),
        ("0.1:0.3", 0.1, 0.3),
        ("lognormal:0.2:0.5", 0.01, 4),
        pytest.param(lambda rng: rng.choice([0.1, 0.3]), 0.1, 0.3, id="a function"),
    ],
    ids=str,
)
def test_latency_is_a_number_a_range_a_distribution_or_a_function(
    spec: Any, low: float, high: float
) -> None:
    """Its middle is where the spec says."""
    waits = sorted(map(latency_of(spec), [random.Random(1)] * 200))
    assert low <= waits[0] <= waits[-1] <= high
    assert low == high or 0.1 <= waits[100] <= 0.3


async def test_a_stopped_server_starts_again_at_the_same_url_with_the_same_books() -> None:
    """An outage in mid-run can be played."""
    with MessagesServer() as server:
        url = server.url
        await say(server, "before")
        server.stop()
        with pytest.raises(anthropic.APIConnectionError):
            await say(server, "during")
        server.start()
        await say(server, "after")
        assert (server.url, set(server.ledger.by_prompt())) == (url, {"before", "after"})


async def test_a_client_that_left_is_billed_all_the_same() -> None:
    """As with the API, giving up doesn't take the work back."""
    with MessagesServer() as server:
        server.pause()
        call = asyncio.create_task(say(server))
        await asyncio.to_thread(server.wait_for, 1)
        call.cancel()
        await asyncio.wait([call])
        server.resume()
        await asyncio.to_thread(server.wait_idle)
        (entry,) = server.ledger.entries
    assert (entry.delivered, entry.fault) == (False, None)


async def test_as_a_process_it_prints_its_url_serves_and_ends_with_its_stdin() -> None:
    """`python -m tests.server` outlives nobody, and its ledger is read over HTTP."""
    command = [sys.executable, "-m", "tests.server", "--latency", "0.01:0.02", "--key", "test-key"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        remote = MessagesServer(port=int(process.stdout.readline().rsplit(":", 1)[1]))
        message = await say(remote, "far away")
        found = await asyncio.to_thread(books, remote.url)
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
    assert text_of(message) == echo_of("far away")
    assert (found["requests"], found["by_prompt"]) == (1, {"far away": 1})
    assert found["entries"][0]["delivered"]


def test_every_fault_is_tried_here() -> None:
    """A new fault comes with a test."""
    elsewhere = {"429_spend", "hang", "html", "reset_after", "half", "malformed"}
    useless = {"refusal", "refusal_text", "empty", "cut", "bad_schema"}
    assert set(UNBILLED) | elsewhere | useless == FAULTS
