"""Message Batches on the wire: create, look up, cancel, and read results as they stream in."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from ...errors import ConnectionLostError, FatalProviderError, RejectedRequestError, TimedOutError
from .client import AnthropicProvider, sdk

__all__ = ["BatchResult", "MessageBatches", "ServerBatch"]

T = TypeVar("T")
_PATH = "/v1/messages/batches"
_CREATE_SECONDS = 600.0
_CALL_SECONDS = 60.0
_PAGE = 100
_CHUNK_BYTES = 65_536
_LINES = 100
_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*"([A-Za-z0-9_-]{1,64})"')


@dataclass(frozen=True, slots=True)
class ServerBatch:
    """What the API says of a batch: `count` requests in all, `created` a POSIX time.

    `gone` says that it ended and its results are there no more, `succeeded` how many of its
    requests have an answer.
    """

    id: str
    count: int
    ended: bool
    created: float
    results_url: str | None = None
    gone: bool = False
    succeeded: int = 0

    @classmethod
    def of(cls, batch: Any) -> ServerBatch:
        """The batch as the SDK describes it."""
        counts = batch.request_counts
        ended = batch.processing_status == "ended"
        return cls(
            id=str(batch.id),
            count=sum(
                int(getattr(counts, name) or 0)
                for name in ("processing", "succeeded", "errored", "canceled", "expired")
            ),
            ended=ended,
            created=_posix(batch.created_at),
            results_url=batch.results_url,
            gone=ended and not batch.results_url,
            succeeded=int(counts.succeeded or 0),
        )


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one request: `kind` is `succeeded errored canceled expired unreadable`.

    `body` is the answer's JSON where it succeeded, and the whole line as it came where that can't
    be read (`custom_id` is "" where not even that is to be found in it); `said` and `error` are the
    server's word and its kind of error where it failed.
    """

    custom_id: str
    kind: str
    body: bytes = b""
    error: str = ""
    said: str = ""


class MessageBatches:
    """Batches through a provider that is open. Its calls raise what `Provider.send` raises."""

    def __init__(self, provider: AnthropicProvider) -> None:
        self._provider = provider

    def request(self, custom_id: str, prompt: Any) -> bytes:
        """One request's JSON, as it stands in a create call; `prompt` as in `Provider.send`."""
        return self._provider.batch_request(custom_id, prompt)

    async def create(self, requests: Sequence[bytes]) -> ServerBatch:
        """Send a batch. Raises `FatalProviderError` where there are no batches or it is refused."""
        content = await asyncio.to_thread(lambda: b'{"requests":[' + b",".join(requests) + b"]}")
        made = self._client.post(
            _PATH,
            content=content,
            cast_to=sdk().types.messages.MessageBatch,
            options={
                "headers": {"Content-Type": "application/json"},
                "timeout": _CREATE_SECONDS,
            },
        )
        try:
            return await self._called(_read(made), _CREATE_SECONDS)
        except RejectedRequestError as error:
            raise FatalProviderError(
                f"the batch of {len(requests):,} requests was refused: {error}"
            ) from error

    async def retrieve(self, batch_id: str) -> ServerBatch | None:
        """The batch as it is now; None where the account has none of this name."""
        try:
            return await self._called(_read(self._batches.retrieve(batch_id)))
        except _NoSuchBatchError:
            return None

    async def created_since(self, at: float) -> list[ServerBatch]:
        """The account's batches that were created at or after `at` (POSIX), oldest first."""
        found: list[ServerBatch] = []
        after: dict[str, str] = {}
        while True:
            listing = self._batches.list(limit=_PAGE, **after)
            batches, more = await self._called(_read_page(listing))
            found += [batch for batch in batches if batch.created >= at]
            if not more or not batches or batches[-1].created < at:
                return sorted(found, key=lambda batch: batch.created)
            after = {"after_id": batches[-1].id}

    async def cancel(self, batch_id: str) -> None:
        """Ask the server to begin no further request of the batch."""
        await self._called(self._batches.cancel(batch_id))

    async def results(self, batch: ServerBatch) -> AsyncGenerator[list[BatchResult], None]:
        """The outcomes as they come, some at a time, in whatever order.

        Raises `ConnectionLostError` where the stream is cut: it can be read again for nothing.
        """
        response = await self._called(
            self._client.get(
                self._results_url(batch),
                cast_to=importlib.import_module("httpx2").Response,
                stream=True,
                options={
                    "headers": {"Accept": "application/binary"},
                    "timeout": _CALL_SECONDS,
                },
            )
        )
        rest = b""
        try:
            chunks = aiter(response.aiter_bytes(_CHUNK_BYTES))
            while (chunk := await self._called(_next(chunks))) is not None:
                *lines, rest = (rest + chunk).split(b"\n")
                for start in range(0, len(lines), _LINES):  # a chunk may be as large as it likes
                    some = lines[start : start + _LINES]
                    yield [_outcome(line) for line in some if line.strip()]
            if rest.strip():
                yield [_outcome(rest)]
        finally:
            await response.aclose()

    def _results_url(self, batch: ServerBatch) -> str:
        """The batch's `results_url` where it leads to the configured host, else that host's own.

        The key is sent along, so nobody else may be asked.
        """
        base = str(self._client.base_url)
        given = urljoin(base, batch.results_url or "")
        if batch.results_url and _origin(given) == _origin(base):
            return given
        return f"{_PATH}/{batch.id}/results"

    @property
    def _client(self) -> Any:
        return self._provider._client

    @property
    def _batches(self) -> Any:
        return self._client.messages.batches

    async def _called(self, call: Awaitable[T], seconds: float = _CALL_SECONDS) -> T:
        """The outcome of one call to the SDK, its errors as ours."""
        anthropic = sdk()
        try:
            async with asyncio.timeout(seconds):
                return await call
        except anthropic.APIStatusError as error:
            raise self._of_status(error) from None
        except (TimeoutError, anthropic.APITimeoutError):
            raise TimedOutError(
                f"no answer about batches within {seconds:g} s", possibly_billed=True
            ) from None
        except (anthropic.AnthropicError, OSError) as error:
            raise self._provider._of_connection(error) from None
        except importlib.import_module("httpx2").HTTPError as error:
            raise self._provider._of_connection(error) from None
        except (AttributeError, TypeError, ValueError) as error:  # it isn't what the API sends
            raise ConnectionLostError(
                f"the answer about batches can't be read: {type(error).__name__}",
                possibly_billed=True,
            ) from error

    def _of_status(self, error: Any) -> Exception:
        method, path = error.request.method, error.request.url.path
        if error.status_code == 404 and not (method == "POST" and path.endswith("/batches")):
            return _NoSuchBatchError("there is no such batch")
        if error.status_code in (404, 405, 501):
            return FatalProviderError(
                f"{self._provider._where()} has no Message Batches ({error.status_code}): leave "
                "--batch out"
            )
        return self._provider._of_status(error)


class _NoSuchBatchError(ConnectionLostError):
    """404 for a batch by its name."""


async def _read(call: Awaitable[Any]) -> ServerBatch:
    return ServerBatch.of(await call)


async def _read_page(call: Awaitable[Any]) -> tuple[list[ServerBatch], bool]:
    page = await call
    return [ServerBatch.of(batch) for batch in page.data], bool(page.has_more)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)


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
            said = " ".join(str(error.get("message") or "no reason given").split())[:300]
            return BatchResult(name, kind, error=str(error.get("type") or ""), said=said)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    named = _CUSTOM_ID.search(line)
    return BatchResult("" if named is None else named[1].decode(), "unreadable", bytes(line))


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def _posix(at: datetime | str) -> float:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).timestamp()
