"""Whatever a server answers, either way over the wire: a body as it came, or one of our errors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ondine_nb.errors import MalformedAnswerError, OndineError, TransientError
from ondine_nb.providers import Settings, capabilities, off_wire
from ondine_nb.providers.openai import OpenAIProvider
from ondine_nb.providers.openai.answers import error_in
from ondine_nb.sending import RateLimiter
from tests.providers.anthropic.test_any_answer import STATUSES, VALUES, Answering
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
