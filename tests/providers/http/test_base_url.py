"""Base URLs: one identity for each server, what can't work is said, and no password gets out."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.providers import Settings
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.providers.http.base_url import BaseUrl
from tests.asking import ended, texts
from tests.server import MessagesServer

PROMPT = "Tell: {text}"
HAIKU = "claude-haiku-5-5"


@pytest.mark.parametrize(
    ("spelled", "identity"),
    [
        ("http://h", "http://h"),
        ("HTTP://H.Example/", "http://h.example"),
        ("http://h:80/", "http://h"),
        ("https://h:443", "https://h"),
        ("http://h:443", "http://h:443"),
        ("http://h:8080//", "http://h:8080"),
        ("http://h/Some/Path/", "http://h/Some/Path"),
        ("http://me:secret@H:80/", "http://h"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_the_same_server_is_the_same_however_it_is_spelled(spelled: str, identity: str) -> None:
    assert BaseUrl.read(spelled).identity == identity


@given(
    st.sampled_from(["http", "HTTP", "https"]),
    st.sampled_from(["h", "H.example", "127.0.0.1", "[::1]"]),
    st.sampled_from(["", ":80", ":443", ":8080"]),
    st.sampled_from(["", "/", "/A", "/A/"]),
)
def test_what_it_was_called_before_is_among_its_spellings(
    scheme: str, host: str, port: str, path: str
) -> None:
    spelled = f"{scheme}://{host}{port}{path}"
    at = BaseUrl.read(spelled)
    assert BaseUrl.read(at.identity).identity == at.identity
    assert spelled in (at.identity, *at.spellings)
    assert at.identity not in at.spellings
    assert {BaseUrl.read(each).identity for each in at.spellings} <= {at.identity}
    assert at.identity + "/" in at.spellings


@pytest.mark.parametrize(
    "url",
    ["h:8000", "127.0.0.1:8000", "localhost", "ftp://h", "http://", "http://h:port", "http://a b"],
)
@pytest.mark.parametrize("where", ["--base-url", "ANTHROPIC_BASE_URL"])
def test_what_is_no_url_is_said_before_anything_is_sent(
    url: str, where: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"base_url": url}
    if where == "ANTHROPIC_BASE_URL":
        monkeypatch.setenv(where, url)
        given = {}
    with pytest.raises(ConfigurationError, match=f"{where}: .*not a URL. Write it like http://"):
        Pipeline(texts(1), PROMPT, journal=home, **given)


@pytest.mark.parametrize(
    "tail", ["/v1", "/v1/", "/V1", "/v1/messages", "/v1/chat/completions", "/v1/responses"]
)
def test_one_that_has_the_apis_own_path_is_said_before_anything_is_sent(
    tail: str, home: Path, server: MessagesServer
) -> None:
    with pytest.raises(ConfigurationError, match=f"ends in /[vV]1.*: write {server.url}$"):
        Pipeline(texts(1), PROMPT, journal=home, base_url=server.url + tail)
    assert server.arrived == 0


def test_a_variable_that_is_set_and_empty_is_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    provider = AnthropicProvider(HAIKU)

    async def asked() -> str:
        await provider.open(Settings(HAIKU), 1)
        try:
            return str(provider._client.base_url)
        finally:
            await provider.close()

    assert asyncio.run(asked()).startswith("https://api.anthropic.com")
    assert provider.identity == "anthropic"


def test_a_password_is_in_no_message() -> None:
    for url in ("http://me:pa55word@h:port", "http://me:pa55word@h/v1"):
        with pytest.raises(ConfigurationError) as caught:
            AnthropicProvider(HAIKU, base_url=url)
        assert "pa55word" not in str(caught.value)
    assert "pa55word" not in repr(BaseUrl.read("http://me:pa55word@h"))


@pytest.mark.parametrize("key", ["", "sk-ant-0123456789"])
def test_name_and_password_are_sent_and_kept_nowhere(
    key: str, home: Path, server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key:
        monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    url = server.url.replace("://", "://me:pa55%2Fword@")
    run = Run(Pipeline(texts(5), PROMPT, journal=home, base_url=url, model=HAIKU))
    asyncio.run(ended(run))
    assert run.state == "done"
    encoded = base64.b64encode(b"me:pa55/word").decode()
    for request in server.requests:
        assert request.headers["authorization"] == f"Basic {encoded}"
        assert request.headers.get("x-api-key") == (key or None)
    run.pipeline.journal.close()
    everything = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    for secret in (b"pa55", encoded.encode()):
        assert secret not in everything
    again = Run(Pipeline(texts(5), PROMPT, journal=home, base_url=server.url, model=HAIKU))
    asyncio.run(ended(again))
    assert set(again.rows["status"]) == {"journal"}


@pytest.mark.parametrize("pack", [1, 5])
def test_what_was_paid_under_another_spelling_is_found(
    pack: int, home: Path, server: MessagesServer
) -> None:
    for number, earlier in enumerate((server.url + "/", server.url.replace("http", "HTTP"))):
        data = texts(10, 100 * number)
        before = AnthropicProvider(HAIKU, base_url=server.url, identity=earlier)
        Pipeline(data, PROMPT, provider=before, journal=home, pack=pack).execute()
        sent = len(server.requests)
        run = Run(Pipeline(data, PROMPT, journal=home, base_url=earlier, model=HAIKU, pack=pack))
        asyncio.run(ended(run))
        assert set(run.rows["status"]) == {"journal"}
        assert len(server.requests) == sent


def test_a_run_that_was_recorded_under_another_spelling_goes_on(
    home: Path, server: MessagesServer
) -> None:
    before = AnthropicProvider(HAIKU, base_url=server.url, identity=server.url + "/")
    run = Run(Pipeline(texts(3), PROMPT, provider=before, journal=home))
    asyncio.run(ended(run))
    resumed = Pipeline.resume(run.id, texts(3), journal=home, base_url=server.url)
    assert resumed.costs.total_cost == run.costs.total_cost
    file = next((home / "runs").glob("*.json"))
    assert json.loads(file.read_text())


def test_a_server_that_speaks_another_api_lacks_the_route_and_not_the_model(home: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class OtherApi(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b'{"detail": "Not Found"}'
            self.send_response(404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), OtherApi) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        run = Run(Pipeline(texts(3), PROMPT, journal=home, base_url=url, model="m"))
        asyncio.run(ended(run))
        other.shutdown()
    assert f"{url} has no route /v1/messages (404: " in str(run.error)
    assert "does not know model" not in str(run.error)
