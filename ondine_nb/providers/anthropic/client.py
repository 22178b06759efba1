"""Claude, and any server that speaks the Messages API, through the official SDK.

The only module that imports the SDK, and only on first use: its import takes over a second.
The SDK's own retries are off, since a retry that it doesn't count may be paid unseen.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

from ...errors import (
    ConfigurationError,
    FatalProviderError,
    ForbiddenError,
    OndineError,
    RejectedRequestError,
    RowError,
)
from ...models import MediaPart, Part, Prompt
from ..base import BatchApi, Reply, Settings, without_login
from ..http import (
    CONNECTING,
    BaseUrl,
    BodyTemplate,
    FastPath,
    RequestBody,
    TimeLimit,
    connections,
    content_pieces,
    no_eyes,
    not_answered,
    time_bounds,
    timed_out,
    transient,
)
from ..known import KNOWN, KnownProvider
from ..media_rules import MediaRules, claude_rules
from ..pricing import FREE, ModelPrice, find_batch_price, find_context, find_price
from . import clouds
from .errors import is_spent, said

__all__ = ["AnthropicProvider", "has_credentials", "thinking_of"]


# What a request's schema adds to its prompt on the server, in tokens: the API describes the
# expected format to the model in a system prompt of its own, which no client can count.
_FORMAT_TOKENS = 512
# Framing of roles and turns that isn't in the bytes of the texts.
_FRAME_BYTES = 256


# What a base URL may end in that the API's client adds itself, or that another API's has.
_API_PATHS = re.compile(
    r"/v1(/(messages|complete|completions|chat/completions|responses|models))?$", re.IGNORECASE
)
_OWN_HOST = re.compile(r"https://([a-z0-9-]+\.)?api\.anthropic\.com(/|$)")
# What a cloud's client signs with, or sends beside it.
_SIGNED_BY = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_Got: TypeAlias = tuple[bytes, Mapping[str, str]]  # an answer's body and its headers
_PATH = "/v1/messages"
_MARK = {"cache_control": {"type": "ephemeral"}}
# A picture that is larger than the model looks at is refused: it would be scaled without a word.
_NEVER_SCALED = {"transformations": {"oversized_image": "error"}}


def sdk() -> Any:
    """The SDK's module."""
    return importlib.import_module("anthropic")


def has_credentials() -> bool:
    """Whether the SDK finds a key, a token or a profile on this machine."""
    given = [os.environ.get(name) for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")]
    if any(given):
        return any(key.strip() for key in given if key)  # a blank one is none
    httpx2 = importlib.import_module("httpx2")
    # It sends nothing, so that it needs none of the certificates, which take 30 ms to read.
    idle = httpx2.AsyncClient(transport=httpx2.AsyncBaseTransport(), trust_env=False)
    try:
        client = sdk().AsyncAnthropic(max_retries=0, http_client=idle)
    except sdk().AnthropicError:
        return False
    return any((client.api_key, client.auth_token, client.credentials is not None))


def thinking_of(model: str, thinking: str) -> dict[str, Any] | None:
    """The `thinking` parameter to send, or None to send none.

    Models from 5 on think unless told otherwise, and thinking is billed as output. Haiku 5.5 can be
    told not to, Sonnet 5.5 takes `between_tools` (no thinking where there are no tools), Opus 5.5,
    Fable and Mythos always think; older models and other servers don't unless asked. Clouds write
    more before and behind a model's name.
    """
    model = model[max(model.find("claude-"), 0) :]
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
    the journal's keys. The embedded model is this provider with another URL and the price 0; a
    cloud is it with the cloud's `row`, whose credentials the SDK finds.
    """

    parts: frozenset[str] = frozenset({"text", "image", "document"})

    def __init__(
        self,
        model: str,
        *,
        row: KnownProvider = KNOWN["anthropic"],
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
        self.row = row
        at = _cloud(row) if row.client else _server(base_url)
        self.base_url = None if at is None else at.identity
        self.enforces_schemas: bool | None = (
            row.structured if row.client or at is None or _OWN_HOST.match(at.identity) else None
        )
        own = [row.name] if row.client or at is None else []  # clouds by name, whatever the address
        self.identity: str = identity or " ".join([*own, *filter(None, [self.base_url])])
        self.earlier_identities: tuple[str, ...] = () if identity or at is None else at.spellings
        self._login, self._secret = ("", "") if at is None else (at.login, at.secret)
        prices = row.prices if clouds.is_priced(row) else ""
        self.price: ModelPrice | None = (
            FREE
            if free
            else find_price(model, provider=prices, price_in=price_in, price_out=price_out)
        )
        self.batch_price: Callable[[], ModelPrice | None] = partial(
            find_batch_price, model, provider=prices, price_in=price_in, price_out=price_out
        )
        self._prices = prices
        if row.client and not row.batches:
            self.batches = self.models = None  # type: ignore[assignment, method-assign]
        self._api_key = api_key
        self._needs_key = False  # known of one that came from another machine
        self._start = start
        self._client: Any = None
        self._http: Any = None
        self._fast_path: FastPath | None = None
        self._templates: tuple[BodyTemplate, BodyTemplate] | None = None
        self._fixed: dict[str, Any] = {}
        self._max_tokens = 1
        self._timeout = 120.0
        self._constant_bytes = 0
        self._head, self._shared = "", 0

    @property
    def context_tokens(self) -> int | None:
        """The tokens of the model's context, as far as the price table says."""
        return find_context(self.model, provider=self._prices)

    @property
    def media_rules(self) -> MediaRules:
        """How the model takes pictures and documents."""
        return claude_rules(self.model)

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
        self._head, self._shared = settings.cached_head, settings.cached_parts
        constant = json.dumps(self._fixed, ensure_ascii=False).encode("utf-8", "replace")
        format_tokens = _FORMAT_TOKENS if settings.schema is not None else 0
        self._constant_bytes = len(constant) + _FRAME_BYTES + format_tokens
        self._client = self._connect(anthropic, settings.timeout, concurrency)
        _ = self._client.messages.with_raw_response  # built on first use otherwise, on the loop
        self._fast_path, self._templates = None, self._new_templates()

    def _connect(self, anthropic: Any, timeout: float, concurrency: int) -> Any:
        bounds = time_bounds(timeout)
        options: dict[str, Any] = {"max_retries": 0, "timeout": bounds}
        if lacking := clouds.lacking(self.row) if self.row.client else "":
            raise ConfigurationError(f"{self.row.name}:{self.model} can't be asked: {lacking}")
        if self._needs_key and not (self._api_key or has_credentials()):
            raise ConfigurationError("there is no key: set ANTHROPIC_API_KEY there")
        if self.base_url:
            options["base_url"] = self.base_url
        elif (
            not self.row.client and os.environ.get("ANTHROPIC_BASE_URL") == ""
        ):  # which the SDK takes for an address
            options["base_url"] = "https://api.anthropic.com"
        if self._api_key or (self.base_url and not self.row.client and not has_credentials()):
            # Servers that need no key get a word that says so: the SDK sends nothing without one.
            options["api_key"] = self._api_key or "no-key-needed"
        if self._login:  # the server's own; a key for who stands behind it goes beside it
            keys = {"X-Api-Key": self._key()} if self._key() else {}
            options["default_headers"] = {"Authorization": self._login, **keys}
        try:
            self._http = connections(anthropic, bounds, concurrency)
            options["http_client"] = self._http
            if self.row.client:
                return clouds.client_of(anthropic, self.row, self.model, options)
            return anthropic.AsyncAnthropic(**options)
        except (ValueError, TypeError, RuntimeError, anthropic.AnthropicError) as error:
            raise ConfigurationError(
                f"no client for {self.base_url or self.model}: {' '.join(str(error).split())}"
            ) from error

    def batches(self) -> BatchApi:
        """Message Batches over this provider's connections."""
        from .batches import MessageBatches

        return MessageBatches(self)

    async def models(self) -> list[dict[str, Any]]:
        """What the server offers: id, name, lifecycle, limits. Raises what `send` raises."""
        anthropic = sdk()
        try:
            page = await self._client.models.list(limit=100)
            return [model.model_dump() async for model in page]
        except anthropic.APIStatusError as error:
            raise self._of_status(error) from None
        except anthropic.APIConnectionError as error:
            raise self._of_connection(error) from None

    @property
    def access(self) -> tuple[str | None, str, str]:
        """What its server lets in: a key, and the server's own login with the secret in it."""
        return self._key() or os.environ.get("ANTHROPIC_AUTH_TOKEN"), self._login, self._secret

    def _key(self) -> str | None:
        return self._api_key or os.environ.get("ANTHROPIC_API_KEY") or None

    def clone(self) -> AnthropicProvider:
        """Another one like it, not open."""
        other = copy.copy(self)  # by `__getstate__`, which leaves out what may not travel
        for name in ("_api_key", "_start", "price", "_needs_key"):
            setattr(other, name, getattr(self, name))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Without key and connections: whoever has it elsewhere sends with a key from there."""
        keyed = not self.row.client and (
            not self.base_url or bool(self._api_key) or has_credentials()
        )
        gone = ("_api_key", "_start", "_client", "_http", "_fast_path", "_templates", "price")
        return {**vars(self), **dict.fromkeys(gone), "_needs_key": keyed}

    async def close(self) -> None:
        """Let go of the client's connections."""
        client, self._client, self._fast_path = self._client, None, None
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

    @property
    def fetches(self) -> frozenset[str]:
        """What the API fetches by its URL; clouds take bytes only."""
        return frozenset() if self.row.client else self.parts - {"text"}

    async def send(self, prompt: str | RequestBody) -> Reply:
        """One attempt, by the short way where there is one. Raises what `Provider.send` says.

        `prompt` is a text, or what `write` made.
        """
        started = time.perf_counter()
        reply = (
            None if self._fast_path is None else await self._by_fast_path(self._fast_path, prompt)
        )
        body, headers = reply or await self._by_sdk(prompt)
        return Reply(body, headers, time.perf_counter() - started)

    async def _by_fast_path(self, path: FastPath, prompt: str | RequestBody) -> _Got | None:
        """The body and headers of the answer; None for a redirect, which the SDK follows."""
        body = self._rendered(prompt) if isinstance(prompt, str) else prompt
        try:
            async with TimeLimit(self._timeout):
                taken = await path.post(body)
        except TimeoutError as error:
            raise timed_out(self._timeout, error) from None
        except Exception as error:  # whatever it is: the request may have gone out, and be billed
            raise self._of_connection(error) from None
        if taken.status >= 400:
            response = path.as_sdk(taken.status, taken.headers, taken.body)
            raise self._of_status(self._client._make_status_error_from_response(response))
        return (taken.body, taken.headers) if taken.status < 300 else None

    async def _by_sdk(self, prompt: str | RequestBody) -> _Got:
        anthropic, timeout = sdk(), self._timeout
        try:
            # The SDK's time-out bounds the gap between two reads; this one bounds the attempt.
            async with TimeLimit(timeout):
                body, response = await self._asked_by_sdk(prompt)
        except (TimeoutError, anthropic.APITimeoutError) as error:
            raise timed_out(timeout, error) from None
        except anthropic.APIStatusError as error:
            raise self._of_status(error) from None
        except (anthropic.APIConnectionError, OSError) as error:
            raise self._of_connection(error) from None
        except (anthropic.AnthropicError, importlib.import_module("httpx2").HTTPError) as error:
            raise self._of_connection(error) from None
        if not self.row.client:
            connecting = timeout * CONNECTING
            self._fast_path = FastPath.of(self._client, self._http, response, connecting)
        return body, {name.lower(): value for name, value in response.headers.items()}

    async def _asked_by_sdk(self, prompt: str | RequestBody) -> tuple[bytes, Any]:
        """The body of an answer, and the response that it came in."""
        if isinstance(prompt, RequestBody) and not self.row.client:
            httpx2 = importlib.import_module("httpx2")
            response = await self._client.post(
                _PATH, cast_to=httpx2.Response, content=prompt, options={"headers": prompt.headers}
            )
            return await response.aread(), response
        parameters = (
            self._parameters(_turn(prompt, self._head))
            if isinstance(prompt, str)
            else await asyncio.to_thread(_parameters_in, prompt)  # which a cloud's client rewrites
        )
        raw = await self._client.messages.with_raw_response.create(
            **parameters, **clouds.body_of(self.row, self.model)
        )
        return await _body(raw), raw.http_response

    def _parameters(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        return {"max_tokens": self._max_tokens, "messages": messages, **self._fixed}

    def write(self, prompt: Prompt) -> RequestBody:
        """The body of a request with pictures or documents. Raises `MediaError`."""
        assert self._templates is not None
        whole, _ = self._templates
        shared, head = self._shared, self._head
        parts: list[Part | dict[str, Any]] = list(prompt.parts)
        last = parts[shared - 1] if shared else None

        def block(part: MediaPart, media_type: str, data: str) -> dict[str, Any]:
            made = _block(part, media_type, data)
            if self._is_anthropics and part.kind == "image":
                made |= _NEVER_SCALED
            return made | _MARK if part is last else made

        behind = parts[shared] if len(parts) > shared else None
        if head and isinstance(behind, str) and behind.startswith(head):
            parts[shared : shared + 1] = [_marked(head), behind[len(head) :]]
        return whole.holding(content_pieces(parts, block))

    def _new_templates(self) -> tuple[BodyTemplate, BodyTemplate]:
        """Of a request whose prompt is in one piece, and of one with its head apart."""
        head = self._head or "-"
        return (
            BodyTemplate(lambda prompt: self._parameters(_turn(prompt, ""))),
            BodyTemplate(lambda rest: self._parameters(_turn(head + rest, head))),
        )

    def _rendered(self, prompt: str) -> bytes:
        """The JSON of what the SDK would send."""
        assert self._templates is not None
        whole, behind_head = self._templates
        if _is_split(prompt, self._head):
            return behind_head.around(prompt[len(self._head) :])
        return whole.around(prompt)

    async def count_tokens(self, prompt: str | Prompt) -> int | None:
        """The input tokens of a request by the API's own count; None where it can't be had."""
        anthropic = sdk()
        try:
            messages = (
                _turn(prompt, self._head)
                if isinstance(prompt, str)
                else (await asyncio.to_thread(self._written, prompt))["messages"]
            )
            async with asyncio.timeout(min(self._timeout, 20)):
                counted = await self._client.messages.count_tokens(messages=messages, **self._fixed)
        except (anthropic.AnthropicError, OndineError, TimeoutError, OSError, ValueError):
            return None
        return int(counted.input_tokens)

    @property
    def _is_anthropics(self) -> bool:
        """Whether it is the API's own server that answers, and no other that speaks it."""
        return self.base_url is None and not self.row.client

    def batch_request(self, custom_id: str, prompt: str | Prompt) -> bytes:
        """The JSON of what `send` would send, as one request of a batch.

        With pictures or documents it is called in a thread. Raises `MediaError`.
        """
        if not isinstance(prompt, str):
            name = json.dumps(custom_id).encode()
            return b'{"custom_id": %b, "params": %b}' % (name, self.write(prompt).whole())
        params = self._parameters(_turn(prompt, self._head))
        whole = {"custom_id": custom_id, "params": params}
        return json.dumps(whole, ensure_ascii=False).encode("utf-8", "replace")

    def _written(self, prompt: Prompt) -> dict[str, Any]:
        return _parameters_in(self.write(prompt))

    def request_bytes(self, prompt: str | Prompt) -> int:
        """A bound on input tokens: one token holds at least one byte of the request's texts."""
        if isinstance(prompt, str):
            return self._constant_bytes + len(prompt.encode("utf-8", "replace"))
        return self._constant_bytes + prompt.size

    def _of_status(self, error: Any) -> RowError | FatalProviderError:
        """Which of our errors an HTTP status means."""
        status = int(error.status_code)
        told = self._hidden(said(error))
        if blind := no_eyes(status, told, self._where(), self.model):
            return blind
        if is_spent(status, error):
            return FatalProviderError(
                f"the account can't pay for more ({status}: {told}). Nothing further is sent"
            )
        if status == 401:
            return FatalProviderError(
                f"{self._where()} refused the key ({status}: {told}). "
                + (f"Set {self.row.keys[0]} to a valid key" if self.row.keys else "Log in anew")
            )
        if status == 403:
            return ForbiddenError(f"{self._where()} refused the request ({status}: {told})")
        if (status == 404 and "model" in told.lower()) or (
            self.row.client and clouds.is_unknown_model(status, told)
        ):
            more = f" {self.base_url}" if self.base_url else ""
            return FatalProviderError(
                f"{self._where()} does not know model '{self.model}' ({status}: {told}). "
                f"`%ondine models{more}` lists what there is"
            )
        if status in (404, 405, 501):
            return FatalProviderError(
                f"{self._where()} has no route /v1/messages ({status}: {told}): it doesn't speak "
                "the Messages API, or --base-url isn't where that begins"
            )
        if status in (408, 409, 429) or status >= 500:
            return transient(status, told, error.response.headers)
        return RejectedRequestError(f"the request was rejected ({status}: {told})")

    def _of_connection(self, error: BaseException) -> RowError | FatalProviderError:
        unreachable = (
            f"no server answers at {self._where()}. Is it running, and is --base-url right?"
            if self.base_url
            else f"{self._where()} can't be reached. Is this machine online?"
        )
        return not_answered(error, self._where(), unreachable=unreachable, hide=self._hidden)

    def _where(self) -> str:
        if self.row.client:
            return self.row.title
        return without_login(self.base_url) if self.base_url else "the Anthropic API"

    def _hidden(self, text: str) -> str:
        """`text` without the key: a server may repeat it."""
        client = self._client
        known = [getattr(client, name, None) for name in ("api_key", "auth_token", "access_token")]
        known.append(getattr(getattr(client, "credentials", None), "token", None))
        known += [os.environ.get(name) for name in _SIGNED_BY] if self.row.client else []
        for key in (self._api_key, self._login, self._secret, *known):
            if isinstance(key, str) and len(key) > 3:
                text = text.replace(key, "…")
        return text


def _server(given: str | None) -> BaseUrl | None:
    """The server that is asked instead of the Anthropic API's, if any."""
    url = given or os.environ.get("ANTHROPIC_BASE_URL")
    if not url:
        return None
    name = "--base-url" if given else "ANTHROPIC_BASE_URL"
    at = BaseUrl.read(url, name)
    if found := _API_PATHS.search(at.identity):
        raise ConfigurationError(
            f"{name}: '{at.identity}' ends in {found.group()}, and the Messages API's paths begin "
            f"with that: write {at.identity[: found.start()]}"
        )
    return at


def _cloud(row: KnownProvider) -> BaseUrl | None:
    """Where a cloud is asked instead of its own address, if anywhere."""
    return BaseUrl.read(row.at, row.url_variable) if row.at else None


def _turn(prompt: str, head: str) -> list[dict[str, Any]]:
    """The user's turn, with `head` as a block of its own where the prompt begins with it."""
    if not _is_split(prompt, head):
        return [{"role": "user", "content": prompt}]
    rest = {"type": "text", "text": prompt[len(head) :]}
    return [{"role": "user", "content": [_marked(head), rest]}]


def _is_split(prompt: str, head: str) -> bool:
    """Whether there is a head, and more than white space behind: the API refuses such a block."""
    return bool(head) and prompt.startswith(head) and bool(prompt[len(head) :].strip())


def _block(part: MediaPart, media_type: str, data: str) -> dict[str, Any]:
    """A picture or document as a block of the Messages API."""
    source = (
        {"type": "url", "url": part.url}
        if part.url
        else {"type": "base64", "media_type": media_type, "data": data}
    )
    return {"type": part.kind, "source": source}


def _parameters_in(body: RequestBody) -> dict[str, Any]:
    """What a body was written of, for the SDK's own way; in a thread."""
    parameters: dict[str, Any] = json.loads(body.whole())
    return parameters


def _marked(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, **_MARK}


async def _body(response: Any) -> bytes:
    """The body's bytes; the raw response reads eagerly or lazily, as the SDK's version has it."""
    read = getattr(response, "read", None)
    content = read() if read is not None else response.content
    if hasattr(content, "__await__"):
        content = await content
    return bytes(content)


# A loop that is so late with a timer was held up; then answers get so long to be taken.
