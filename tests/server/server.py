"""A loopback server that speaks the Messages API and Chat Completions, and keeps its own books.

    with MessagesServer(latency=0.05, faults={"429": 0.05}) as server:
        client = AsyncAnthropic(base_url=server.url, api_key="any", max_retries=0)
        ...
        assert server.ledger.requests == 100

It runs in a thread with a loop of its own, so that sync tests, kernels and subprocesses reach it;
`python -m tests.server --latency 0.05` runs it as a process that prints its URL and ends when its
stdin closes. `GET /_ledger` gives the books as JSON to whoever is in another process,
`GET /_counts` their sums.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from aiohttp import web

from ondine_nb.providers import PROBE
from tests.patience import PATIENCE

from .answers import (
    FAULTS,
    LOST_FAULTS,
    THINKING_TOKENS,
    Answer,
    Draw,
    Latency,
    Usage,
    check_names,
    compose,
    echo_of,
    latency_of,
    prompt_of,
    value_of,
)
from .batches import Batches, BatchRules
from .cache import CHARS_A_TOKEN, Hit, PromptCache
from .chat import (
    CHAT_ERRORS,
    CHAT_MODELS,
    as_chat,
    as_messages,
    chat_limits,
    chat_model,
    chat_page,
    chat_problem,
    prefixes,
)
from .clouds import cloud_body, cloud_model, cloud_problem
from .ledger import Arrival, Billed, Ledger
from .media import answer_seen, without_media
from .media_bill import billed_size
from .rules import ERRORS, MODELS, Limits, Problem, model_page, problem_of

__all__ = [
    "FAULTS",
    "MODELS",
    "THINKING_TOKENS",
    "Arrival",
    "Billed",
    "Ledger",
    "MessagesServer",
    "Servers",
    "echo_of",
    "value_of",
]

Plan = Callable[[Any, int], str | None]

HTML = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body>Sign in</body></html>"
MAX_BYTES = 32 * 1024 * 1024
KEPT_BYTES = 1024 * 1024  # of a body: of a larger one the pictures are let go once it is answered
SLOW_DOWN = ("429", "529")


@dataclass(frozen=True)
class Api:
    """What is an API's own: everything else is the same for all.

    `problem_of` says why a body is refused, `read` gives it as one of the Messages API, `dress` an
    answer of that in the API's own shape; `look` what the prompt cache means for a request,
    `limits` the headers that tell rate limits.
    """

    name: str
    errors: Mapping[str, Problem]
    problem_of: Callable[[Any, Sequence[str] | None], Problem | None]
    read: Callable[[Any], Any]
    dress: Callable[[Any, str | None], Any]
    look: Callable[[PromptCache, Any], Hit]
    limits: Callable[[Limits], dict[str, str]]
    request_id: str


MESSAGES = Api(
    "messages",
    ERRORS,
    problem_of,
    lambda body: body,
    lambda message, _fault: message,
    PromptCache.look,
    Limits.headers,
    "request-id",
)
CHAT = Api(
    "chat",
    CHAT_ERRORS,
    chat_problem,
    as_messages,
    as_chat,
    lambda cache, body: cache.look_unmarked(prefixes(body)),
    chat_limits,
    "x-request-id",
)
BATCHES = ("/v1/messages/batches", "/v1/batches", "/v1/files")
APIS = {"POST /v1/messages": MESSAGES, "POST /v1/chat/completions": CHAT}


def _cloud(model: str) -> Api:
    """The Messages API as clouds have it, at a path of its own for each model."""
    read = cloud_body(model)
    return replace(
        MESSAGES,
        read=read,
        problem_of=cloud_problem(model),
        look=lambda cache, body: cache.look(read(body)),
    )


class MessagesServer:
    """The server; every parameter is a keyword. See `FAULTS` for the names of faults.

    `plan(body, attempt)` names the fault of one request exactly; where it gives None, `faults`
    draws one by chance. `plan`, `answer` and `usage` are called on the server's loop with bodies
    that passed validation; an exception in one of them is raised at the end of `with`. `limits`
    are per minute, as {"requests": 600}, with `burst` at once; with `windows` they are counted in
    fixed windows of so many seconds instead. `tells` is what it says of them: "limits" in headers,
    "retry-after" with a 429. The APIs ("messages", "chat") in `drops_schema` let go of a schema
    without a word, those in `lacks` aren't there. A probe of schemas (`PROBE`) is answered at once,
    for nothing and beside the books (`probes` counts them), unless `bills_probes`. One that `sees`
    answers by the pictures' pixels. Started again after `stop`, the server has the same URL and the
    same books.
    """

    def __init__(
        self,
        *,
        answer: Answer | None = None,
        latency: Latency = 0.0,
        faults: Mapping[str, float] | None = None,
        plan: Plan | None = None,
        seed: int = 0,
        key: str | None = None,
        models: Sequence[str] | None = None,
        limits: Mapping[str, int] | None = None,
        burst: int | None = None,
        windows: float | None = None,
        tells: Sequence[str] = ("limits", "retry-after"),
        retry_after: float | str | None = None,
        retry_after_ms: int | None = None,
        thinking: bool = False,
        usage: Usage | None = None,
        port: int = 0,
        batches: BatchRules | None = None,
        drops_schema: Sequence[str] = (),
        lacks: Sequence[str] = (),
        bills_probes: bool = False,
        sees: bool = False,
    ) -> None:
        answer = answer_seen if sees else answer
        self.ledger = Ledger()
        self.requests: list[Arrival] = []
        self.calls: Counter[str] = Counter()
        self.in_flight = self.peak_in_flight = 0
        self._answer, self._thinking, self._usage = answer, thinking, usage
        self._latency, self._rng = latency_of(latency), random.Random(seed)
        self._plan, self._draw = plan, Draw(faults or {}, seed)
        self._key, self._models, self._port = key, models, port
        self._drops, self._lacks = frozenset(drops_schema), frozenset(lacks)
        self._bills_probes, self.probes = bills_probes, Counter[str]()
        self._limits = Limits(limits or {}, burst, windows)
        self._tells = frozenset(tells)
        self._slow_down = _retry_headers(retry_after, retry_after_ms)
        self._attempts: Counter[str] = Counter()
        self.cache = PromptCache()
        self._ids = itertools.count(1)
        self._mistakes: list[Exception] = []
        self.batches = Batches(self, batches or BatchRules())
        self._changed = threading.Condition()
        self._holds_from: int | None = None
        self._thread: threading.Thread | None = None

    # From any thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def arrived(self) -> int:
        """How many requests for an answer have come in, refused and failed ones included."""
        return len(self.requests)

    def attempts(self, prompt: str) -> int:
        return self._attempts[prompt]

    def start(self) -> Self:
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="messages-server", daemon=True
        )
        self._thread.start()
        self._port = started.result(PATIENCE)
        return self

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread and thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            thread.join(PATIENCE)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        self.stop()
        # A plan or answer that raised looks like a 500 from outside: say so in the test itself.
        if kind is None and self._mistakes:
            raise self._mistakes[0]

    def pause(self, at: int | None = None) -> None:
        """Hold every message request before it is billed, failed or answered: from now on, or from
        the one on that will be the `at`-th to arrive, however late somebody looks."""
        if at is None:
            self._on_loop(self._gate.clear)
        else:
            self._holds_from = at

    def resume(self) -> None:
        """Let all go that is held, and hold nothing any more."""
        self._holds_from = None
        self._on_loop(self._gate.set)

    def wait_for(self, n: int, timeout: float = PATIENCE) -> None:
        """Block until `n` requests have arrived since the start."""
        self._wait(lambda: self.arrived >= n, f"{n} arrivals", timeout)

    def wait_for_peak(self, n: int, timeout: float = PATIENCE) -> None:
        """Block until `n` requests have been in flight at once."""
        self._wait(lambda: self.peak_in_flight >= n, f"{n} at once", timeout)

    def wait_idle(self, timeout: float = PATIENCE) -> None:
        """Block until nothing is in flight, so that the ledger stands still."""
        self._wait(lambda: self.in_flight == 0, "nothing in flight", timeout)

    def books(self) -> dict[str, Any]:
        """What GET /_ledger gives."""
        self.batches.settle()
        return {
            **self.counts(),
            "batches": self.batches.books(),
            "uploads": self.batches.chat.uploads(),
            "by_prompt": self.ledger.by_prompt(),
            "entries": [asdict(entry) for entry in self.ledger.entries],
        }

    def counts(self) -> dict[str, Any]:
        """What GET /_counts gives: of the books what may be asked for again and again."""
        return {
            "batch_calls": self.batches.calls,
            "batches_made": len(self.batches.made),
            "requests": self.ledger.requests,
            "arrived": self.arrived,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
        }

    def _wait(self, reached: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(reached, timeout):
                raise TimeoutError(
                    f"waited {timeout} s for {what}: {self.arrived} arrived, "
                    f"{self.in_flight} in flight"
                )

    def _on_loop(self, act: Callable[[], None]) -> None:
        """Run `act` in the server's thread and wait, so that it holds when this returns."""
        if threading.current_thread() is self._thread:
            act()
            return
        done = threading.Event()
        self._loop.call_soon_threadsafe(act)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(PATIENCE), "the server takes no orders"

    # On the server's loop

    async def _run(self, started: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping, self._gate = asyncio.Event(), asyncio.Event()
        self._gate.set()
        server = web.Server(self._handle, access_log=None)
        try:
            # The backlog takes a thousand clients that connect at once.
            listener = await self._loop.create_server(server, "127.0.0.1", self._port, backlog=4096)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(listener.sockets[0].getsockname()[1])
        await self._stopping.wait()
        listener.close()
        server.pre_shutdown()
        await server.shutdown(0.02)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = f"{request.method} {request.path}"
        self.calls[call] += 1
        if call in APIS and APIS[call].name not in self._lacks:
            return await self._messages(request, APIS[call])
        if request.method == "POST" and (model := cloud_model(request.path)):
            return await self._messages(request, _cloud(model))
        if call == "GET /_ledger":
            return self._reply(self.books())
        if call == "GET /_counts":
            return self._reply(self.counts())
        own = "anthropic-version" in request.headers
        if not self._is_known(request):
            return self._fail((MESSAGES if own else CHAT).errors["401"])
        if request.path.startswith(BATCHES):
            return await self._batches(request)
        if call == "GET /v1/models":
            page = model_page(self._models or MODELS)
            return self._reply(page if own else chat_page(self._models or CHAT_MODELS))
        if call.startswith("GET /v1/models/"):
            return self._model(request.path.removeprefix("/v1/models/"), own)
        if call == "POST /v1/messages/count_tokens":
            return self._count(await request.content.read())
        return self._fail(replace(ERRORS["404"], message=f"Not Found: {call}"))

    async def _batches(self, request: web.BaseRequest) -> web.StreamResponse:
        chat = not request.path.startswith(BATCHES[0])
        if not self.batches.rules.offered:
            api = CHAT if chat else MESSAGES
            return self._fail(replace(api.errors["404"], message="Not Found"), api)
        self.batches.settle()
        batches = self.batches.chat if chat else self.batches.messages
        return await batches.handle(request)

    def _is_known(self, request: web.BaseRequest) -> bool:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return self._key is None or self._key in (bearer, request.headers.get("x-api-key"))

    def _model(self, model: str, own: bool) -> web.Response:
        if model not in (self._models or (MODELS if own else CHAT_MODELS)):
            unknown = (MESSAGES if own else CHAT).errors["404"]
            return self._fail(replace(unknown, message=f"model: {model}"))
        return self._reply(model_page([model])["data"][0] if own else chat_model(model))

    def _count(self, raw: bytes) -> web.Response:
        problem = problem_of(_parsed(raw), self._models, counting=True)
        if problem:
            return self._fail(problem)
        size = billed_size(_parsed(raw), len(raw))
        return self._reply({"input_tokens": max(1, size // CHARS_A_TOKEN)})

    async def _messages(self, request: web.BaseRequest, api: Api) -> web.StreamResponse:
        raw = await request.content.read()
        parsed = _parsed(raw)
        if not self._bills_probes and self._is_good_probe(request, parsed, api):
            return self._of_probe(parsed, api)
        arrival = self._arrive(request, parsed)
        try:
            problem = self._refuse(request, raw, arrival.body, api)
            if problem is None:
                arrival.fault = self._fault(arrival)
                arrival.cached = api.look(self.cache, arrival.body)
                await self._take_time()
            await self._gate.wait()
            if problem is not None:
                return self._fail(problem, api)
            return await self._meet(request, raw, arrival, api)
        except ConnectionError:
            raise
        except Exception as error:
            self._mistakes.append(error)
            raise
        finally:
            if len(raw) > KEPT_BYTES and arrival.body is not None:
                arrival.body = without_media(arrival.body)
            with self._changed:
                self.in_flight -= 1
                self._changed.notify_all()

    def _is_good_probe(self, request: web.BaseRequest, body: Any, api: Api) -> bool:
        is_one = prompt_of(body) == PROBE and self._is_known(request)
        return is_one and api.problem_of(body, self._models) is None

    def _of_probe(self, given: Any, api: Api) -> web.Response:
        self.probes[api.name] += 1
        unbilled = dict.fromkeys(("input_tokens", "output_tokens"), 0)
        message = compose(
            self._held(api, api.read(given)),
            self._request_id(),
            0,
            answer=None,
            thinking=False,
            usage=lambda _body, _text: unbilled,
            fault=None,
        )
        return self._send(json.dumps(api.dress(message, None)).encode(), api=api)

    def _held(self, api: Api, body: Any) -> Any:
        """The request as it is heeded: without its schema where that is dropped."""
        config = body.get("output_config")
        if api.name not in self._drops or not config:
            return body
        return {**body, "output_config": {**config, "format": None}}

    async def _take_time(self) -> None:
        seconds = self._latency(self._rng)
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _arrive(self, request: web.BaseRequest, body: Any) -> Arrival:
        prompt = prompt_of(body)
        attempt = self._attempts[prompt] + 1
        arrival = Arrival(prompt, body, request.headers, attempt)
        with self._changed:
            self._attempts[prompt] = attempt
            self.requests.append(arrival)
            self.in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
            self._changed.notify_all()
        if self.arrived == self._holds_from:
            self._gate.clear()
        return arrival

    def _fault(self, arrival: Arrival) -> str | None:
        planned = self._plan(arrival.body, arrival.attempt) if self._plan else None
        if planned:
            check_names({planned})
        return planned or self._draw.fault(arrival.prompt, arrival.attempt)

    def _refuse(self, request: web.BaseRequest, raw: bytes, body: Any, api: Api) -> Problem | None:
        if not self._is_known(request):
            return api.errors["401"]
        if len(raw) > MAX_BYTES:
            return api.errors["413"]
        problem = api.problem_of(body, self._models)
        if problem:
            return problem
        wait = self._limits.admit()
        after = self._slow_down
        if not after and "retry-after" in self._tells:
            after = {"retry-after": str(math.ceil(wait))}
        return replace(api.errors["429"], headers=after) if wait else None

    async def _meet(
        self, request: web.BaseRequest, raw: bytes, arrival: Arrival, api: Api
    ) -> web.StreamResponse:
        """What becomes of a valid request: its fault if it has one, else its answer."""
        fault = arrival.fault
        if fault is not None and fault in api.errors:
            headers = self._slow_down if fault in SLOW_DOWN else {}
            return self._fail(replace(api.errors[fault], headers=headers), api)
        if fault in ("html", "html_502"):
            return self._send(HTML, 200 if fault == "html" else 502, kind="text/html")
        if fault == "hang":
            while not _is_gone(request):
                await asyncio.sleep(0.02)
        if fault in ("hang", "reset_before"):
            return _reset(request)
        return await self._pay(request, raw, arrival, api)

    async def _pay(
        self, request: web.BaseRequest, raw: bytes, arrival: Arrival, api: Api
    ) -> web.StreamResponse:
        request_id, fault = self._request_id(), arrival.fault
        body = self._held(api, api.read(arrival.body))
        message = compose(
            body,
            request_id,
            billed_size(arrival.body, len(raw)),
            answer=self._answer,
            thinking=self._thinking,
            usage=self._usage,
            fault=fault,
            cached=arrival.cached,
        )
        self.cache.keep(arrival.cached)
        # Booked before the first byte leaves: who has the answer finds it in the ledger.
        delivered = fault not in LOST_FAULTS and not _is_gone(request)
        self.ledger.add(_entry(arrival, message, delivered, request_id, body["max_tokens"]))
        self._limits.charge(message["usage"])
        payload = json.dumps(api.dress(message, fault)).encode()
        if fault == "reset_after":
            return _reset(request)
        if fault == "half":
            return await _break_off(request, payload, request_id)
        if fault == "malformed":
            payload = payload[: len(payload) // 2]
        return self._send(payload, request_id=request_id, api=api)

    def _request_id(self) -> str:
        return f"req_{next(self._ids):024x}"

    def _fail(self, problem: Problem, api: Api = MESSAGES) -> web.Response:
        request_id = self._request_id()
        payload = json.dumps(problem.body(request_id)).encode()
        return self._send(payload, problem.status, problem.headers, request_id, api=api)

    def _reply(self, body: Mapping[str, Any]) -> web.Response:
        return self._send(json.dumps(body).encode())

    def _send(
        self,
        payload: bytes,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        request_id: str = "",
        kind: str = "application/json",
        api: Api = MESSAGES,
    ) -> web.Response:
        identity = {api.request_id: request_id or self._request_id(), "content-type": kind}
        limits = api.limits(self._limits) if "limits" in self._tells else {}
        sent = {**identity, **limits, **(headers or {})}
        return web.Response(body=payload, status=status, headers=sent)


Servers = Callable[..., MessagesServer]  # starts one; the fixture `serve` of notebook tests


def _retry_headers(seconds: float | str | None, milliseconds: int | None) -> dict[str, str]:
    given = {"retry-after": seconds, "retry-after-ms": milliseconds}
    told = {name: value for name, value in given.items() if value is not None}
    return {name: v if isinstance(v, str) else f"{v:g}" for name, v in told.items()}


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _entry(
    arrival: Arrival,
    message: Mapping[str, Any],
    delivered: bool,
    request_id: str,
    max_tokens: int,
) -> Billed:
    usage = message["usage"]
    return Billed(
        prompt=arrival.prompt,
        model=message["model"],
        input_tokens=usage["input_tokens"],
        output_tokens=usage["output_tokens"],
        cache_creation_input_tokens=usage["cache_creation_input_tokens"] or 0,
        cache_read_input_tokens=usage["cache_read_input_tokens"] or 0,
        delivered=delivered,
        fault=arrival.fault,
        at=time.time(),
        request_id=request_id,
        max_tokens=max_tokens,
    )


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def _reset(request: web.BaseRequest) -> web.Response:
    """Drop the connection; without lingering, so that the client sees a reset, not an end."""
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


async def _break_off(
    request: web.BaseRequest, payload: bytes, request_id: str
) -> web.StreamResponse:
    """Promise the whole payload, send half of it and hang up."""
    headers = {"content-type": "application/json", "request-id": request_id}
    response = web.StreamResponse(headers=headers)
    response.content_length = len(payload)
    await response.prepare(request)
    await response.write(payload[: len(payload) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


def _pairs(text: str, number: Callable[[str], Any]) -> dict[str, Any]:
    """ "a=1,b=2" as a dict."""
    return {name: number(value) for name, value in (pair.split("=") for pair in text.split(","))}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", default="0", help="S, LOW:HIGH or lognormal:MEDIAN:SIGMA")
    parser.add_argument("--faults", type=lambda text: _pairs(text, float), help="429=.05,500=.01")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key")
    parser.add_argument("--models", type=lambda text: text.split(","))
    parser.add_argument("--limits", type=lambda text: _pairs(text, int), help="requests=600")
    parser.add_argument("--burst", type=int)
    parser.add_argument("--retry-after", type=float)
    parser.add_argument("--retry-after-ms", type=int)
    parser.add_argument("--thinking", action="store_true")
    parser.add_argument("--sees", action="store_true", help="answers by the pictures' pixels")
    parser.add_argument("--batches", type=lambda text: BatchRules(**_pairs(text, float)))
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print the URL, serve until stdin closes: the server dies with whoever started it."""
    with MessagesServer(**vars(_parser().parse_args(argv))) as server:
        print(server.url, flush=True)
        sys.stdin.buffer.read()
