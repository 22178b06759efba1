"""What holds a run back: the gate of requests in flight, other runs, and back-off."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from weakref import WeakSet

from .budget import Budget, Reservation, SessionBudget
from .pacing import Growth

__all__ = ["Backoff", "Budget", "Claims", "Gate", "Reservation", "SessionBudget", "Turnstile"]


class Gate:
    """At most `width` requests in flight; at most `OPENING` until one answer has succeeded.

    With `growth` it is that which says how many, up to the width. Held by the user or shut in an
    outage, it lets nobody in.
    """

    OPENING = 8

    def __init__(self, width: int, growth: Growth | None = None) -> None:
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


class Turnstile:
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


class Claims:
    """Which questions are being asked in this process, by whichever run, thread and loop.

    Runs side by side, and one that is stopping beside the next one, pay for no answer twice: a
    question is held from before it is sent until its answer is durable.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[bytes, list[asyncio.Future[None]]] = {}
        self._runs: WeakSet[Any] = WeakSet()

    def hold(self, *keys: bytes) -> _Claim:
        """Be the only one who asks these questions, waiting until that is so: `async with`."""
        return _Claim(self, keys)

    def _let_go(self, key: bytes) -> None:
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
        """`run` is over, and claims nothing any more."""
        with self._lock:
            self._runs.discard(run)


class _Claim:
    """Questions that are held by one who asks."""

    __slots__ = ("_claims", "_held", "_keys")

    def __init__(self, claims: Claims, keys: Sequence[bytes]) -> None:
        self._claims, self._keys = claims, keys
        self._held: list[bytes] = []

    async def __aenter__(self) -> None:
        try:
            for key in sorted(self._keys):  # in one order: no two wait for each other
                while (turn := self._claims._try(key)) is not None:
                    await turn
                self._held.append(key)
        except BaseException:
            self._let_go()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for key in held:
            self._claims._let_go(key)


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and when a request goes again: exponential with equal jitter, times in seconds.

    Half of each wait is fixed, so that all `attempts` together always outlast a short outage (Marc
    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015, compares the kinds).
    `patience` is how long an outage may last before rows fail of it, `opening_patience` the same
    before the first success.
    """

    attempts: int = 8
    base: float = 0.5
    longest: float = 20.0
    patience: float = 300.0
    opening_patience: float = 45.0

    def delay(
        self, attempt: int, retry_after: float | None = None, *, stretch: float = 1.0
    ) -> float:
        """Seconds before attempt `attempt + 1`, never less than the server's `retry_after`."""
        most = stretch * min(self.longest, self.base * 2.0 ** (attempt - 1))
        jitter = random.uniform(most / 2, most)  # noqa: S311
        return jitter if retry_after is None else retry_after + jitter * 0.5

    def probe(self, failed: int) -> float:
        """Seconds before the next probe of an outage, after so many that failed: 1, 2, 4, … 30."""
        return min(30.0, 2 * self.base * 2.0 ** min(failed, 16))
