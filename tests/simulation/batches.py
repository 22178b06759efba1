"""Batches in a simulated world: the server's side of them, and all that goes wrong there.

What becomes of each request is drawn when the batch is made, and is in its ledger from then on. The
lines of the results go through the real parser.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ondine_nb.errors import (
    ConnectionLostError,
    OverloadedError,
    RateLimitedError,
    ServerError,
    TimedOutError,
)
from ondine_nb.providers import BatchLimits, BatchResult, ModelPrice, ServerBatch
from ondine_nb.providers.anthropic.batches import _outcome

if TYPE_CHECKING:
    from .wire import Sent, SimulatedProvider, Wire

__all__ = ["CALLS", "READINGS", "BatchFaults", "BatchServer", "SimulatedBatches"]

# What a call about batches may come to; "made" says that a create call was heard all the same.
CALLS: Mapping[str, str] = {
    "refused connection": "not made",
    "rate limited": "not made",
    "overloaded": "not made",
    "server error": "not made",
    "failed late": "made",
    "cut connection": "made",
    "timed out": "made",
}
READINGS = ("cut", "short", "garbled", "twice")


@dataclass(frozen=True)
class BatchFaults:
    """Chances: of each call's faults, of a request that fails, of a line that nobody can read.

    `readings` is how many times in a row the results of a batch may be read badly, and how.
    """

    calls: Mapping[str, float] = field(default_factory=dict)
    fails: float = 0.0
    garbled: float = 0.0
    readings: tuple[str, ...] = ()
    seconds: float = 30.0
    skew: float = 0.0  # how far the server's clock is off


@dataclass
class _Batch:
    """A batch as the server has it."""

    id: str
    prefix: str
    created: float
    ends: float
    requests: list[tuple[str, Sent]]
    lines: dict[str, bytes]
    bad: list[str]


class BatchServer:
    """All batches of a world."""

    def __init__(self, faults: BatchFaults, epoch: float) -> None:
        self.faults, self.epoch = faults, epoch
        self.batches: dict[str, _Batch] = {}

    def calm(self) -> None:
        """From now on everything is answered as it should be."""
        self.faults = BatchFaults()
        for batch in self.batches.values():
            batch.bad.clear()


class SimulatedBatches:
    """What stands in the place of a provider's batches.

    `tells` is whether the API says of a batch by what prefix it was created, as the Batch API does.
    """

    limits = BatchLimits(100_000, 200_000_000)
    tells = False

    def __init__(self, provider: SimulatedProvider) -> None:
        self._provider = provider
        self._wire: Wire = provider.wire
        self._server = self._wire.batches
        self._draw: random.Random = self._wire.draw

    def request(self, custom_id: str, prompt: str) -> bytes:
        return json.dumps([custom_id, prompt]).encode()

    @property
    def price(self) -> ModelPrice | None:
        return self._provider.batch_price

    async def discard(self, prefix: str) -> None:
        """Nothing lies there."""

    async def create(self, prefix: str, requests: Sequence[bytes]) -> ServerBatch:
        read = [json.loads(each) for each in requests]
        self._wire.check(self._provider, [prompt for _, prompt in read], in_batch=True)
        fault = self._wire.drawn(self._server.faults.calls)
        made = self._make(prefix, read) if CALLS.get(fault, "made") == "made" else None
        await self._called(fault)
        assert made is not None
        return self._seen(made)

    async def retrieve(self, name: str) -> ServerBatch | None:
        await self._called(self._wire.drawn(self._server.faults.calls))
        return self._seen(self._server.batches[name])

    async def created_since(self, at: float) -> list[ServerBatch]:
        await self._called(self._wire.drawn(self._server.faults.calls))
        found = [self._seen(batch) for batch in self._server.batches.values()]
        return [each for each in found if each.created >= at]

    async def cancel(self, name: str) -> None:
        await self._called(self._wire.drawn(self._server.faults.calls))
        batch = self._server.batches[name]
        now = self._wire.clock()
        if batch.ends <= now:
            return
        batch.ends = now + 0.5
        for custom_id, sent in batch.requests:
            if sent.kind == "answered" and self._draw.random() < 0.7:
                sent.cancel()
                batch.lines[custom_id] = _failed(custom_id, "canceled")

    async def results(self, seen: ServerBatch) -> AsyncIterator[list[BatchResult]]:
        batch = self._server.batches[seen.id]
        await self._called(self._wire.drawn(self._server.faults.calls))
        lines = list(batch.lines.values())
        self._draw.shuffle(lines)
        bad = batch.bad.pop(0) if batch.bad else ""
        if bad == "twice":
            lines += lines[:2]
        if bad in ("cut", "short"):
            lines = lines[: self._draw.randint(0, len(lines))]
        if bad == "garbled" and lines:
            at = self._draw.randrange(len(lines))
            lines[at] = lines[at][: self._draw.randint(1, len(lines[at]) - 1)]
        for start in range(0, len(lines), 4):
            await asyncio.sleep(self._wire.latency / 10)
            yield [_outcome(line) for line in lines[start : start + 4]]
        if bad == "cut":
            raise ConnectionLostError("the results were cut")

    async def _called(self, fault: str) -> None:
        slow = 60.0 if fault == "timed out" else self._wire.latency
        await asyncio.sleep(slow * self._draw.uniform(0.2, 2.0))
        if fault:
            raise _ERRORS[fault]()

    def _make(self, prefix: str, requests: Sequence[tuple[str, str]]) -> _Batch:
        wire, server = self._wire, self._server
        name = f"msgbatch_{len(server.batches)}"
        created = wire.clock() + server.epoch + server.faults.skew
        ends = wire.clock() + server.faults.seconds * self._draw.uniform(0.1, 2.0)
        bad = list(server.faults.readings)[: self._draw.randint(0, len(server.faults.readings))]
        batch = _Batch(name, prefix, created, ends, [], {}, bad)
        for custom_id, prompt in requests:
            sent, body = wire.batched(self._provider, prompt)
            batch.requests.append((custom_id, sent))
            if self._draw.random() < server.faults.fails:
                sent.cancel()
                kind = self._draw.choice(["errored", "expired"])
                batch.lines[custom_id] = _failed(custom_id, kind)
            elif self._draw.random() < server.faults.garbled:
                sent.lose()
                batch.lines[custom_id] = b'{"custom_id": "%b", "resu' % custom_id.encode()
            else:
                batch.lines[custom_id] = _line(custom_id, body)
        server.batches[name] = batch
        return batch

    def _seen(self, batch: _Batch) -> ServerBatch:
        ended = batch.ends <= self._wire.clock()
        succeeded = sum(sent.billed > 0 for _, sent in batch.requests)
        return ServerBatch(
            batch.id,
            len(batch.requests),
            ended,
            batch.created,
            succeeded=succeeded if ended else 0,
            prefix=batch.prefix if self.tells else None,
        )


_ERRORS: Mapping[str, Callable[[], Exception]] = {
    "refused connection": lambda: ConnectionLostError("no connection", unreachable=True),
    "rate limited": lambda: RateLimitedError("429"),
    "overloaded": lambda: OverloadedError("529"),
    "server error": lambda: ServerError("500"),
    "failed late": lambda: ServerError("502"),
    "cut connection": lambda: ConnectionLostError("the connection was cut", possibly_billed=True),
    "timed out": lambda: TimedOutError("no answer", possibly_billed=True),
}


def _line(custom_id: str, body: bytes) -> bytes:
    head = json.dumps({"custom_id": custom_id}).encode()[:-1]
    return head + b', "result": {"type": "succeeded", "message": ' + body + b"}}"


def _failed(custom_id: str, kind: str) -> bytes:
    result: dict[str, Any] = {"type": kind}
    if kind == "errored":
        result["error"] = {"error": {"type": "api_error", "message": "internal"}}
    return json.dumps({"custom_id": custom_id, "result": result}).encode()
