"""An answer is read up to a ceiling, and a prompt goes to no other host than the one named."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb import Pipeline, Run
from ondine_nb.errors import FatalProviderError, TooLargeAnswerError, UnknownEncodingError
from ondine_nb.providers import Settings
from ondine_nb.providers.anthropic.client import AnthropicProvider
from ondine_nb.providers.http import Unpacking, bounded
from tests.asking import ended, texts
from tests.server import MessagesServer

HAIKU = "claude-haiku-5-5"
PACKED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": lambda body: body,
    "Deflate": lambda body: (packer := zlib.compressobj(wbits=-15)).compress(body) + packer.flush(),
}


@given(st.binary(max_size=3000), st.sampled_from(sorted(PACKED)), st.integers(2, 500))
def test_what_is_packed_comes_out_as_it_went_in(body: bytes, encoding: str, step: int) -> None:
    packed, unpacking = PACKED[encoding](body), Unpacking(encoding)
    pieces = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert b"".join(map(unpacking.feed, pieces)) == body


@pytest.mark.parametrize("encoding", sorted(PACKED))
def test_no_piece_makes_more_than_the_ceiling_and_a_byte(encoding: str) -> None:
    bomb, unpacking = PACKED[encoding](b"0" * 5_000_000), Unpacking(encoding, most=100_000)
    with pytest.raises(TooLargeAnswerError, match="more than 100,000 bytes"):
        unpacking.feed(bomb)


@asynccontextmanager
async def answering(handle: Any) -> AsyncIterator[str]:
    from aiohttp.test_utils import RawTestServer

    running = RawTestServer(handle)
    await running.start_server()
    try:
        yield str(running.make_url("")).rstrip("/")
    finally:
        await running.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AnthropicProvider]:
    provider = AnthropicProvider(HAIKU, base_url=url, api_key="sk-x")
    await provider.open(Settings(HAIKU), 2)
    try:
        yield provider
    finally:
        await provider.close()


@pytest.mark.parametrize("way", ["length", "chunked", "gzip", "zeros"])
@pytest.mark.parametrize("first", [True, False])
async def test_an_answer_past_the_ceiling_is_the_rows_error_by_both_ways(
    way: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's way is the first request's, the fast one the others'."""
    from aiohttp import web

    monkeypatch.setattr(bounded, "MOST_BYTES", 100_000)
    monkeypatch.setattr(bounded.Unpacking.__init__, "__defaults__", (100_000,))
    monkeypatch.setattr("ondine_nb.providers.http.fast_path.MOST_BYTES", 100_000)
    large, ended_ = first, asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if not large:
            return web.Response(text=json.dumps({"fine": True}))
        if way == "length":
            return web.Response(body=b"x" * 100_001)
        if way == "gzip":
            packed = gzip.compress(b"0" * 100_001)
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while not ended_.is_set():  # for ever, if nobody ended it
                await response.write(b"x" * 10_000)
        except ConnectionError:
            pass
        return response

    async with answering(answer) as url, opened(url) as provider:
        if not first:
            await provider.send("hi")
            assert provider._fast_path is not None
        large = True
        with pytest.raises(TooLargeAnswerError, match="more than 100,000 bytes") as caught:
            await provider.send("hi")
        ended_.set()
    assert caught.value.possibly_billed


@pytest.mark.parametrize("encoding", ["br", "zstd", "aes128gcm", "zzz"])
@pytest.mark.parametrize("first", [True, False])
async def test_an_encoding_that_nobody_asked_for_is_the_rows_error_by_both_ways(
    encoding: str, first: bool
) -> None:
    from aiohttp import web

    odd = first

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        packed = {"Content-Encoding": encoding} if odd else {}
        return web.Response(body=b"{}", headers=packed)

    async with answering(answer) as url, opened(url) as provider:
        if not first:
            await provider.send("hi")
        odd = True
        with pytest.raises(UnknownEncodingError, match=f"in the encoding '{encoding}'") as caught:
            await provider.send("hi")
    assert caught.value.possibly_billed


def test_of_a_run_it_is_one_rows_error_that_is_charged_and_not_sent_again(home: Path) -> None:
    from tests.echo import Echo

    class Large(Echo):
        async def send(self, prompt: str) -> Any:
            reply = await super().send(prompt)
            if "text 1" in prompt:
                raise TooLargeAnswerError("the answer has more than 9 bytes unpacked")
            return reply

    from decimal import Decimal

    from ondine_nb.providers import find_price

    price = find_price("mine", price_in=Decimal(1), price_out=Decimal(2))
    large = Large(price=price)
    run = Run(Pipeline(texts(3), "{text}", provider=large, journal=home, budget=1))
    asyncio.run(ended(run))
    assert list(run.rows["status"]) == ["answered", "failed", "answered"]
    assert list(run.errors["error_type"]) == ["TooLargeAnswerError"]
    assert (large.asked or []).count("text 1") == 1
    assert run.context.metrics.possibly_billed > 0


@pytest.mark.parametrize("first", [True, False])
async def test_a_redirect_to_another_host_is_not_followed(
    first: bool, server: MessagesServer
) -> None:
    from aiohttp import web

    away = first

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if away:
            return web.Response(status=307, headers={"location": f"{server.url}/v1/messages?k=v"})
        return web.Response(text=json.dumps({"fine": True}))

    async with answering(answer) as url, opened(url) as provider:
        if not first:
            await provider.send("hi")
        away = True
        with pytest.raises(FatalProviderError, match=f"redirects to {server.url}/v1/messages, "):
            await provider.send("hi")
    assert server.arrived == 0
