"""OpenAI's Batch API on the wire: a file of requests goes up, files of results come down."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import json
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import replace
from typing import Any

from ...errors import FatalProviderError, RejectedRequestError
from ..base import BatchLimits, BatchResult, ServerBatch, on_wire
from ..http import (
    CALL_SECONDS,
    CREATE_SECONDS,
    BatchCalls,
    NoSuchBatchError,
    failed,
    unreadable,
)
from ..pricing import ModelPrice
from .client import WIRE, OpenAIProvider

__all__ = ["ChatBatches"]

_ENDPOINT = "/v1/chat/completions"  # as it is named in batches, wherever the API itself begins
_WINDOW = "24h"  # the only one that there is
_OURS = "ondine_batch"  # what a batch's metadata have its prefix by
_KEPT = {"anchor": "created_at", "seconds": 30 * 24 * 3600}  # the longest that files of results may
_PAGE, _FILES = 100, 1_000
_ENDED = ("completed", "expired", "cancelled", "failed")
_CROWDED = "token_limit_exceeded"  # of tokens that an account may have waiting
_REJECTED = (400, 413, 422)  # statuses of requests that will never be answered
_KINDS = {"batch_expired": "expired", "batch_cancelled": "canceled"}


class ChatBatches:
    """A provider's `BatchApi`. Batches have our prefix in their metadata, files in their names."""

    limits: BatchLimits = BatchLimits(50_000, 200_000_000)

    def __init__(self, provider: OpenAIProvider) -> None:
        self._provider = provider
        self._files: dict[str, str] = {}  # by prefix: an upload's id, "" where that was lost

    @property
    def price(self) -> ModelPrice | None:
        """What requests in batches cost."""
        return self._provider.batch_price()

    def request(self, custom_id: str, prompt: Any) -> bytes:
        """One request as a line of the file."""
        head = {"custom_id": custom_id, "method": "POST", "url": _ENDPOINT}
        body = self._provider.body(prompt)
        return json.dumps(head).encode()[:-1] + b', "body": ' + body + b"}"

    async def create(self, prefix: str, requests: Sequence[bytes]) -> ServerBatch:
        """Send a batch. What an earlier call has sent up isn't sent up again."""
        try:
            file = self._files.get(prefix) or await self._upload(prefix, requests)
            return await self._calls.made(
                _batch(
                    self._client.batches.create(
                        input_file_id=file,
                        endpoint=_ENDPOINT,
                        completion_window=_WINDOW,
                        metadata={_OURS: prefix},
                        output_expires_after=_KEPT,
                    )
                )
            )
        except RejectedRequestError as error:
            raise FatalProviderError(
                f"the batch of {len(requests):,} requests was refused: {error}"
            ) from error

    async def _upload(self, prefix: str, requests: Sequence[bytes]) -> str:
        """The id of the file of these requests."""
        if prefix in self._files and (found := await self._uploaded(prefix)):
            self._files[prefix] = found
            return found
        self._files[prefix] = ""
        content = await asyncio.to_thread(_lines_of, requests)
        sent = self._client.files.create(
            file=(_name(prefix), content, "application/jsonl"),
            purpose="batch",
            timeout=CREATE_SECONDS,
        )
        self._files[prefix] = file = await self._calls.made(_id(sent), CREATE_SECONDS)
        return file

    async def _uploaded(self, prefix: str) -> str:
        """The id of an upload whose answer was lost; "" where the server has none."""
        after: dict[str, str] = {}
        while True:
            listed = self._client.files.list(purpose="batch", limit=_FILES, order="desc", **after)
            files, more = await self._calls.made(_names(listed))
            found = [file for file, name in files if name == _name(prefix)]
            if found or not more or not files:
                return found[0] if found else ""
            after = {"after": files[-1][0]}

    async def discard(self, prefix: str) -> None:
        """Delete the file of a batch that never came to be."""
        file = self._files.pop(prefix, "") or await self._uploaded(prefix)
        if file:
            await self._calls.made(self._client.files.delete(file))

    async def retrieve(self, batch_id: str) -> ServerBatch | None:
        """The batch as it is now; None where the account has none of this name."""
        try:
            found = await self._calls.made(_batch(self._client.batches.retrieve(batch_id)))
        except NoSuchBatchError:
            return None
        return replace(found, refused=self._provider._hidden(found.refused))

    async def created_since(self, at: float) -> list[ServerBatch]:
        """The account's batches that were created at or after `at` (POSIX), oldest first."""
        found: list[ServerBatch] = []
        after: dict[str, str] = {}
        while True:
            batches, more = await self._calls.made(
                _page(self._client.batches.list(limit=_PAGE, **after))
            )
            found += [batch for batch in batches if batch.created >= int(at)]
            if not more or not batches or _are_older(batches, int(at)):
                return sorted(found, key=lambda batch: batch.created)
            after = {"after": batches[-1].id}

    async def cancel(self, batch_id: str) -> None:
        """Ask the server to begin no further request of the batch."""
        await self._calls.made(self._client.batches.cancel(batch_id))

    async def results(self, batch: ServerBatch) -> AsyncGenerator[list[BatchResult], None]:
        """The outcomes of both files, answers first, some at a time, in whatever order.

        A file that isn't there has none: what it should have had is held against the counts.
        """
        for file in batch.files:
            read = self._client.get(
                f"/files/{file}/content",
                cast_to=importlib.import_module("httpx2").Response,
                stream=True,
                options={"headers": {"Accept": "application/binary"}, "timeout": CALL_SECONDS},
            )
            with contextlib.suppress(NoSuchBatchError):
                async with contextlib.aclosing(self._calls.results(read, _outcome)) as results:
                    async for several in results:
                        yield several

    @property
    def _client(self) -> Any:
        return self._provider._client

    @property
    def _calls(self) -> BatchCalls:
        mine = self._provider
        return BatchCalls(
            lambda error: mine._of_response(error.response),
            mine._of_connection,
            mine._hidden,
            mine.title,
            "Batch API",
        )


def _name(prefix: str) -> str:
    return f"ondine-{prefix}.jsonl"


def _lines_of(requests: Sequence[bytes]) -> io.BytesIO:
    """The file of these requests: the client reads it bit by bit, so that the loop isn't held."""
    content = io.BytesIO()
    for request in requests:
        content.write(request)
        content.write(b"\n")
    content.seek(0)
    return content


async def _id(call: Awaitable[Any]) -> str:
    return str((await call).id)


async def _names(call: Awaitable[Any]) -> tuple[list[tuple[str, str]], bool]:
    """The files of a page by id and name, and whether there are more."""
    page = await call
    return [(str(file.id), str(file.filename)) for file in page.data], bool(page.has_more)


async def _batch(call: Awaitable[Any]) -> ServerBatch:
    return _seen(await call)


async def _page(call: Awaitable[Any]) -> tuple[list[ServerBatch], bool]:
    page = await call
    return [_seen(batch) for batch in page.data], bool(page.has_more)


def _are_older(batches: Sequence[ServerBatch], at: float) -> bool:
    """Whether a page shows that the next ones are of before `at`: the newest come first."""
    return batches[0].created > batches[-1].created < at


def _seen(batch: Any) -> ServerBatch:
    """The batch as the SDK describes it."""
    ended = batch.status in _ENDED
    counts = batch.request_counts
    total, completed, lost = (
        int(getattr(counts, name, 0) or 0) for name in ("total", "completed", "failed")
    )
    refused = batch.status == "failed" and not completed and not batch.output_file_id
    return ServerBatch(
        id=str(batch.id),
        count=total,
        ended=ended,
        created=float(batch.created_at),
        files=tuple(filter(None, (batch.output_file_id, batch.error_file_id))),
        gone=ended and completed > 0 and not batch.output_file_id,
        succeeded=completed,
        done=completed + lost,
        prefix=str((batch.metadata or {}).get(_OURS, "")),
        refused=_reason(batch.errors) if refused else "",
        crowded=refused and any(each.code == _CROWDED for each in _told(batch.errors)),
    )


def _told(errors: Any) -> list[Any]:
    return getattr(errors, "data", None) or []


def _reason(errors: Any) -> str:
    """Why a batch was not begun, by the first errors that are told of it."""
    told = [f"{each.message} ({each.code})" for each in _told(errors)[:2]]
    return " ".join("; ".join(told).split())[:300] or "no reason given"


def _outcome(line: bytes) -> BatchResult:
    """One line of either file, whatever stands in it: one bad line is no other row's trouble."""
    try:
        found = json.loads(line)
        name, response, error = str(found["custom_id"]), found.get("response"), found.get("error")
        if response:
            status, body = response["status_code"], response["body"]
            if status == 200:
                said = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
                raw = said.encode("utf-8", "surrogatepass")
                return BatchResult(name, "succeeded", on_wire(WIRE, raw))
            error = body.get("error") or {}
            kind = "rejected" if status in _REJECTED else "errored"
            return failed(name, kind, str(error.get("code") or status), error.get("message"))
        kind = _KINDS.get(code := str(error["code"]), "errored")
        return failed(name, kind, code, error.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return unreadable(line)
