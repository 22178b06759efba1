"""Claude, and any server that speaks the Messages API, through the official SDK.

The only module that imports the SDK, and only on first use: its import takes over a second.
The SDK's own retries are off, since a retry that it doesn't count may be paid unseen.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import math
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import (
    ConfigurationError,
    ConnectionLostError,
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    RowError,
    ServerError,
    TimedOutError,
)
from ..pricing import FREE, ModelPrice, find_price
from . import Reply, Settings

__all__ = ["AnthropicProvider", "has_credentials", "list_models", "thinking_of"]

# What a request's schema adds to its prompt on the server, in tokens: the API describes the
# expected format to the model in a system prompt of its own, which no client can count.
_FORMAT_TOKENS = 512
# Framing of roles and turns that isn't in the bytes of the texts.
_FRAME_BYTES = 256
# A loop that is so late with a timer was held up; then answers get so long to be taken.
_LATE_SECONDS = 0.2
_GRACE_SECONDS = 2.0
_SPEND_CODES = {
    "enforced_spend_limit_reached",
    "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached",
}


def sdk() -> Any:
    """The SDK's module."""
    return importlib.import_module("anthropic")


def has_credentials() -> bool:
    """Whether the SDK finds a key, a token or a profile on this machine."""
    if os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN"):
        return True
    try:
        client = sdk().AsyncAnthropic(max_retries=0)
    except sdk().AnthropicError:
        return False
    return any((client.api_key, client.auth_token, client.credentials is not None))


def thinking_of(model: str, thinking: str) -> dict[str, Any] | None:
    """The `thinking` parameter to send, or None to send none.

    Models from 5 on think unless told otherwise, and thinking is billed as output. Haiku 5.5 can be
    told not to, Sonnet 5.5 takes `between_tools` (no thinking where there are no tools), Opus 5.5,
    Fable and Mythos always think; older models and other servers don't unless asked.
    """
    if thinking == "auto":
        return {"type": "adaptive"} if re.match(r"claude-[a-z]+-(4-[6-9]|5)", model) else None
    if model.startswith("claude-haiku-5"):
        return {"type": "disabled"}
    if model.startswith("claude-sonnet-5-5"):
        return {"type": "between_tools"}
    return None


class AnthropicProvider:
    """One model behind one URL.

    `base_url` and `api_key` default to what the SDK finds. `identity` stands for the provider in
    the journal's keys. The embedded model is this provider with another URL and the price 0.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        identity: str | None = None,
        free: bool = False,
        note: str = "",
        price_in: Decimal | None = None,
        price_out: Decimal | None = None,
        start: Callable[[], tuple[str, str]] | None = None,
    ) -> None:
        self.model = model
        self.note = note
        self.base_url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or None
        self.identity = identity or (self.base_url or "anthropic")
        self.price: ModelPrice | None = (
            FREE if free else find_price(model, price_in=price_in, price_out=price_out)
        )
        self._api_key = api_key
        self._start = start
        self._client: Any = None
        self._fixed: dict[str, Any] = {}
        self._max_tokens = 1
        self._timeout = 120.0
        self._constant_bytes = 0
        self._head = ""

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Get the client ready in a thread; it connects on the loop of its first request."""
        await asyncio.to_thread(self._prepare, settings, concurrency)

    def _prepare(self, settings: Settings, concurrency: int) -> None:
        """All that takes time: the SDK's import, the child process, the certificates."""
        anthropic = sdk()
        if self._start is not None:
            self.base_url, self._api_key = self._start()
        self._fixed = self._fixed_parameters(settings)
        self._max_tokens, self._timeout = settings.max_tokens, settings.timeout
        self._head = settings.cached_head
        constant = json.dumps(self._fixed, ensure_ascii=False).encode("utf-8", "replace")
        format_tokens = _FORMAT_TOKENS if settings.schema is not None else 0
        self._constant_bytes = len(constant) + _FRAME_BYTES + format_tokens
        self._client = self._connect(anthropic, settings.timeout, concurrency)
        _ = self._client.messages.with_raw_response  # built on first use otherwise, on the loop

    def _connect(self, anthropic: Any, timeout: float, concurrency: int) -> Any:
        options: dict[str, Any] = {"max_retries": 0, "timeout": timeout}
        if self.base_url:
            options["base_url"] = self.base_url
        if self._api_key or (self.base_url and not has_credentials()):
            # Servers that need no key get a word that says so: the SDK sends nothing without one.
            options["api_key"] = self._api_key or "no-key-needed"
        try:
            limits = importlib.import_module("httpx2").Limits(
                max_connections=concurrency, max_keepalive_connections=concurrency
            )
            options["http_client"] = anthropic.DefaultAioHttpClient(limits=limits, timeout=timeout)
            return anthropic.AsyncAnthropic(**options)
        except (ValueError, TypeError, RuntimeError, anthropic.AnthropicError) as error:
            raise ConfigurationError(
                f"no client for {self.base_url or self.model}: {error}"
            ) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _fixed_parameters(self, settings: Settings) -> dict[str, Any]:
        """What `count_tokens` takes too, the same for every request."""
        parameters: dict[str, Any] = {"model": settings.model}
        if settings.system:
            parameters["system"] = (
                [_marked(settings.system)] if settings.cached_system else settings.system
            )
        thinking = thinking_of(settings.model, settings.thinking)
        if thinking:
            parameters["thinking"] = thinking
        output: dict[str, Any] = {}
        if settings.effort:
            output["effort"] = settings.effort
        if settings.schema is not None:
            schema = sdk().transform_schema(settings.schema)
            output["format"] = {"type": "json_schema", "schema": schema}
        if output:
            parameters["output_config"] = output
        return parameters

    async def send(self, prompt: str) -> Reply:
        anthropic, timeout = sdk(), self._timeout
        started = time.perf_counter()
        try:
            # The SDK's time-out bounds the gap between two reads; this one bounds the attempt.
            async with _time_out(timeout):
                response = await self._client.messages.with_raw_response.create(
                    max_tokens=self._max_tokens, messages=_turn(prompt, self._head), **self._fixed
                )
                body = await _body(response)
        except TimeoutError:
            raise _timed_out(timeout) from None
        except anthropic.APIStatusError as error:
            raise self._of_status(error) from None
        except anthropic.APITimeoutError:
            raise _timed_out(timeout) from None
        except (anthropic.APIConnectionError, OSError) as error:
            raise self._of_connection(error) from None
        except (anthropic.AnthropicError, importlib.import_module("httpx2").HTTPError) as error:
            raise self._of_connection(error) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(body, headers, time.perf_counter() - started)

    async def count_tokens(self, prompt: str) -> int | None:
        anthropic = sdk()
        try:
            async with asyncio.timeout(min(self._timeout, 20)):
                counted = await self._client.messages.count_tokens(
                    messages=_turn(prompt, self._head), **self._fixed
                )
        except (anthropic.AnthropicError, TimeoutError, OSError, ValueError):
            return None
        return int(counted.input_tokens)

    def batch_request(self, custom_id: str, prompt: str) -> bytes:
        """The JSON of what `send` would send, as one request of a batch."""
        params = {"max_tokens": self._max_tokens, "messages": _turn(prompt, self._head)}
        whole = {"custom_id": custom_id, "params": params | self._fixed}
        return json.dumps(whole, ensure_ascii=False).encode("utf-8", "replace")

    def request_bytes(self, prompt: str) -> int:
        """A bound on input tokens: one token holds at least one byte of the request's texts."""
        return self._constant_bytes + len(prompt.encode("utf-8", "replace"))

    def _of_status(self, error: Any) -> RowError | FatalProviderError:
        """Which of our errors an HTTP status means."""
        status = int(error.status_code)
        said = self._hidden(_said(error))
        if status in (401, 403):
            return FatalProviderError(
                f"{self._where()} refused the key ({status}: {said}). Set ANTHROPIC_API_KEY to a "
                "valid key"
            )
        if status == 402 or (error.error_code or "") in _SPEND_CODES:
            return FatalProviderError(
                f"the account can't pay for more ({status}: {said}). Nothing further is sent"
            )
        if status == 404:
            return FatalProviderError(
                f"{self._where()} does not know model '{self.model}' ({status}: {said}). "
                "`%ondine models` lists what there is"
            )
        if status in (408, 409, 429) or status >= 500:
            return _transient(status, said, error.response.headers)
        return RejectedRequestError(f"the request was rejected ({status}: {said})")

    def _of_connection(self, error: BaseException) -> ConnectionLostError | FatalProviderError:
        causes = _causes(error)
        said = " ".join((self._hidden(str(causes[-1])) or type(causes[-1]).__name__).split())
        # Not by httpx2's ConnectError: a connection reset after the request went out is one too.
        kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
        if "ClientConnectorError" in kinds:
            return ConnectionLostError(
                f"no server answers at {self._where()}. Is it running, and is --base-url right?"
                if self.base_url
                else f"{self._where()} can't be reached. Is this machine online?",
                unreachable=True,
            )
        if type(causes[-1]) is ValueError:  # headers that can't be sent: a key with a line break
            return FatalProviderError(
                f"no request can be sent to {self._where()}: {said[:200]}. Check the key and "
                "--base-url"
            )
        return ConnectionLostError(f"the connection was cut: {said[:200]}", possibly_billed=True)

    def _where(self) -> str:
        if not self.base_url:
            return "the Anthropic API"
        return re.sub(r"//[^/@]*@", "//", self.base_url)

    def _hidden(self, text: str) -> str:
        """`text` without the key: a server may repeat it."""
        client = self._client
        keys = (self._api_key, *(getattr(client, name, None) for name in ("api_key", "auth_token")))
        for key in keys:
            if isinstance(key, str) and len(key) > 3:
                text = text.replace(key, "…")
        return text


def _turn(prompt: str, head: str) -> list[dict[str, Any]]:
    """The user's turn, with `head` as a block of its own where the prompt begins with it."""
    rest = prompt[len(head) :]
    # The API refuses a block of white space only.
    if not head or not rest.strip() or not prompt.startswith(head):
        return [{"role": "user", "content": prompt}]
    return [{"role": "user", "content": [_marked(head), {"type": "text", "text": rest}]}]


def _marked(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


async def _body(response: Any) -> bytes:
    """The body's bytes; the raw response reads eagerly or lazily, as the SDK's version has it."""
    read = getattr(response, "read", None)
    content = read() if read is not None else response.content
    if hasattr(content, "__await__"):
        content = await content
    return bytes(content)


@contextlib.asynccontextmanager
async def _time_out(seconds: float) -> AsyncIterator[None]:
    """`asyncio.timeout`, but fair after a cell has held the loop.

    When the loop goes on, time-outs are due at once, before answers that came meanwhile are taken
    from their sockets: they would be thrown away and paid again. So one that is due late waits.
    """
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    async with asyncio.timeout(None) as limit:

        def due(at: float) -> None:
            now = loop.time()
            if now - at > _LATE_SECONDS:
                wait_until(now + _GRACE_SECONDS)
            else:
                limit.reschedule(now)

        def wait_until(at: float) -> None:
            timers[:] = [loop.call_at(at, due, at)]

        wait_until(loop.time() + seconds)
        try:
            yield
        finally:
            timers[0].cancel()


def _timed_out(seconds: float) -> TimedOutError:
    return TimedOutError(
        f"no answer within {seconds:g} s (--timeout), it may have been billed", possibly_billed=True
    )


def _transient(status: int, said: str, headers: Any) -> RowError:
    after = _retry_after(headers)
    if status == 429:
        told = {name.lower(): value for name, value in headers.items()}
        return RateLimitedError(f"rate limited (429: {said})", retry_after=after, headers=told)
    if status == 529:
        return OverloadedError(f"overloaded (529: {said})", retry_after=after)
    return ServerError(f"the server failed ({status}: {said})", retry_after=after)


def _said(error: Any) -> str:
    """The server's own word in one line, without what may be a page of HTML."""
    text = error.api_message or ("" if isinstance(error.body, str) else str(error.body or ""))
    return " ".join(str(text).split())[:300] or "no message"


def _retry_after(headers: Any) -> float | None:
    """Seconds by `retry-after-ms` or `retry-after` (a number or an HTTP date), or None."""
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds:
            seconds = float(milliseconds) / 1000
        elif value:
            seconds = _seconds(value)
        else:
            return None
    except (ValueError, TypeError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return parsedate_to_datetime(value).timestamp() - time.time()


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it wraps, down to what the socket said."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return causes


async def list_models(provider: AnthropicProvider) -> list[dict[str, Any]]:
    """What the server offers: id, name, lifecycle, limits. Raises what `send` raises."""
    anthropic = sdk()
    try:
        page = await provider._client.models.list(limit=100)
        return [model.model_dump() async for model in page]
    except anthropic.APIStatusError as error:
        raise provider._of_status(error) from None
    except anthropic.APIConnectionError as error:
        raise provider._of_connection(error) from None
