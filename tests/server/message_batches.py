"""Message Batches of the loopback server: made, looked up, listed, cancelled, and their results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .rules import ERRORS, Problem

if TYPE_CHECKING:
    from .batches import Batch, Batches, Outcome

__all__ = ["MessageBatches"]

PATH = "/v1/messages/batches"
MOST_REQUESTS, MOST_BYTES = 100_000, 256 * 1024 * 1024
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
KINDS = ("succeeded", "errored", "canceled", "expired")


class MessageBatches:
    """The routes under `PATH`."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.server = batches, batches.server

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        fail, batches = self.server._fail, self.batches
        name, _, act = request.path.removeprefix(PATH).strip("/").partition("/")
        kind = f"{request.method} {act or ('batch' if name else 'batches')}"
        batches.calls[kind] += 1
        if kind == "POST batches":
            return await self._create(request)
        if kind == "GET batches":
            return self._list(request)
        batch = batches.of(name)
        if batch is None:
            return fail(Problem(404, "not_found_error", f"batch: {name}"))
        if kind == "POST cancel":
            batches.cancel(batch)
            return self.server._reply(self._described(batch))
        if kind == "GET batch":
            return self.server._reply(self._described(batch))
        if kind == "GET results" and batch.outcomes is not None:
            return await batches.send(request, [self._line(each) for each in batch.outcomes])
        return fail(ERRORS["404"])

    async def _create(self, request: web.BaseRequest) -> web.StreamResponse:
        from .server import MESSAGES, _parsed, _reset

        raw = await request.content.read()
        if self.batches.spend("refused"):
            return self.server._fail(ERRORS["529"])
        body = _parsed(raw)
        problem = _problem(raw, body)
        if problem is not None:
            return self.server._fail(problem)
        bodies = [(each["custom_id"], each["params"]) for each in body["requests"]]
        name = f"msgbatch_{self.batches.number()}"
        batch = self.batches.make(name, body["requests"], bodies, MESSAGES)
        if self.batches.spend("lost"):
            return _reset(request)
        return self.server._reply(self._described(batch))

    def _list(self, request: web.BaseRequest) -> web.Response:
        newest = self.batches.made[::-1]
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

    def _line(self, outcome: Outcome) -> bytes:
        result: dict[str, Any] = {"type": outcome.kind}
        if outcome.kind == "succeeded":
            result["message"] = outcome.message
        if outcome.problem is not None:
            result["error"] = outcome.problem.body(self.server._request_id())
        return json.dumps({"custom_id": outcome.custom_id, "result": result}).encode()

    def _described(self, batch: Batch) -> dict[str, Any]:
        status = "ended" if batch.ended else "canceling" if batch.cancelled else "in_progress"
        host = "http://127.0.0.2:9" if self.batches.rules.away else self.server.url
        counts = {kind: batch.counts[kind] for kind in KINDS}
        processing = 0 if batch.ended else len(batch.requests)
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {"processing": processing, **counts},
            "created_at": _when(batch.created),
            "expires_at": _when(batch.created + 86_400),
            "ended_at": _when(batch.ends) if batch.ended else None,
            "cancel_initiated_at": None if batch.cancelled is None else _when(batch.cancelled),
            "archived_at": None,
            "results_url": f"{host}{PATH}/{batch.id}/results" if batch.ended else None,
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
