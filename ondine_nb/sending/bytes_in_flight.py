"""Bytes in flight: how much memory the bodies of requests with pictures and documents take.

A body is written when its request's turn has come and let go with the attempt, whatever comes of
that: another attempt reads the files anew. So a run's memory doesn't grow with its rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from .request import Request

__all__ = ["MOST_BYTES", "BytesInFlight", "in_media_thread"]

MOST_BYTES = 256_000_000
# Files are read, hashed and packed in these. More would wait for one another, and for the loop.
_THREADS = 4
_T = TypeVar("_T")


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="ondine-media")


async def in_media_thread(work: Callable[..., _T], *given: Any) -> _T:
    """What `work` returns or raises, done in one of few threads."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), work, *given)


class BytesInFlight:
    """Lets requests have bodies of `most` bytes at a time, in the order in which they ask.

    One that is larger has its body while no other has. `taken` are the bytes held now.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.taken: int = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def load(self, request: Request) -> None:
        """Wait until its body may be held, and have it written.

        Raises `MediaError` where a file is gone or was changed; nothing is held then.
        """
        await self._take(weight := min(request.weight, self.most))
        request.held = weight
        write = request.endpoint.can.write
        try:
            if write is not None:
                request.body = await in_media_thread(write, request.prompt)
        except BaseException:
            self.release(request)
            raise

    def release(self, request: Request) -> None:
        """The attempt is over."""
        self.taken -= request.held
        request.held, request.body = 0, None
        self._let_in()

    async def _take(self, weight: int) -> None:
        if not self._waiting and self.taken + weight <= self.most:
            self.taken += weight
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((weight, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.taken -= weight
            self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting:
            weight, turn = self._waiting[0]
            if not turn.done():
                if self.taken + weight > self.most:
                    return
                self.taken += weight
                turn.set_result(None)
            self._waiting.popleft()
