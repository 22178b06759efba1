"""Message Batches of the loopback server: made, looked up, listed, cancelled, and their results."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from .answers import compose, prompt_of
from .ledger import Billed
from .media_bill import billed_size
from .rules import ERRORS, Problem, problem_of

__all__ = ["BatchRules", "Batches"]

MOST_REQUESTS, MOST_BYTES = 100_000, 256 * 1024 * 1024
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
KINDS = ("succeeded", "errored", "canceled", "expired")


@dataclass
class BatchRules:
    """How batches go.

    They end `delay` seconds after their creation, or not before `Batches.release` with `held`.
    `plan(body)` names what becomes of a request: `errored expired invalid garbled`, None: answered.
    Of the first `lost` create calls the batch is made and the answer cut off, of the first
    `refused` neither. A cancelled batch has answered the share `done` of its requests. `cut` says
    after how many lines the first read of results breaks off, `line` the seconds before each
    hundred lines, `short` after how many lines the first `times` reads end without an error, and
    `spoil(line, at)` what becomes of a line. `away` makes `results_url` lead to another host,
    `offered` False is a server without batches.
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


@dataclass
class Batch:
    """One batch: its requests by custom id, and its lines of results once it has ended."""

    id: str
    requests: list[dict[str, Any]]
    created: float
    ends: float
    cancelled: float | None = None
    results: list[bytes] | None = None
    counts: Counter[str] = field(default_factory=Counter)


class Batches:
    """All batches of a server; its methods run on the server's loop, except `release`."""

    def __init__(self, server: Any, rules: BatchRules) -> None:
        self.server, self.rules = server, rules
        self.made: list[Batch] = []
        self._numbers = itertools.count(1)
        self._rng = random.Random(0)
        self.calls: Counter[str] = Counter()

    def release(self) -> None:
        """Let batches end that were held; from any thread."""
        self.rules.held = False

    def books(self) -> list[dict[str, Any]]:
        return [
            {"id": each.id, "requests": len(each.requests), "ended": each.results is not None}
            for each in self.made
        ]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        fail = self.server._fail
        if not self.rules.offered:
            return fail(ERRORS["404"])
        self.settle()
        name, _, act = request.path.removeprefix("/v1/messages/batches").strip("/").partition("/")
        kind = f"{request.method} {act or ('batch' if name else 'batches')}"
        self.calls[kind] += 1
        if kind == "POST batches":
            return await self._create(request)
        if kind == "GET batches":
            return self._list(request)
        batch = next((each for each in self.made if each.id == name), None)
        if batch is None:
            return fail(Problem(404, "not_found_error", f"batch: {name}"))
        if kind == "POST cancel":
            if batch.results is None and batch.cancelled is None:
                batch.cancelled, batch.ends = time.time(), time.time() + 0.05
            return self.server._reply(self._described(batch))
        if kind == "GET batch":
            return self.server._reply(self._described(batch))
        if kind == "GET results" and batch.results is not None:
            return await self._results(request, batch.results)
        return fail(ERRORS["404"])

    async def _create(self, request: web.BaseRequest) -> web.StreamResponse:
        from .server import _parsed, _reset

        raw = await request.content.read()
        if self.rules.refused > 0:
            self.rules.refused -= 1
            return self.server._fail(ERRORS["529"])
        body = _parsed(raw)
        problem = _problem(raw, body)
        if problem is not None:
            return self.server._fail(problem)
        now = time.time()
        batch = Batch(
            f"msgbatch_{next(self._numbers):024x}", body["requests"], now, now + self.rules.delay
        )
        self.made.append(batch)
        if self.rules.lost > 0:
            self.rules.lost -= 1
            return _reset(request)
        return self.server._reply(self._described(batch))

    def _list(self, request: web.BaseRequest) -> web.Response:
        newest = self.made[::-1]
        limit = int(request.query.get("limit", 20))
        ids = [batch.id for batch in newest]
        start = 0
        if "after_id" in request.query:
            start = ids.index(request.query["after_id"]) + 1
        if "before_id" in request.query:
            start = max(0, ids.index(request.query["before_id"]) - limit)
        page = newest[start : start + limit]
        return self.server._reply(
            {
                "data": [self._described(batch) for batch in page],
                "has_more": start + limit < len(newest),
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
            }
        )

    async def _results(self, request: web.BaseRequest, lines: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/x-jsonl"})
        await response.prepare(request)
        cut, self.rules.cut = int(self.rules.cut), 0
        if self.rules.spoil is not None:
            lines = [self.rules.spoil(line, at) for at, line in enumerate(lines)]
        if self.rules.times > 0:
            self.rules.times -= 1
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

    def settle(self) -> None:
        """Process what is due, and bill it."""
        now = time.time()
        for batch in self.made:
            due = now >= batch.ends and (batch.cancelled is not None or not self.rules.held)
            if batch.results is None and due:
                self._process(batch)

    def _process(self, batch: Batch) -> None:
        done = len(batch.requests)
        if batch.cancelled is not None:
            done = int(done * self.rules.done)
        lines = []
        for at, request in enumerate(batch.requests):
            result = self._result(request["params"]) if at < done else {"type": "canceled"}
            batch.counts[result["type"]] += 1
            lines.append(json.dumps({"custom_id": request["custom_id"], "result": result}).encode())
        self._rng.shuffle(lines)
        batch.results = lines

    def _result(self, body: Any) -> dict[str, Any]:
        planned = self.rules.plan(body) if self.rules.plan else None
        problem = problem_of(body, self.server._models)
        if problem is not None or planned in ("errored", "invalid"):
            found = problem or ERRORS["500" if planned == "errored" else "400"]
            return {"type": "errored", "error": found.body(self.server._request_id())}
        if planned == "expired":
            return {"type": "expired"}
        message = self._answer(body)
        return {"type": "succeeded", "message": "?" if planned == "garbled" else message}

    def _answer(self, body: Any) -> dict[str, Any]:
        server, request_id = self.server, self.server._request_id()
        message: dict[str, Any] = compose(
            body,
            request_id,
            billed_size(body, len(json.dumps(body))),
            answer=server._answer,
            thinking=server._thinking,
            usage=server._usage,
            fault=None,
        )
        usage = message["usage"]
        server.ledger.add(
            Billed(
                prompt=prompt_of(body),
                model=message["model"],
                input_tokens=usage["input_tokens"],
                output_tokens=usage["output_tokens"],
                cache_creation_input_tokens=usage["cache_creation_input_tokens"] or 0,
                cache_read_input_tokens=usage["cache_read_input_tokens"] or 0,
                delivered=True,
                fault=None,
                at=time.time(),
                request_id=request_id,
                max_tokens=body["max_tokens"],
                batch=True,
            )
        )
        return message

    def _described(self, batch: Batch) -> dict[str, Any]:
        ended = batch.results is not None
        status = "ended" if ended else "canceling" if batch.cancelled else "in_progress"
        host = "http://127.0.0.2:9" if self.rules.away else self.server.url
        counts = {kind: batch.counts[kind] for kind in KINDS}
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {"processing": 0 if ended else len(batch.requests), **counts},
            "created_at": _when(batch.created),
            "expires_at": _when(batch.created + 86_400),
            "ended_at": _when(batch.ends) if ended else None,
            "cancel_initiated_at": None if batch.cancelled is None else _when(batch.cancelled),
            "archived_at": None,
            "results_url": f"{host}/v1/messages/batches/{batch.id}/results" if ended else None,
        }


def _problem(raw: bytes, body: Any) -> Problem | None:
    requests = body.get("requests") if isinstance(body, Mapping) else None
    if not isinstance(requests, list) or not requests:
        return Problem(400, "invalid_request_error", "requests: expected at least one")
    if len(requests) > MOST_REQUESTS or len(raw) > MOST_BYTES:
        return ERRORS["413"]
    ids = [str(request.get("custom_id")) for request in requests]
    if not all(CUSTOM_ID.fullmatch(name) for name in ids) or len(set(ids)) < len(ids):
        return Problem(400, "invalid_request_error", "custom_id: not valid, or not unique")
    return None


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
