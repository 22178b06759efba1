"""The wire, against a real HTTP server: what each answer and each fault becomes."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import (
    ConfigurationError,
    ConnectionLostError,
    CutAnswerError,
    EmptyAnswerError,
    FatalProviderError,
    ForbiddenError,
    MalformedAnswerError,
    OverloadedError,
    RateLimitedError,
    RefusalError,
    RejectedRequestError,
    ServerError,
    TimedOutError,
    TransientError,
)
from ondine_nb.models import Usage
from ondine_nb.providers import Answer, Reply, Settings
from ondine_nb.providers.anthropic.client import (
    AnthropicProvider,
    has_credentials,
    thinking_of,
)
from ondine_nb.providers.http import retry_after
from tests.patience import PATIENCE
from tests.server import MODELS, THINKING_TOKENS, MessagesServer, echo_of, value_of

KEY = "sk-ant-very-secret-0123456789"
HAIKU = "claude-haiku-5-5"
# Of nobody: its key was thrown away.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUWyKeyD1x3ns+43YYl/fd1R8WI1kwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyOTE1NTgxNFoYDzIxMjYxMTA1MTU1
ODE0WjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARl+JhrFZhyZtMIVS8iwEXtsZ/7j/JI6eZNgyzs46BefdqHA6mXXV12B1GFT2Ym
SYqsoYkWMDLKNxeAy6QYFCPbo1MwUTAdBgNVHQ4EFgQUwHitl5fARX+kyoaAGAwv
c3JXyIcwHwYDVR0jBBgwFoAUwHitl5fARX+kyoaAGAwvc3JXyIcwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiB9L6DzpjfXF1+EnUSyEwJXA0Ua8BBt
IbFzYSM+FYUeAgIgQdgyaSDASutOmyK/jyxG0sQvz+6SW1UItdvI3CJ35fE=
-----END CERTIFICATE-----
"""


@asynccontextmanager
async def opened(
    url: str, *, model: str = HAIKU, key: str | None = KEY, **given_: Any
) -> AsyncIterator[AnthropicProvider]:
    provider = AnthropicProvider(model, base_url=url, api_key=key)
    await provider.open(Settings(model=model, **{"timeout": PATIENCE, **given_}), 4)
    try:
        yield provider
    finally:
        await provider.close()


async def sent(url: str, prompt: str = "hi", **given_: Any) -> Reply:
    async with opened(url, **given_) as provider:
        return await provider.send(prompt)


async def error_of(url: str, **given_: Any) -> Any:
    """What sending raises; the key is in no word of it, nor in what it was raised from."""
    with pytest.raises(Exception) as raised:
        await sent(url, **given_)
    error: BaseException | None = raised.value
    while error is not None:
        assert KEY not in f"{error!r} {vars(error)}"
        error = error.__cause__
    return raised.value


@asynccontextmanager
async def raw_server(respond: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """Answers each request's head by what `respond` makes of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(respond(head))
        await writer.drain()
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


# --- what is sent, and what comes back


async def test_an_answer_comes_as_its_raw_bytes(server: MessagesServer) -> None:
    reply = await sent(server.url)
    assert json.loads(reply.body)["content"] == [{"type": "text", "text": echo_of("hi")}]
    assert reply.headers["request-id"].startswith("req_")
    assert 0 < reply.latency < 10
    answer = Answer.read(reply.body)
    assert (answer.usable_text(), answer.stop_reason, answer.cut) == (
        echo_of("hi"),
        "end_turn",
        False,
    )
    entry = server.ledger.entries[0]
    assert answer.usage == Usage(entry.input_tokens, entry.output_tokens)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("thinking", ["off", "auto"])
async def test_no_model_is_sent_what_it_refuses(model: str, thinking: str) -> None:
    """The server refuses what each model's documentation says it refuses."""
    with MessagesServer(thinking=True) as server:
        reply = await sent(
            server.url, model=model, thinking=thinking, effort="low", system="s", max_tokens=500
        )
    answer = Answer.read(reply.body)
    assert answer.usable_text() == echo_of("hi")
    thinks = thinking == "auto" or model.startswith(
        ("claude-opus", "claude-fable", "claude-mythos")
    )
    assert (answer.usage.output_tokens > THINKING_TOKENS) == thinks


@pytest.mark.parametrize(
    ("model", "thinking", "parameter"),
    [
        ("claude-haiku-5-5", "off", "disabled"),
        ("claude-sonnet-5-5", "off", "between_tools"),
        ("claude-opus-5-5", "off", None),
        ("claude-fable-5-2", "off", None),
        ("claude-mythos-5-2", "off", None),
        ("claude-haiku-4-5", "off", None),
        ("my-llama", "off", None),
        ("claude-haiku-5-5", "auto", "adaptive"),
        ("claude-opus-5-5", "auto", "adaptive"),
        ("claude-opus-4-6", "auto", "adaptive"),
        ("claude-haiku-4-5", "auto", None),
        ("my-llama", "auto", None),
    ],
)
def test_the_thinking_that_is_asked_for(model: str, thinking: str, parameter: str | None) -> None:
    asked = thinking_of(model, thinking)
    assert asked == (None if parameter is None else {"type": parameter})


async def test_a_request_holds_what_was_set_and_nothing_else(server: MessagesServer) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    reply = await sent(
        server.url, system="be brief", schema=schema, effort="low", max_tokens=77, prompt="p {x}"
    )
    body = server.requests[0].body
    assert body["messages"] == [{"role": "user", "content": "p {x}"}]
    assert (body["model"], body["max_tokens"], body["system"]) == (HAIKU, 77, "be brief")
    assert body["output_config"]["effort"] == "low"
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert set(body) == {
        "model",
        "max_tokens",
        "messages",
        "system",
        "thinking",
        "output_config",
    }
    assert json.loads(Answer.read(reply.body).text) == value_of(schema, "p {x}")


async def test_the_sdk_never_retries_by_itself() -> None:
    with MessagesServer(faults={"500": 1}) as server:
        await error_of(server.url)
        assert server.arrived == 1


async def test_a_provider_that_was_closed_opens_again(server: MessagesServer) -> None:
    provider = AnthropicProvider(HAIKU, base_url=server.url, api_key=KEY)
    for _ in range(2):
        await provider.open(Settings(model=HAIKU), 2)
        await provider.send("hi")
        await provider.close()
    await provider.close()
    assert server.arrived == 2


async def test_connections_are_as_many_as_the_concurrency() -> None:
    with MessagesServer() as server:
        server.pause()
        async with opened(server.url) as provider:
            sending = asyncio.gather(*(provider.send(str(n)) for n in range(12)))
            await asyncio.to_thread(server.wait_for, 4)
            server.resume()
            await sending
        assert server.peak_in_flight == 4


async def test_tokens_are_counted_or_unknown(server: MessagesServer) -> None:
    async with opened(server.url) as provider:
        counted = await provider.count_tokens("hello " * 50)
    assert counted is not None
    assert counted > 50
    with MessagesServer(key="another") as closed:
        async with opened(closed.url) as provider:
            assert await provider.count_tokens("hello") is None


async def test_models_are_listed(server: MessagesServer) -> None:
    async with opened(server.url) as provider:
        listed = await provider.models()
    assert [model["id"] for model in listed] == list(MODELS)


# --- faults


@pytest.mark.parametrize(
    ("fault", "kind", "billed"),
    [
        ("400", RejectedRequestError, None),
        ("401", FatalProviderError, None),
        ("402", FatalProviderError, None),
        ("403", ForbiddenError, None),
        ("404", FatalProviderError, None),
        ("408", ServerError, False),
        ("409", ServerError, False),
        ("413", RejectedRequestError, None),
        ("429", RateLimitedError, False),
        ("429_spend", FatalProviderError, None),
        ("500", ServerError, False),
        ("529", OverloadedError, False),
        ("html_502", ServerError, False),
        ("reset_before", ConnectionLostError, True),
        ("reset_after", ConnectionLostError, True),
        ("half", ConnectionLostError, True),
    ],
)
async def test_each_fault_is_the_error_that_the_run_has_to_know(
    fault: str, kind: type[Exception], billed: bool | None
) -> None:
    with MessagesServer(faults={fault: 1}) as server:
        error = await error_of(server.url)
    assert type(error) is kind
    assert "\n" not in str(error)
    assert "<" not in str(error)  # no page of a gateway
    if isinstance(error, TransientError):
        assert (error.possibly_billed, error.unreachable) == (billed, False)
        assert error.retry_after is None


@pytest.mark.parametrize("fault", ["html", "malformed"])
async def test_a_body_that_is_no_message_is_kept_and_unreadable(fault: str) -> None:
    with MessagesServer(faults={fault: 1}) as server:
        reply = await sent(server.url)
    assert reply.body
    with pytest.raises(MalformedAnswerError) as raised:
        Answer.read(reply.body)
    assert raised.value.possibly_billed


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refusal", RefusalError),
        ("refusal_text", RefusalError),
        ("empty", EmptyAnswerError),
        ("cut", CutAnswerError),
    ],
)
async def test_a_paid_answer_that_cant_be_used_says_why(fault: str, kind: type[Exception]) -> None:
    with MessagesServer(faults={fault: 1}) as server:
        answer = Answer.read((await sent(server.url)).body)
    with pytest.raises(kind):
        answer.usable_text()
    assert answer.usage.total_tokens > 0


async def test_a_request_without_an_answer_times_out_as_possibly_billed() -> None:
    with MessagesServer(faults={"hang": 1}) as server:
        error = await error_of(server.url, timeout=0.3)
    assert type(error) is TimedOutError
    assert error.possibly_billed
    assert "0.3 s (--timeout)" in str(error)


async def test_where_a_connection_takes_too_long_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The package has a function of that name.
    waits = sys.modules["ondine_nb.providers.http.connections"]
    monkeypatch.setattr(waits, "CONNECTING", 0.002)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        error = await error_of(f"https://127.0.0.1:{deaf.getsockname()[1]}", timeout=PATIENCE)
    assert type(error) is TimedOutError
    assert not error.possibly_billed
    assert f"no connection within {PATIENCE:.0f} s" in str(error)


async def test_an_answer_that_comes_by_drops_doesnt_outlast_the_timeout() -> None:
    """The SDK's own time-out bounds only the gap between two reads."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            for _ in range(1000):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with running:
        url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        assert type(await error_of(url, timeout=0.4)) is TimedOutError


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "https://127.0.0.1:9"]
)
async def test_where_no_connection_comes_about_nothing_was_billed(url: str) -> None:
    error = await error_of(url)
    assert type(error) is ConnectionLostError
    assert (error.unreachable, error.possibly_billed) == (True, False)
    assert f"no server answers at {url}" in str(error)
    assert "--base-url" in str(error)


async def test_https_to_a_server_without_it_is_unreachable_too(server: MessagesServer) -> None:
    error = await error_of(server.url.replace("http:", "https:"))
    assert (type(error), error.unreachable) == (ConnectionLostError, True)


@pytest.mark.parametrize("fault", ["429", "529"])
@pytest.mark.parametrize(
    ("given_", "seconds"), [({"retry_after": 7}, 7.0), ({"retry_after_ms": 250}, 0.25)]
)
async def test_the_servers_wish_to_wait_is_heard(
    fault: str, given_: dict[str, Any], seconds: float
) -> None:
    with MessagesServer(faults={fault: 1}, **given_) as server:
        error = await error_of(server.url)
    assert error.retry_after == seconds


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-4"}, 0),
        ({"retry-after": formatdate(NOW + 100, usegmt=True)}, 100),
        ({"retry-after": formatdate(NOW - 100, usegmt=True)}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e308"}, None),
        ({"retry-after-ms": "1e300"}, None),
        ({"retry-after": "-1e308"}, 0),
        ({"retry-after": "86400"}, 86_400),
        ({"retry-after": "86401"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, None),
    ],
)
def test_retry_after_in_seconds_milliseconds_and_as_a_date(
    headers: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: NOW)
        found = retry_after(headers)
    assert found == seconds


# --- keys


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
async def test_a_server_that_repeats_the_key_doesnt_get_it_into_an_error(status: int) -> None:
    def respond(head: bytes) -> bytes:
        said = {"type": "error", "error": {"type": "x", "message": f"bad key {KEY} in {head!r}"}}
        return http(status, json.dumps(said).encode(), "content-type: application/json")

    async with raw_server(respond) as url:
        assert "bad key …" in str(await error_of(url))


async def test_a_key_from_the_environment_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    body = json.dumps({"type": "error", "error": {"type": "x", "message": f"no {KEY}"}}).encode()
    async with raw_server(lambda _: http(401, body, "content-type: application/json")) as url:
        assert "no …" in str(await error_of(url, key=None))


async def test_a_wrong_key_is_fatal_and_says_what_to_set() -> None:
    with MessagesServer(key="right") as server:
        error = await error_of(server.url)
        assert type(error) is FatalProviderError
        assert "ANTHROPIC_API_KEY" in str(error)
        assert Answer.read((await sent(server.url, key="right")).body).text


async def test_a_key_that_cant_be_sent_is_fatal_and_nothing_is_billed(
    server: MessagesServer,
) -> None:
    error = await error_of(server.url, key=KEY + "\n")
    assert type(error) is FatalProviderError
    assert "Check the key" in str(error)
    assert server.arrived == 0


async def test_a_password_in_the_url_is_in_no_error() -> None:
    error = await error_of("http://me:pa55word@127.0.0.1:9")
    assert "pa55word" not in str(error)


async def test_a_server_that_needs_no_key_gets_a_word_that_says_so(server: MessagesServer) -> None:
    await sent(server.url, key=None)
    head = server.requests[0].headers
    assert "no-key-needed" in (head.get("x-api-key", "") + head.get("authorization", ""))
    assert not has_credentials()


async def test_certificates_are_read_once_for_all_runs(
    server: MessagesServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificates, read = tmp_path / "some.pem", list[str]()
    certificates.write_text(CERTIFICATE)
    real = ssl.SSLContext.load_verify_locations

    def load(self: ssl.SSLContext, cafile: Any = None, *more: Any, **others: Any) -> None:
        read.append(str(cafile))
        real(self, cafile, *more, **others)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    for _ in range(3):
        await sent(server.url, key=None)
    assert read == [str(certificates)]


@pytest.mark.parametrize("there", [True, False])
async def test_certificates_that_cant_be_read_end_the_run_and_are_named(
    server: MessagesServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool
) -> None:
    certificates = tmp_path / f"bad-{there}.pem"
    if there:
        certificates.write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    with pytest.raises(ConfigurationError, match=f"SSL_CERT_FILE='.*{certificates.name}'.*unset"):
        await sent(server.url)
    assert server.arrived == 0


async def test_a_url_that_is_none_is_an_error_before_anything_is_sent() -> None:
    with pytest.raises((ConfigurationError, FatalProviderError, ConnectionLostError)):
        await sent("http://[oops")


# --- the bound on input tokens

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=30, deadline=None)
@given(texts, texts, texts, st.booleans())
def test_request_bytes_are_at_least_the_bytes_of_all_texts(
    prompt: str, system: str, description: str, with_schema: bool
) -> None:
    """A token of any byte-level tokenizer holds at least one byte."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": description}},
        "required": ["a"],
        "additionalProperties": False,
    }
    provider = AnthropicProvider(HAIKU, base_url="http://127.0.0.1:9", api_key=KEY)
    given_ = Settings(model=HAIKU, system=system, schema=schema if with_schema else None)

    async def open_and_close() -> None:
        await provider.open(given_, 1)
        await provider.close()

    asyncio.run(open_and_close())
    least = len(prompt.encode()) + len(system.encode())
    if with_schema:
        least += len(json.dumps(schema, ensure_ascii=False).encode())
    assert provider.request_bytes(prompt) >= least


async def test_request_bytes_are_at_least_the_request_on_the_wire(server: MessagesServer) -> None:
    async with opened(server.url, system="sß" * 50) as provider:
        await provider.send("päper" * 40)
        on_the_wire = json.dumps(server.requests[0].body, ensure_ascii=False).encode()
        assert provider.request_bytes("päper" * 40) >= len(on_the_wire)


# --- reading answers


def message(**changes: Any) -> bytes:
    whole = {"content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn", "usage": {}}
    return json.dumps({**whole, **changes}).encode()


@pytest.mark.parametrize(
    ("content", "text", "blocks"),
    [(None, "", 0), ("said", "said", 1), (7, "", 0), ({}, "", 0), ([], "", 0), ([None], "", 1)],
)
def test_whatever_stands_in_the_place_of_the_content_it_is_read_and_its_tokens_are_counted(
    content: Any, text: str, blocks: int
) -> None:
    usage = {"input_tokens": 3, "output_tokens": 2}
    answer = Answer.read(message(content=content, usage=usage))
    assert (answer.text, answer.blocks, answer.usage) == (text, blocks, Usage(3, 2))


def test_text_is_found_by_its_type_never_by_its_place() -> None:
    blocks = [
        {"type": "thinking", "thinking": "t", "text": "not this"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "x"},
        {"type": "text", "text": "b"},
    ]
    answer = Answer.read(message(content=blocks))
    assert (answer.text, answer.blocks) == ("ab", 4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"5",
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe",
        b"<html>",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_any_other_body_is_unreadable_and_possibly_billed(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError) as raised:
        Answer.read(body)
    assert raised.value.possibly_billed


@pytest.mark.parametrize("content", [None, [5], [{"text": "x"}], [{"type": "text"}]], ids=str)
def test_a_message_without_text_is_an_empty_answer(content: Any) -> None:
    answer = Answer.read(json.dumps({"content": content}).encode())
    assert answer.text == ""
    with pytest.raises(EmptyAnswerError):
        answer.usable_text()


@pytest.mark.parametrize("usage", [5, {"input_tokens": "many"}], ids=str)
def test_a_usage_that_cant_be_is_unknown(usage: Any) -> None:
    assert not Answer.read(message(usage=usage)).usage.known


@given(st.text(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be"]), st.booleans())
def test_a_text_is_read_as_it_was_written_in_any_encoding_of_json(
    text: str, encoding: str, escaped: bool
) -> None:
    whole = json.loads(message(content=[{"type": "text", "text": text}, {"type": "x"}]))
    body = json.dumps(whole, ensure_ascii=escaped).encode(encoding, "surrogatepass")
    assert Answer.read(body).text == text


@pytest.mark.parametrize("text", ["a \ud800 b", "\udfff", "\U0001f600 \udc00"])
def test_half_a_pair_is_read_too(text: str) -> None:
    assert Answer.read(message(content=[{"type": "text", "text": text}])).text == text


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
def test_both_ways_of_being_cut(stop: str) -> None:
    answer = Answer.read(message(stop_reason=stop))
    assert answer.cut
    with pytest.raises(CutAnswerError, match="--max-tokens"):
        answer.usable_text()


@pytest.mark.parametrize("content", [[], [{"type": "text", "text": " \n"}]])
def test_an_answer_without_words_is_empty(content: list[Any]) -> None:
    with pytest.raises(EmptyAnswerError, match=f"{len(content)} content blocks"):
        Answer.read(message(content=content)).usable_text()
