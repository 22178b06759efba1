"""Batches of the loopback server, by either API: what becomes of their requests, and what it costs.

How they are made, looked up and read is in `message_batches.py` and `chat_batches.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .answers import compose, prompt_of
from .ledger import Arrival
from .media_bill import billed_size
from .rules import Problem

if TYPE_CHECKING:
    from .server import Api, MessagesServer

__all__ = ["Batch", "BatchRules", "Batches", "Outcome"]


@dataclass
class BatchRules:
    """How batches go.

    They end `delay` seconds after their creation, or not before `Batches.release` with `held`.
    `plan(body)` names what becomes of a request: `errored expired invalid garbled`, None: answered.
    Of the first `lost` create calls the batch is made and the answer cut off, of the first
    `refused` neither. A cancelled batch has answered the share `done` of its requests. `cut` says
    after how many lines the first read of results breaks off, `line` the seconds before each
    hundred lines, `short` after how many lines the first `times` reads end without an error, and
    `spoil(line, at)` what becomes of a line. `offered` False is a server without batches.

    `away` makes a `results_url` of Message Batches lead to another host. Of the Batch API's uploads
    the first `lost_uploads` are kept and their answers cut off, and all are answered `upload`
    seconds late; the first `failing` batches fail when they are looked over, for the reason `why`.
    """

    delay: float = 0.1
    held: bool = False
    plan: Callable[[Any], str | None] | None = None
    lost: float = 0
    refused: float = 0
    done: float = 0.5
    cut: float = 0
    line: float = 0.0
    short: float = 0
    times: float = 0
    spoil: Callable[[bytes, int], bytes] | None = None
    away: bool = False
    offered: bool = True
    lost_uploads: float = 0
    upload: float = 0.0
    failing: float = 0
    why: str = "token_limit_exceeded"


@dataclass(frozen=True)
class Outcome:
    """What became of a request: its answer where it `succeeded`, else the error, if there is."""

    custom_id: str
    kind: str  # succeeded, errored, canceled, expired
    message: Any = None
    problem: Problem | None = None


@dataclass
class Batch:
    """One batch: its requests, their bodies by custom id, and its outcomes once it has ended."""

    id: str
    requests: list[dict[str, Any]]
    bodies: list[tuple[str, Any]]
    api: Api
    created: float
    ends: float
    cancelled: float | None = None
    outcomes: list[Outcome] | None = None
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def ended(self) -> bool:
        return self.outcomes is not None


class Batches:
    """All batches of a server; its methods run on the server's loop, except `release`."""

    def __init__(self, server: MessagesServer, rules: BatchRules) -> None:
        from .chat_batches import ChatBatches
        from .message_batches import MessageBatches

        self.server, self.rules = server, rules
        self.made: list[Batch] = []
        self.calls: Counter[str] = Counter()
        self.messages, self.chat = MessageBatches(self), ChatBatches(self)
        self._numbers = itertools.count(1)
        self._rng = random.Random(0)

    def release(self) -> None:
        """Let batches end that were held; from any thread."""
        self.rules.held = False

    def books(self) -> list[dict[str, Any]]:
        return [
            {"id": each.id, "requests": len(each.requests), "ended": each.ended}
            for each in self.made
        ]

    def number(self) -> str:
        """What a name ends in that nothing else here has."""
        return f"{next(self._numbers):024x}"

    def of(self, name: str) -> Batch | None:
        return next((each for each in self.made if each.id == name), None)

    def make(
        self, name: str, requests: list[dict[str, Any]], bodies: list[tuple[str, Any]], api: Api
    ) -> Batch:
        now = time.time()
        self.made.append(Batch(name, requests, bodies, api, now, now + self.rules.delay))
        return self.made[-1]

    def spend(self, rule: str) -> bool:
        """Whether a rule that holds for the first few calls holds for this one."""
        left = getattr(self.rules, rule)
        setattr(self.rules, rule, max(0, left - 1))
        return bool(left > 0)

    def cancel(self, batch: Batch) -> None:
        if not batch.ended and batch.cancelled is None:
            batch.cancelled, batch.ends = time.time(), time.time() + 0.05

    def settle(self) -> None:
        """Process what is due, and bill it."""
        now = time.time()
        for batch in self.made:
            due = now >= batch.ends and (batch.cancelled is not None or not self.rules.held)
            if not batch.ended and due:
                self._process(batch)

    def _process(self, batch: Batch) -> None:
        done = len(batch.bodies)
        if batch.cancelled is not None:
            done = int(done * self.rules.done)
        outcomes = [
            self._outcome(name, body, batch.api) if at < done else Outcome(name, "canceled")
            for at, (name, body) in enumerate(batch.bodies)
        ]
        batch.counts.update(each.kind for each in outcomes)
        self._rng.shuffle(outcomes)
        batch.outcomes = outcomes

    def _outcome(self, name: str, body: Any, api: Api) -> Outcome:
        planned = self.rules.plan(body) if self.rules.plan else None
        problem = api.problem_of(body, self.server._models)
        if problem is not None or planned in ("errored", "invalid"):
            found = problem or api.errors["500" if planned == "errored" else "400"]
            return Outcome(name, "errored", problem=found)
        if planned == "expired":
            return Outcome(name, "expired")
        message = self._answer(body, api)
        return Outcome(name, "succeeded", "?" if planned == "garbled" else message)

    def _answer(self, body: Any, api: Api) -> Any:
        from .server import _entry

        server, request_id = self.server, self.server._request_id()
        cached, same = api.look(server.cache, body), api.read(body)
        message = compose(
            same,
            request_id,
            billed_size(body, len(json.dumps(body))),
            answer=server._answer,
            thinking=server._thinking,
            usage=server._usage,
            fault=None,
            cached=cached,
        )
        server.cache.keep(cached)
        arrival = Arrival(prompt_of(body), body, {}, 1)
        entry = _entry(arrival, message, True, request_id, same["max_tokens"])
        server.ledger.add(replace(entry, batch=True))
        return api.dress(message, None)

    async def send(
        self, request: web.BaseRequest, lines: Sequence[bytes], *, as_ruled: bool = True
    ) -> web.StreamResponse:
        """Lines as they are, or with what the rules do to results."""
        response = web.StreamResponse(headers={"content-type": "application/x-jsonl"})
        await response.prepare(request)
        cut = 0
        if as_ruled:
            cut, self.rules.cut = int(self.rules.cut), 0
            if self.rules.spoil is not None:
                lines = [self.rules.spoil(line, at) for at, line in enumerate(lines)]
            if self.spend("times"):
                lines = lines[: int(self.rules.short)]
        for start in range(0, cut or len(lines), 100):
            if self.rules.line:
                await asyncio.sleep(self.rules.line)
            if request.transport is None or request.transport.is_closing():
                break  # killed while it read
            await response.write(b"\n".join(lines[start : start + 100]) + b"\n")
        if cut and request.transport is not None:
            await response.write(lines[cut][: len(lines[cut]) // 2])
            request.transport.abort()
        return response
