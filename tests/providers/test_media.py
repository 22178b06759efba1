"""Pictures and documents on the wire: byte for byte, in their order, in each provider's form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.data import MediaReader
from ondine_nb.errors import MissingFileError
from ondine_nb.models import Prompt
from ondine_nb.providers import Settings, capabilities, choose
from ondine_nb.providers.http import RequestBody, content_pieces
from ondine_nb.providers.local import LocalProvider
from tests.data.media.drawings import jpeg, pdf, png, saved
from tests.patience import PATIENCE
from tests.server import MessagesServer, seen_in

HAIKU = "claude-haiku-5-5"
WIRES = [(HAIKU, ""), ("openai:gpt-5-mini", "/v1")]


@pytest.fixture(scope="module")
def sees() -> Iterator[MessagesServer]:
    with MessagesServer(sees=True) as running:
        yield running


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")


@asynccontextmanager
async def opened(model: str, url: str, **given_: Any) -> AsyncIterator[Any]:
    provider: Any = choose(model, base_url=url)
    await provider.open(Settings(provider.model, **{"timeout": PATIENCE, **given_}), 4)
    try:
        yield provider
    finally:
        await provider.close()


async def sent(provider: Any, *parts: Any) -> str:
    body = await asyncio.to_thread(provider.write, Prompt(*parts))
    reply = await provider.send(body)
    return str(capabilities(provider).read(reply.body).text)


@pytest.mark.parametrize(("model", "path"), WIRES)
async def test_parts_arrive_byte_for_byte_in_their_order_by_the_sdk_and_by_the_short_way(
    sees: MessagesServer, model: str, path: str, tmp_path: Path
) -> None:
    read = MediaReader(tmp_path)
    first, second, terms = png(7), jpeg(9), pdf(2)
    saved(tmp_path, "a 📷.png", first)
    async with opened(model, sees.url + path, system="Be brief.") as provider:
        for _ in range(3):
            said = await sent(
                provider,
                "Ünïcode \u2028 ",
                *read("image", "a 📷.png"),
                "\n",
                *read("images", [second, first]),
                *read("pdf", terms),
                "What?",
            )
            assert said.split()[0] == "seen:"
            assert said.split()[1] == "7"
        assert provider._fast_path is not None
    for arrival in sees.requests[-3:]:
        found = seen_in(arrival.body)
        assert [each.content for each in found] == [first, second, first, terms]
        kinds = ["image/png", "image/jpeg", "image/png", "application/pdf"]
        assert [each.media_type for each in found] == kinds
        content = arrival.body["messages"][-1]["content"]
        texts = [each["text"] for each in content if each["type"] == "text"]
        assert texts == ["Ünïcode \u2028 ", "What?"]  # a blank block is refused
        assert arrival.headers["content-length"].isdecimal()
        assert "transfer-encoding" not in arrival.headers
        assert "📷" not in json.dumps(arrival.body, ensure_ascii=False)
        assert arrival.body == sees.requests[-3].body


@pytest.mark.parametrize(("model", "path"), WIRES)
async def test_a_url_is_handed_to_the_server_that_fetches_it(
    sees: MessagesServer, model: str, path: str
) -> None:
    url = "https://example.org/a.png?q=%20"
    async with opened(model, sees.url + path) as provider:
        assert "image" in capabilities(provider).fetches
        await sent(provider, "See ", *MediaReader()("image", url))
    (found,) = seen_in(sees.requests[-1].body)
    assert (found.url, found.content) == (url, b"")


async def test_what_all_prompts_begin_with_is_marked_before_pictures_too(
    sees: MessagesServer,
) -> None:
    head = "You read receipts with care. " * 200
    async with opened(HAIKU, sees.url, cached_head=head) as provider:
        await sent(provider, head, *MediaReader()("image", png(3)))
        await sent(provider, head + "and this", *MediaReader()("image", png(4)))
    for arrival, kinds in zip(
        sees.requests[-2:], (["text", "image"], ["text", "text", "image"]), strict=True
    ):
        content = arrival.body["messages"][0]["content"]
        assert [block["type"] for block in content] == kinds
        assert content[0]["cache_control"] == {"type": "ephemeral"}
    assert sees.ledger.entries[-1].cache_read_input_tokens > 0


async def test_tokens_are_counted_with_the_pictures(sees: MessagesServer) -> None:
    prompt = Prompt("What?", *MediaReader()("image", png(3, (600, 400))))
    async with opened(HAIKU, sees.url) as provider:
        counted = await provider.count_tokens(prompt)
        assert counted is not None
        assert 300 < counted <= provider.request_bytes(prompt)


async def test_a_cloud_takes_bytes_and_is_given_no_urls(
    sees: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIA0123456789",
        "AWS_SECRET_ACCESS_KEY": "secret-0123456789",
        "AWS_REGION": "us-east-1",
        "ANTHROPIC_BEDROCK_BASE_URL": sees.url,
    }.items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("boto3")
    provider: Any = choose("bedrock:anthropic.claude-haiku-5-5")
    assert capabilities(provider).fetches == frozenset()
    await provider.open(Settings(provider.model, timeout=PATIENCE), 4)
    try:
        assert await sent(provider, "See ", *MediaReader()("image", png(11))) == "seen: 11"
    finally:
        await provider.close()


@pytest.mark.parametrize(("model", "path"), WIRES)
async def test_a_file_that_is_gone_is_an_error_before_anything_is_sent(
    sees: MessagesServer, model: str, path: str, tmp_path: Path
) -> None:
    prompt = Prompt(*MediaReader()("image", gone := saved(tmp_path, "a.png", png())))
    gone.unlink()
    arrived = sees.arrived
    async with opened(model, sees.url + path) as provider:
        with pytest.raises(MissingFileError, match="isn't there any more"):
            provider.write(prompt)
    assert sees.arrived == arrived


def test_each_provider_says_what_it_takes_and_fetches() -> None:
    told = {
        HAIKU: ({"text", "image", "document"}, {"image", "document"}),
        "openai:gpt-5-mini": ({"text", "image", "document"}, {"image"}),
        "gemini:gemini-3-flash": ({"text", "image"}, set()),
        "ollama:llava": ({"text", "image"}, set()),
    }
    for model, (parts, fetches) in told.items():
        can = capabilities(choose(model))
        assert (set(can.parts), set(can.fetches)) == (parts, fetches), model
    assert capabilities(LocalProvider()).parts == {"text"}
    assert capabilities(LocalProvider()).write is None


# -- a body in pieces


class Held:
    """A picture of any bytes."""

    kind, url, key_bytes, size, text = "image", "", b"", 1, "[image]"

    def __init__(self, content: bytes) -> None:
        self.content, self.length = content, len(content)

    def load(self) -> tuple[str, bytes]:
        return "image/png", self.content


def block(part: Any, media_type: str, data: str) -> dict[str, Any]:
    return {"type": "image", "of": media_type, "data": data}


texts = st.text(max_size=20)
contents = st.binary(max_size=40).map(Held) | st.integers(196_600, 196_620).map(
    lambda size: Held(b"ab\xff" * (size // 3) + b"x" * (size % 3))
)


@given(st.lists(texts | contents, max_size=5))
def test_pieces_are_together_the_json_that_a_dict_would_give(parts: list[Any]) -> None:
    import base64

    expected = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else block(part, "image/png", base64.b64encode(part.content).decode())
        for part in parts
        if not isinstance(part, str) or part.strip()
    ]
    pieces = list(content_pieces(parts, block))
    assert json.loads(b"".join(pieces)) == json.loads(json.dumps(expected))
    assert max(map(len, pieces)) <= 262_144


async def test_the_loop_has_a_turn_between_any_two_pieces() -> None:
    """So it is held by one piece at most, however large a body is and however many there are."""
    body = RequestBody(tuple(content_pieces([Held(b"x" * 2_000_000)], block)))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    got = [piece async for piece in body]
    counting.cancel()
    assert b"".join(got) == body.whole()
    assert turns >= len(got) >= 10
    assert body.headers == {"Content-Length": str(len(body.whole()))}
