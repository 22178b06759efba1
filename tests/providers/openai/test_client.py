"""Chat Completions through the real SDK, against the loopback server."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Pipeline
from ondine_nb.errors import (
    ConfigurationError,
    ConnectionLostError,
    CutAnswerError,
    EmptyAnswerError,
    FatalProviderError,
    ForbiddenError,
    MalformedAnswerError,
    NoKeyError,
    OverloadedError,
    RateLimitedError,
    RefusalError,
    RejectedRequestError,
    RowError,
    ServerError,
    TimedOutError,
    TransientError,
)
from ondine_nb.models import Usage
from ondine_nb.prompts.schema import parse_schema
from ondine_nb.providers import KNOWN, Settings, off_wire
from ondine_nb.providers.openai import OpenAIProvider
from ondine_nb.providers.openai.client import effort_of
from tests.asking import texts
from tests.patience import PATIENCE
from tests.server import MessagesServer, echo_of

MODEL = "gpt-5-mini"
KEY = "sk-proj-a-key-that-nobody-may-see"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def opened(
    server: MessagesServer, settings: Settings | None = None, **given: Any
) -> AsyncIterator[OpenAIProvider]:
    options = {"base_url": server.url, "api_key": KEY, **given}
    settings = settings or Settings(MODEL, timeout=PATIENCE)
    provider = OpenAIProvider(settings.model, **options)
    await provider.open(settings, 8)
    try:
        yield provider
    finally:
        await provider.close()


def always(fault: str, **options: Any) -> MessagesServer:
    return MessagesServer(plan=lambda _body, _attempt: fault, **options)


async def test_an_answer_comes_back_as_it_came_with_the_name_of_its_wire() -> None:
    with MessagesServer() as server:
        async with opened(server) as provider:
            replies = [await provider.send("hello"), await provider.send("world")]
            assert provider._fast_path is not None  # the second went the short way
    for reply, prompt in zip(replies, ("hello", "world"), strict=True):
        wire, raw = off_wire(reply.body)
        assert wire == "chat"
        assert raw.startswith(b'{"id": "chatcmpl-')
        answer = provider.read(reply.body)
        assert (answer.text, answer.stop_reason) == (echo_of(prompt), "end_turn")
        assert answer.usage == Usage(answer.usage.input_tokens, 4)
        assert reply.latency > 0
    first, second = server.requests
    differ = {"Content-Length"}
    assert {n: v for n, v in first.headers.items() if n not in differ} == {
        n: v for n, v in second.headers.items() if n not in differ
    }


async def test_system_effort_limit_and_schema_are_sent_in_the_apis_words() -> None:
    schema = parse_schema("mood: good|bad, score: float?").json_schema
    settings = Settings(MODEL, max_tokens=77, system="Be brief.", schema=schema, effort="low")
    with MessagesServer() as server:
        async with opened(server, settings) as provider:
            await provider.send("hello")
        (arrival,) = server.requests
    sent = arrival.body
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    assert (sent["max_completion_tokens"], sent["reasoning_effort"]) == (77, "low")
    assert sent["response_format"]["json_schema"]["strict"]
    assert sent.keys() == {
        "model", "messages", "max_completion_tokens", "reasoning_effort", "response_format",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "model", "effort", "thinking", "sent"),
    [
        ("openai", "gpt-5-mini", None, "off", "minimal"),
        ("openai", "gpt-5.4", None, "off", "none"),
        ("openai", "gpt-5.4-mini-2026-03-01", None, "off", "none"),
        ("openai", "gpt-5.4", None, "auto", None),
        ("openai", "gpt-5.4", "high", "off", "high"),
        ("openai", "gpt-4.1-mini", None, "off", None),
        ("openai", "o4-mini", None, "off", None),
        ("groq", "gpt-5.4", None, "off", None),
        ("groq", "openai/gpt-oss-120b", "low", "off", "low"),
    ],
)
def test_models_are_told_to_reason_as_little_as_they_can_unless_asked(
    row: str, model: str, effort: str | None, thinking: str, sent: str | None
) -> None:
    assert effort_of(KNOWN[row], model, effort, thinking) == sent


async def test_the_limit_is_called_as_the_row_says() -> None:
    with MessagesServer() as server:
        settings = Settings("some-model", max_tokens=5)
        async with opened(server, settings, row=KNOWN["vllm"]) as provider:
            await provider.send("hello")
        (arrival,) = server.requests
    assert arrival.body["max_tokens"] == 5
    assert "max_completion_tokens" not in arrival.body


FAULTS: dict[str, type[Exception]] = {
    "400": RejectedRequestError,
    "401": FatalProviderError,
    "402": FatalProviderError,
    "403": ForbiddenError,
    "404": FatalProviderError,
    "408": ServerError,
    "409": ServerError,
    "413": RejectedRequestError,
    "429": RateLimitedError,
    "429_spend": FatalProviderError,
    "500": ServerError,
    "529": OverloadedError,
    "html_502": ServerError,
    "reset_before": ConnectionLostError,
    "reset_after": ConnectionLostError,
    "half": ConnectionLostError,
    "hang": TimedOutError,
}


@pytest.mark.parametrize("way", ["sdk", "fast"])
@pytest.mark.parametrize(("fault", "error"), FAULTS.items(), ids=list(FAULTS))
async def test_a_failure_is_the_same_error_either_way(
    fault: str, error: type[Exception], way: str
) -> None:
    """By the SDK as by the short way; what may have been billed says so."""
    plan = lambda _body, attempt: None if way == "fast" and attempt == 1 else fault  # noqa: E731
    settings = Settings(MODEL, timeout=2 if fault == "hang" else PATIENCE)
    with MessagesServer(plan=plan, retry_after=3) as server:
        async with opened(server, settings) as provider:
            if way == "fast":
                await provider.send("hello")
            with pytest.raises(error) as caught:
                await provider.send("hello")
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    if isinstance(caught.value, TransientError):
        billed = fault in ("reset_before", "reset_after", "half", "hang")
        assert caught.value.possibly_billed == billed
        if fault in ("429", "529"):
            assert caught.value.retry_after == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refusal", RefusalError),
        ("refusal_text", RefusalError),
        ("empty", EmptyAnswerError),
        ("cut", CutAnswerError),
    ],
)
async def test_an_answer_of_no_use_says_why(fault: str, error: type[Exception]) -> None:
    with always(fault) as server:
        async with opened(server) as provider:
            answer = provider.read((await provider.send("hello")).body)
    with pytest.raises(error):
        answer.usable_text()


@pytest.mark.parametrize("fault", ["html", "malformed"])
async def test_what_is_no_answer_is_kept_and_cannot_be_read(fault: str) -> None:
    with always(fault) as server:
        async with opened(server) as provider:
            reply = await provider.send("hello")
    with pytest.raises(MalformedAnswerError):
        provider.read(reply.body)


@pytest.mark.parametrize(
    ("code", "error"),
    [(502, ServerError), (429, RateLimitedError), ("rate_limited", ServerError)],
)
async def test_an_error_inside_a_200_is_an_error_that_may_have_been_billed(
    code: Any, error: type[Exception]
) -> None:
    body = {"choices": None, "error": {"code": code, "message": "the provider failed"}}
    with MessagesServer(answer=lambda _body: dict(body)) as server:
        async with opened(server) as provider:
            with pytest.raises(error, match="the provider failed") as caught:
                await provider.send("hello")
    assert isinstance(caught.value, TransientError)
    assert caught.value.possibly_billed


async def test_nobody_listening_is_told_with_the_address() -> None:
    with MessagesServer() as server:
        pass
    async with opened(server) as provider:
        with pytest.raises(ConnectionLostError, match=f"no server answers at {server.url}/v1"):
            await provider.send("hello")


# -- addresses


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/"),
        ("HTTPS://API.OpenAI.com:443/v1/", None),
        ("https://api.openai.com", None),
        ("http://u:p@host/v1", "http://host/v1"),
    ],
)
def test_the_same_server_by_another_spelling_is_the_same(one: str, other: str | None) -> None:
    first, second = OpenAIProvider("m", base_url=one), OpenAIProvider("m", base_url=other)
    assert first.identity == second.identity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"base_url": "http://host/v1"}, {"base_url": "http://host/v2"}),
        ({}, {"row": KNOWN["groq"]}),
        ({"row": KNOWN["vllm"]}, {"row": KNOWN["ollama"]}),
    ],
)
def test_different_servers_are_different(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert OpenAIProvider("m", **one).identity != OpenAIProvider("m", **other).identity


def test_a_row_at_its_own_address_is_the_server_however_it_is_named() -> None:
    groq = KNOWN["groq"]
    by_url = OpenAIProvider("m", base_url=groq.base_url)
    assert OpenAIProvider("m", row=groq).identity == by_url.identity
    deepseek = KNOWN["deepseek"]
    named = OpenAIProvider("m", row=deepseek)
    assert named.identity == OpenAIProvider("m", row=deepseek, base_url=named.base_url).identity


def test_the_same_address_by_another_api_is_another_provider() -> None:
    from ondine_nb.providers.anthropic import AnthropicProvider

    url = "http://127.0.0.1:8080/v1"
    other = AnthropicProvider("m", base_url=url.removesuffix("/v1"), api_key="k")
    assert OpenAIProvider("m", base_url=url).identity != other.identity


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base_url": "http://host/v1/chat/completions"}, "write http://host/v1"),
        ({"base_url": "host:8000"}, "is not a URL"),
        ({"row": KNOWN["azure"]}, "set AZURE_OPENAI_ENDPOINT"),
    ],
)
def test_an_address_that_cannot_be_one_is_told_with_the_remedy(
    given: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    with pytest.raises(ConfigurationError, match=said):
        OpenAIProvider("m", **given)


def test_azure_is_asked_at_its_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://us.openai.azure.com/")
    provider = OpenAIProvider("m", row=KNOWN["azure"])
    assert provider.base_url == "https://us.openai.azure.com/openai/v1"


# -- keys


def test_without_a_key_it_says_which_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "set OPENAI_API_KEY" in OpenAIProvider("m").unable
    assert "set GROQ_API_KEY" in OpenAIProvider("m", row=KNOWN["groq"]).unable
    assert OpenAIProvider("m", row=KNOWN["ollama"]).unable == ""
    assert OpenAIProvider("m", base_url="http://host/v1").unable == ""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert OpenAIProvider("m").unable == ""
    assert "set GROQ_API_KEY" in OpenAIProvider("m", row=KNOWN["groq"]).unable


def test_without_a_key_nothing_is_sent_and_a_run_says_why_in_one_line(tmp_path: Path) -> None:
    pipeline = Pipeline(texts(2), "{text}", provider=OpenAIProvider("m"), journal=tmp_path)
    with pytest.raises(NoKeyError, match="set OPENAI_API_KEY"):
        pipeline.execute()


async def test_a_server_that_needs_no_key_is_given_a_word_that_says_so() -> None:
    with MessagesServer() as server:
        async with opened(server, api_key=None) as provider:
            await provider.send("hello")
        (arrival,) = server.requests
    assert arrival.headers["authorization"] == "Bearer no-key-needed"


async def test_what_openai_knows_of_an_account_goes_to_no_other_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The SDK takes them from the environment and would send them anywhere."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Corp: secret\nAuthorization: Bearer secret")
    with MessagesServer() as server:
        async with opened(server) as provider:
            await provider.send("hello")
            await provider.send("hello")
    for arrival in server.requests:
        assert "secret" not in str(dict(arrival.headers))
        assert arrival.headers["authorization"] == f"Bearer {KEY}"


async def test_a_gateway_that_the_environment_names_for_openai_gets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with MessagesServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Corp: yes")
        async with opened(server, base_url=None) as provider:
            await provider.send("hello")
    (arrival,) = server.requests
    assert arrival.headers["x-corp"] == "yes"


async def test_a_login_in_the_url_is_the_servers_and_is_shown_nowhere() -> None:
    with always("500") as server:
        url = server.url.replace("//", "//ada:pass-word@")
        async with opened(server, base_url=url) as provider:
            with pytest.raises(ServerError) as caught:
                await provider.send("hello")
    (arrival,) = server.requests
    assert arrival.headers["authorization"].startswith("Basic ")
    shown = f"{provider.identity} {provider.title} {provider!r} {caught.value}"
    assert "pass-word" not in shown


@pytest.mark.parametrize("key", [KEY + "\n", "sk\nproj", "ключ-от-сервера"])
async def test_a_key_that_cant_be_sent_is_fatal_and_nothing_is_billed(key: str) -> None:
    with MessagesServer() as server:
        async with opened(server, api_key=key) as provider:
            for ask in (lambda: provider.send("hello"), provider.models):
                with pytest.raises(FatalProviderError, match="Check the key") as caught:
                    await ask()
                assert key.strip() not in str(caught.value)
    assert server.arrived == 0


async def test_a_key_that_the_server_repeats_is_hidden(caplog: pytest.LogCaptureFixture) -> None:
    def repeats(_body: Any) -> dict[str, Any]:
        return {"choices": None, "error": {"code": 400, "message": f"no: {KEY}"}}

    caplog.set_level(logging.DEBUG)
    with MessagesServer(answer=repeats) as server:
        async with opened(server) as provider:
            with pytest.raises(RejectedRequestError) as caught:
                await provider.send("hello")
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in f"{told} {provider!r} {caplog.text}"


def test_a_key_does_not_travel_with_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = OpenAIProvider("m", base_url="http://host/v1", api_key=KEY)
    packed = pickle.dumps(provider)
    assert KEY.encode() not in packed
    there = pickle.loads(packed)
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY there"):
        asyncio.run(there.open(Settings("m"), 1))
    assert provider.clone()._api_key == KEY


# -- what is loaded


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_nothing_loads_the_sdk_before_a_model_of_its_is_asked() -> None:
    code = """
import sys, ondine_nb
from ondine_nb.providers import KNOWN
assert not {"openai", "anthropic"} & sys.modules.keys()
from ondine_nb.providers.openai import OpenAIProvider
provider = OpenAIProvider("gpt-5-mini", base_url="http://127.0.0.1:9")
provider.unable, provider.request_bytes("hello")
print(sorted({"openai", "anthropic", "aiohttp"} & sys.modules.keys()))
"""
    assert run(code) == "[]"


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path) -> None:
    code = f"""
import sys, pandas
sys.modules["openai"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "openai" else find(name, *a)
from ondine_nb import Pipeline
from ondine_nb.providers.openai import OpenAIProvider
provider = OpenAIProvider("gpt-5-mini", api_key="k")
try:
    Pipeline(pandas.DataFrame({{"text": ["a"]}}), "{{text}}", provider=provider,
             journal={str(tmp_path)!r}).execute()
except Exception as error:
    print(type(error).__name__, error)
"""
    said = run(code)
    assert said.splitlines()[-1].startswith("NoKeyError")
    assert "pip install 'ondine-nb[openai]'" in said


# -- money


@pytest.mark.parametrize(
    ("row", "model", "known"),
    [
        ("openai", "gpt-5-mini", True),
        ("openai", "ft:gpt-5-mini:me", False),
        ("groq", "llama-3.3-70b-versatile", True),
        ("ollama", "llama3", False),
    ],
)
def test_a_price_is_found_by_who_serves_the_model(row: str, model: str, known: bool) -> None:
    assert (OpenAIProvider(model, row=KNOWN[row]).price is not None) == known


def test_a_given_price_is_taken() -> None:
    price = OpenAIProvider("x", row=KNOWN["vllm"], price_in=Decimal(1), price_out=Decimal(2)).price
    assert price is not None
    assert price.cost(Usage(1_000_000, 1_000_000)) == 3


async def test_no_request_has_more_tokens_than_its_bound() -> None:
    schema = parse_schema("mood: good|bad").json_schema
    with MessagesServer() as server:
        async with opened(server, Settings(MODEL, system="ü" * 50, schema=schema)) as provider:
            answer = provider.read((await provider.send("é" * 100)).body)
            bound = provider.request_bytes("é" * 100)
            assert await provider.count_tokens("x") is None
    assert answer.usage.prompt_tokens < bound


async def test_the_servers_models_are_listed() -> None:
    with MessagesServer(models=["a", "b"], key=KEY) as server:
        async with opened(server) as provider:
            assert [model["id"] for model in await provider.models()] == ["a", "b"]
        async with opened(server, api_key="wrong") as provider:
            with pytest.raises(FatalProviderError, match="refused the key"):
                await provider.models()


async def test_a_provider_that_is_not_open_says_so() -> None:
    with pytest.raises(RowError):
        await OpenAIProvider("m", base_url="http://host/v1").send("hello")
