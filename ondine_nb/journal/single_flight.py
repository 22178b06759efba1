"""Deduplicates equal prompts in flight (single flight), over all runs of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

__all__ = ["SingleFlight"]


class SingleFlight:
    """Which questions are being asked in this process, by whichever run, thread and loop.

    Runs side by side, and one that is stopping beside the next one, pay for no answer twice: a
    question is held from before it is sent until its answer is durable.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[bytes, list[asyncio.Future[None]]] = {}
        self._runs: WeakSet[Any] = WeakSet()

    def hold(self, *keys: bytes) -> _Flight:
        """Be the only one who asks these questions, waiting until that is so: `async with`."""
        return _Flight(self, keys)

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


class _Flight:
    """Questions that are held by one who asks."""

    __slots__ = ("_claims", "_held", "_keys")

    def __init__(self, claims: SingleFlight, keys: Sequence[bytes]) -> None:
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
