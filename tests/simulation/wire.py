"""The other end of the wire in a simulated world, and its ledger of what was really billed.

What becomes of a request is drawn when it arrives: whoever dies meanwhile pays all the same.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ondine_nb.errors import (
    ConnectionLostError,
    ForbiddenError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    RowError,
    ServerError,
    TimedOutError,
)
from ondine_nb.models import Usage
from ondine_nb.providers import Answer, ModelPrice, Reply, Settings, find_batch_price, find_price
from tests.server.packs import questions_of

from .batches import BatchFaults, BatchServer, SimulatedBatches
from .breach import Breach, demand
from .clock import Clock
from .rate_limits import Limit, headers_of, retry_after, told

__all__ = [
    "BODIES",
    "EPOCH",
    "ERRORS",
    "USAGES",
    "Sent",
    "SimulatedProvider",
    "Wire",
    "breaks_schema",
    "said_in",
    "text_for",
]

IDENTITY = "simulated"
EPOCH = 1_790_000_000.0  # when the clock began, as a time of day
MAX_TOKENS = 64
_ROOM = 20  # bytes of a request beside its prompt
MODEL = "claude-haiku-4-5"  # one whose price by itself and in batches is known
_PRICE, _BATCHED = find_price(MODEL), find_batch_price(MODEL)
assert _PRICE is not None
assert _BATCHED is not None
PRICE: ModelPrice = _PRICE
BATCH_PRICE: ModelPrice = _BATCHED

# What a server may say of the tokens; `None` is the truth.
USAGES: Mapping[str, Any] = {
    "missing": ...,
    "null": None,
    "empty": {},
    "null tokens": {"input_tokens": None, "output_tokens": 5},
    "negative": {"input_tokens": -3_000_000, "output_tokens": -5},
    "infinite": {"input_tokens": float("inf"), "output_tokens": 5},
    "not a number": {"input_tokens": float("nan"), "output_tokens": 5},
    "huge": {"input_tokens": 10**300, "output_tokens": 5},
    "too much read": {"input_tokens": 200_000_000, "output_tokens": 5},
    "too much said": {"input_tokens": 5, "output_tokens": 200_000_000},
    "text": {"input_tokens": "12", "output_tokens": "5"},
    "a pair": [1, 2],
    "a fraction": {"input_tokens": 1.5, "output_tokens": 5},
}
# What may stand in the place of an answer: all of it is paid for.
BODIES: Sequence[str] = (
    "refused", "cut", "null content", "null text", "no content", "blank", "paused", "odd reason",
    "not JSON", "a list", "nothing", "half",
)  # fmt: skip
_UNREADABLE = frozenset({"not JSON", "a list", "nothing", "half"})
# What may happen instead of any answer, and whether it is billed nonetheless ("perhaps": either).
ERRORS: Mapping[str, str] = {
    "overloaded": "no",
    "server error": "no",
    "refused connection": "no",
    "cut connection": "perhaps",
    "timed out": "perhaps",
    "bug": "perhaps",
}


# What breaks the schema of a run that has one.
BROKEN = ("no JSON", "{}", '{"said": [1]}', '{"said": "cut')


def text_for(prompt: str, number: int) -> str:
    """The answer to a prompt when it is asked for the `number`th time."""
    return f"A[{prompt}]#{number}"


def said_in(body: bytes) -> str | None:
    """The text of an answer; None where it can't be had."""
    try:
        answer = Answer.read(body)
        return answer.usable_text()
    except RowError:
        return None


def breaks_schema(body: bytes) -> bool:
    """Whether this is an answer that is asked for anew."""
    return said_in(body) in BROKEN


@dataclass(slots=True)
class Sent:
    """A request that arrived, for one prompt or a pack of them.

    `billed` is what it truly costs, `shown` what a run can know of that; None where nobody can
    tell, and all that it may have cost is possibly billed.
    """

    run: str
    prompts: tuple[str, ...]
    number: int
    at: float
    worst: Decimal
    kind: str = "answered"
    billed: Decimal = Decimal(0)
    shown: Decimal | None = None
    delivered: bool = False
    schema: bool = False
    usable: bool = False

    def cancel(self) -> None:
        """It isn't answered after all."""
        self.kind, self.billed, self.shown, self.usable = "canceled", Decimal(0), None, False

    def lose(self) -> None:
        """It is answered and paid, and nobody can read it."""
        self.kind, self.shown, self.usable = "lost", None, False

    @property
    def bodies(self) -> int:
        """How many entries the journal has to have of it; not known of one in a batch."""
        return self.delivered and (1 if self.kind in _UNREADABLE else len(self.prompts))


@dataclass
class Wire:
    """The server. `before_send` is called as a request arrives, and gives its questions' keys."""

    clock: Clock
    draw: random.Random
    latency: float = 0.5
    errors: Mapping[str, float] = field(default_factory=dict)
    bodies: Mapping[str, float] = field(default_factory=dict)
    usages: Mapping[str, float] = field(default_factory=dict)
    rejects: frozenset[str] = frozenset()
    forbids: frozenset[str] = frozenset()
    outages: Sequence[tuple[float, float]] = ()
    limit: Limit | None = None
    garbled: float = 0.0
    tells: Sequence[str] = ()
    whole: bool = False
    ledger: list[Sent] = field(default_factory=list)
    under_way: set[bytes] = field(default_factory=set)
    broken: float = 0.0  # how often an answer breaks its schema
    batches: BatchServer = field(default_factory=lambda: BatchServer(BatchFaults(), EPOCH))
    before_send: Callable[[SimulatedProvider, Sequence[str], bool], set[bytes]] = lambda *_: set()
    breach: Breach | None = None

    def calm(self) -> None:
        """From now on every request is answered as it should be."""
        self.errors = self.bodies = self.usages = {}
        self.garbled = self.broken = 0.0
        self.batches.calm()
        self.outages, self.limit = (), None
        self.rejects = self.forbids = frozenset()

    async def send(self, provider: SimulatedProvider, prompt: str) -> Reply:
        questions = questions_of(prompt) or {"": prompt}
        prompts = tuple(questions.values())
        keys = self.check(provider, prompts)
        worst = provider.price.ceiling(provider.request_bytes(prompt), provider.max_tokens)
        sent = Sent(provider.run, prompts, len(self.ledger), self.clock(), worst)
        self.ledger.append(sent)
        self.under_way |= keys
        try:
            return await self._answer(sent, provider, questions)
        finally:
            self.under_way -= keys

    def check(
        self, provider: SimulatedProvider, prompts: Sequence[str], *, in_batch: bool = False
    ) -> set[bytes]:
        """The keys of what is asked, which may be asked now. Raises `Breach`."""
        try:
            keys = self.before_send(provider, prompts, in_batch)
            if not in_batch:
                demand(not keys & self.under_way, "asked twice at the same time:", prompts)
        except Breach as breach:  # the run would take it for its row's failure
            self.breach = self.breach or breach
            raise
        return keys

    def batched(self, provider: SimulatedProvider, prompt: str) -> tuple[Sent, bytes]:
        """A request in a batch, and the body that answers it."""
        worst = BATCH_PRICE.ceiling(provider.request_bytes(prompt), provider.max_tokens)
        sent = Sent(
            provider.run,
            (prompt,),
            len(self.ledger),
            self.clock(),
            worst,
            schema=provider.has_schema,
        )
        self.ledger.append(sent)
        true, text = self._usage(provider), self._text(sent, {"": prompt}, provider)
        body, usage = self.drawn(self.bodies), self.drawn(self.usages)
        return sent, _billed(sent, true, text, body, usage, BATCH_PRICE)

    async def _answer(
        self, sent: Sent, provider: SimulatedProvider, questions: Mapping[str, str]
    ) -> Reply:
        limit, now = self.limit, self.clock()
        wait = 0.0 if limit is None else limit.wait(now)
        headers = {} if limit is None else headers_of(limit, now, self.tells)
        if wait > 0:
            sent.kind = "rate limited"
            await asyncio.sleep(0.05)
            after = retry_after(wait, self.whole) if "retry-after" in self.tells else None
            headers = headers if after is None else told(headers, after)
            raise RateLimitedError("429", headers=headers, retry_after=after)
        if limit is not None:
            limit.take(now)
        if any(start <= now < end for start, end in self.outages):
            sent.kind = "outage"
            await asyncio.sleep(0.05)
            raise OverloadedError("529")
        if not self.rejects.isdisjoint(sent.prompts) or not self.forbids.isdisjoint(sent.prompts):
            sent.kind = "rejected"
            await asyncio.sleep(0.05)
            if not self.rejects.isdisjoint(sent.prompts):
                raise RejectedRequestError(f"400: what {sent.prompts} say isn't taken")
            raise ForbiddenError(f"403: what {sent.prompts} say isn't allowed")
        true = self._usage(provider)
        if error := self.drawn(self.errors):
            await self._fail(sent, error, true)
        text = self._text(sent, questions, provider)
        body = _billed(sent, true, text, self.drawn(self.bodies), self.drawn(self.usages))
        await asyncio.sleep(self.latency * self.draw.uniform(0.2, 3.0))
        sent.delivered = True
        return Reply(body, headers, self.clock() - now)

    def drawn(self, chances: Mapping[str, float]) -> str:
        """One of these names by its chance, or none."""
        point = self.draw.random()
        for name, chance in chances.items():
            point -= chance
            if point < 0:
                return name
        return ""

    async def _fail(self, sent: Sent, error: str, true: Usage) -> None:
        sent.kind = error
        if ERRORS[error] == "perhaps" and self.draw.random() < 0.7:
            sent.billed = PRICE.cost(true)
        slow = 20.0 if error == "timed out" else self.latency
        await asyncio.sleep(slow * self.draw.uniform(0.2, 2.0))
        if error == "overloaded":
            raise OverloadedError("529")
        if error == "server error":
            after = self.draw.choice([None, 0.5, 7.0])
            raise ServerError("500", retry_after=after)
        if error == "refused connection":
            raise ConnectionLostError("no connection", unreachable=True)
        if error == "cut connection":
            raise ConnectionLostError("the connection was cut", possibly_billed=True)
        if error == "timed out":
            raise TimedOutError("no answer", possibly_billed=True)
        raise ZeroDivisionError("a provider of one's own has a bug")

    def _usage(self, provider: SimulatedProvider) -> Usage:
        return Usage(self.draw.randint(1, _ROOM), self.draw.randint(1, provider.max_tokens))

    def _text(self, sent: Sent, questions: Mapping[str, str], provider: SimulatedProvider) -> str:
        """The answer; a pack's may lack some, or have them twice."""
        if "" in questions:
            said = text_for(sent.prompts[0], sent.number)
            if not provider.has_schema:
                return said
            if self.draw.random() < self.broken:
                return self.draw.choice(BROKEN)
            return json.dumps({"said": said})
        answers = [{"id": name, "answer": text_for(prompt, sent.number)}
                   for name, prompt in questions.items()]  # fmt: skip
        self.draw.shuffle(answers)
        if self.draw.random() < self.garbled:
            kept = self.draw.randint(0, len(answers))
            answers = answers[:kept] + self.draw.sample(answers, self.draw.randint(0, 1))
        return json.dumps({"answers": answers})


def _billed(
    sent: Sent, true: Usage, text: str, body: str, usage: str, price: ModelPrice = PRICE
) -> bytes:
    """The body of a request that is billed: as it should be, or odd in some way."""
    sent.billed = price.cost(true)
    sent.usable = not body and text not in BROKEN
    sent.kind = body or usage or "answered"
    sent.shown = None if usage or body in _UNREADABLE else sent.billed
    message: dict[str, Any] = {
        "type": "message",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": true.input_tokens, "output_tokens": true.output_tokens},
    }
    if usage:
        message["usage"] = USAGES[usage]
    if usage == "missing":
        del message["usage"]
    return _shaped(message, body)


def _shaped(message: dict[str, Any], body: str) -> bytes:
    blocks: dict[str, Any] = {
        "null content": None,
        "null text": [{"type": "text", "text": None}],
        "no content": [],
        "blank": [{"type": "text", "text": " \n"}],
    }
    reasons = {
        "refused": "refusal",
        "cut": "max_tokens",
        "paused": "pause_turn",
        "odd reason": "who_knows",
    }
    if body in blocks:
        message["content"] = blocks[body]
    message["stop_reason"] = reasons.get(body, message["stop_reason"])
    text = json.dumps(message).replace("Infinity", "1e999").encode()
    odd = {"not JSON": b"<html>gateway</html>", "a list": b"[1, 2]", "nothing": b""}
    return odd.get(body, text[: len(text) // 2] if body == "half" else text)


class SimulatedProvider:
    """What one run asks the wire by; `run` names it in the ledger, for its clone too."""

    identity = IDENTITY
    model = MODEL
    note = ""
    price = PRICE
    batch_price = BATCH_PRICE

    def __init__(self, wire: Wire, origin: SimulatedProvider | None = None) -> None:
        self.wire = wire
        self.family: list[SimulatedProvider] = [] if origin is None else origin.family
        self.family.append(self)
        self._run = ""
        self.max_tokens = 0
        self.opened = self.closed = 0
        self.has_schema = False

    @property
    def run(self) -> str:
        """The run's id."""
        return self.family[0]._run

    @run.setter
    def run(self, run: str) -> None:
        self.family[0]._run = run

    def clone(self) -> SimulatedProvider:
        return SimulatedProvider(self.wire, self)

    async def open(self, settings: Settings, concurrency: int) -> None:
        self.opened += 1
        self.max_tokens = settings.max_tokens
        self.has_schema = settings.schema is not None
        await asyncio.sleep(0.01)

    async def send(self, prompt: str) -> Reply:
        return await self.wire.send(self, prompt)

    def batches(self) -> SimulatedBatches:
        return SimulatedBatches(self)

    async def count_tokens(self, prompt: str) -> int | None:
        return None

    def request_bytes(self, prompt: str) -> int:
        return len(prompt.encode()) + _ROOM

    async def close(self) -> None:
        self.closed += 1


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Their sum."""
    return sum(amounts, Decimal(0))
