"""A provider of one's own, in this process: what `Pipeline(provider=…)` takes, as an example."""

from __future__ import annotations

import asyncio
import json

from ondine_nb.providers import ModelPrice, Reply, Settings

__all__ = ["Echo"]


class Echo:
    """Says each prompt back, for 5 tokens in and 4 out, after `latency` seconds."""

    model = "echo"
    note = ""

    def __init__(
        self, *, latency: float = 0.0, identity: str = "echo", price: ModelPrice | None = None
    ) -> None:
        self.identity, self.price, self.latency = identity, price, latency
        self.asked: list[str] | None = []
        self.opened = self.closed = 0

    async def open(self, settings: Settings, concurrency: int) -> None:
        self.opened += 1

    async def send(self, prompt: str) -> Reply:
        if self.asked is not None:
            self.asked.append(prompt)
        await asyncio.sleep(self.latency)
        return Reply(answer(prompt), latency=self.latency)

    async def count_tokens(self, prompt: str) -> int | None:
        return None

    def request_bytes(self, prompt: str) -> int:
        return len(prompt.encode())

    async def close(self) -> None:
        self.closed += 1


def answer(prompt: str) -> bytes:
    """The body of a Messages API answer that says `prompt`."""
    return json.dumps(
        {
            "type": "message",
            "content": [{"type": "text", "text": prompt}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 4},
        }
    ).encode()
