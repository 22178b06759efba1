"""Whatever a server answers, either way over the wire: a body as it came, or one of our errors.

`--hypothesis-profile thorough` makes 10,000 answers instead of a hundred.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ondine_nb.errors import MalformedAnswerError, OndineError, TransientError
from ondine_nb.providers import BatchResult, ServerBatch, Settings, capabilities
from ondine_nb.providers.anthropic import MessageBatches
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.sending import RateLimiter
from tests.patience import PATIENCE
from tests.sending.test_sender import BODIES

pytestmark = pytest.mark.timeout(3600)  # ten thousand take minutes

STATUSES = [400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529, 204, 302]
LIMITS = [
    f"anthropic-ratelimit-{kind}-{what}"
    for kind in ("requests", "input-tokens", "output-tokens", "tokens")
    for what in ("limit", "remaining", "reset")
]
NAMES = [*LIMITS, "retry-after", "retry-after-ms", "request-id", "content-type", "x-should-retry"]
VALUES = st.sampled_from(
    ["1e999", "nan", "-1", "0", "", "9" * 400, "tomorrow", "50", "Fri, 31 Dec 9999 23:59:59 GMT",
     "2026-01-01T00:00:00Z", "application/json", "text/html", "true"]
) | st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"),
            max_size=12)  # fmt: skip
HEADERS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)
ERRORS = st.fixed_dictionaries(
    {}, optional={"type": st.just("error"), "error": st.fixed_dictionaries(
        {}, optional={"type": st.text(max_size=8) | st.none(), "message": st.text(max_size=30)}
    ) | st.none() | st.integers()},
).map(lambda error: json.dumps(error).encode())  # fmt: skip
ANY_BODY = BODIES | ERRORS


@dataclass
class Answering:
    """A server that gives the same bytes to everybody, and two providers that are open to it."""

    runner: asyncio.Runner
    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
                if length:
                    await reader.readexactly(int(length[0].partition(b":")[2]))
                lines = [f"HTTP/1.1 {self.status} said", f"content-length: {len(self.body)}"]
                lines += [f"{name}: {value}" for name, value in self.headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + self.body)
                await writer.drain()
        writer.close()

    def says(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def told(self, work: Any) -> Any:
        """What comes of it: a value, or one of our errors."""

        async def bounded() -> Any:
            async with asyncio.timeout(PATIENCE):
                return await work

        try:
            return self.runner.run(bounded())
        except OndineError as error:
            return error

    def results_of(
        self, api: Any, batch: ServerBatch, lines: list[bytes]
    ) -> list[tuple[bytes, BatchResult]]:
        """Each line of a batch's results that holds anything, with what it is read as."""
        self.says(200, {}, b"\n".join(lines))

        async def read() -> list[BatchResult]:
            async with contextlib.aclosing(api.results(batch)) as results:
                return [each async for several in results for each in several]

        told = self.told(read())
        assert isinstance(told, list), told
        whole = [line for line in lines if line.strip()]
        assert len(told) == len(whole)
        assert all(isinstance(result.custom_id, str) for result in told)
        return list(zip(whole, told, strict=True))


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    with asyncio.Runner() as runner:
        there = Answering(runner)
        server = runner.run(asyncio.start_server(there.serve, "127.0.0.1", 0))
        there.port = server.sockets[0].getsockname()[1]
        yield there
        server.close()


@pytest.fixture(scope="module")
def providers(answering: Answering) -> Iterator[dict[str, AnthropicProvider]]:
    """One that sends through the SDK, and one that goes the fast way by now."""
    url = f"http://127.0.0.1:{answering.port}"
    made = {way: AnthropicProvider("claude-haiku-5-5", base_url=url, api_key="sk-x")
            for way in ("sdk", "fast")}  # fmt: skip
    for provider in made.values():
        answering.runner.run(provider.open(Settings("claude-haiku-5-5"), 2))
    usage = b'"usage": {"input_tokens": 1, "output_tokens": 1}'
    answering.says(200, {}, b'{"content": [], "stop_reason": "end_turn", ' + usage + b"}")
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
    body=ANY_BODY,
)
def test_any_answer_is_a_body_as_it_came_or_one_of_our_errors(
    answering: Answering,
    providers: dict[str, AnthropicProvider],
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
        assert status != 200, repr(told)
        assert "\n" not in str(told)
        if isinstance(told, TransientError):
            after = told.retry_after
            assert after is None or (math.isfinite(after) and after >= 0)
        return
    assert status in (200, 204)
    assert told.body == (body if status == 200 else b"")
    RateLimiter().learn(told.headers)
    _check_read(provider, told.body)


def _check_read(provider: AnthropicProvider, body: bytes) -> None:
    try:
        answer = capabilities(provider).read(body)
    except MalformedAnswerError:
        return
    usage = answer.usage
    assert usage.input_tokens >= 0
    assert usage.output_tokens >= 0
    assert provider.price is not None
    cost = provider.price.cost(usage)
    assert cost.is_finite()
    assert cost >= 0


def _same(one: Any, other: Any) -> bool:
    """Equal, where a number may be none (NaN isn't equal to itself)."""
    return repr(one) == repr(other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
RESULTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["succeeded", "errored", "canceled", "expired", "odd"]) | JSON,
        "message": BODIES.map(lambda body: body.decode("utf-8", "replace")) | JSON,
        "error": JSON | st.fixed_dictionaries({"error": JSON}),
    },
)
LINES = st.one_of(
    st.binary(max_size=60).map(lambda line: line.replace(b"\n", b" ")),
    st.fixed_dictionaries({}, optional={"custom_id": st.text(max_size=8) | JSON, "result": RESULTS})
    .map(lambda line: json.dumps(line).encode()),
    BODIES.map(
        lambda body: b'{"custom_id": "p-0", "result": {"type": "succeeded", "message": '
        + body.replace(b"\n", b" ") + b"}}"
    ),
)  # fmt: skip


@settings(suppress_health_check=list(HealthCheck))
@given(lines=st.lists(LINES, max_size=6))
def test_any_line_of_a_batchs_results_is_one_result_and_none_is_lost(
    answering: Answering, providers: dict[str, AnthropicProvider], lines: list[bytes]
) -> None:
    provider = providers["fast"]
    batch = ServerBatch("msgbatch_1", len(lines), True, 0.0, ("/v1/results",))
    for line, result in answering.results_of(MessageBatches(provider), batch, lines):
        if result.kind == "succeeded":
            assert _same(json.loads(result.body), json.loads(line)["result"]["message"])
            _check_read(provider, result.body)
        elif result.kind == "unreadable":
            assert result.body == line
        else:
            assert result.kind in ("errored", "rejected", "canceled", "expired")
            assert "\n" not in result.said


def test_what_is_said_of_a_request_in_a_batch_has_no_key_in_it(
    answering: Answering, providers: dict[str, AnthropicProvider]
) -> None:
    provider = providers["fast"]
    error = {"type": "api_error", "message": f"bad key {provider._api_key}"}
    line = {"custom_id": "p-0", "result": {"type": "errored", "error": {"error": error}}}
    answering.says(200, {}, json.dumps(line).encode())
    batch = ServerBatch("batch_1", 1, True, 0.0, ("/v1/results",))

    async def read() -> list[BatchResult]:
        async with contextlib.aclosing(MessageBatches(provider).results(batch)) as results:
            return [each async for several in results for each in several]

    (told,) = answering.told(read())
    assert told.said == "bad key …"
