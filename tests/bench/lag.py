"""How late a timer is while something else runs on the loop: what a notebook's user feels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any

__all__ = ["lags_beside", "late"]

_TICK = 0.002


async def lags_beside(work: Awaitable[Any]) -> list[float]:
    """How late a timer is while `work` goes on, in ms, sorted."""
    lags = []
    task = asyncio.ensure_future(work)
    while not task.done():
        before = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append((time.perf_counter() - before - _TICK) * 1000)
    await task
    return sorted(lags)


def late(lags: Sequence[float]) -> tuple[float, float]:
    """The lag that 99 of 100 don't pass, and the worst."""
    return lags[len(lags) * 99 // 100], lags[-1]
