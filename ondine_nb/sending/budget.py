"""The budget: a ceiling in USD that no moment of a run passes, nor of the runs that share one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from decimal import Decimal

from ..errors import BudgetExceededError
from ..text import dollars

__all__ = ["Budget", "Reservation", "SessionBudget"]

_ZERO = Decimal(0)


class Reservation:
    """The worst case of one request, held until what it really cost is known."""

    __slots__ = ("_budget", "amount", "open")

    def __init__(self, budget: Budget, amount: Decimal) -> None:
        self._budget = budget
        self.amount: Decimal = amount
        self.open: bool = True

    def settle(self, cost: Decimal, lost: Decimal = _ZERO) -> None:
        """The answer came and cost this much, in USD; `lost` more may have been billed."""
        self._end(cost, lost)

    def release(self) -> None:
        """The request was not billed."""
        self._end(_ZERO, _ZERO)

    def lose(self, known: Decimal = _ZERO) -> None:
        """The answer was lost on the way: its worst case stays charged as possibly billed.

        Of several answers together, those that came cost `known` USD.
        """
        self._end(known, max(_ZERO, self.amount - known))

    def _end(self, spent: Decimal, lost: Decimal) -> None:
        if self.open:
            self.open = False
            self._budget.end(self.amount, spent, lost)


class SessionBudget:
    """A ceiling in USD that several runs share, on whatever loops and threads (None: no ceiling).

    `ceiling` may be changed at any time; what was spent stays counted.
    """

    def __init__(self, ceiling: Decimal | None = None) -> None:
        self._lock = threading.Lock()
        self._ceiling = ceiling
        self.spent: Decimal = _ZERO
        self.possibly_billed: Decimal = _ZERO
        self.reserved: Decimal = _ZERO
        self.outstanding: int = 0
        self._waiting: set[Budget] = set()

    @property
    def ceiling(self) -> Decimal | None:
        """USD that all runs together may spend, or None. A higher one wakes those that wait."""
        return self._ceiling

    @ceiling.setter
    def ceiling(self, ceiling: Decimal | None) -> None:
        with self._lock:
            self._ceiling = ceiling
            self._wake()

    @property
    def left(self) -> Decimal | None:
        """USD that may still be reserved; None without a ceiling."""
        with self._lock:
            return None if self._ceiling is None else max(_ZERO, self._ceiling - self._used())

    def take(self, amount: Decimal, budget: Budget) -> bool:
        """Hold `amount` for a request of `budget`, or have it woken when there may be room.

        Raises `BudgetExceededError` when it doesn't fit and nothing of any run is in flight.
        """
        with self._lock:
            if self._ceiling is None or self._used() + amount <= self._ceiling:
                self.reserved += amount
                self.outstanding += 1
                return True
            if self.outstanding == 0:
                raise self._exceeded(amount, self._ceiling)
            self._waiting.add(budget)
            return False

    def adopt(self, amount: Decimal) -> None:
        """Hold `amount` for what an earlier process has sent, whether it fits or not."""
        with self._lock:
            self.reserved += amount
            self.outstanding += 1

    def end(self, amount: Decimal, spent: Decimal, lost: Decimal) -> None:
        """A request that held `amount` has ended."""
        with self._lock:
            self.reserved -= amount
            self.outstanding -= 1
            self.spent += spent
            self.possibly_billed += lost
            self._wake()

    def _used(self) -> Decimal:
        return self.spent + self.possibly_billed + self.reserved

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for budget in waiting:
            budget.wake()

    def _exceeded(self, amount: Decimal, ceiling: Decimal) -> BudgetExceededError:
        return BudgetExceededError(
            f"out of session budget: {dollars(self.spent)} of {dollars(ceiling)} is spent by the "
            f"runs of this session{_lost(self.possibly_billed)}, and the next request may cost up "
            f"to {dollars(amount)}. Raise it (%config OndineMagics.session_budget = …), or lower "
            "--max-tokens, and run again: what is answered is not paid again"
        )


class Budget:
    """A ceiling in USD that no moment of the run passes, whatever comes back (None: no ceiling).

    What is spent, what may have been billed for lost answers, and the worst cases of all requests
    in flight together never exceed it. A reservation that doesn't fit waits for others to settle,
    first come first served, so that a large one isn't starved by small ones. With `session` it has
    to fit that ceiling too.

    `keep(bound)` is awaited before `possibly_billed` and `reserved` together pass the last bound
    (USD): who continues after a kill and takes the bound as possibly billed stays within the same
    ceiling. It is called with room to spare, one call at a time, and what it raises `reserve`
    raises.
    """

    def __init__(
        self,
        ceiling: Decimal | None,
        spent: Decimal = _ZERO,
        possibly_billed: Decimal = _ZERO,
        *,
        session: SessionBudget | None = None,
        keep: Callable[[Decimal], Awaitable[None]] | None = None,
    ) -> None:
        self.ceiling = ceiling
        self.spent: Decimal = spent
        self.possibly_billed: Decimal = possibly_billed
        self.reserved: Decimal = _ZERO
        self.outstanding: int = 0
        self._session = session
        self._keep = keep if ceiling is not None else None
        self._kept = possibly_billed
        self._keeping = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[asyncio.Future[None], Decimal]] = deque()

    def fits(self, amount: Decimal) -> bool:
        """Whether `amount` USD fits this run's own ceiling now."""
        if self.ceiling is None:
            return True
        return self.spent + self.possibly_billed + self.reserved + amount <= self.ceiling

    def never_fits(self, amount: Decimal) -> bool:
        """Whether `amount` USD is more than what this run may spend once all is settled."""
        if self.ceiling is None:
            return False
        return self.spent + self.possibly_billed + amount > self.ceiling

    @property
    def room(self) -> Decimal | None:
        """USD that fit both ceilings now; None without a ceiling."""
        rooms = [] if self._session is None else [self._session.left]
        if self.ceiling is not None:
            used = self.spent + self.possibly_billed + self.reserved
            rooms.append(max(_ZERO, self.ceiling - used))
        return min((room for room in rooms if room is not None), default=None)

    def adopt(self, amount: Decimal, *, lost: bool) -> Reservation:
        """Hold `amount` USD for what an earlier process has sent, whether it fits or not.

        `lost` says that it is part of what is possibly billed until now.
        """
        if lost:
            self.possibly_billed -= min(amount, self.possibly_billed)
        self.reserved += amount
        self.outstanding += 1
        if self._session is not None:
            self._session.adopt(amount)
        return Reservation(self, amount)

    async def reserve(self, amount: Decimal, *, exact: bool = False) -> Reservation:
        """Hold `amount` USD, waiting until it fits; `exact` keeps no bound beyond it.

        Raises `BudgetExceededError` when it doesn't fit and nothing is in flight that could settle.
        """
        if self._waiting or not self._take(amount):
            await self._wait(amount)
        reservation = Reservation(self, amount)
        if self._keep is not None and self._at_risk() > self._kept:
            try:
                await self._raise_bound(self._keep, _ZERO if exact else amount)
            except BaseException:
                reservation.release()
                raise
        return reservation

    def end(self, amount: Decimal, spent: Decimal, lost: Decimal) -> None:
        """Called by a reservation that ends."""
        self.reserved -= amount
        self.outstanding -= 1
        self.spent += spent
        self.possibly_billed += lost
        if self._session is not None:
            self._session.end(amount, spent, lost)
        self._admit()

    def wake(self) -> None:
        """There may be room in the session's budget; from any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._admit)

    def _at_risk(self) -> Decimal:
        return self.possibly_billed + self.reserved

    async def _raise_bound(
        self, keep: Callable[[Decimal], Awaitable[None]], amount: Decimal
    ) -> None:
        async with self._keeping:
            risk = self._at_risk()
            if risk <= self._kept:
                return
            assert self.ceiling is not None
            spare = max(self.reserved / 4, 4 * amount) if amount else _ZERO
            bound = min(self.ceiling - self.spent, risk + spare)
            await keep(bound)
            self._kept = bound

    def _take(self, amount: Decimal) -> bool:
        """Hold `amount` if it fits now. Raises `BudgetExceededError` where it never will."""
        if not self.fits(amount):
            if self.never_fits(amount) or self.outstanding == 0:
                raise self._exceeded(amount)
            return False
        if self._session is not None:
            self._loop = asyncio.get_running_loop()
            if not self._session.take(amount, self):
                return False
        self.reserved += amount
        self.outstanding += 1
        return True

    async def _wait(self, amount: Decimal) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, amount))
        self._admit()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.end(amount, _ZERO, _ZERO)
            else:
                self._admit()  # it may have kept smaller ones waiting behind it
            raise

    def _admit(self) -> None:
        """Let those at the head of the queue through, or tell the head that it never will fit."""
        while self._waiting:
            future, amount = self._waiting[0]
            if future.done():
                self._waiting.popleft()
                continue
            try:
                if not self._take(amount):
                    return
            except BudgetExceededError as error:
                future.set_exception(error)
            else:
                future.set_result(None)
            self._waiting.popleft()

    def _exceeded(self, amount: Decimal) -> BudgetExceededError:
        assert self.ceiling is not None
        return BudgetExceededError(
            f"out of budget: {dollars(self.spent)} of {dollars(self.ceiling)} is spent"
            f"{_lost(self.possibly_billed)}, and the next request may cost up to "
            f"{dollars(amount)}. Raise --budget, or lower --max-tokens, and run again: what is "
            f"answered is not paid again. It takes "
            f"{dollars(self.spent + self.possibly_billed + amount)}"
        )


def _lost(amount: Decimal) -> str:
    return f", {dollars(amount)} possibly billed" if amount else ""
