"""OpenAI's files and batches on the loopback server: uploads, validation, results as files."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web

from .chat import ChatProblem

if TYPE_CHECKING:
    from .batches import Batch, Batches, Outcome

__all__ = ["ChatBatches", "File"]

ENDPOINT = "/v1/chat/completions"
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000
FIELDS = {"completion_window", "endpoint", "input_file_id", "metadata", "output_expires_after"}
UNBEGUN = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "token_limit_exceeded": "Enqueued token limit reached for gpt-4.1-mini in organization org-x.",
}


@dataclass
class File:
    """A file as it lies on the server."""

    id: str
    filename: str
    purpose: str
    lines: list[bytes]
    created: float = field(default_factory=time.time)

    def described(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": sum(len(line) + 1 for line in self.lines),
            "created_at": int(self.created),
            "expires_at": int(self.created) + 30 * 86_400,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


@dataclass
class About:
    """What this API has of a batch beside its requests: what it was made by, and its files."""

    input_file_id: str
    metadata: Any
    why: tuple[str, str, int | None] | None  # code, message and line why it wasn't begun
    output: str | None = None
    error: str | None = None


class ChatBatches:
    """The routes of files and batches."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.server = batches, batches.server
        self.files: list[File] = []
        self._about: dict[str, About] = {}

    def uploads(self) -> list[str]:
        """The names of the files of requests that lie here."""
        return [each.filename for each in self.files if each.purpose == "batch"]

    def about(self, name: str) -> About:
        """What is kept of a batch."""
        return self._about[name]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        _, noun, name, act = (*request.path.removeprefix("/v1").split("/"), "", "", "")[:4]
        calls = self.batches.calls
        if noun == "files":
            return await self._file(request, name, act)
        kind = f"{request.method} {act or ('batch' if name else 'batches')}"
        calls[kind] += 1
        if kind == "POST batches":
            return await self._create(request)
        if kind == "GET batches":
            described = [self._described(each) for each in self.batches.made[::-1]]
            return self._page(request, described)
        batch = self.batches.of(name)
        if batch is None or kind not in ("GET batch", "POST cancel"):
            return self._fail(_missing(f"No batch found with id '{name}'."))
        if kind == "POST cancel":
            self.batches.cancel(batch)
        return self.server._reply(self._described(batch))

    async def _file(self, request: web.BaseRequest, name: str, act: str) -> web.StreamResponse:
        calls, method = self.batches.calls, request.method
        file = next((each for each in self.files if each.id == name), None)
        if not name:
            calls[f"{method} files"] += 1
            if method == "POST":
                return await self._upload(request)
            purpose = request.query.get("purpose")
            found = [each for each in self.files if purpose in (None, each.purpose)]
            newest = found if request.query.get("order") == "asc" else found[::-1]
            return self._page(request, [each.described() for each in newest])
        if file is None:
            return self._fail(_missing(f"No such File object: {name}"))
        if method == "DELETE":
            calls["DELETE file"] += 1
            self.files.remove(file)
            return self.server._reply({"id": name, "object": "file", "deleted": True})
        if act == "content":
            answers = not file.filename.endswith("_error.jsonl")
            calls["GET results" if answers else "GET errors"] += 1
            return await self.batches.send(request, file.lines, as_ruled=answers)
        return self.server._reply(file.described())

    async def _upload(self, request: web.BaseRequest) -> web.StreamResponse:
        from .server import _reset

        given: dict[str, Any] = {}
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            pieces = [piece async for piece in _pieces(part)]
            given[str(part.name)] = (part.filename, b"".join(pieces))
        if self.batches.spend("refused"):
            return self._fail(self._errors["529"])
        name, content = given.get("file", (None, b""))
        purpose = given.get("purpose", ("", b""))[1].decode()
        if purpose != "batch" or not str(name).endswith(".jsonl"):
            return self._fail(_invalid("Invalid file format for Batch API. Must be .jsonl", "file"))
        if not content:
            return self._fail(_invalid("File is empty.", "file"))
        if len(content) > MOST_BYTES:
            return self._fail(self._errors["413"])
        file = self._keep(str(name), purpose, content.rstrip(b"\n").split(b"\n"))
        await asyncio.sleep(self.batches.rules.upload)
        if self.batches.spend("lost_uploads"):
            return _reset(request)
        return self.server._reply(file.described())

    def _keep(self, name: str, purpose: str, lines: list[bytes]) -> File:
        self.files.append(File(f"file-{self.batches.number()}", name, purpose, lines))
        return self.files[-1]

    async def _create(self, request: web.BaseRequest) -> web.StreamResponse:
        from .server import CHAT, _parsed, _reset

        body = _parsed(await request.content.read())
        if self.batches.spend("refused"):
            return self._fail(self._errors["529"])
        file = next((each for each in self.files if each.id == body.get("input_file_id")), None)
        problem = _problem(body, file)
        if problem is not None or file is None:
            return self._fail(problem or _missing("No such File object"))
        requests, why = _validated(file.lines, body["endpoint"])
        if self.batches.spend("failing"):
            code = self.batches.rules.why
            why = (code, UNBEGUN.get(code, "It can't be processed."), None)
        bodies = [] if why else [(each["custom_id"], each["body"]) for each in requests]
        batch = self.batches.make(f"batch_{self.batches.number()}", requests, bodies, CHAT)
        self._about[batch.id] = About(file.id, body.get("metadata"), why)
        if self.batches.spend("lost"):
            return _reset(request)
        return self.server._reply(self._described(batch))

    def _page(self, request: web.BaseRequest, all_of_them: list[dict[str, Any]]) -> web.Response:
        limit, ids = int(request.query.get("limit", 20)), [each["id"] for each in all_of_them]
        start = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = all_of_them[start : start + limit]
        return self.server._reply(
            {
                "object": "list",
                "data": page,
                "has_more": start + limit < len(all_of_them),
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
            }
        )

    def _described(self, batch: Batch) -> dict[str, Any]:
        about, now = self._about[batch.id], time.time()
        self._write(batch, about)
        done = batch.counts["succeeded"]
        lost = sum(batch.counts.values()) - done
        status = self._status(batch, about, now)
        if status == "in_progress":  # what is told meanwhile is billed when it ends
            ready = (now - batch.created) / max(self.batches.rules.delay, 0.01)
            done = 0 if self.batches.rules.held else int(len(batch.bodies) * min(1.0, ready))
        errors = None
        if about.why:
            code, message, line = about.why
            told = {"code": code, "message": message, "line": line, "param": None}
            errors = {"object": "list", "data": [told]}
        total = 0 if status in ("validating", "failed") else len(batch.bodies)
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": ENDPOINT,
            "errors": errors,
            "input_file_id": about.input_file_id,
            "completion_window": "24h",
            "status": status,
            "output_file_id": about.output,
            "error_file_id": about.error,
            "created_at": int(batch.created),
            "expires_at": int(batch.created) + 86_400,
            "completed_at": int(batch.ends) if status == "completed" else None,
            "request_counts": {"total": total, "completed": done, "failed": lost},
            "metadata": about.metadata,
        }

    def _status(self, batch: Batch, about: About, now: float) -> str:
        if about.why:
            return "failed" if batch.ended else "validating"
        if not batch.ended:
            fresh = now < batch.created + self.batches.rules.delay / 4
            return "cancelling" if batch.cancelled else "validating" if fresh else "in_progress"
        if batch.cancelled is not None:
            return "cancelled"
        return "expired" if batch.counts["expired"] else "completed"

    def _write(self, batch: Batch, about: About) -> None:
        """Put what became of its requests into its files, once. Of those that a cancelled batch
        hasn't begun there is nothing to be read.
        """
        if batch.outcomes is None or about.output or about.error:
            return
        told = [each for each in batch.outcomes if each.kind != "canceled"]
        for kind in ("output", "error"):
            lines = [
                self._line(each)
                for each in told
                if (each.kind == "succeeded") == (kind == "output")
            ]
            if lines:
                name = f"{batch.id}_{kind}.jsonl"
                setattr(about, kind, self._keep(name, "batch_output", lines).id)

    def _line(self, outcome: Outcome) -> bytes:
        request_id, response, error = self.server._request_id(), None, None
        if outcome.kind == "expired":
            error = {"code": "batch_expired", "message": UNBEGUN["batch_expired"]}
        else:
            status, body = 200, outcome.message
            if outcome.problem is not None:
                status, body = outcome.problem.status, outcome.problem.body(request_id)
            response = {"status_code": status, "request_id": request_id, "body": body}
        line = {"id": f"batch_req_{self.batches.number()}", "custom_id": outcome.custom_id}
        return json.dumps({**line, "response": response, "error": error}).encode()

    @property
    def _errors(self) -> Mapping[str, Any]:
        from .server import CHAT

        return CHAT.errors

    def _fail(self, problem: ChatProblem) -> web.Response:
        from .server import CHAT

        return self.server._fail(problem, CHAT)


async def _pieces(part: BodyPartReader) -> AsyncIterator[bytes]:
    """What a part has, however long it is: `read` gives up at a megabyte."""
    while piece := await part.read_chunk(1 << 20):
        yield bytes(piece)


def _missing(message: str) -> ChatProblem:
    return ChatProblem(404, "invalid_request_error", message)


def _invalid(message: str, param: str) -> ChatProblem:
    return ChatProblem(400, "invalid_request_error", message, param=param)


def _problem(body: Any, file: File | None) -> ChatProblem | None:
    """Why a batch isn't made at all."""
    if extra := sorted(set(body) - FIELDS):
        return _invalid(f"Unknown parameter: '{extra[0]}'.", extra[0])
    if body.get("completion_window") != "24h":
        return _invalid("Invalid value for 'completion_window'. Supported: '24h'.", "window")
    if body.get("endpoint") != ENDPOINT:
        return _invalid("Invalid value for 'endpoint'.", "endpoint")
    if file is None or file.purpose != "batch":
        return _invalid("Invalid 'input_file_id'.", "input_file_id")
    metadata = body.get("metadata") or {}
    texts = [text for pair in metadata.items() for text in pair]
    if len(metadata) > 16 or not all(isinstance(each, str) for each in texts):
        return _invalid("Invalid 'metadata'.", "metadata")
    if any(len(name) > 64 or len(value) > 512 for name, value in metadata.items()):
        return _invalid("Invalid 'metadata'.", "metadata")
    kept = body.get("output_expires_after") or {"anchor": "created_at", "seconds": 3_600}
    if kept["anchor"] != "created_at" or not 3_600 <= kept["seconds"] <= 2_592_000:
        return _invalid("Invalid 'output_expires_after'.", "output_expires_after")
    return None


def _validated(
    lines: Sequence[bytes], endpoint: str
) -> tuple[list[dict[str, Any]], tuple[str, str, int | None] | None]:
    """The requests of a file, or why no batch is begun with it."""
    if len(lines) > MOST_REQUESTS:
        return [], ("too_many_tasks", "The batch has more than 50,000 requests.", None)
    requests: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            request = json.loads(line)
            name, body = request["custom_id"], request["body"]
            fits = request["method"] == "POST" and request["url"] == endpoint
        except (ValueError, KeyError, TypeError):
            return [], ("invalid_json_line", "This line is not parseable as valid JSON.", number)
        if not fits or not isinstance(body, dict) or not isinstance(name, str):
            return [], ("invalid_request", "The request isn't one of this endpoint.", number)
        if name in seen:
            return [], ("duplicate_custom_id", f"The custom_id '{name}' is not unique.", number)
        if body.get("model") != json.loads(lines[0])["body"].get("model"):
            return [], ("mismatched_model", "All requests must name one model.", number)
        seen.add(name)
        requests.append(request)
    return requests, None
