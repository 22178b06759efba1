"""What holds a run back: the budget, the gate of requests in flight, other runs, and back-off."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any
from weakref import WeakSet

from .errors import BudgetExceededError
from .pacing import Growth
from .pricing import dollars
from .rows import ZERO

__all__ = ["Backoff", "Budget", "Claims", "Gate", "Reservation"]


class Reservation:
    """The worst case of one request, held until what it really cost is known."""

    __slots__ = ("_budget", "amount", "open")

    def __init__(self, budget: Budget, amount: Decimal) -> None:
        self._budget, self.amount, self.open = budget, amount, True

    def settle(self, cost: Decimal) -> None:
        """The answer came and cost this much, in USD."""
        self._end(cost, ZERO)

    def release(self) -> None:
        """The request was not billed."""
        self._end(ZERO, ZERO)

    def lose(self) -> None:
        """The answer was lost on the way: its worst case stays charged as possibly billed."""
        self._end(ZERO, self.amount)

    def _end(self, spent: Decimal, lost: Decimal) -> None:
        if self.open:
            self.open = False
            self._budget.end(self.amount, spent, lost)


class Budget:
    """A ceiling in USD that no moment of the run passes, whatever comes back (None: no ceiling).

    What is spent, what may have been billed for lost answers, and the worst cases of all requests
    in flight together never exceed it. A reservation that doesn't fit waits for others to settle,
    first come first served, so that a large one isn't starved by small ones.
    """

    def __init__(self, ceiling: Decimal | None, spent: Decimal = ZERO) -> None:
        self.ceiling = ceiling
        self.spent = spent
        self.possibly_billed = ZERO
        self.reserved = ZERO
        self.outstanding = 0
        self._waiting: deque[tuple[asyncio.Future[None], Decimal]] = deque()

    def fits(self, amount: Decimal) -> bool:
        if self.ceiling is None:
            return True
        return self.spent + self.possibly_billed + self.reserved + amount <= self.ceiling

    async def reserve(self, amount: Decimal) -> Reservation:
        """Hold `amount` USD, waiting until it fits.

        Raises `BudgetExceededError` when it doesn't fit and nothing is in flight that could settle.
        """
        if self._waiting or not self.fits(amount):
            await self._wait(amount)
        else:
            self._hold(amount)
        return Reservation(self, amount)

    def end(self, amount: Decimal, spent: Decimal, lost: Decimal) -> None:
        """Called by a reservation that ends."""
        self.reserved -= amount
        self.outstanding -= 1
        self.spent += spent
        self.possibly_billed += lost
        self._admit()

    def _hold(self, amount: Decimal) -> None:
        self.reserved += amount
        self.outstanding += 1

    async def _wait(self, amount: Decimal) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, amount))
        self._admit()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.end(amount, ZERO, ZERO)
            else:
                self._admit()  # it may have kept smaller ones waiting behind it
            raise

    def _admit(self) -> None:
        """Let those at the head of the queue through, or tell the head that it never will fit."""
        while self._waiting:
            future, amount = self._waiting[0]
            if future.done():
                self._waiting.popleft()
            elif self.fits(amount):
                self._waiting.popleft()
                self._hold(amount)
                future.set_result(None)
            elif self.outstanding == 0:
                self._waiting.popleft()
                future.set_exception(self._exceeded(amount))
            else:
                return

    def _exceeded(self, amount: Decimal) -> BudgetExceededError:
        assert self.ceiling is not None
        lost = f", {dollars(self.possibly_billed)} possibly billed" if self.possibly_billed else ""
        return BudgetExceededError(
            f"out of budget: {dollars(self.spent)} of {dollars(self.ceiling)} is spent{lost}, and "
            f"the next request may cost up to {dollars(amount)}. Raise --budget, or lower "
            "--max-tokens, and run again: what is answered is not paid again"
        )


class Gate:
    """At most `width` requests in flight; at most `OPENING` until one answer has succeeded.

    With `growth` it is that which says how many, up to the width.
    """

    OPENING = 8

    def __init__(self, width: int, growth: Growth | None = None) -> None:
        self.width = width
        self.growth = growth
        self.proven = False
        self.held = False
        self.inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        if self.held:
            return 0
        most = self.width if self.growth is None else min(self.width, self.growth.limit)
        return most if self.proven else min(most, self.OPENING)

    @property
    def note(self) -> str:
        """Why the limit is what it is, in a word or two; "" where it is as asked for."""
        return "" if self.growth is None else self.growth.note

    def prove(self) -> None:
        """One answer has succeeded: open to the full width."""
        if not self.proven:
            self.proven = True
            self._admit()

    def answered(self, latency: float) -> None:
        """An answer came after `latency` seconds."""
        self.prove()
        if self.growth is not None:
            self.growth.answered(latency, waiting=bool(self._waiting))
            self._admit()

    def pushed_back(self) -> None:
        """The server asked for less (429, 529)."""
        if self.growth is not None:
            self.growth.pushed_back()

    def hold(self, held: bool) -> None:
        """Let nobody in while held."""
        self.held = held
        self._admit()

    async def __aenter__(self) -> None:
        if self.inside < self.limit and not self._waiting:
            self.inside += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self.inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.inside < self.limit:
            future = self._waiting.popleft()
            if not future.done():
                self.inside += 1
                future.set_result(None)


class Claims:
    """Which questions are being asked in this process, by whichever run, thread and loop.

    Runs side by side, and one that is stopping beside the next one, pay for no answer twice: a
    question is held from before it is sent until its answer is durable.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[bytes, list[asyncio.Future[None]]] = {}
        self._runs: WeakSet[Any] = WeakSet()

    @contextlib.asynccontextmanager
    async def hold(self, key: bytes) -> AsyncIterator[None]:
        """Be the only one who asks this question, waiting until that is so."""
        while (turn := self._try(key)) is not None:
            await turn
        try:
            yield
        finally:
            with self._lock:
                waiting = self._held.pop(key)
            for turn in waiting:
                with contextlib.suppress(RuntimeError):  # its loop is closed
                    turn.get_loop().call_soon_threadsafe(_wake, turn)

    def _try(self, key: bytes) -> asyncio.Future[None] | None:
        with self._lock:
            waiting = self._held.get(key)
            if waiting is None:
                self._held[key] = []
                return None
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.append(turn)
            return turn

    def join(self, run: Any) -> None:
        """`run` begins; where others are under way, each is told by its `beside_others`."""
        with self._lock:
            self._runs.add(run)
            if len(self._runs) > 1:
                for each in self._runs:
                    each.beside_others = True

    def leave(self, run: Any) -> None:
        with self._lock:
            self._runs.discard(run)


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and when a request goes again: exponential with full jitter, times in seconds.

    Full jitter as in Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    attempts: int = 8
    base: float = 0.5
    longest: float = 20.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds before attempt `attempt + 1`, never less than the server's `retry_after`."""
        jitter = random.uniform(0.0, min(self.longest, self.base * 2 ** (attempt - 1)))  # noqa: S311
        return jitter if retry_after is None else retry_after + jitter * 0.5
