"""A line to the model: a provider, opened for one kind of request, and what goes over it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ..errors import FatalProviderError, MalformedAnswerError, TransientError
from ..models import NO_USAGE, ZERO, Prompt, Usage
from ..orchestration import Row
from ..providers import Answer, Capabilities, Provider, Reply, Settings, capabilities
from .budget import Reservation
from .prompt_cache import CacheWarmUp
from .question import Question
from .retry import Attempts

__all__ = ["AnswerShare", "Endpoint", "Request"]


class Endpoint:
    """One provider under one kind of settings; it connects at its first request.

    `usual_output` is about how many tokens an answer has: a moving mean once answers come.
    """

    def __init__(self, provider: Provider, settings: Settings) -> None:
        self.provider = provider
        self.settings = settings
        self.can: Capabilities = capabilities(provider)
        self._as_text = self.can.takes_text_only
        self.lead: CacheWarmUp = CacheWarmUp(wanted=settings.caches)
        self.usual_output: float = 64.0
        self._opened: asyncio.Task[None] | None = None

    async def open(self, width: int) -> None:
        """Connect once, for at most `width` requests at a time."""
        if self._opened is None:
            self._opened = asyncio.ensure_future(self.provider.open(self.settings, width))
        if not self._opened.done():
            await asyncio.shield(self._opened)
        self._opened.result()

    async def close(self) -> None:
        """Let go of the connection, once it is open."""
        opened, self._opened = self._opened, None  # a stream's next chunk opens it again
        if opened is not None:
            await asyncio.wait({opened})
            await self.provider.close()

    def given(self, prompt: Prompt) -> str | Prompt:
        """The prompt as the provider takes it: its text, unless it declares other parts too.

        Raises `FatalProviderError` where the prompt has a part that the provider doesn't take.
        """
        if self._as_text:
            if prompt.is_text:
                return prompt.text
            raise FatalProviderError(
                f"{self.provider.identity} takes text, and the prompt has more: {prompt.text[:200]}"
            )
        return prompt

    def read(self, body: bytes) -> tuple[Answer | None, MalformedAnswerError | None]:
        """The answer in a body as it came, or why it can't be read."""
        try:
            return self.can.read(body), None
        except MalformedAnswerError as error:
            return None, error

    def worst_case(self, given: str | Prompt) -> Decimal:
        """The most that a request can cost, in USD; 0 where the price isn't known."""
        price = self.provider.price
        if price is None:
            return ZERO
        return price.ceiling(self.provider.request_bytes(given), self.settings.max_tokens)

    def cost(self, usage: Usage) -> Decimal | None:
        """What a request with this usage costs, in USD; None where the price isn't known."""
        return None if self.provider.price is None else self.provider.price.cost(usage)


@dataclass(slots=True)
class Request:
    """What is sent at once: its prompt, and the questions in it, each with the row that asks it.

    `ids` name the questions where there are several, in their order; `given` is the prompt as the
    provider takes it.
    """

    line: Endpoint
    prompt: Prompt
    asked: Sequence[tuple[Question, Row]]
    ids: Sequence[str] = ()
    trial: Attempts = field(default_factory=Attempts)
    given: str | Prompt = field(init=False)

    def __post_init__(self) -> None:
        self.given = self.line.given(self.prompt)

    @property
    def attempt(self) -> int:
        """Which answer to its question it would be, from 1."""
        return self.asked[0][1].reasks + 1

    async def send(self, reservation: Reservation) -> Reply:
        """One attempt; the reservation ends with it, unless there is a reply. Raises as `send`."""
        try:
            return await self.line.provider.send(self.given)
        except asyncio.CancelledError:
            reservation.lose()
            raise
        except TransientError as error:
            (reservation.lose if error.possibly_billed else reservation.release)()
            raise
        except BaseException:
            reservation.release()
            raise


@dataclass(frozen=True, slots=True)
class AnswerShare:
    """What a reply holds for one question, as it is journaled: `body`, and its share of the bill.

    `cost` is in USD, None where it isn't known; `answer` is None where the reply has none for it.
    """

    question: Question
    row: Row
    body: bytes
    usage: Usage
    cost: Decimal | None
    answer: Answer | None

    @classmethod
    def whole(cls, request: Request, reply: Reply, answer: Answer | None) -> AnswerShare:
        """All of the reply, which belongs to the first of the request's questions."""
        question, row = request.asked[0]
        usage = NO_USAGE if answer is None else answer.usage
        cost = None if answer is None else request.line.cost(usage)
        return cls(question, row, reply.body, usage, cost, answer)
