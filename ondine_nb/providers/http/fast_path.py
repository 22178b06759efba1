"""The short way of a request: over the SDK's own connections, without building each one anew.

Most of what the SDK does for a request is the same for every row: it walks the parameters, joins
URL and headers, and makes objects of the answer that nobody asks for. So only the first request of
a client goes that way. The ones behind it go to the same URL with the same headers over the same
pool of connections, and only their bodies differ.

No library is imported here: whoever has a client has them loaded.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .bounded import MOST_BYTES, Unpacking
from .request_body import RequestBody

__all__ = ["BodyTemplate", "FastPath", "RawResponse", "TimeLimit"]

_LATE_SECONDS = 0.2
_GRACE_SECONDS = 2.0

_MARK = "the prompt 7f6d2c1b"
_UNTRACED = ("ProxyTracerProvider", "NoOpTracerProvider")


class BodyTemplate:
    """The JSON of a request around its prompt: everything else is written once."""

    def __init__(self, parameters: Callable[[str], dict[str, Any]]) -> None:
        whole = json.dumps(parameters(_MARK), ensure_ascii=False, separators=(",", ":"))
        before, _, behind = whole.partition(json.dumps(_MARK))
        self._before, self._behind = _utf8(before), _utf8(behind)

    def around(self, prompt: str) -> bytes:
        """The body of the request with this prompt."""
        return self._before + _utf8(json.dumps(prompt, ensure_ascii=False)) + self._behind

    def holding(self, content: Iterable[bytes]) -> RequestBody:
        """The body of the request whose prompt is this JSON, in pieces."""
        return RequestBody((self._before, *content, self._behind))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class RawResponse:
    """An answer as it came: status, headers (found in any case) and the decoded body."""

    status: int
    headers: Any
    body: bytes


class FastPath:
    """Posts bodies to where the request of an SDK's `response` went, in the same way."""

    def __init__(self, session: Any, request: Any, connecting: float | None) -> None:
        self._session, self._request = session, request
        aiohttp, yarl = sys.modules["aiohttp"], sys.modules["yarl"]
        self._url = yarl.URL(str(request.url))
        # Who asks bounds the whole attempt: timers for its parts would only cost.
        self._options = {
            "headers": _same_for_all(request.headers),
            "allow_redirects": False,
            "auto_decompress": False,
            "compress": False,
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=connecting),
            "server_hostname": request.extensions.get("sni_hostname"),
        }

    @classmethod
    def of(
        cls, client: Any, http: Any, response: Any, connecting: float | None = None
    ) -> FastPath | None:
        """The short way beside `client`, whose request over `http` got this `response`.

        A new connection may take `connecting` seconds (None: any time).

        None where each request needs the SDK: tokens that expire, redirects, a proxy, tracing,
        another transport than the one that is known here.
        """
        if client.credentials is not None or response.history:
            return None
        return cls.like(http, response.request, connecting)

    @classmethod
    def like(cls, http: Any, request: Any, connecting: float | None = None) -> FastPath | None:
        """The short way by which what is like `request` can be sent over `http`, or None."""
        find = getattr(http, "_transport_for_url", None)
        if find is None or _traced():
            return None
        session = _plain_session(find(request.url))
        return None if session is None else cls(session, request, connecting)

    async def post(self, body: bytes | RequestBody) -> RawResponse:
        """Post `body`. Raises what aiohttp raises."""
        options = self._options
        if isinstance(body, RequestBody):
            headers = options["headers"].copy()
            headers.update(body.headers)
            options = {**options, "headers": headers}
        async with self._session.post(self._url, data=body, **options) as response:
            status, headers = response.status, response.headers
            encoding = headers.get("content-encoding")
            if encoding is None and (response.content_length or MOST_BYTES) < MOST_BYTES:
                content = await response.read()
            else:
                unpacking = Unpacking(encoding)
                pieces = [unpacking.feed(piece) async for piece in response.content.iter_any()]
                content = b"".join(pieces)
        return RawResponse(status, headers, content)

    def as_sdk(self, status: int, headers: Any, raw: bytes) -> Any:
        """The same answer as the SDK's HTTP library has it, with its content unpacked."""
        plain = [
            (_as_it_came(name), _as_it_came(value))
            for name, value in headers.items()
            if name.lower() != "content-encoding"
        ]
        return sys.modules["httpx2"].Response(
            status, headers=plain, content=raw, request=self._request
        )


def _as_it_came(text: str) -> bytes:
    """A header's bytes, which need be no text."""
    return text.encode("utf-8", "surrogateescape")


def _same_for_all(headers: Any) -> Any:
    """What every request sends; its length is its own."""
    kept = [(name, value) for name, value in headers.multi_items() if name != "content-length"]
    return sys.modules["multidict"].CIMultiDict(kept)


def _plain_session(transport: Any) -> Any:
    """The session of aiohttp behind the SDK's transport; None where there is more to it."""
    session = getattr(transport, "client", None)
    known = getattr(transport, "proxy", transport) is None
    aiohttp = sys.modules.get("aiohttp")
    plain = known and aiohttp is not None and isinstance(session, aiohttp.ClientSession)
    return session if plain else None


def _traced() -> bool:
    """Whether somebody records the SDK's calls as spans of OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and type(trace.get_tracer_provider()).__name__ not in _UNTRACED


class TimeLimit:
    """`asyncio.timeout`, but fair after a cell has held the loop: `async with TimeLimit(seconds)`.

    When the loop goes on, time-outs are due at once, before answers that came meanwhile are taken
    from their sockets: they would be thrown away and paid again. So one that is due late waits.
    """

    __slots__ = ("_limit", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._limit.__aenter__()
        self._wait_until(self._loop.time() + self._seconds)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _wait_until(self, at: float) -> None:
        self._timer = self._loop.call_at(at, self._due, at)

    def _due(self, at: float) -> None:
        now = self._loop.time()
        if now - at > _LATE_SECONDS:
            self._wait_until(now + _GRACE_SECONDS)
        else:
            self._limit.reschedule(now)
