"""The budget: a ceiling in USD that no moment of a run passes, nor of the runs that share one."""

from __future__ import annotations

import asyncio
from collections import deque
from decimal import Decimal

from .errors import BudgetExceededError
from .pricing import dollars
from .rows import ZERO

__all__ = ["Budget", "Reservation"]


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
