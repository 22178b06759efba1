"""How long one attempt may take."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["TimeLimit"]

# A loop that is so late with a timer was held up; then answers get so long to be taken.
_LATE_SECONDS = 0.2
_GRACE_SECONDS = 2.0


class TimeLimit:
    """`asyncio.timeout`, but fair after a cell has held the loop: `async with TimeLimit(seconds)`.

    When the loop goes on, time-outs are due at once, before answers that came meanwhile are taken
    from their sockets: they would be thrown away and paid again. So one that is due late waits.
    """

    __slots__ = ("_limit", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._limit.__aenter__()
        self._wait_until(self._loop.time() + self._seconds)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _wait_until(self, at: float) -> None:
        self._timer = self._loop.call_at(at, self._due, at)

    def _due(self, at: float) -> None:
        now = self._loop.time()
        if now - at > _LATE_SECONDS:
            self._wait_until(now + _GRACE_SECONDS)
        else:
            self._limit.reschedule(now)
