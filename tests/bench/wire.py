"""A lean server of both APIs in a process of its own, so that it isn't what a measurement measures.

`python -m tests.bench.wire --latency lognormal:1:0.5` prints its URL and ends when its stdin
closes. It reads no JSON and says the same to everybody; `GET /_count` tells how many requests came
and when the first did. `tests/server/server.py` is the one that tells right from wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.bench.contestants import TOOL
from tests.server.answers import latency_of

__all__ = ["Wire", "serving"]

TEXT = "The writer likes it, above all how quietly it works, and would buy it again."
FIELDS = {"sentiment": "positive", "score": 0.75}
_MESSAGES, _TOOLS = b"POST /v1/messages ", b'"tools":'
_CHAT = b"POST /v1/chat/completions "
# What the API sends besides, with limits that nobody reaches.
_HEADERS = "".join(
    f"anthropic-ratelimit-{kind}-limit: 1000000000\r\n"
    f"anthropic-ratelimit-{kind}-remaining: 1000000000\r\n"
    f"anthropic-ratelimit-{kind}-reset: 2030-01-01T00:00:00Z\r\n"
    for kind in ("requests", "input-tokens", "output-tokens", "tokens")
)

_CHAT_HEADERS = "".join(
    f"x-ratelimit-limit-{kind}: 1000000000\r\n"
    f"x-ratelimit-remaining-{kind}: 1000000000\r\n"
    f"x-ratelimit-reset-{kind}: 6ms\r\n"
    for kind in ("requests", "tokens")
)


def answer(text: str, tool: str = "") -> bytes:
    """A message of the Messages API that says `text`, or calls `tool` with the fields."""
    said = {"type": "text", "text": text}
    call = {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": tool}
    usage = {
        "input_tokens": 60,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 20,
        "service_tier": "standard",
    }
    message = {
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [call | {"input": FIELDS} if tool else said],
        "stop_reason": "tool_use" if tool else "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return json.dumps(message).encode()


def completion(text: str) -> bytes:
    """The same as Chat Completions have it."""
    usage = {
        "prompt_tokens": 60,
        "completion_tokens": 20,
        "total_tokens": 80,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    said = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "stop"}
    answer = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-4.1-mini",
        "choices": [choice],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": None,
    }
    return json.dumps(answer).encode()


def _response(body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class _Books:
    """What all connections of a server share."""

    latency: Any
    response: bytes
    tool: bytes | None  # what is said to who sent tools
    chat: bytes  # what is said to who asks by Chat Completions
    draw: random.Random
    requests: int = 0
    first: float | None = None

    def told(self) -> bytes:
        return _response(json.dumps({"requests": self.requests, "first": self.first}).encode())


class _Connection(asyncio.Protocol):
    """One client's connection: a request, then its answer, then the next."""

    def __init__(self, books: _Books) -> None:
        self.books = books
        self.got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self.got += data
        end = self.got.find(b"\r\n\r\n")
        if end < 0 or len(self.got) < end + 4 + _length(self.got[:end].lower()):
            return
        asked, self.got = self.got, b""
        books = self.books
        if asked.startswith(_MESSAGES):
            self._answer(books.tool if books.tool and _TOOLS in asked else books.response)
        elif asked.startswith(_CHAT):
            self._answer(books.chat)
        else:
            self.transport.write(books.told())

    def _answer(self, response: bytes) -> None:
        books = self.books
        books.requests += 1
        books.first = books.first or time.time()
        seconds = books.latency(books.draw)
        if seconds:
            self.loop.call_later(seconds, self.transport.write, response)
        else:
            self.transport.write(response)


def _length(head: bytes) -> int:
    at = head.find(b"content-length:")
    return 0 if at < 0 else int(head[at + 15 : (head + b"\r\n").find(b"\r\n", at)])


async def _serve(latency: str, schema: bool) -> None:
    loop = asyncio.get_running_loop()
    headers = _HEADERS + "request-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n"
    response = _response(answer(json.dumps(FIELDS) if schema else TEXT), headers)
    tool = _response(answer("", tool=TOOL), headers) if schema else None
    chat = _response(completion(TEXT), _CHAT_HEADERS)
    books = _Books(latency_of(latency), response, tool, chat, random.Random(0))
    server = await loop.create_server(lambda: _Connection(books), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.buffer.read)


@dataclass(frozen=True)
class Wire:
    """A server that is running, as seen from another process."""

    url: str

    def books(self) -> dict[str, Any]:
        """`requests` until now, and the POSIX time of the `first`."""
        with urllib.request.urlopen(f"{self.url}/_count", timeout=10) as told:
            books: dict[str, Any] = json.loads(told.read())
            return books


@contextlib.contextmanager
def serving(latency: str = "0", *, schema: bool = False) -> Iterator[Wire]:
    """A server of its own process with this latency (as in `latency_of`) and kind of answers."""
    command = [sys.executable, "-m", "tests.bench.wire", "--latency", latency]
    process = subprocess.Popen(
        command + ["--schema"] * schema, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Wire(process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.wire")
    parser.add_argument("--latency", default="0", help="S, LOW:HIGH or lognormal:MEDIAN:SIGMA")
    parser.add_argument("--schema", action="store_true")
    given = parser.parse_args()
    asyncio.run(_serve(given.latency, given.schema))


if __name__ == "__main__":
    main()
