"""How questions become requests: one by one here, in packs and in batches by other plans."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from decimal import Decimal
from typing import TypeAlias

from ..orchestration import ExecutionContext, Row
from ..providers import ModelPrice
from ..sending import Endpoint, Question, Request, Sender

__all__ = ["Asked", "OneByOne", "Plan", "gathered"]

_PORTION = 100  # rows that are let go at once: more would hold the loop up

Asked: TypeAlias = tuple[Question, Row]


class Plan(ABC):
    """Which questions share a request, and when it is sent.

    A plan that `gathers` is given the questions that the journal has no answer to as their rows are
    read, and may let rows wait for each other: those that `waits` names stay out of the window
    until a `flush`. A row in the window has its question asked by `ask`. `endpoints` are what
    requests go to, that for one row alone first; `price` is that of a row's first request.
    """

    gathers: bool = False
    full: bool = False

    def __init__(self, sender: Sender, *endpoints: Endpoint) -> None:
        self.sender = sender
        self.endpoints: tuple[Endpoint, ...] = endpoints
        self.price: ModelPrice | None = endpoints[0].provider.price
        sender.limits.note = self.describe

    @property
    def alone(self) -> Endpoint:
        """Where a request for one row goes."""
        return self.endpoints[0]

    def open(self, context: ExecutionContext) -> None:  # noqa: B027 - a hook
        """A run begins."""

    async def close(self) -> None:  # noqa: B027 - a hook
        """Nothing of the run is in the window any more."""

    def describe(self, held: str) -> str:
        """Why so many requests go at once, as a view shows it; `held` is what holds them back."""
        return held

    def seen(self, rows: int) -> None:  # noqa: B027 - a hook
        """So many more rows were read."""

    def add(self, question: Question, row: Row) -> None:  # noqa: B027 - a hook
        """A question without an answer, and the row that asks it first."""

    def waits(self, row: Row) -> bool:
        """Whether this row has to wait for others before it enters the window."""
        return False

    async def flush(self) -> None:  # noqa: B027 - a hook
        """Let some of those that wait go on: no further row comes, or the plan is `full`."""

    @abstractmethod
    def ask(self, question: Question, row: Row) -> Awaitable[object]:
        """Have the question answered, or raise what its rows fail by: to be awaited.

        It may come back without an answer where its rows aren't to be run.
        """

    @abstractmethod
    def requests(
        self, asked: Iterable[Asked], *, times: int = 1, more: bool = False
    ) -> Iterator[tuple[Request, Decimal]]:
        """What would be sent for these questions, and the most that each can lead to, in USD.

        Nothing is sent. A row may be paid for so many `times`. With `more`, what could still wait
        for other questions is kept for the next call.
        """

    async def ask_alone(self, question: Question, row: Row) -> None:
        """Ask in a request of its own."""
        await self.sender.send(self.alone_request(question, row))

    def alone_request(self, question: Question, row: Row) -> Request:
        """A request for this row only."""
        assert row.prompt is not None  # it has a question
        return Request(self.endpoints[0], row.prompt, ((question, row),))


class OneByOne(Plan):
    """A request for each question."""

    def ask(self, question: Question, row: Row) -> Awaitable[object]:
        request, question.drafted = question.drafted, None
        if request is None or request.asked[0][1] is not row:
            request = self.alone_request(question, row)
        return self.sender.send(request)

    def requests(
        self, asked: Iterable[Asked], *, times: int = 1, more: bool = False
    ) -> Iterator[tuple[Request, Decimal]]:
        for pair in asked:
            request = self.alone_request(*pair).measure()
            if request.endpoint.is_open:  # its bound holds: it is sent as it is
                pair[0].drafted = request
            yield request, request.worst_case * times


async def gathered(
    chunks: AsyncIterator[Sequence[Row]],
    context: ExecutionContext,
    plans: Callable[[], Sequence[Plan]],
    waits: Callable[[Row], bool],
) -> AsyncGenerator[Sequence[Row], None]:
    """Keep the rows back that have to wait for others by these plans, until they let them go.

    Which plans these are may change on the way.
    """
    held, control = list[Row](), context.control

    def ready(rows: Sequence[Row]) -> list[Row]:
        """Those that can go on; the others are held."""
        able = list[Row]()
        for row in rows:
            (held if not row.settled and waits(row) else able).append(row)
        return able

    async def let_go() -> AsyncIterator[Sequence[Row]]:
        """Flush the plans, and give the rows that can go on by now, some at a time."""
        await asyncio.sleep(0)
        await asyncio.gather(*(plan.flush() for plan in plans()))
        rows = list(held)
        held.clear()
        able = ready(rows)
        for start in range(0, len(able), _PORTION):
            await asyncio.sleep(0)
            yield able[start : start + _PORTION]

    async for chunk in chunks:
        if not any(plan.gathers for plan in plans()):
            yield chunk
            continue
        yield ready(chunk)
        while held and any(plan.full for plan in plans()) and not control.stopping:
            async for portion in let_go():
                yield portion
    while held and not control.stopping:
        async for portion in let_go():
            yield portion
