"""How fast to send: under the limits that the server's headers tell, and as many at once as pay."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from statistics import median

__all__ = ["Growth", "Pacer"]

_KINDS = ("requests", "input-tokens", "output-tokens", "tokens")


class _Bucket:
    """What may still be sent of one kind: refilled at `limit` a minute, never above what is left.

    The server's own count can only lower the level: answers come out of order, and an old one must
    not give back what newer requests have used.
    """

    def __init__(self, limit: float, remaining: float, now: float) -> None:
        self.limit, self.level, self.at = limit, remaining, now

    def refill(self, now: float) -> None:
        self.level = min(self.limit, self.level + (now - self.at) * self.limit / 60.0)
        self.at = now

    def told(self, limit: float, remaining: float, now: float) -> None:
        self.refill(now)
        self.limit = limit
        self.level = min(self.level, remaining)

    def wait(self, need: float) -> float:
        """Seconds until `need` is there; a need above the limit waits for a full bucket."""
        missing = min(need, self.limit) - self.level
        # A rest of rounding must not be waited for: no clock can tell so short a time.
        return missing * 60.0 / self.limit if missing > 1e-6 else 0.0


class Pacer:
    """Spaces requests by the `anthropic-ratelimit-*` headers, and by every `retry-after`.

    Without such headers nothing waits. Limits are for a minute, as the headers have them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._paused_until = 0.0
        self._turns = asyncio.Lock()

    @property
    def limited(self) -> bool:
        """Whether the next request would have to wait."""
        return self._delay({"requests": 1.0}) > 0

    async def turn(self, tokens_in: float = 0.0, tokens_out: float = 0.0) -> None:
        """Wait, first come first served, until a request of about so many tokens may go."""
        if not self._buckets and not self._paused_until:
            return
        needs = {
            "requests": 1.0,
            "input-tokens": tokens_in,
            "output-tokens": tokens_out,
            "tokens": tokens_in + tokens_out,
        }
        async with self._turns:
            while (delay := self._delay(needs)) > 0:
                await asyncio.sleep(delay)
            for kind, bucket in self._buckets.items():
                bucket.level -= needs[kind]

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what an answer's headers (lower-case names) say of the limits."""
        now = self._clock()
        for kind in _KINDS:
            try:
                limit = float(headers[f"anthropic-ratelimit-{kind}-limit"])
                remaining = float(headers[f"anthropic-ratelimit-{kind}-remaining"])
            except (KeyError, ValueError):
                continue
            if limit <= 0:
                continue
            if kind in self._buckets:
                self._buckets[kind].told(limit, remaining, now)
            else:
                self._buckets[kind] = _Bucket(limit, remaining, now)

    def pause(self, seconds: float) -> None:
        """Nothing goes for so long: the server asked for it."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _delay(self, needs: Mapping[str, float]) -> float:
        now = self._clock()
        delay = self._paused_until - now
        for kind, bucket in self._buckets.items():
            bucket.refill(now)
            delay = max(delay, bucket.wait(needs.get(kind, 0.0)))
        return delay


class Growth:
    """How many requests at once: doubles while latency holds, halves when pushed back.

    `limit` starts at `start` and stays between 1 and `most`. After the first push-back it grows by
    a tenth a round. A round is as many answers as the limit, so that every size is tried for as
    long as its effect takes to show.
    """

    _SLOWER = 1.8

    def __init__(self, start: int = 8, most: int = 256) -> None:
        self.limit = min(start, most)
        self.start = start
        self.most = most
        self.note = "starting"
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
