"""Whatever a server answers, either way over the wire: a body as it came, or one of our errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ondine_nb.errors import MalformedAnswerError, OndineError, TransientError
from ondine_nb.providers import BatchResult, ServerBatch, Settings, capabilities, off_wire
from ondine_nb.providers.openai import OpenAIProvider
from ondine_nb.providers.openai.answers import error_in
from ondine_nb.providers.openai.batches import ChatBatches
from ondine_nb.sending import RateLimiter
from tests.providers.anthropic.test_any_answer import JSON, STATUSES, VALUES, Answering
from tests.providers.openai.test_answers import BODIES
from tests.providers.openai.test_rate_headers import NAMES

pytestmark = pytest.mark.timeout(3600)  # ten thousand take minutes

HEADERS = st.dictionaries(
    st.sampled_from([*NAMES, "retry-after", "retry-after-ms", "content-type"]), VALUES, max_size=6
)


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    with asyncio.Runner() as runner:
        there = Answering(runner)
        server = runner.run(asyncio.start_server(there.serve, "127.0.0.1", 0))
        there.port = server.sockets[0].getsockname()[1]
        yield there
        server.close()


@pytest.fixture(scope="module")
def providers(answering: Answering) -> Iterator[dict[str, OpenAIProvider]]:
    """One that sends through the SDK, and one that goes the fast way by now."""
    url = f"http://127.0.0.1:{answering.port}/v1"
    made = {way: OpenAIProvider("gpt-5-mini", base_url=url, api_key="sk-x")
            for way in ("sdk", "fast")}  # fmt: skip
    for provider in made.values():
        answering.runner.run(provider.open(Settings("gpt-5-mini"), 2))
    answering.says(200, {}, b'{"choices": []}')
    answering.runner.run(made["fast"].send("first"))
    assert made["fast"]._fast_path is not None
    yield made
    for provider in made.values():
        answering.runner.run(provider.close())


@settings(suppress_health_check=list(HealthCheck))
@given(
    way=st.sampled_from(["sdk", "fast"]),
    status=st.just(200) | st.sampled_from(STATUSES),
    headers=HEADERS,
    body=BODIES,
)
def test_any_answer_is_a_body_as_it_came_or_one_of_our_errors(
    answering: Answering,
    providers: dict[str, OpenAIProvider],
    way: str,
    status: int,
    headers: dict[str, str],
    body: bytes,
) -> None:
    provider = providers[way]
    if way == "sdk":
        provider._fast_path = None
    answering.says(status, headers, b"" if status == 204 else body)
    told = answering.told(provider.send("Tell"))
    if isinstance(told, OndineError):
        assert status != 200 or error_in(body), repr(told)
        assert "\n" not in str(told)
        if isinstance(told, TransientError):
            after = told.retry_after
            assert after is None or (math.isfinite(after) and after >= 0)
            RateLimiter().learn(told.headers)
        return
    assert status in (200, 204)
    assert off_wire(told.body) == ("chat", body if status == 200 else b"")
    RateLimiter().learn(told.headers)
    try:
        usage = capabilities(provider).read(told.body).usage
    except MalformedAnswerError:
        return
    assert provider.price is not None
    cost = provider.price.cost(usage)
    assert cost.is_finite()
    assert cost >= 0


RESPONSES = st.fixed_dictionaries(
    {},
    optional={
        "status_code": st.sampled_from([200, 400, 429, 500]) | JSON,
        "body": BODIES.map(lambda body: body.decode("utf-8", "replace")) | JSON,
    },
)
LINES = st.one_of(
    st.binary(max_size=60).map(lambda line: line.replace(b"\n", b" ")),
    st.fixed_dictionaries(
        {},
        optional={
            "custom_id": st.text(max_size=8) | JSON,
            "response": RESPONSES | JSON,
            "error": st.fixed_dictionaries({"code": JSON, "message": JSON}) | JSON,
        },
    ).map(lambda line: json.dumps(line).encode()),
    BODIES.map(
        lambda body: b'{"custom_id": "p-0", "response": {"status_code": 200, "body": '
        + body.replace(b"\n", b" ") + b"}}"
    ),
)  # fmt: skip


@settings(suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, max_size=6))
def test_any_line_of_a_batchs_results_is_one_result_and_none_is_lost(
    answering: Answering, providers: dict[str, OpenAIProvider], lines: list[bytes]
) -> None:
    provider = providers["sdk"]
    batch = ServerBatch("batch_1", len(lines), True, 0.0, ("file-1",))
    for line, result in answering.results_of(ChatBatches(provider), batch, lines):
        if result.kind == "succeeded":
            body = json.loads(line)["response"]["body"]
            assert repr(json.loads(off_wire(result.body)[1])) == repr(body)
            with contextlib.suppress(MalformedAnswerError):
                assert capabilities(provider).read(result.body).usage.input_tokens >= 0
        elif result.kind == "unreadable":
            assert result.body == line
        else:
            assert result.kind in ("errored", "rejected", "canceled", "expired")
            assert "\n" not in result.said


BATCHES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("batch_1") | JSON,
        "status": st.sampled_from(["validating", "failed", "completed", "expired"]) | JSON,
        "created_at": st.integers(0, 2**31) | JSON,
        "request_counts": st.fixed_dictionaries({"total": JSON, "completed": JSON, "failed": JSON})
        | JSON,
        "output_file_id": st.just("file-1") | JSON,
        "error_file_id": JSON,
        "metadata": st.dictionaries(st.just("ondine_batch"), JSON) | JSON,
        "errors": st.fixed_dictionaries({"data": st.lists(JSON, max_size=2)}) | JSON,
    },
)


@settings(suppress_health_check=list(HealthCheck))
@given(status=st.just(200) | st.sampled_from(STATUSES), batch=BATCHES | JSON)
def test_whatever_is_said_of_a_batch_is_a_batch_or_an_error_of_ours(
    answering: Answering, providers: dict[str, OpenAIProvider], status: int, batch: object
) -> None:
    answering.says(status, {"content-type": "application/json"}, json.dumps(batch).encode())
    told = answering.told(ChatBatches(providers["sdk"]).retrieve("batch_1"))
    assert told is None or isinstance(told, ServerBatch | OndineError), told
    page = {"data": [batch], "has_more": False}
    answering.says(status, {"content-type": "application/json"}, json.dumps(page).encode())
    told = answering.told(ChatBatches(providers["sdk"]).created_since(0.0))
    assert isinstance(told, list | OndineError), told


def test_what_is_said_of_a_request_in_a_batch_has_no_key_in_it(
    answering: Answering, providers: dict[str, OpenAIProvider]
) -> None:
    provider = providers["sdk"]
    body = {"error": {"message": f"bad key {provider._api_key}"}}
    line = {"custom_id": "p-0", "response": {"status_code": 401, "body": body}}
    answering.says(200, {}, json.dumps(line).encode())
    batch = ServerBatch("batch_1", 1, True, 0.0, ("file-1",))

    async def read() -> list[BatchResult]:
        async with contextlib.aclosing(ChatBatches(provider).results(batch)) as results:
            return [each async for several in results for each in several]

    (told,) = answering.told(read())
    assert told.said == "bad key …"
