"""The short way: what goes over it and what comes back are what the SDK would send and get."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.providers import Reply, Settings
from ondine_nb.providers.anthropic.client import AnthropicProvider, _turn
from ondine_nb.providers.http import BodyTemplate, FastPath
from tests.patience import PATIENCE
from tests.server import FAULTS, MessagesServer, echo_of

HAIKU = "claude-haiku-5-5"
SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string"}, "at": {"type": "integer"}},
    "required": ["mood", "at"],
    "additionalProperties": False,
}
HEAD = "You read reviews with care. " * 100


@asynccontextmanager
async def opened(url: str, **given_: Any) -> AsyncIterator[AnthropicProvider]:
    provider = AnthropicProvider(HAIKU, base_url=url, api_key="sk-ant-0123456789")
    await provider.open(Settings(HAIKU, **{"timeout": PATIENCE, **given_}), 4)
    try:
        yield provider
    finally:
        await provider.close()


async def outcome(provider: AnthropicProvider, prompt: str) -> tuple[Any, ...]:
    """The body, or what was raised: its kind, its words, and all it says besides."""
    try:
        return ("answered", (await provider.send(prompt)).body)
    except Exception as error:
        said = {name: value for name, value in vars(error).items() if name != "headers"}
        return (type(error).__name__, str(error), said)


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"system": "Be brief. Ünïcode \u2028 \U0001f600", "max_tokens": 77},
        {"schema": SCHEMA, "effort": "low"},
        {"system": "s " * 3000, "cached_system": True, "cached_head": HEAD.rstrip()},
    ],
)
async def test_the_same_json_and_headers_go_out(
    server: MessagesServer, given_: dict[str, Any]
) -> None:
    for prompt in ('say "hi" \\ {} ü \u2028 \U0001f600', HEAD + "now say hi", HEAD):
        async with opened(server.url, **given_) as provider:
            for _ in range(3):
                await provider.send(prompt)
            assert provider._fast_path is not None
        by_sdk, *by_fast_path = server.requests[-3:]
        for arrival in by_fast_path:
            assert json.dumps(arrival.body, sort_keys=True) == json.dumps(
                by_sdk.body, sort_keys=True
            )
            assert dict(arrival.headers) == dict(by_sdk.headers)


@given(st.text(), st.text(min_size=1), st.sampled_from(["", "Head. ", "Ü"]))
@settings(max_examples=200, deadline=None)
def test_a_template_says_what_json_would(prompt: str, system: str, head: str) -> None:
    def parameters(text: str) -> dict[str, Any]:
        return {"max_tokens": 5, "messages": _turn(head + text, head), "system": system}

    prompt = prompt.encode("utf-8", "replace").decode()
    split = bool(head) and bool(prompt.strip())
    template = BodyTemplate(parameters)
    if split or not head:
        assert json.loads(template.around(prompt)) == parameters(prompt)


@pytest.mark.parametrize("fault", sorted(FAULTS - {"hang"}))
async def test_each_fault_is_the_same_error_as_by_the_sdk(fault: str) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return None if "warm" in str(body["messages"]) else fault

    with MessagesServer(plan=plan, retry_after=7) as server:
        async with opened(server.url) as provider:
            by_sdk = await outcome(provider, "hi")
            provider._fast_path = None
            await provider.send("warm")
            assert provider._fast_path is not None
            by_fast_path = await outcome(provider, "hi")
    assert _without_ids(by_fast_path) == _without_ids(by_sdk)


def _without_ids(outcome: tuple[Any, ...]) -> tuple[Any, ...]:
    kind, said, *more = outcome
    if kind != "answered":
        return (kind, said.split("(request")[0], *more)
    with_id = said.decode("utf-8", "replace")
    return (kind, with_id.replace("msg_", "").translate(str.maketrans("", "", "0123456789abcdef")))


async def test_an_answer_that_hangs_times_out_as_by_the_sdk() -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return None if "warm" in str(body["messages"]) else "hang"

    with MessagesServer(plan=plan) as server:
        async with opened(server.url, timeout=2) as provider:
            await provider.send("warm")
            kind, said, more = await outcome(provider, "hi")
    assert (kind, "2 s" in said, more["possibly_billed"]) == ("TimedOutError", True, True)


async def test_a_compressed_answer_is_read_and_its_headers_found(server: MessagesServer) -> None:
    from aiohttp import web

    async def answer(request: web.BaseRequest) -> web.Response:
        body = gzip.compress(json.dumps({"said": len(await request.read())}).encode())
        named = {"Content-Encoding": "gzip", "Anthropic-RateLimit-Requests-Limit": "9"}
        return web.Response(body=body, headers=named)

    async with web_server(answer) as url, opened(url) as provider:
        replies = [await provider.send("hi") for _ in range(2)]
    assert json.loads(replies[0].body) == json.loads(replies[1].body)
    for reply in replies:
        assert reply.headers["anthropic-ratelimit-requests-limit"] == "9"


async def test_a_redirect_is_followed_by_the_sdk(server: MessagesServer) -> None:
    """It would lose the key, or send it elsewhere: that is for the SDK to judge."""
    from aiohttp import web

    elsewhere = False

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if elsewhere and request.path != "/there":
            return web.Response(status=307, headers={"location": "/there"})
        return web.Response(text=json.dumps({"path": request.path}))

    async with web_server(answer) as url, opened(url) as provider:
        await provider.send("hi")
        elsewhere = True
        replies: list[Reply] = [await provider.send("hi") for _ in range(2)]
        assert provider._fast_path is None  # what was redirected is no pattern
    assert [json.loads(reply.body) for reply in replies] == [{"path": "/there"}] * 2


@asynccontextmanager
async def web_server(handle: Any) -> AsyncIterator[str]:
    from aiohttp.test_utils import RawTestServer

    running = RawTestServer(handle)
    await running.start_server()
    try:
        yield str(running.make_url("/"))
    finally:
        await running.close()


async def test_what_needs_the_sdk_each_time_goes_by_it(
    server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(server.url) as provider:
        raw = await provider._client.messages.with_raw_response.create(
            max_tokens=5, messages=_turn("hi", ""), model=HAIKU
        )
        response = raw.http_response
        client, http = provider._client, provider._http
        assert FastPath.of(client, http, response) is not None
        with_tokens = SimpleNamespace(credentials=object())
        assert FastPath.of(with_tokens, http, response) is None
        assert FastPath.of(client, SimpleNamespace(), response) is None
        transport = http._transport_for_url(response.request.url)
        monkeypatch.setattr(transport, "proxy", object())
        assert FastPath.of(client, http, response) is None
        monkeypatch.setattr(transport, "proxy", None)
        recorded = SimpleNamespace(get_tracer_provider=lambda: object())
        monkeypatch.setitem(__import__("sys").modules, "opentelemetry.trace", recorded)
        assert FastPath.of(client, http, response) is None


async def test_a_provider_that_was_closed_learns_its_way_anew(server: MessagesServer) -> None:
    async with opened(server.url) as provider:
        await provider.send("one")
        await provider.close()
        assert provider._fast_path is None
        await provider.open(Settings(HAIKU), 4)
        for text in ("two", "three"):
            reply = await provider.send(text)
            assert echo_of(text) in reply.body.decode()
