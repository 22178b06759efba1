"""A request on its way to the model: the endpoint it goes to, what it asks, and for whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ..errors import FatalProviderError
from ..models import NO_USAGE, ZERO, Prompt, Usage
from ..orchestration import Row
from ..providers import (
    Answer,
    Capabilities,
    Provider,
    Reply,
    Settings,
    capabilities,
)
from .prompt_cache import CacheWarmUp
from .question import Question
from .retry import Attempts

__all__ = ["AnswerShare", "Endpoint", "Request", "body_bytes"]

_SPARE_TOKENS = 64  # beside what the API has counted
_UNOPENED_BYTES = 768  # at most what a provider that isn't open yet will add to its bounds


class Endpoint:
    """One provider under one kind of settings; it connects at its first request.

    `usual_output` is about how many tokens an answer has: a moving mean once answers come.
    `sets_pace` says that its answers tell how many requests at once the server takes.
    """

    def __init__(self, provider: Provider, settings: Settings, *, sets_pace: bool = True) -> None:
        self.provider = provider
        self.settings = settings
        self.can: Capabilities = capabilities(provider)
        self._as_text = self.can.takes_text_as_str
        self.sets_pace: bool = sets_pace
        self.warm_up: CacheWarmUp = CacheWarmUp(wanted=settings.caches)
        self.usual_output: float = 64.0
        self.is_open: bool = False  # connected; before that its bounds are a little larger
        self._opened: asyncio.Task[None] | None = None

    async def open(self, width: int) -> None:
        """Connect once, for at most `width` requests at a time."""
        if self._opened is None:
            self._opened = asyncio.ensure_future(self.provider.open(self.settings, width))
        if not self._opened.done():
            await asyncio.shield(self._opened)
        self._opened.result()
        self.is_open = True

    async def close(self) -> None:
        """Let go of the connection, once it is open."""
        opened, self._opened, self.is_open = self._opened, None, False
        if opened is not None:
            await asyncio.wait({opened})
            await self.provider.close()

    @property
    def constant_bytes(self) -> int:
        """The bytes of system text and schema, which every request has beside its prompt."""
        settings = self.settings
        schema = "" if settings.schema is None else json.dumps(settings.schema)
        return len(f"{settings.system or ''}{schema}".encode("utf-8", "replace"))

    def given(self, prompt: Prompt) -> str | Prompt:
        """The prompt as the provider takes it: its text, or all of it where it has other parts.

        Raises `FatalProviderError` where the prompt has a part that the provider doesn't take.
        """
        if prompt.is_text:
            return prompt.text if self._as_text else prompt
        takes = self.can.parts
        if not all(isinstance(part, str) or part.kind in takes for part in prompt.parts):
            raise FatalProviderError(
                f"{self.provider.identity} takes {' and '.join(sorted(takes))}, and the prompt has "
                f"more: {prompt.text[:200]}"
            )
        return prompt

    def bound(self, given: str | Prompt) -> int:
        """The input tokens that a request with this prompt can't pass."""
        unknown = 0 if self.is_open else self.constant_bytes + _UNOPENED_BYTES
        return self.provider.request_bytes(given) + unknown

    def ceiling(self, bound: int) -> Decimal:
        """The most that a request of so many input tokens can cost, in USD; 0 without a price."""
        price = self.provider.price
        return ZERO if price is None else price.ceiling(bound, self.settings.max_tokens)


@dataclass(slots=True)
class Request:
    """What is sent at once: its prompt, and the questions in it, each with the row that asks it.

    `ids` name the questions where there are several, in their order; `divide` gives each its share
    of the answer (None: all of it is the first one's). One that `is_probe` is no row's: its cost is
    the run's. `given` is the prompt as the provider takes it, `bound` the most input tokens that it
    can have, and `worst_case` the most USD that it can cost, once it was measured. `weight` are the
    bytes that it takes while it is under way, 0 of one that is text alone, and `held` those that
    are held for it now; `body` is what was written of it.
    """

    endpoint: Endpoint
    prompt: Prompt
    asked: Sequence[tuple[Question, Row]]
    ids: Sequence[str] = ()
    divide: Callable[[Request, Reply, Answer], list[AnswerShare]] | None = None
    attempts: Attempts = field(default_factory=Attempts)
    is_probe: bool = False
    bound: int = 0
    worst_case: Decimal = ZERO
    given: str | Prompt = ""
    weight: int = 0
    held: int = 0
    body: Any = None

    def measure(self) -> Request:
        """Work out bound and worst case, once: its endpoint should be open."""
        if not self.bound:
            endpoint = self.endpoint
            self.given = endpoint.given(self.prompt)
            self.bound = endpoint.bound(self.given)
            price = endpoint.provider.price
            if price is not None:
                self.worst_case = price.ceiling(self.bound, endpoint.settings.max_tokens)
            if not self.prompt.is_text:
                self.weight = body_bytes(self.prompt)
        return self

    @property
    def is_measured(self) -> bool:
        """Whether there is a rule for the tokens of all that is in its prompt."""
        return all(getattr(part, "is_measured", True) for part in self.prompt.parts)

    async def measure_by_count(self) -> None:
        """Take what the API counts for its bound, and a tenth more; where it counts nothing, none.

        For prompts that hold what no rule is known for. A count is an estimate itself.
        """
        counted = await self.endpoint.provider.count_tokens(self.given)
        if counted is not None:
            self.bound = min(self.bound, counted + counted // 10 + _SPARE_TOKENS)
            self.worst_case = self.endpoint.ceiling(self.bound)

    @property
    def divisible(self) -> bool:
        """Whether what fails as a whole may go well in smaller requests."""
        return len(self.asked) > 1

    def unread(self, reply: Reply) -> list[AnswerShare]:
        """A body that nobody could read, as it is kept: with the first of the questions."""
        question, row = self.asked[0]
        body = reply.body if isinstance(reply.body, bytes) else str(reply.body).encode()
        return [AnswerShare(question, row, body, NO_USAGE, None, None)]


def body_bytes(prompt: Prompt) -> int:
    """About the bytes of a body with this prompt; pictures and documents are in base64 there."""
    if prompt.is_text:
        return prompt.size
    return sum(
        len(part.encode("utf-8", "replace"))
        if isinstance(part, str)
        else getattr(part, "length", 0) * 4 // 3
        for part in prompt.parts
    )


@dataclass(frozen=True, slots=True)
class AnswerShare:
    """What a reply holds for one question, as it is journaled: `body`, and its share of the bill.

    `row` pays it, where one of this run asks. `cost` is in USD, None where it isn't known; `answer`
    is None where the reply has none for it.
    """

    question: Question
    row: Row | None
    body: bytes
    usage: Usage
    cost: Decimal | None
    answer: Answer | None
