"""What holds a run back: the gate of requests in flight, other runs, and back-off."""

from __future__ import annotations

import asyncio
from collections import deque
from statistics import median
from types import TracebackType

__all__ = ["AdaptiveConcurrency", "ConcurrencyLimit", "FairAdmission"]


class ConcurrencyLimit:
    """At most `width` requests in flight; at most `OPENING` until one answer has succeeded.

    With `growth` it is that which says how many, up to the width. Held by the user or shut in an
    outage, it lets nobody in.
    """

    OPENING = 8

    def __init__(self, width: int, growth: AdaptiveConcurrency | None = None) -> None:
        self.width = width
        self.growth = growth
        self.proven: bool = False
        self.held: bool = False
        self.inside: int = 0
        self._shut = False
        self._passes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many requests may be in flight now: 0 while it is shut."""
        if self.held or self._shut:
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

    def shut(self, shut: bool) -> None:
        """Let nobody in while shut, except by `let_one_in`."""
        self._shut, self._passes = shut, 0
        self._admit()

    def let_one_in(self) -> None:
        """Let in the first who waits, or the next who comes, although the gate is shut."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                self.inside += 1
                future.set_result(None)
                return
        self._passes = 1

    async def __aenter__(self) -> None:
        if self._passes and not self.held:
            self._passes -= 1
            self.inside += 1
            return
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


class FairAdmission:
    """Lets at most `AT_ONCE` through in one turn of the loop; the others follow in later turns.

    Hundreds of answers may be durable at once, and each lets a worker make its next request: in one
    turn that would hold the loop, and with it the notebook, for a tenth of a second. For one loop
    at a time.
    """

    AT_ONCE = 8

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._passed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def through(self) -> None:
        """Return in a turn that has room."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the last turn of another loop may never have come
            self._loop, self._passed = loop, 0
            self._waiting.clear()
        if self._passed == 0:
            loop.call_soon(self._turned)
        if self._passed < self.AT_ONCE:
            self._passed += 1
            return
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        await future

    def _turned(self) -> None:
        """A turn of the loop has passed."""
        self._passed = 0
        while self._waiting and self._passed < self.AT_ONCE:
            future = self._waiting.popleft()
            if not future.done():
                self._passed += 1
                future.set_result(None)
        if self._passed:
            asyncio.get_running_loop().call_soon(self._turned)


class AdaptiveConcurrency:
    """How many requests at once: doubles while latency holds, halves when pushed back.

    `limit` starts at `start` and stays between 1 and `most`. After the first push-back it grows by
    a tenth a round. A round is as many answers as the limit, so that every size is tried for as
    long as its effect takes to show.
    """

    _SLOWER = 1.8

    def __init__(self, start: int = 8, most: int = 256) -> None:
        self.limit: int = min(start, most)
        self.start = start
        self.most = most
        self.note: str = "starting"
        self._fast = True
        self._round: deque[float] = deque()
        self._best: float | None = None
        self._settling = 0

    def answered(self, latency: float, *, waiting: bool) -> None:
        """An answer came after `latency` seconds; `waiting` says whether others would go now."""
        self._round.append(latency)
        self._settling = max(0, self._settling - 1)
        if len(self._round) < self.limit:
            return
        typical = median(self._round)
        self._round.clear()
        if self._best is None or typical < self._best:
            self._best = typical
        if typical > self._best * self._SLOWER + 0.05:
            self.note = "held by latency"
        elif not waiting or self.limit >= self.most:
            self.note = "enough"
        else:
            step = self.limit if self._fast else max(1, self.limit // 10)
            self.limit = min(self.most, self.limit + step)
            self.note = "growing"

    def start_over(self) -> None:
        """After an outage: as at the start."""
        self.limit = min(self.start, self.most)
        self._fast = True
        self._round.clear()
        self.note = "starting"

    def pushed_back(self) -> None:
        """429 or 529. Those of one burst count once: half of them were sent before the first."""
        if self._settling == 0:
            self.limit = max(1, self.limit // 2)
            self._settling = self.limit
            self._fast = False
            self._round.clear()
            self.note = "rate limited"
