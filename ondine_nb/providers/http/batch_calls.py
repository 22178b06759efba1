"""Calls about batches through an SDK: bounded in time, failures as ours, results by the line."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ...errors import ConnectionLostError, FatalProviderError, OndineError, TimedOutError
from ..base import BatchResult
from .errors import causes

__all__ = [
    "CALL_SECONDS",
    "CREATE_SECONDS",
    "BatchCalls",
    "NoSuchBatchError",
    "failed",
    "unreadable",
]

T = TypeVar("T")
CREATE_SECONDS = 600.0  # for a call that carries a whole batch
CALL_SECONDS = 60.0
_CHUNK_BYTES = 65_536
_LINES = 100
_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*"([A-Za-z0-9_-]{1,64})"')
_BEGINS = ("/batches", "/files")  # where batches begin: a 404 there is a server that has none


class NoSuchBatchError(ConnectionLostError):
    """404 for a batch, or a file of one, by its name."""


@dataclass(frozen=True, slots=True)
class BatchCalls:
    """The calls of one provider.

    `of_status` and `of_connection` are its own readings of errors; `where` is what the server is
    called, `called` what its batches are.
    """

    of_status: Callable[[Any], Exception]
    of_connection: Callable[[BaseException], Exception]
    where: str
    called: str

    async def made(self, call: Awaitable[T], seconds: float = CALL_SECONDS) -> T:
        """The outcome of one call to the SDK, its errors as ours."""
        try:
            async with asyncio.timeout(seconds):
                return await call
        except OndineError:
            raise
        except (AttributeError, TypeError, ValueError) as error:  # it isn't what the API sends
            raise ConnectionLostError(
                f"the answer about batches can't be read: {type(error).__name__}",
                possibly_billed=True,
            ) from error
        except Exception as error:  # the SDK's, or what a library below it lets through
            raise self._of(error, seconds) from None

    def _of(self, error: Any, seconds: float) -> Exception:
        if hasattr(error, "status_code"):
            return self._of_status(error)
        # Not by its class: to one SDK every connection that failed or was cut timed out.
        if any(isinstance(cause, TimeoutError) for cause in causes(error)):
            return _late(seconds)
        return self.of_connection(error)

    def _of_status(self, error: Any) -> Exception:
        request = error.request
        begins = request.method == "POST" and request.url.path.endswith(_BEGINS)
        if error.status_code == 404 and not begins:
            return NoSuchBatchError("there is no such batch")
        if error.status_code in (404, 405, 501):
            return FatalProviderError(
                f"{self.where} has no {self.called} ({error.status_code}): leave --batch out"
            )
        return self.of_status(error)

    async def lines(self, call: Awaitable[Any]) -> AsyncGenerator[list[bytes], None]:
        """The lines of a streamed answer, some at a time, without those that are blank."""
        response, rest = await self.made(call), b""
        try:
            chunks = aiter(response.aiter_bytes(_CHUNK_BYTES))
            while (chunk := await self.made(_next(chunks))) is not None:
                *lines, rest = (rest + chunk).split(b"\n")
                for start in range(0, len(lines), _LINES):  # a chunk may be as large as it likes
                    yield [line for line in lines[start : start + _LINES] if line.strip()]
            if rest.strip():
                yield [rest]
        finally:
            await response.aclose()


def unreadable(line: bytes) -> BatchResult:
    """A line of results that can't be read, with its request's id where that is to be found."""
    named = _CUSTOM_ID.search(line)
    return BatchResult("" if named is None else named[1].decode(), "unreadable", bytes(line))


def failed(custom_id: str, kind: str, error: str, said: object) -> BatchResult:
    """A request that ended without an answer; `said` is the server's word for it, if any."""
    told = " ".join(str(said or "no reason given").split())[:300]
    return BatchResult(custom_id, kind, error=error, said=told)


def _late(seconds: float) -> TimedOutError:
    return TimedOutError(f"no answer about batches within {seconds:g} s", possibly_billed=True)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
