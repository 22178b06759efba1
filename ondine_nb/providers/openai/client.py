"""Every server of Chat Completions: OpenAI's, the routers' and clouds', those on this machine.

The only module that imports the SDK, and only on first use. The SDK's own retries are off, since a
retry that it doesn't count may be paid unseen; what is said of an organisation or a project goes to
OpenAI only, not to whoever else has a base URL.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import importlib.util
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
    RowError,
    TransientError,
    UnsupportedFileError,
)
from ...models import MediaPart, Prompt
from ..base import Answer, BatchApi, Reply, Settings, off_wire, on_wire, unknown_wire, without_login
from ..http import (
    CONNECTING,
    BaseUrl,
    BodyTemplate,
    FastPath,
    RequestBody,
    TimeLimit,
    causes,
    connections,
    content_pieces,
    not_answered,
    time_bounds,
    timed_out,
)
from ..known import KNOWN, KnownProvider
from ..media_rules import MediaRules, chat_rules
from ..pricing import ModelPrice, find_batch_price, find_context, find_price
from .answers import error_in, read_chat
from .errors import ErrorBody, error_of
from .rate_headers import limits_told
from .strict import response_format

__all__ = ["WIRE", "OpenAIProvider"]

WIRE = "chat"  # what its bodies are called in the journal
EXTRA = "pip install 'ondine-nb[openai]'"

_PATH = "/chat/completions"
# What a base URL may end in that the client adds itself.
_API_PATHS = re.compile(r"/(chat/completions|completions|responses|models)$", re.IGNORECASE)
_OWN_HOST = re.compile(r"https://([a-z0-9-]+\.)?api\.openai\.com(/|$)")
_KNOWN_HOSTS = re.compile(r"https://([a-z0-9-]+\.)?(api\.openai|openai\.azure)\.com(/|$)")
# What a request's schema and the framing of turns add to its texts on the server.
_FORMAT_TOKENS, _FRAME_BYTES = 512, 256
# Models that can be told not to reason at all, and those that can only be told to do so little.
_MAY_NOT_REASON = re.compile(r"gpt-5\.\d+(-mini|-nano)?(-\d{4}-\d\d-\d\d)?")
_REASONS_LITTLE = re.compile(r"gpt-5(-mini|-nano)?(-\d{4}-\d\d-\d\d)?")
_REASONS = re.compile(r"o[134](-mini|-pro)?(-\d{4}-\d\d-\d\d)?|gpt-5(\.\d+)?-pro.*")
_REASONING_MAX_TOKENS = 8_192  # `max_tokens` where none are given: thinking counts in it
# A server of which nothing is known but that it is one of Chat Completions.
_UNKNOWN = KnownProvider(
    name="chat", title="Chat Completions", wire="chat", documents=True, extra="openai"
)
_Got: TypeAlias = tuple[bytes, Mapping[str, str]]  # an answer's body and its headers


def effort_of(row: KnownProvider, model: str, effort: str | None, thinking: str) -> str | None:
    """The `reasoning_effort` to send, or None to send none.

    Without an `effort`, models that are known to take it are told to reason as little as they can,
    since reasoning is billed as output; `thinking` "auto" leaves it to the model.
    """
    if effort is not None:
        return effort
    if thinking == "auto" or row.name not in ("openai", "azure"):
        return None
    if _MAY_NOT_REASON.fullmatch(model):
        return "none"
    return "minimal" if _REASONS_LITTLE.fullmatch(model) else None


class OpenAIProvider:
    """One model behind one server that speaks Chat Completions.

    `row` says what is known of who serves it, `base_url` another address than the row's, `api_key`
    a key instead of the environment's. `price_in` and `price_out` are USD per million tokens, for a
    model whose price isn't known. Raises `ConfigurationError` for a base URL that can't be one.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        row: KnownProvider = KNOWN["openai"],
        price_in: Decimal | None = None,
        price_out: Decimal | None = None,
    ) -> None:
        self.model = model
        self.note = ""
        self.row = row
        at, of_env = _server(row, base_url)
        self.base_url: str = at.identity
        # What the SDK finds of OpenAI's accounts in the environment goes to these only.
        self._own = row.name == "openai" and (of_env or bool(_OWN_HOST.match(at.identity)))
        self._is_elsewhere = base_url is not None or (of_env and bool(row.base_url))
        # With the API's name: the same address may speak another one, and answers by that differ.
        self.identity: str = f"{WIRE}:{at.identity}"
        self.earlier_identities: tuple[str, ...] = ()
        known = row.local or not self._is_elsewhere or _KNOWN_HOSTS.match(at.identity)
        self.enforces_schemas: bool | None = row.structured if known else None
        self._login, self._secret = at.login, at.secret
        self.title: str = without_login(at.identity) if base_url else row.title
        self.price: ModelPrice | None = find_price(
            model, provider=row.prices, price_in=price_in, price_out=price_out
        )
        self.batch_price: Callable[[], ModelPrice | None] = partial(
            find_batch_price, model, provider=row.prices, price_in=price_in, price_out=price_out
        )
        if not row.batches:
            self.batches = None  # type: ignore[assignment, method-assign]
        self.default_max_tokens: int | None = _usual_max_tokens(row, model)
        self._api_key = api_key
        self._needs_key = False  # known of one that came from another machine
        self._client: Any = None
        self._http: Any = None
        self._fast_path: FastPath | None = None
        self._template: BodyTemplate | None = None
        self._fixed: dict[str, Any] = {}
        self._system: list[dict[str, str]] = []
        self._timeout = 120.0
        self._constant_bytes = 0

    @classmethod
    def at(
        cls,
        base_url: str,
        model: str,
        *,
        price: ModelPrice | None,
        access: tuple[str | None, str, str],
    ) -> OpenAIProvider:
        """A server that is known by another of its APIs, asked by this one.

        `access` is its key, and its own login with the secret in it. Nothing else is sent to it,
        whatever keys the environment has for others.
        """
        made = cls(model, base_url=base_url, row=_UNKNOWN)
        made._api_key, made._login, made._secret = access
        made.price = price
        return made

    @property
    def parts(self) -> frozenset[str]:
        """What is known to be taken: pictures, where the model has eyes; PDFs by few."""
        known = {"text", "image", "document"} if self.row.documents else {"text", "image"}
        return frozenset(known)

    @property
    def fetches(self) -> frozenset[str]:
        """What the server fetches by its URL."""
        return frozenset() if self.row.local or self.row.name == "gemini" else frozenset({"image"})

    @property
    def unable(self) -> str:
        """Why it can answer nothing but what the journal has; "" where it can."""
        if importlib.util.find_spec("openai") is None:
            return f"{self.row.name}:{self.model} needs the OpenAI SDK: {EXTRA}"
        if self._key() or self._is_elsewhere or self.row.local:
            return ""
        names = " or ".join(self.row.keys) or "a key"
        return f"there is no key for '{self.row.name}:{self.model}': set {names}"

    def read(self, body: bytes) -> Answer:
        """The answer in a body as it was journaled. Raises `MalformedAnswerError`."""
        wire, raw = off_wire(body)
        if wire not in ("", WIRE):
            raise unknown_wire(wire)
        return read_chat(raw)

    @property
    def context_tokens(self) -> int | None:
        """The tokens of the model's context, as far as the price table says."""
        return find_context(self.model, provider=self.row.prices)

    @property
    def media_rules(self) -> MediaRules:
        """How the model takes pictures and documents."""
        return chat_rules(self.model)

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Get the client ready in a thread; it connects on the loop of its first request."""
        if not self.unable:
            await asyncio.to_thread(self._prepare, settings, concurrency)

    def _prepare(self, settings: Settings, concurrency: int) -> None:
        """All that takes time: the SDK's import, the certificates."""
        self._system = [{"role": "system", "content": settings.system}] if settings.system else []
        self._fixed = self._fixed_parameters(settings)
        self._timeout = settings.timeout
        constant = json.dumps([self._system, self._fixed], ensure_ascii=False)
        format_tokens = _FORMAT_TOKENS if settings.schema is not None else 0
        self._constant_bytes = (
            len(constant.encode("utf-8", "replace")) + _FRAME_BYTES + format_tokens
        )
        self._template = BodyTemplate(self._parameters)
        self._client = self._connect(settings.timeout, concurrency)
        self._fast_path = None

    def _fixed_parameters(self, settings: Settings) -> dict[str, Any]:
        """What is the same for every request."""
        parameters: dict[str, Any] = {
            "model": settings.model,
            self.row.max_tokens: settings.max_tokens,
        }
        effort = effort_of(self.row, settings.model, settings.effort, settings.thinking)
        if effort:
            parameters["reasoning_effort"] = effort
        if settings.schema is not None:
            bounds = self.row.name != "azure"
            parameters["response_format"] = response_format(settings.schema, bounds=bounds)
        return parameters

    def _parameters(self, prompt: str) -> dict[str, Any]:
        turns = [*self._system, {"role": "user", "content": prompt}]
        return {**self._fixed, "messages": turns}

    def _connect(self, timeout: float, concurrency: int) -> Any:
        openai = importlib.import_module("openai")
        if self._needs_key and not self._key():
            raise ConfigurationError(f"there is no key: set {' or '.join(self.row.keys)} there")
        bounds = time_bounds(timeout)
        # Servers that need no key get a word that says so: the SDK sends nothing without one.
        key = self._key() or "no-key-needed"
        headers: dict[str, Any] = {"Authorization": self._login} if self._login else {}
        if not self._own:
            others = dict.fromkeys(_of_openai_only(), openai.Omit())
            headers = {**others, "Authorization": f"Bearer {key}", **headers}
        try:
            self._http = connections(openai, bounds, concurrency)
            return openai.AsyncOpenAI(
                base_url=self.base_url,
                api_key=key,
                max_retries=0,
                timeout=bounds,
                default_headers=headers,
                http_client=self._http,
            )
        except (ValueError, TypeError, RuntimeError, openai.OpenAIError) as error:
            raise ConfigurationError(f"no client for {self.title}: {error}") from error

    def _key(self) -> str | None:
        return self._api_key or self.row.key

    def batches(self) -> BatchApi:
        """The Batch API over this provider's connections."""
        from .batches import ChatBatches

        return ChatBatches(self)

    def body(self, prompt: str | Prompt) -> bytes:
        """The JSON of what `send` would send; with pictures or documents it is called in a thread.

        Raises `MediaError`.
        """
        assert self._template is not None
        if isinstance(prompt, str):
            return self._template.around(prompt)
        return self.write(prompt).whole()

    async def models(self) -> list[dict[str, Any]]:
        """What the server offers, as it says. Raises what `send` raises."""
        openai = importlib.import_module("openai")
        try:
            page = await self._client.models.list()
            return [model.model_dump() async for model in page]
        except openai.APIStatusError as error:
            raise self._of_response(error.response) from None
        except (openai.OpenAIError, OSError, ValueError) as error:
            raise self._of_connection(error) from None

    def clone(self) -> OpenAIProvider:
        """Another one like it, not open."""
        other = copy.copy(self)  # by `__getstate__`, which leaves out what may not travel
        for name in ("_api_key", "price", "_needs_key"):
            setattr(other, name, getattr(self, name))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Without key and connections: whoever has it elsewhere sends with a key from there."""
        gone = ("_api_key", "_client", "_http", "_fast_path", "_template", "price")
        return {**vars(self), **dict.fromkeys(gone), "_needs_key": bool(self._key())}

    async def close(self) -> None:
        """Let go of the client's connections."""
        client, self._client, self._fast_path = self._client, None, None
        if client is not None:
            await client.close()

    def write(self, prompt: Prompt) -> RequestBody:
        """The body of a request with pictures or documents. Raises `MediaError`."""
        if self._template is None:
            raise RowError(self.unable or "the provider isn't open")
        return self._template.holding(content_pieces(prompt.parts, _block))

    async def send(self, prompt: str | RequestBody) -> Reply:
        """One attempt, by the short way where there is one. Raises what `Provider.send` says.

        `prompt` is a text, or what `write` made.
        """
        if self._template is None:
            raise RowError(self.unable or "the provider isn't open")
        started = time.perf_counter()
        body = self._template.around(prompt) if isinstance(prompt, str) else prompt
        path = self._fast_path
        taken = None if path is None else await self._by_fast_path(path, body)
        raw, headers = taken or await self._by_sdk(body)
        latency = time.perf_counter() - started
        if error_in(raw) is not None:
            raise self._of_body(raw, headers)
        return Reply(on_wire(WIRE, raw), limits_told(headers), latency)

    async def _by_fast_path(self, path: FastPath, body: bytes | RequestBody) -> _Got | None:
        """The body and headers of the answer; None for a redirect, which the SDK follows."""
        try:
            async with TimeLimit(self._timeout):
                taken = await path.post(body)
        except TimeoutError as error:
            raise timed_out(self._timeout, error) from None
        except Exception as error:  # whatever it is: the request may have gone out, and be billed
            raise self._of_connection(error) from None
        if taken.status >= 400:
            # Headers as the SDK has them: what is told of limits is read the same way.
            response = path.as_sdk(taken.status, taken.headers, taken.body)
            raise self._of_response(response)
        return (taken.body, taken.headers) if taken.status < 300 else None

    async def _by_sdk(self, body: bytes | RequestBody) -> _Got:
        openai, httpx2 = importlib.import_module("openai"), importlib.import_module("httpx2")
        options = {"headers": body.headers} if isinstance(body, RequestBody) else {}
        try:
            # The SDK's time-out bounds the gap between two reads; this one bounds the attempt.
            async with TimeLimit(self._timeout):
                response = await self._client.post(
                    _PATH, cast_to=httpx2.Response, content=body, options=options
                )
                content = await response.aread()
        except TimeoutError as error:
            raise timed_out(self._timeout, error) from None
        except openai.APIStatusError as error:
            raise self._of_response(error.response) from None
        except (openai.OpenAIError, httpx2.HTTPError, OSError, ValueError) as error:
            # Not by its class: to this SDK every connection that failed or was cut timed out.
            if any(isinstance(cause, TimeoutError) for cause in causes(error)):
                raise timed_out(self._timeout, error) from None
            raise self._of_connection(error) from None
        if not response.history:
            connecting = self._timeout * CONNECTING
            self._fast_path = FastPath.like(self._http, response.request, connecting)
        return content, response.headers

    async def count_tokens(self, prompt: str | Prompt) -> int | None:
        """None: Chat Completions count no tokens beforehand."""
        return None

    def request_bytes(self, prompt: str | Prompt) -> int:
        """A bound on input tokens: one token holds at least one byte of the request's texts."""
        if isinstance(prompt, str):
            return self._constant_bytes + len(prompt.encode("utf-8", "replace"))
        return self._constant_bytes + prompt.size

    def _of_response(self, response: Any) -> RowError | FatalProviderError:
        """Which of our errors an HTTP status means."""
        return self._of_status(int(response.status_code), response.content, response.headers)

    def _of_body(self, body: bytes, headers: Any) -> RowError | FatalProviderError:
        """Which of our errors a failure means that came with a 200: it may have been billed."""
        error = self._of_status(ErrorBody.of(body).code or 502, body, headers)
        if isinstance(error, TransientError):
            error.possibly_billed = True
        return error

    def _of_status(
        self, status: int, content: bytes, headers: Any
    ) -> RowError | FatalProviderError:
        said = ErrorBody.of(self._hidden(content.decode("utf-8", "replace")).encode())
        keys = " or ".join(self.row.keys)
        asked = {"where": self.title, "model": self.model, "key": keys, "url": self.base_url}
        return error_of(status, said, headers, **asked)

    def _of_connection(self, error: BaseException) -> RowError | FatalProviderError:
        unreachable = (
            f"no server answers at {self.base_url}. Is it running, and is --base-url right?"
            if self._is_elsewhere or self.row.local
            else f"{self.title} can't be reached. Is this machine online?"
        )
        return not_answered(error, self.title, unreachable=unreachable, hide=self._hidden)

    def _hidden(self, text: str) -> str:
        """`text` without the key: a server may repeat it."""
        for key in (self._key(), self._login, self._secret):
            if isinstance(key, str) and len(key) > 3:
                text = text.replace(key, "…")
        return text


def _usual_max_tokens(row: KnownProvider, model: str) -> int | None:
    """The `max_tokens` where none are given, of models that always reason; else None."""
    if row.name not in ("openai", "azure"):
        return None
    always = _REASONS.fullmatch(model) or _REASONS_LITTLE.fullmatch(model)
    return _REASONING_MAX_TOKENS if always else None


def _server(row: KnownProvider, given: str | None) -> tuple[BaseUrl, bool]:
    """The address that is asked, and whether it comes from the environment."""
    url, name = given, "--base-url"
    if url is None and row.url_variable:
        url, name = os.environ.get(row.url_variable) or None, row.url_variable
    if url is None and not row.base_url:
        raise ConfigurationError(
            f"{row.title} has an address for each account: set {row.url_variable} to yours, or "
            "give it with --base-url"
        )
    at = BaseUrl.read(url or row.base_url, name)
    if found := _API_PATHS.search(at.identity):
        raise ConfigurationError(
            f"{name}: '{at.identity}' ends in {found.group()}, which is added to it: write "
            f"{at.identity[: found.start()]}"
        )
    if url is not None and url != row.base_url:
        at = _versioned(at, row)
    return at, given is None and url is not None


def _versioned(at: BaseUrl, row: KnownProvider) -> BaseUrl:
    """A server's bare address with the path that its API begins with."""
    if at.identity.count("/") > 2:
        return at
    path = "/openai/v1" if row.name == "azure" else "/v1"
    bare_is_its_own = row.base_url == at.identity  # a row that has no path there
    return at if bare_is_its_own else BaseUrl(at.identity + path, (), at.login, at.secret)


def _block(part: MediaPart, media_type: str, data: str) -> dict[str, Any]:
    """A picture or document as a part of a turn. A file's own name isn't told: it decides nothing
    that is in the key.
    """
    if part.kind == "image":
        url = part.url or f"data:{media_type};base64,{data}"
        return {"type": "image_url", "image_url": {"url": url}}
    if part.url:
        raise UnsupportedFileError(
            f"{part.text} is a URL, and PDFs are taken as bytes: give --fetch"
        )
    held = {"filename": "document.pdf", "file_data": f"data:{media_type};base64,{data}"}
    return {"type": "file", "file": held}


def _of_openai_only() -> list[str]:
    """The headers that the SDK takes from the environment for OpenAI, and sends to anybody."""
    lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    custom = [line.partition(":")[0].strip() for line in lines if ":" in line]
    named = [name for name in custom if name and name.lower() != "authorization"]
    return ["OpenAI-Organization", "OpenAI-Project", *named]
