"""Message Batches on the wire: create, look up, cancel, and read results as they stream in."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from ...errors import FatalProviderError, RejectedRequestError
from ..base import BatchLimits, BatchResult, ServerBatch
from ..http import CALL_SECONDS, CREATE_SECONDS, BatchCalls, NoSuchBatchError, failed, unreadable
from ..pricing import ModelPrice
from .client import AnthropicProvider, sdk

__all__ = ["MessageBatches"]

_PATH = "/v1/messages/batches"
_PAGE = 100


class MessageBatches:
    """A provider's `BatchApi`: one call takes a whole batch, nothing but results has its ids."""

    # The API takes 256 MB, with what is around them.
    limits: BatchLimits = BatchLimits(100_000, 255_000_000)

    def __init__(self, provider: AnthropicProvider) -> None:
        self._provider = provider

    @property
    def price(self) -> ModelPrice | None:
        """What requests in batches cost."""
        return self._provider.batch_price()

    def request(self, custom_id: str, prompt: Any) -> bytes:
        """One request's JSON, as it stands in a create call."""
        return self._provider.batch_request(custom_id, prompt)

    async def create(self, prefix: str, requests: Sequence[bytes]) -> ServerBatch:
        """Send a batch; its `prefix` is in the ids of its requests only."""
        content = await asyncio.to_thread(lambda: b'{"requests":[' + b",".join(requests) + b"]}")
        made = self._client.post(
            _PATH,
            content=content,
            cast_to=sdk().types.messages.MessageBatch,
            options={
                "headers": {"Content-Type": "application/json"},
                "timeout": CREATE_SECONDS,
            },
        )
        try:
            return await self._calls.made(_batch(made), CREATE_SECONDS)
        except RejectedRequestError as error:
            raise FatalProviderError(
                f"the batch of {len(requests):,} requests was refused: {error}"
            ) from error

    async def discard(self, prefix: str) -> None:
        """Nothing lies there but batches."""

    async def retrieve(self, batch_id: str) -> ServerBatch | None:
        """The batch as it is now; None where the account has none of this name."""
        try:
            return await self._calls.made(_batch(self._batches.retrieve(batch_id)))
        except NoSuchBatchError:
            return None

    async def created_since(self, at: float) -> list[ServerBatch]:
        """The account's batches that were created at or after `at` (POSIX), oldest first."""
        found: list[ServerBatch] = []
        after: dict[str, str] = {}
        while True:
            batches, more = await self._calls.made(_page(self._batches.list(limit=_PAGE, **after)))
            found += [batch for batch in batches if batch.created >= at]
            if not more or not batches or batches[-1].created < at:
                return sorted(found, key=lambda batch: batch.created)
            after = {"after_id": batches[-1].id}

    async def cancel(self, batch_id: str) -> None:
        """Ask the server to begin no further request of the batch."""
        await self._calls.made(self._batches.cancel(batch_id))

    async def results(self, batch: ServerBatch) -> AsyncGenerator[list[BatchResult], None]:
        """The outcomes as they come, some at a time, in whatever order."""
        read = self._client.get(
            self._results_url(batch),
            cast_to=importlib.import_module("httpx2").Response,
            stream=True,
            options={"headers": {"Accept": "application/binary"}, "timeout": CALL_SECONDS},
        )
        async with aclosing(self._calls.results(read, _outcome)) as results:
            async for several in results:
                yield several

    def _results_url(self, batch: ServerBatch) -> str:
        """The batch's `results_url` where it leads to the configured host, else that host's own.

        The key is sent along, so nobody else may be asked.
        """
        base = str(self._client.base_url)
        for url in batch.files:
            given = urljoin(base, url)
            if _origin(given) == _origin(base):
                return given
        return f"{_PATH}/{batch.id}/results"

    @property
    def _client(self) -> Any:
        return self._provider._client

    @property
    def _batches(self) -> Any:
        return self._client.messages.batches

    @property
    def _calls(self) -> BatchCalls:
        mine = self._provider
        return BatchCalls(
            mine._of_status,
            mine._of_connection,
            mine._hidden,
            mine._where(),
            "Message Batches",
        )


async def _batch(call: Any) -> ServerBatch:
    return _seen(await call)


async def _page(call: Any) -> tuple[list[ServerBatch], bool]:
    page = await call
    return [_seen(batch) for batch in page.data], bool(page.has_more)


def _seen(batch: Any) -> ServerBatch:
    """The batch as the SDK describes it."""
    kinds = ("processing", "succeeded", "errored", "canceled", "expired")
    counts = {name: int(getattr(batch.request_counts, name) or 0) for name in kinds}
    ended = batch.processing_status == "ended"
    return ServerBatch(
        id=str(batch.id),
        count=sum(counts.values()),
        ended=ended,
        created=_posix(batch.created_at),
        files=(batch.results_url,) if batch.results_url else (),
        gone=ended and not batch.results_url,
        succeeded=counts["succeeded"],
        done=sum(counts.values()) - counts["processing"],
    )


def _outcome(line: bytes) -> BatchResult:
    """One line of the results, whatever stands in it: one bad line is no other row's trouble."""
    try:
        found = json.loads(line)
        name, result = str(found["custom_id"]), found["result"]
        kind = str(result["type"])
        if kind == "succeeded":
            message = json.dumps(result["message"], ensure_ascii=False, separators=(",", ":"))
            return BatchResult(name, kind, message.encode("utf-8", "surrogatepass"))
        if kind in ("errored", "canceled", "expired"):
            error = (result.get("error") or {}).get("error") or {}
            named = str(error.get("type") or "")
            kind = "rejected" if named == "invalid_request_error" else kind
            return failed(name, kind, named, error.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return unreadable(line)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _posix(at: datetime | str) -> float:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).timestamp()
